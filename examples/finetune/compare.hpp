// All methods with several seeds, each run in a process of its own so that peak memory is its own.
#pragma once

#include <vector>

#include "examples/common/child_process.hpp"
#include "examples/common/statistics.hpp"
#include "examples/finetune/report.hpp"

namespace lorasb::examples {

namespace detail {

struct Contender {
  Method method;
  Index rank;
  Index look_ahead = 0;        // as FinetuneOptions has it
  bool extra_steps = false;    // of the scout, on top of those that all methods take
  std::vector<double> test = {}, validation = {};  // accuracy by seed
  double train_seconds = 0, peak_rss_bytes = 0;
  Index trainable = 0;
  Index scouted = 0;  // steps

  /// "lora-sb", "lora-sb K=156", or "lora-sb +K=156" for steps on top.
  std::string name() const {
    return concat(name_of(method), scouted > 0 ? extra_steps ? " +K=" : " K=" : "", scouted > 0 ? std::to_string(scouted) : "");
  }
};

/// Runs in a process of its own and reads its metrics.json. With --resume a run that is done is only read.
inline nlohmann::json run_in_child(Task& task, const FinetuneOptions& options) {
  const std::filesystem::path file = options.out / "metrics.json";
  if (options.resume)
    if (std::optional<nlohmann::json> done = finished_metrics(file, run_config(options))) return *done;
  in_child_process("the run in " + options.out.string(), [&] { run_and_report(task, options); });
  return finished_metrics(file, run_config(options)).value();
}

}  // namespace detail

/// Prints mean and spread over the seeds, and paired differences to LoRA-SB; writes compare.json. Runs lie in
/// OUT/<method>-r<rank>-seed<seed>.
inline void compare(Task& task, const FinetuneOptions& options) {
  for (const auto& [flag, ranks] : {std::pair{"--lora-sb-ranks (default: --rank and 64)", options.lora_sb_ranks}, std::pair{"--lora-ranks", options.lora_ranks}})
    for (const Index rank : ranks)
      for (const Module<float>& m : task.base.modules)
        require(rank <= std::min(m.W0.rows(), m.W0.cols()), ErrorId::value, flag, ": rank ", rank, " is above the ",
                std::min(m.W0.rows(), m.W0.cols()), " of ", in_quotes(m.name));
  task.train_features = frozen_features(task.base, task.train, options.parts, options.threads);
  std::vector<detail::Contender> contenders{{Method::head, 0}};
  for (const Index rank : options.lora_sb_ranks) contenders.push_back({Method::lora_sb, rank});
  if (options.look_ahead != 0) {  // at equal total steps, and at equal steps of the cores
    for (const Index rank : options.lora_sb_ranks) contenders.push_back({Method::lora_sb, rank, options.look_ahead});
    contenders.push_back({Method::lora_sb, options.lora_sb_ranks[0], options.look_ahead, true});
  }
  contenders.push_back({Method::lora_xs, options.rank});
  for (const Index rank : options.lora_ranks) contenders.push_back({Method::lora, rank});
  contenders.push_back({Method::full, 0});
  for (Index s = 0; s < options.seeds; ++s)
    for (detail::Contender& c : contenders) {
      FinetuneOptions one = options;
      one.method = c.method;
      one.rank = c.rank > 0 ? c.rank : options.rank;
      one.seed = options.seed + std::uint64_t(s);
      one.look_ahead = c.look_ahead;
      one.look_ahead_extra = c.extra_steps;
      const char* const ahead = c.look_ahead == 0 ? "" : c.extra_steps ? "-ahead-extra" : "-ahead";
      one.out = options.out / concat(name_of(c.method), ahead, "-r", c.rank, "-seed", one.seed);
      const nlohmann::json m = detail::run_in_child(task, one);
      c.test.push_back(m.at("test_accuracy"));
      c.validation.push_back(m.at("validation_accuracy"));
      c.train_seconds += m.at("train_seconds").get<double>() / double(options.seeds);
      c.peak_rss_bytes = std::max(c.peak_rss_bytes, m.at("peak_rss_bytes").get<double>());
      c.trainable = m.at("trainable");
      if (m.contains("look_ahead")) c.scouted = m["look_ahead"].at("steps");
      std::fprintf(stderr, "%-14s rank %3td seed %llu: test %.2f %%, validation %.2f %%\n",
                   c.name().c_str(), c.rank, static_cast<unsigned long long>(one.seed),
                   100 * c.test.back(), 100 * c.validation.back());
    }

  nlohmann::json all = nlohmann::json::array();
  std::printf(
      "\nTest accuracy in %%, mean and standard deviation of %td seeds; difference to LoRA-SB of rank %td seed "
      "by seed\n",
      options.seeds, contenders[1].rank);
  std::printf("%-14s %5s %12s %16s %20s %9s %9s\n", "method", "rank", "trainable", "test acc.", "minus LoRA-SB", "train s",
              "peak MiB");
  for (const detail::Contender& c : contenders) {
    std::vector<double> difference;
    for (std::size_t s = 0; s < c.test.size(); ++s) difference.push_back(c.test[s] - contenders[1].test[s]);
    std::printf("%-14s %5td %12td %8.2f ± %5.2f %+12.2f ± %5.2f %9.1f %9.0f\n", c.name().c_str(), c.rank, c.trainable,
                100 * mean(c.test), 100 * deviation(c.test), 100 * mean(difference), 100 * deviation(difference),
                c.train_seconds, c.peak_rss_bytes / (1 << 20));
    all.push_back({{"method", name_of(c.method)},
                   {"rank", c.rank},
                   {"look_ahead", c.scouted},
                   {"extra_steps", c.extra_steps},
                   {"trainable", c.trainable},
                   {"test_accuracy", c.test},
                   {"validation_accuracy", c.validation},
                   {"train_seconds", c.train_seconds},
                   {"peak_rss_bytes", c.peak_rss_bytes}});
  }
  write_json(options.out / "compare.json", all);
}

}  // namespace lorasb::examples
