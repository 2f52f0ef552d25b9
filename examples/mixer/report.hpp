// What lorasb-mix leaves behind: metrics.json, a picture of the routing, and a table.
#pragma once

#include <cstdio>
#include <string>
#include <vector>

#include "examples/common/json_file.hpp"
#include "examples/mixer/evaluate.hpp"

namespace lorasb::examples {

inline nlohmann::json to_json(const MixResult& r, const MixTask& task) {
  nlohmann::json by_domain, given, routing = nlohmann::json::array();
  for (std::size_t d = 0; d < task.domains.size(); ++d) {
    by_domain[task.domains[d]] = r.accuracy[d];
    given[task.domains[d]] = r.accuracy_head_given[d];
    if (r.routing.size() == 0) continue;
    std::vector<double> shares;
    for (Index e = 0; e < r.routing.rows(); ++e) shares.push_back(r.routing(e, Index(d)));
    routing.push_back(shares);
  }
  return {{"name", r.name},
          {"accuracy_by_domain", by_domain},
          {"mean_accuracy", MixResult::mean_of(r.accuracy)},
          {"accuracy_by_domain_head_given", given},
          {"mean_accuracy_head_given", MixResult::mean_of(r.accuracy_head_given)},
          {"trainable", r.trainable},
          {"seconds_per_1000", r.seconds_per_1000},
          {"routing", routing},  // domains x experts
          {"router_entropy", r.router_entropy},
          {"collapsed", r.collapsed}};
}

inline void write_metrics(const std::filesystem::path& path, const std::vector<MixResult>& results, const MixTask& task,
                          const MixOptions& options) {
  nlohmann::json methods = nlohmann::json::array();
  for (const MixResult& r : results) methods.push_back(to_json(r, task));
  write_json(path, {{"methods", methods},
                    {"domains", task.domains},
                    {"config", run_config(options)},
                    {"seed", options.seed},
                    {"data_checksum", task.checksum},
                    {"notes", task.notes}});
}

/// Domains against experts, one square for each, darker the more of the domain's gates the expert has.
inline void write_routing_picture(const std::filesystem::path& path, const MixResult& r, const MixTask& task) {
  constexpr int side = 64, left = 130, top = 60;
  const Index experts = r.routing.rows(), domains = r.routing.cols();
  std::string svg =
      concat("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"", left + side * experts + 20, "\" height=\"",
             top + side * domains + 20, "\" font-family=\"sans-serif\" font-size=\"12\">\n<text x=\"10\" y=\"20\">", r.name,
             ": share of each domain's gates by expert</text>\n");
  for (Index e = 0; e < experts; ++e)
    svg += concat("<text text-anchor=\"middle\" x=\"", left + side * e + side / 2, "\" y=\"", top - 8, "\">",
                  task.domains[std::size_t(e)], "</text>\n");
  for (Index d = 0; d < domains; ++d) {
    svg += concat("<text text-anchor=\"end\" x=\"", left - 8, "\" y=\"", top + side * d + side / 2, "\">",
                  task.domains[std::size_t(d)], "</text>\n");
    for (Index e = 0; e < experts; ++e) {
      const double share = r.routing(e, d);
      char percent[16];
      std::snprintf(percent, sizeof percent, "%.0f %%", 100 * share);
      const int light = int(255 - 205 * share);
      svg += concat("<rect x=\"", left + side * e, "\" y=\"", top + side * d, "\" width=\"", side - 2, "\" height=\"", side - 2,
                    "\" fill=\"rgb(", light, ",", light, ",255)\"/><text text-anchor=\"middle\" x=\"",
                    left + side * e + side / 2, "\" y=\"", top + side * d + side / 2, "\" fill=\"",
                    share > 0.6 ? "white" : "black", "\">", percent, "</text>\n");
    }
  }
  io::write_file(path, svg + "</svg>\n");
}

inline void print_table(const std::vector<MixResult>& results, const MixTask& task) {
  std::printf(
      "\nTest accuracy in %%. The head is chosen by the largest logit (head, single), by the routing (mixer), or given "
      "(oracle)\n");
  std::printf("%-14s", "method");
  for (const std::string& domain : task.domains) std::printf(" %10.10s", domain.c_str());
  std::printf(" %7s %11s %11s %9s\n", "mean", "head given", "trainable", "s / 1000");
  for (const MixResult& r : results) {
    std::printf("%-14s", r.name.c_str());
    for (const double a : r.accuracy) std::printf(" %10.2f", 100 * a);
    std::printf(" %7.2f %11.2f %11td %9.2f\n", 100 * MixResult::mean_of(r.accuracy),
                100 * MixResult::mean_of(r.accuracy_head_given), r.trainable, r.seconds_per_1000);
  }
}

}  // namespace lorasb::examples
