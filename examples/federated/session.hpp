// A session from its first round to its last, over any engine, with a journal to go on from.
#pragma once

#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "examples/common/progress.hpp"
#include "examples/federated/exactness.hpp"
#include "examples/federated/training_host.hpp"
#include "lorasb/core/little_endian.hpp"
#include "lorasb/federated/transport.hpp"
#include "lorasb/io/journal.hpp"

namespace lorasb::examples {

/// What a session leaves behind. `rounds` are the lines of metrics.json.
struct SessionResult {
  nlohmann::json rounds = nlohmann::json::array();
  double accuracy = 0;  // after the last round
  Digest digest{};      // of the global numbers
  double seconds = 0;   // of this process
};

namespace detail {

/// Bytes of a message, and those of its tensors outside the head.
struct MessageSize {
  std::size_t all = 0;
  std::size_t adapter = 0;

  MessageSize& operator+=(MessageSize other) {
    all += other.all;
    adapter += other.adapter;
    return *this;
  }
};
inline MessageSize size_of(std::span<const std::byte> message) {
  MessageSize size{.all = message.size(), .adapter = 0};
  try {
    for (const io::TensorInfo& t : io::parse_safetensors_header(message, "the message").tensors)
      if (!t.name.starts_with("classifier.")) size.adapter += t.end - t.begin;
  } catch (const Error&) {  // no message: the server will say so
  }
  return size;
}

/// Passes everything on, counts what clients send, and shows how many have answered.
template <federated::Transport T>
class CountingTransport {
 public:
  CountingTransport(T& transport, const std::string& name, std::size_t clients)
      : transport_(transport), bar_(std::in_place, name, double(clients), "clients") {}

  double now() const { return transport_.now(); }
  void ask(std::span<const Index> clients, std::shared_ptr<const Bytes> message) {
    transport_.ask(clients, std::move(message));
  }
  std::optional<federated::Delivery> next(double deadline_seconds) {
    std::optional<federated::Delivery> delivery = transport_.next(deadline_seconds);
    if (delivery && delivery->failure.empty()) {
      sent_ += size_of(delivery->message);
      ++messages_;
    }
    if (delivery)
      bar_->update(double(++answers_), 0, "");
    else
      bar_.reset();
    return delivery;
  }

  MessageSize sent() const { return sent_; }
  Index messages() const { return messages_; }

 private:
  T& transport_;
  std::optional<ProgressBar> bar_;  // until the round is over
  MessageSize sent_;
  Index messages_ = 0;
  Index answers_ = 0;  // failures too
};

/// A record of the journal: the line of the round, which clients counted, and the message that starts the next round, when the
/// round was committed. Eight bytes of length (the lowest first), the first two as JSON, the message.
inline Bytes journal_record(const nlohmann::json& line, std::span<const Index> clients, std::span<const std::byte> message) {
  const std::string text = nlohmann::json{{"line", line}, {"clients", clients}}.dump();
  Bytes record(8 + text.size() + message.size());
  auto place = std::ranges::copy(little_endian(text.size()), record.begin()).out;
  place = std::ranges::copy(std::as_bytes(std::span(text)), place).out;
  std::ranges::copy(message, place);
  return record;
}
struct JournalEntry {
  nlohmann::json line;
  std::vector<Index> clients;
  std::span<const std::byte> message;
};
inline JournalEntry read_record(std::span<const std::byte> record) {
  require(record.size() >= 8, ErrorId::journal, "the journal has a record of ", record.size(), " bytes that is no round");
  const std::uint64_t size = from_little_endian(record.first<8>());
  require(size <= record.size() - 8, ErrorId::journal, "the journal has a record that is no round");
  const std::span<const std::byte> text = record.subspan(8, size);
  const nlohmann::json json = nlohmann::json::parse(text.begin(), text.end(), nullptr, false);
  require(json.is_object() && json.contains("line") && json.contains("clients"), ErrorId::journal,
          "the journal has a record that is no round");
  return {.line = json["line"], .clients = json["clients"], .message = record.subspan(8 + size)};
}

}  // namespace detail

/// The journal that --journal names, checked or made; nothing without the option. Throws what Journal throws.
inline std::optional<io::Journal> open_journal(const FederateOptions& options) {
  if (options.journal.empty()) return std::nullopt;
  return std::optional<io::Journal>(std::in_place, options.journal, run_config(options));
}

/// The server's side of a session.
template <federated::Transport T>
class SessionRun {
 public:
  /// Goes on from the journal, and adds to it. Everything must outlive it.
  SessionRun(const FederatedTask& task, const FederateOptions& options, SharedModel& shared, T& transport,
             std::optional<io::Journal>& journal)
      : task_(task), options_(options), shared_(shared), transport_(transport), journal_(journal), workplace_(task, shared, 4) {
    std::vector<std::string> names;
    for (Index c = 0; c < options.clients; ++c) names.push_back(client_name(c));
    server_.emplace(shared.session(), shared.values().flat(), std::move(names),
                    federated::ServerOptions{.min_clients = options.min_clients,
                                             .cap = options.cap,
                                             .participation = options.participation,
                                             .seed = options.seed,
                                             .keep_updates = true});
  }

  SessionResult finish() {
    const double start = seconds_now();
    message_ = std::make_shared<const Bytes>(shared_.message(1, shared_.values().flat(), {}));
    shared_.take(*message_);
    if (journal_) resume();
    while (std::ssize(result_.rounds) < options_.rounds) round();
    result_.digest = shared_.digest();
    result_.seconds = seconds_now() - start;
    return std::move(result_);
  }

 private:
  /// Takes back what the journal holds, here and at every host.
  void resume() {
    journal_->replay([&](std::span<const std::byte> bytes) {
      const detail::JournalEntry entry = detail::read_record(bytes);
      result_.rounds.push_back(entry.line);
      total_ = {.all = entry.line.at("bytes_total"), .adapter = entry.line.at("adapter_bytes_total")};
      result_.accuracy = entry.line.at("accuracy");
      if (entry.message.empty()) return server_->replay_abandoned();
      if (shared_.adds_to_weights()) transport_.ask({}, message_);  // otherwise the last message says it all
      message_ = std::make_shared<const Bytes>(entry.message.begin(), entry.message.end());
      shared_.take(*message_);
      server_->replay(server_->round(), shared_.values().flat(), entry.clients);
    });
    if (!result_.rounds.empty()) std::printf("The journal holds %zu rounds\n", result_.rounds.size());
  }

  void round() {
    const double began = seconds_now();
    const double timeout = options_.round_seconds > 0 ? options_.round_seconds : 1e9;
    const std::size_t asked = server_->selected().size();
    detail::CountingTransport counting(transport_, concat("round ", next_line(), "/", options_.rounds), asked);
    const federated::RoundReport report = federated::run_round(*server_, counting, message_, timeout);
    for (const std::string& failure : report.failures) std::fprintf(stderr, "round %td: %s\n", next_line(), failure.c_str());
    const detail::MessageSize sent = counting.sent();
    // who takes no part needs what a round has added to the model all the same
    const bool adds = shared_.adds_to_weights() && shared_.round() > 1;
    const std::size_t receivers = adds ? static_cast<std::size_t>(options_.clients) : asked;
    const detail::MessageSize down = detail::size_of(*message_);
    total_.all += sent.all + down.all * receivers;
    total_.adapter += sent.adapter + down.adapter * receivers;

    nlohmann::json exactness;  // null for a round that changes nothing
    Bytes next;
    if (report.committed) {
      next = shared_.message(server_->round(), server_->global(), server_->admitted());
      const std::vector<Weight<double>> added_before = shared_.added();
      shared_.take(next);
      exactness = exactness_error(shared_, options_.method, added_before, server_->admitted());
      result_.accuracy = measure();
      message_ = std::make_shared<const Bytes>(next);
    } else if (result_.rounds.empty()) {
      result_.accuracy = measure();
    }
    nlohmann::json rejected = nlohmann::json::object();
    for (std::size_t r = 0; r < federated::rejection_names.size(); ++r)
      if (report.rejected[r] > 0) rejected[std::string(federated::rejection_names[r])] = report.rejected[r];
    const auto a_client = [&](std::size_t bytes) {
      return counting.messages() > 0 ? double(bytes) / double(counting.messages()) : 0;
    };
    const nlohmann::json line = {{"round", next_line()},
                                 {"accuracy", result_.accuracy},
                                 {"committed", report.committed},
                                 {"bytes_up_per_client", a_client(sent.all)},
                                 {"adapter_bytes_up_per_client", a_client(sent.adapter)},
                                 {"bytes_down_per_client", down.all},
                                 {"adapter_bytes_down_per_client", down.adapter},
                                 {"bytes_total", total_.all},
                                 {"adapter_bytes_total", total_.adapter},
                                 {"accepted", report.accepted},
                                 {"rejected", rejected},
                                 {"failed", report.failures.size()},
                                 {"exactness_error", exactness}};
    if (journal_) journal_->append(detail::journal_record(line, report.clients, next));
    result_.rounds.push_back(line);
    print(line, asked, seconds_now() - began);
  }

  std::ptrdiff_t next_line() const { return std::ssize(result_.rounds) + 1; }

  double measure() {
    std::ranges::copy(shared_.values().flat(), workplace_.values.flat().begin());
    return accuracy(workplace_.classifier, task_.test, 4, options_.threads);
  }

  void print(const nlohmann::json& line, std::size_t asked, double seconds) const {
    const auto number = [&](const char* key) { return line[key].template get<double>(); };
    std::string more;
    for (const auto& [reason, count] : line["rejected"].items()) more += concat(", ", count.template get<Index>(), " ", reason);
    if (number("failed") > 0) more += concat(", ", number("failed"), " failed");
    if (!line["committed"]) more += ", too few: nothing changed";
    char exactness[32] = "";
    if (!line["exactness_error"].is_null())
      std::snprintf(exactness, sizeof exactness, "  exactness %.1e", number("exactness_error"));
    std::printf("round %3.0f/%td  accuracy %5.2f %%  %.0f of %zu updates%s  a client: %.1f KB up, %.1f KB down%s  %.1f s\n",
                number("round"), options_.rounds, 100 * number("accuracy"), number("accepted"), asked, more.c_str(),
                number("bytes_up_per_client") / 1000, number("bytes_down_per_client") / 1000, exactness, seconds);
    std::fflush(stdout);
  }

  const FederatedTask& task_;
  const FederateOptions& options_;
  SharedModel& shared_;
  T& transport_;
  std::optional<io::Journal>& journal_;
  Workplace workplace_;  // of the global model
  std::optional<federated::Server<float>> server_;
  std::shared_ptr<const Bytes> message_;  // that starts the next round
  detail::MessageSize total_;             // of all messages so far
  SessionResult result_;
};

}  // namespace lorasb::examples
