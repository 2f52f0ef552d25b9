// What a session leaves behind: metrics.json, a picture, and adapter folders.
#pragma once

#include <algorithm>
#include <filesystem>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "examples/common/json_file.hpp"
#include "examples/common/peak_memory.hpp"
#include "examples/common/plot.hpp"
#include "examples/federated/session.hpp"

namespace lorasb::examples {

inline nlohmann::json metrics(const SessionResult& result, const FederatedTask& task, const FederateOptions& options,
                              const federated::Shares& shares) {
  nlohmann::json examples = nlohmann::json::array();
  for (const std::vector<Index>& share : shares) examples.push_back(share.size());
  nlohmann::json m = {{"method", name_of(options)},
          {"clients", options.clients},
          {"rank", adapter_rank(options)},
          {"seed", options.seed},
          {"learning_rate", learning_rate(options)},
          {"config", run_config(options)},
          {"global_sha256", hex(result.digest)},
          {"final_accuracy", result.accuracy},
          {"rounds", result.rounds},
          {"examples_per_client", examples},
          {"start_examples", task.start.size()},
          {"start",
           {{"estimate", estimate_names[static_cast<std::size_t>(estimate_of(options))]},
            {"look_ahead", options.look_ahead == FederateOptions::automatic ? nlohmann::json("auto") : nlohmann::json(options.look_ahead)},
            {"accuracy", result.start.accuracy},
            {"seconds", result.start.seconds},
            {"bytes_up_per_client", result.start.bytes_up_per_client},
            {"bytes_down_per_client", result.start.bytes_down_per_client},
            {"bytes_total", result.start.bytes_total}}},
          {"test_examples", task.test.size()},
          {"classes", task.classes()},
          {"labels", task.label_names},
          {"notes", task.notes},
          {"seconds", result.seconds},
          {"peak_rss_bytes", peak_rss_bytes()}};
  if (task.loaded) m["loaded_from"] = options.load.string();
  if (options.setting != Setting::federated || options.experts == 0) m["modules"] = names_of(task.base.modules);
  if (options.experts > 0) m["experts"] = options.experts;
  if (result.privacy) m.update(result.privacy->metrics);
  return m;
}

/// A method and its lines of metrics.json.
struct Curve {
  std::string name;
  nlohmann::json rounds;
};

/// Accuracy against bytes as plot.png in `out`; methods that send nothing are level lines. False when gnuplot is not there.
inline bool write_plot(const std::vector<Curve>& curves, const std::filesystem::path& out) {
  Plot plot(out / "plot.png", 900, 550);
  double most = 0, least = std::numeric_limits<double>::infinity();
  for (const Curve& curve : curves)
    for (const nlohmann::json& round : curve.rounds) {
      const double megabytes = round["bytes_total"].get<double>() / 1e6;
      most = std::max(most, megabytes);
      if (megabytes > 0) least = std::min(least, megabytes);
    }
  plot.print("set xlabel 'MB sent by all, both ways'\nset ylabel 'accuracy in %%'\nset grid\nset key bottom right\n");
  if (most > 0) plot.print("set logscale x\n");
  for (std::size_t i = 0; i < curves.size(); ++i)
    plot.print("%s '-' using 1:2 with linespoints lw 2 pt %zu title %s", i == 0 ? "plot" : ",", i + 4,
               Plot::quoted(curves[i].name).c_str());
  plot.print("\n");
  for (const Curve& curve : curves) {
    const bool sends = !curve.rounds.empty() && curve.rounds.back()["bytes_total"].get<double>() > 0;
    for (const nlohmann::json& round : curve.rounds)
      if (sends) plot.print("%g %g\n", round["bytes_total"].get<double>() / 1e6, 100 * round["accuracy"].get<double>());
    if (!sends && !curve.rounds.empty())
      for (const double megabytes : {most > 0 ? least : 0.0, most > 0 ? most : 1.0})
        plot.print("%g %g\n", megabytes, 100 * curve.rounds.back()["accuracy"].get<double>());
    plot.print("e\n");
  }
  return plot.finish();
}

}  // namespace lorasb::examples
