// What a router does with the tokens that it sees: load, entropy, routing by task, collapse.
#pragma once

#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/mixer/routing.hpp"

namespace lorasb::mixer {

/// A summary of one router, or of several together.
struct RoutingReport {
  double tokens = 0;
  std::vector<double> load = {};         // by expert: the share of all gates
  std::vector<double> probability = {};  // by expert: the mean of p; empty where the router did not run
  double entropy = 0;                    // mean of H(p_t), in nats; log E is uniform, 0 decided
  double load_entropy = 0;               // H(load), in nats; log E is balanced
  bool collapsed = false;                // one expert has more than 95 % of the load, and there are others
  Matrix<double> by_task = {};           // experts x tasks: the share of the task's gates; a task without tokens has zeros
};

/// Adds up passes. Give it the division of each pass after forward:
///
///     RoutingStatistics statistics(experts, tasks);
///     statistics.add(layer.routing(cache), cache.tasks);
///     RoutingReport report = statistics.report();
class RoutingStatistics {
 public:
  /// Throws ErrorId::value for no experts.
  explicit RoutingStatistics(Index experts, Index tasks = 0)
      : p_(Vector<double>::Zero(experts)), gates_(Matrix<double>::Zero(experts, tasks)), load_(Vector<double>::Zero(experts)) {
    require(experts >= 1 && tasks >= 0, ErrorId::value, "RoutingStatistics: ", experts, " experts and ", tasks, " tasks");
  }

  /// `tasks`: empty, or the task of each token, -1 for padding; tasks that were not announced count as unknown. Throws
  /// ErrorId::shape.
  template <Real S>
  void add(const Routing<S>& routing, std::span<const Index> tasks) {
    require(routing.experts() == load_.size() && (tasks.empty() || std::ssize(tasks) == routing.tokens()), ErrorId::shape,
            "RoutingStatistics::add: a pass over ", routing.tokens(), " tokens and ", routing.experts(), " experts, with ",
            tasks.size(), " tasks, expected ", load_.size(), " experts");
    for (Index e = 0; e < routing.experts(); ++e) {
      const std::span<const Index> tokens = routing.tokens_of(e);
      for (std::size_t i = 0; i < tokens.size(); ++i) {
        const double gate = double(routing.gates()(0, routing.first(e) + Index(i)));
        load_(e) += gate;
        const Index task = tasks.empty() ? -1 : tasks[static_cast<std::size_t>(tokens[i])];
        if (task >= 0 && task < gates_.cols()) gates_(e, task) += gate;
      }
    }
    const ConstMatrixView<S> p = std::as_const(routing.probabilities()).view();
    const ConstMatrixView<S> log_p = std::as_const(routing.log_probabilities()).view();
    for (Index t = 0; t < routing.tokens(); ++t) {
      if (!tasks.empty() && tasks[static_cast<std::size_t>(t)] < 0) continue;
      tokens_ += 1;
      if (p.size() == 0) continue;
      routed_ += 1;
      for (Index e = 0; e < p.rows(); ++e) {
        p_(e) += double(p(e, t));
        entropy_ -= double(p(e, t)) * double(log_p(e, t));
      }
    }
  }
  /// What another thread added up.
  void add(const RoutingStatistics& other) {
    require_shape(other.gates_, gates_.rows(), gates_.cols(), "RoutingStatistics::add", "the other", "experts x tasks");
    p_ += other.p_;
    load_ += other.load_;
    gates_ += other.gates_;
    entropy_ += other.entropy_;
    tokens_ += other.tokens_;
    routed_ += other.routed_;
  }

  RoutingReport report() const {
    RoutingReport r{.tokens = tokens_, .by_task = gates_};
    const double all = load_.sum();
    for (Index e = 0; e < load_.size(); ++e) {
      const double share = all > 0 ? load_(e) / all : 0;
      r.load.push_back(share);
      if (share > 0) r.load_entropy -= share * std::log(share);
      if (routed_ > 0) r.probability.push_back(p_(e) / routed_);
    }
    if (routed_ > 0) r.entropy = entropy_ / routed_;
    r.collapsed = load_.size() > 1 && *std::ranges::max_element(r.load) > 0.95;
    for (Index task = 0; task < gates_.cols(); ++task)
      if (const double sum = gates_.col(task).sum(); sum > 0) r.by_task.col(task) /= sum;
    return r;
  }

 private:
  Vector<double> p_;
  Matrix<double> gates_;  // experts x tasks
  Vector<double> load_;
  double entropy_ = 0, tokens_ = 0, routed_ = 0;
};

}  // namespace lorasb::mixer
