// Counts what the clients of a round send, on the way from any transport to the server.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <utility>

#include "lorasb/core/parameters.hpp"
#include "lorasb/federated/transport.hpp"
#include "lorasb/io/safetensors_header.hpp"

namespace lorasb::federated {

/// Bytes of messages, and those of the adapters in them: tensors that are no head.
struct MessageSize {
  std::size_t all = 0;
  std::size_t adapter = 0;

  MessageSize& operator+=(MessageSize other) {
    all += other.all;
    adapter += other.adapter;
    return *this;
  }
};
/// Of a message whose trained tensors have this layout. What is no message has bytes all the same, and no adapters.
inline MessageSize size_of(std::span<const std::byte> message, const ParameterLayout& layout) {
  MessageSize size{.all = message.size(), .adapter = 0};
  try {
    for (const io::TensorInfo& t : io::parse_safetensors_header(message, "the message").tensors) {
      const ParameterLayout::Tensor* const known = layout.find(t.name);
      if (known == nullptr || !is_head(known->role)) size.adapter += t.end - t.begin;  // a delta is an adapter's too
    }
  } catch (const Error&) {  // no message: the server will say so
  }
  return size;
}

/// A Transport that passes everything on to another one.
///
///     CountingTransport counting(transport, session.layout);
///     RoundReport report = run_round(server, counting, message, 60);
///     counting.sent().all / counting.messages();   // bytes of a client
template <Transport T>
class CountingTransport {
 public:
  /// `transport` and `layout` must outlive it. `on_answer` is called with the number of answers so far, failures among them.
  CountingTransport(T& transport, const ParameterLayout& layout, std::function<void(Index answers)> on_answer = {})
      : transport_(transport), layout_(layout), on_answer_(std::move(on_answer)) {}

  double now() const { return transport_.now(); }
  void bound_answers(std::size_t bytes) {
    if constexpr (BoundedTransport<T>) transport_.bound_answers(bytes);
  }
  void ask(std::span<const Index> clients, std::shared_ptr<const Bytes> message) {
    transport_.ask(clients, std::move(message));
  }
  std::optional<Delivery> next(double deadline_seconds) {
    std::optional<Delivery> delivery = transport_.next(deadline_seconds);
    if (!delivery) return delivery;
    if (delivery->failure.empty()) {
      sent_ += size_of(delivery->message, layout_);
      ++messages_;
    }
    ++answers_;
    if (on_answer_) on_answer_(answers_);
    return delivery;
  }

  MessageSize sent() const { return sent_; }
  Index messages() const { return messages_; }

 private:
  T& transport_;
  const ParameterLayout& layout_;
  std::function<void(Index)> on_answer_;
  MessageSize sent_;
  Index messages_ = 0;
  Index answers_ = 0;  // failures too
};

}  // namespace lorasb::federated
