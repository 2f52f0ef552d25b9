// The engine for one process: clients are worked off by threads.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

#include "lorasb/federated/transport.hpp"

namespace lorasb::federated {

/// A Transport. Clients of a round are taken in order by `threads` threads; a few answers wait at most, so a thousand clients
/// need the memory of a few. A thread cannot be stopped in the middle of a client's work: after a deadline the clients that
/// have not begun are left out, and the next ask() waits for the others, whose answers then come late.
class InProcessTransport {
 public:
  /// The host must outlive it. Throws ErrorId::value for threads below 1.
  InProcessTransport(ClientHost& host, int threads) : host_(host), room_(2 * static_cast<std::size_t>(std::max(threads, 1))) {
    require(threads >= 1, ErrorId::value, "federated::InProcessTransport: threads is ", threads, ", expected at least 1");
    try {
      for (int slot = 0; slot < threads; ++slot) workers_.emplace_back([this, slot] { work(slot); });
    } catch (...) {  // no more threads: let those go that there are
      stop();
      throw;
    }
  }
  InProcessTransport(const InProcessTransport&) = delete;
  InProcessTransport& operator=(const InProcessTransport&) = delete;
  ~InProcessTransport() { stop(); }

  double now() const { return std::chrono::duration<double>(Clock::now().time_since_epoch()).count(); }

  void ask(std::span<const Index> clients, std::shared_ptr<const Bytes> message) {
    std::unique_lock lock(mutex_);
    waiting_.clear();
    changed_.wait(lock, [&] { return working_ == 0; });
    refused_ = detail::failure_of([&] { host_.begin(*message); });
    waiting_.assign(clients.begin(), clients.end());
    lock.unlock();
    changed_.notify_all();
  }

  std::optional<Delivery> next(double deadline_seconds) {
    std::unique_lock lock(mutex_);
    const auto ready = [&] { return !answers_.empty() || (waiting_.empty() && working_ == 0); };
    while (!ready()) {
      const double left = deadline_seconds - now();
      if (left <= 0) {
        waiting_.clear();
        return std::nullopt;
      }
      changed_.wait_for(lock, std::chrono::duration<double>(std::min(left, 3600.0)), ready);
    }
    if (answers_.empty()) return std::nullopt;
    Delivery delivery = std::move(answers_.front());
    answers_.pop_front();
    lock.unlock();
    changed_.notify_all();
    return delivery;
  }

 private:
  using Clock = std::chrono::steady_clock;

  void stop() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
  }

  void work(int slot) {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return stopping_ || (!waiting_.empty() && answers_.size() < room_); });
      if (stopping_) return;
      Delivery delivery{.client = waiting_.front(), .message = {}, .failure = {}};
      waiting_.pop_front();
      ++working_;
      lock.unlock();
      delivery.failure = refused_;
      if (refused_.empty())
        delivery.failure = detail::failure_of([&] { delivery.message = host_.answer(delivery.client, slot); });
      lock.lock();
      --working_;
      answers_.push_back(std::move(delivery));
      changed_.notify_all();
    }
  }

  ClientHost& host_;
  const std::size_t room_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Index> waiting_;     // clients that have not begun
  std::deque<Delivery> answers_;  // that nobody has fetched
  Index working_ = 0;             // clients being worked on
  std::string refused_;           // why the host does not take the message; empty: it does
  bool stopping_ = false;
  std::vector<std::jthread> workers_;  // last: they end before what they use
};

static_assert(Transport<InProcessTransport>);

}  // namespace lorasb::federated
