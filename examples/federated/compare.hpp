// One session with its report, and all methods with several seeds side by side.
#pragma once

#include "examples/common/child_process.hpp"
#include "examples/common/statistics.hpp"
#include "examples/federated/alone.hpp"
#include "examples/federated/experts.hpp"
#include "examples/federated/report.hpp"
#include "lorasb/federated/baselines/tuned_model.hpp"
#include "lorasb/federated/in_process.hpp"

namespace lorasb::examples {

inline federated::Shares shares_of(const FederatedTask& task, const FederateOptions& options) {
  return federated::share_out(task.train.labels, task.origins, options.clients, options.partition, options.seed);
}

inline void print_task(const FederatedTask& task, const FederateOptions& options) {
  std::printf("%s: %td training texts of %td clients (%s), %td texts to start from, %td %s texts in %td classes\n",
              options.data.c_str(), task.train.size(), options.clients, federated::name_of(options.partition).c_str(), task.start.size(),
              task.test.size(), options.validation ? "validation" : "test", task.classes());
  for (const std::string& note : task.notes) std::printf("  %s\n", note.c_str());
  if (options.privacy.enabled)
    std::printf("  taken as public: the %td texts to start from (--init-data), which the head is trained on, and the %td %s texts; "
                "epsilon says nothing of them\n",
                task.start.size(), task.test.size(), options.validation ? "validation" : "test");
  std::fflush(stdout);
}

/// Writes all that a finished session leaves, and hands it on.
inline SessionResult report(SessionResult result, const FederatedTask& task, const FederateOptions& options,
                            const SharedModel& shared, const federated::Shares& shares, const FederatedMixture* mixed) {
  remove_classifiers(options.out);
  if (committed_rounds(result.rounds) > 0 && result.is_finite) {  // or the start would be taken for a result
    if (mixed != nullptr)
      write_mixed_model(shared, *mixed, options);
    else if (options.setting == Setting::federated)
      write_trained(options.out, task.base, federated::tuned_model(shared, task.base.weights),
                    classifier_file(name_of(options), task.label_names, options));
  }
  if (!write_plot({{name_of(options), result.rounds}}, options.out))
    std::fprintf(stderr, "%s was not written: gnuplot is missing or failed\n", (options.out / "plot.png").c_str());
  write_json(options.out / "metrics.json", metrics(result, task, options, shares));
  return result;
}

/// A session in this process.
inline SessionResult run_and_report(const FederatedTask& task, const FederateOptions& options) {
  require_no_model(options.out);
  make_folder(options.out, "--out");
  std::optional<io::Journal> journal = open_journal(options);  // before any work that it may forbid
  const federated::Shares shares = shares_of(task, options);
  std::optional<PrivacyAccounts> accounts = open_accounts(options, shares);
  SessionStart start = start_session(task, options, shares);
  const StartResult found = start_result(start);
  const std::unique_ptr<FederatedMixture> mixed = start_mixture(task, options, start);
  SharedModel shared = make_shared_model(task, options, std::move(start), mixed.get());
  SessionResult result;
  if (options.setting == Setting::federated) {
    SharedModel at_clients = shared;
    TrainingClients clients(task, options, at_clients, shares, options.threads, client_accounts(options, accounts),
                            mixed.get());
    federated::InProcessTransport transport(clients.host(), options.threads);
    result = ReportedSession(task, options, shared, transport, journal, found, accounts ? &*accounts : nullptr, mixed.get()).finish();
  } else {
    result = run_alone(task, options, shared, shares);
  }
  return report(std::move(result), task, options, shared, shares, mixed.get());
}

/// Throws ErrorId::no_examples when no round has changed anything: that is no success.
inline void print_result(const SessionResult& result, const FederateOptions& options) {
  const Index committed = committed_rounds(result.rounds), all = std::ssize(result.rounds);
  require(committed > 0, ErrorId::no_examples, "no round was committed: in none of ", all, " did as many as ", options.min_clients,
          " clients (--min-clients) send an update that counts, for the reasons above; nothing was trained, and \"", options.out.string(),
          "\" holds metrics.json without an adapter");
  require(result.is_finite, ErrorId::not_finite, "the outputs of the global model are not finite after the last round: a lower --learning-rate "
          "or --server-learning-rate may help; \"", options.out.string(), "\" holds metrics.json without an adapter");
  if (committed < all) std::printf("%td of %td rounds were abandoned and changed nothing\n", all - committed, all);
  std::printf("%s: accuracy %.2f %% after %td rounds, %.2f MB in all\nglobal numbers %s\nWritten to %s\n",
              name_of(options).c_str(), 100 * result.accuracy, options.rounds,
              result.rounds.empty() ? 0.0 : result.rounds.back()["bytes_total"].get<double>() / 1e6, hex(result.digest).c_str(),
              options.out.c_str());
  if (result.privacy)
    std::printf("Accuracy on public texts: %.2f %% before, %.2f %% after.\n%s", 100 * result.start.accuracy, 100 * result.accuracy,
                statement(result.privacy->spent, options).c_str());
}

namespace detail {

inline double best_accuracy(const nlohmann::json& rounds) {
  double best = 0;
  for (const nlohmann::json& round : rounds) best = std::max(best, round["accuracy"].get<double>());
  return best;
}

/// What `key` was when the accuracy was first reached; infinite when it never was.
inline double when_reached(const nlohmann::json& rounds, double accuracy, const char* key) {
  for (const nlohmann::json& round : rounds)
    if (round["accuracy"].get<double>() >= accuracy) return round[key];
  return std::numeric_limits<double>::infinity();
}

/// Of all seeds of one method.
struct Contender {
  std::string method;
  std::vector<nlohmann::json> runs;  // metrics, by seed

  std::vector<double> each(const auto& value) const {
    std::vector<double> all;
    for (const nlohmann::json& run : runs) all.push_back(value(run));
    return all;
  }
  std::vector<double> final_accuracy() const {
    return each([](const nlohmann::json& run) { return 100 * run["final_accuracy"].get<double>(); });
  }
  double largest_error() const {
    double largest = 0;
    for (const nlohmann::json& run : runs)
      for (const nlohmann::json& round : run["rounds"])
        if (!round["exactness_error"].is_null()) largest = std::max(largest, round["exactness_error"].get<double>());
    return largest;
  }
};

/// Megabytes with the spread that finite ones have, or that it was not reached by all.
inline std::string megabytes(const std::vector<double>& bytes) {
  std::vector<double> finite;
  for (const double b : bytes)
    if (is_finite(b)) finite.push_back(b / 1e6);
  if (finite.size() < bytes.size()) return concat(finite.size(), " of ", bytes.size());
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", mean(finite));
  return text;
}

}  // namespace detail

/// Runs every method with every seed in a process of its own, in OUT/<method>-seed<seed>; runs that are there with the same
/// options are only read. Prints a table and writes compare.json and plot.png (the first seed).
inline void compare(const FederatedTask& task, const FederateOptions& options) {
  print_task(task, options);
  std::vector<detail::Contender> contenders;
  for (const char* word : {"fed-sb", "fedit", "ffa-lora", "fedex-lora", "flora", "local", "central"})
    contenders.push_back({word, {}});
  for (Index s = 0; s < options.seeds; ++s)
    for (detail::Contender& contender : contenders) {
      FederateOptions one = options;
      detail::set_method(one, contender.method);
      if (contender.method != "fed-sb") {  // the others have no cores, or no rounds
        one.ranks.clear();
        one.look_ahead = 0;
        one.estimate = Estimate::automatic;
      }
      one.seed = options.seed + std::uint64_t(s);
      one.out = options.out / concat(contender.method, "-seed", one.seed);
      const std::filesystem::path file = one.out / "metrics.json";
      std::printf("\n%s, seed %llu\n", contender.method.c_str(), static_cast<unsigned long long>(one.seed));
      if (!finished_metrics(file, run_config(one)))
        in_child_process("the session in " + one.out.string(), [&] { run_and_report(task, one); });
      contender.runs.push_back(finished_metrics(file, run_config(one)).value());
    }

  const auto best_of = [](const nlohmann::json& run) { return detail::best_accuracy(run["rounds"]); };
  std::vector<double> aims;  // by seed: 95 % of the best of all that exchange anything
  for (std::size_t s = 0; s < contenders[0].runs.size(); ++s) {
    double best = 0;
    for (const detail::Contender& c : contenders)
      if (c.method != "local" && c.method != "central") best = std::max(best, best_of(c.runs[s]));
    aims.push_back(0.95 * best);
  }
  std::printf(
      "\n%td seeds. KB a client and round are those of the last round; MB are of all clients, both ways, until 95 %% of the "
      "best\n"
      "accuracy of the methods that exchange anything.\n",
      options.seeds);
  std::printf("%-11s %5s %16s %9s %9s %10s %10s\n", "method", "rank", "accuracy, %", "KB up", "KB down", "MB to 95 %",
              "exactness");
  nlohmann::json all = nlohmann::json::array();
  for (const detail::Contender& c : contenders) {
    std::vector<double> reached;
    for (std::size_t s = 0; s < c.runs.size(); ++s)
      reached.push_back(detail::when_reached(c.runs[s]["rounds"], aims[s], "bytes_total"));
    const nlohmann::json& last = c.runs[0]["rounds"].back();
    const bool alone = c.method == "local" || c.method == "central";
    std::printf("%-11s %5td %8.2f ± %5.2f %9.1f %9.1f %10s %10s\n", c.method.c_str(), c.runs[0]["rank"].get<Index>(),
                mean(c.final_accuracy()), deviation(c.final_accuracy()), last["bytes_up_per_client"].get<double>() / 1000,
                last["bytes_down_per_client"].get<double>() / 1000, alone ? "" : detail::megabytes(reached).c_str(),
                alone ? "" : concat(c.largest_error()).substr(0, 9).c_str());
    all.push_back({{"method", c.method}, {"runs", c.runs}});
  }
  // how many times the bytes of Fed-SB FedIT needs for the best accuracy that both have reached
  const detail::Contender& fed_sb = contenders[0];
  const detail::Contender& fedit = contenders[1];
  std::vector<double> all_bytes, adapter_bytes;
  Index overtaken = 0;
  for (std::size_t s = 0; s < fed_sb.runs.size(); ++s) {
    const nlohmann::json& ours = fed_sb.runs[s]["rounds"];
    const nlohmann::json& theirs = fedit.runs[s]["rounds"];
    const double both = std::min(detail::best_accuracy(ours), detail::best_accuracy(theirs));
    overtaken += detail::best_accuracy(ours) >= detail::best_accuracy(theirs);
    all_bytes.push_back(detail::when_reached(theirs, both, "bytes_total") / detail::when_reached(ours, both, "bytes_total"));
    adapter_bytes.push_back(detail::when_reached(theirs, both, "adapter_bytes_total") /
                            detail::when_reached(ours, both, "adapter_bytes_total"));
  }
  std::printf(
      "For the best accuracy that both reach FedIT sends %.1f ± %.1f times the bytes of Fed-SB, %.1f ± %.1f times without the "
      "head.\n"
      "Fed-SB reaches FedIT's best accuracy with %td of %td seeds.\n",
      mean(all_bytes), deviation(all_bytes), mean(adapter_bytes), deviation(adapter_bytes), overtaken, options.seeds);
  write_json(options.out / "compare.json", all);
  std::vector<Curve> curves;
  for (const detail::Contender& c : contenders) curves.push_back({c.method, c.runs[0]["rounds"]});
  write_plot(curves, options.out);
}

}  // namespace lorasb::examples
