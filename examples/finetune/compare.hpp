// All methods with several seeds, each run in a process of its own so that peak memory is its own.
#pragma once

#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <fstream>
#include <vector>

#include "examples/finetune/report.hpp"

namespace lorasb::examples {

/// Runs and reports one method into options.out.
inline RunResult run_and_report(Task& task, const FinetuneOptions& options) {
  std::filesystem::create_directories(options.out);
  FinishedRun run = Run(task, options).finish();
  write_adapters(run, task, options.out);
  if (!run.result.history.empty() && !write_plot(run.result, options.out))
    std::fprintf(stderr, "%s was not written: gnuplot is missing or failed\n", (options.out / "plot.png").c_str());
  write_json(options.out / "metrics.json", metrics(run.result, task, options));
  return std::move(run.result);
}

namespace detail {

struct Contender {
  Method method;
  Index rank;
  std::vector<double> test, validation;  // accuracy by seed
  double train_seconds = 0, peak_rss_bytes = 0;
  Index trainable = 0;
};

inline double mean(const std::vector<double>& x) {
  double sum = 0;
  for (const double v : x) sum += v;
  return sum / double(x.size());
}
/// Sample standard deviation; 0 for a single number.
inline double deviation(const std::vector<double>& x) {
  double squares = 0;
  for (const double v : x) squares += (v - mean(x)) * (v - mean(x));
  return x.size() > 1 ? std::sqrt(squares / double(x.size() - 1)) : 0;
}

/// Whether `file` holds the metrics of a run with just these options.
inline bool finished(const std::filesystem::path& file, const FinetuneOptions& options) {
  if (!std::filesystem::exists(file)) return false;
  std::ifstream in(file);
  const nlohmann::json m = nlohmann::json::parse(in, nullptr, false);
  return m.is_object() && m.value("config", nlohmann::json()) == nlohmann::json(run_config(options));
}

/// Forks a child for the run and reads its metrics.json. With --resume a run that is done is only read. Throws ErrorId::data
/// when the child fails; its own message is on stderr.
inline nlohmann::json run_in_child(Task& task, const FinetuneOptions& options) {
  const std::filesystem::path file = options.out / "metrics.json";
  if (!options.resume || !finished(file, options)) {
    std::fflush(nullptr);
    const pid_t child = fork();
    if (child == 0) {
      int status = 0;
      try {
        run_and_report(task, options);
      } catch (const std::exception& error) {
        std::fprintf(stderr, "\n%s\n", error.what());
        status = 1;
      }
      std::fflush(nullptr);
      _exit(status);
    }
    int status = 0;
    require(child > 0 && waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0, ErrorId::data,
            "compare: the run in ", options.out.string(), " failed");
  }
  std::ifstream in(file);
  return nlohmann::json::parse(in);
}

}  // namespace detail

/// Prints mean and spread over the seeds, and paired differences to LoRA-SB; writes compare.json. Runs lie in
/// OUT/<method>-r<rank>-seed<seed>.
inline void compare(Task& task, const FinetuneOptions& options) {
  task.train_features = frozen_features(task.base, task.train, options.parts, options.threads);
  std::vector<detail::Contender> contenders{{Method::head, 0, {}, {}}};
  for (const Index rank : options.lora_sb_ranks) contenders.push_back({Method::lora_sb, rank, {}, {}});
  contenders.push_back({Method::lora_xs, options.rank, {}, {}});
  for (const Index rank : options.lora_ranks) contenders.push_back({Method::lora, rank, {}, {}});
  contenders.push_back({Method::full, 0, {}, {}});
  for (Index s = 0; s < options.seeds; ++s)
    for (detail::Contender& c : contenders) {
      FinetuneOptions one = options;
      one.method = c.method;
      one.rank = c.rank > 0 ? c.rank : options.rank;
      one.seed = options.seed + std::uint64_t(s);
      one.out = options.out / concat(name_of(c.method), "-r", c.rank, "-seed", one.seed);
      const nlohmann::json m = detail::run_in_child(task, one);
      c.test.push_back(m.at("test_accuracy"));
      c.validation.push_back(m.at("validation_accuracy"));
      c.train_seconds += m.at("train_seconds").get<double>() / double(options.seeds);
      c.peak_rss_bytes = std::max(c.peak_rss_bytes, m.at("peak_rss_bytes").get<double>());
      c.trainable = m.at("trainable");
      std::fprintf(stderr, "%-8s rank %3td seed %llu: test %.2f %%, validation %.2f %%\n",
                   std::string(name_of(c.method)).c_str(), c.rank, static_cast<unsigned long long>(one.seed),
                   100 * c.test.back(), 100 * c.validation.back());
    }

  nlohmann::json all = nlohmann::json::array();
  std::printf(
      "\nTest accuracy in %%, mean and standard deviation of %td seeds; difference to LoRA-SB of rank %td seed "
      "by seed\n",
      options.seeds, contenders[1].rank);
  std::printf("%-8s %5s %12s %16s %20s %9s %9s\n", "method", "rank", "trainable", "test acc.", "minus LoRA-SB", "train s",
              "peak MiB");
  for (const detail::Contender& c : contenders) {
    std::vector<double> difference;
    for (std::size_t s = 0; s < c.test.size(); ++s) difference.push_back(c.test[s] - contenders[1].test[s]);
    std::printf("%-8s %5td %12td %8.2f ± %5.2f %+12.2f ± %5.2f %9.1f %9.0f\n", std::string(name_of(c.method)).c_str(), c.rank,
                c.trainable, 100 * detail::mean(c.test), 100 * detail::deviation(c.test), 100 * detail::mean(difference),
                100 * detail::deviation(difference), c.train_seconds, c.peak_rss_bytes / (1 << 20));
    all.push_back({{"method", name_of(c.method)},
                   {"rank", c.rank},
                   {"trainable", c.trainable},
                   {"test_accuracy", c.test},
                   {"validation_accuracy", c.validation},
                   {"train_seconds", c.train_seconds},
                   {"peak_rss_bytes", c.peak_rss_bytes}});
  }
  write_json(options.out / "compare.json", all);
}

}  // namespace lorasb::examples
