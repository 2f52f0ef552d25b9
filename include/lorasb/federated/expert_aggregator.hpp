// The mean of a mixture of experts over clients: every expert with weights of its own.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lorasb/core/text.hpp"
#include "lorasb/federated/aggregator.hpp"
#include "lorasb/federated/exactness.hpp"

namespace lorasb::federated {

/// Where a tensor of an expert is in the session's layout, and the module that it sits on.
struct ExpertTensor {
  Index expert = 0;
  std::string module = {};
  Range range = {};
};

/// Each expert is the exact mean of the clients that trained it, weighted by how much they did (AdmittedUpdate::experts); one that
/// nobody trained keeps its bits. All other numbers, such as router and head, are the mean by AdmittedUpdate::weight. The session
/// has as many `experts`, so that every update says its weights.
///
///     Σ_k w_ke R_ke / Σ_k w_ke     over the clients k of the round, for expert e
template <Real S>
class ExpertAggregator final : public Aggregator<S> {
 public:
  /// `size` numbers an update. Throws ErrorId::value for no experts, an expert without a tensor, and tensors that overlap or are
  /// outside.
  ExpertAggregator(Index size, Index experts, std::span<const ExpertTensor> tensors)
      : ExpertAggregator(std::make_shared<const Groups>(divide(size, experts, tensors))) {}

  std::unique_ptr<Aggregator<S>> empty() const override { return std::unique_ptr<Aggregator<S>>(new ExpertAggregator(ranges_)); }
  std::unique_ptr<Aggregator<S>> clone() const override { return std::make_unique<ExpertAggregator>(*this); }
  void add(const AdmittedUpdate<S>& update) override {
    require(update.experts.size() + 1 == means_.size(), ErrorId::shape, "ExpertAggregator::add: the update weighs ",
            update.experts.size(), " experts, expected ", means_.size() - 1);
    std::vector<ExactMean<S>> sums = means_;  // aside: all of the update counts, or nothing
    std::vector<S> part;
    for (std::size_t g = 0; g < sums.size(); ++g) {
      part.clear();
      for (const Range& range : (*ranges_)[g]) {
        const std::span<const S> x = range.of(std::span<const S>(update.values));
        part.insert(part.end(), x.begin(), x.end());
      }
      sums[g].add(part, g + 1 < sums.size() ? update.experts[g] : update.weight);
    }
    means_.swap(sums);
  }
  /// Of the numbers that belong to no expert.
  std::uint64_t total_weight() const override { return means_.back().total_weight(); }
  std::uint64_t total_weight(Index expert) const { return means_.at(static_cast<std::size_t>(expert)).total_weight(); }
  void commit(std::span<const S> global, std::uint32_t /*global_weight: see require_server()*/, std::span<S> next) const override {
    std::ranges::copy(global, next.begin());
    std::vector<S> part;
    for (std::size_t g = 0; g < means_.size(); ++g) {
      if (means_[g].total_weight() == 0) continue;
      part.resize(static_cast<std::size_t>(means_[g].size()));
      means_[g].mean(part);
      auto from = part.cbegin();
      for (const Range& range : (*ranges_)[g]) {
        std::copy_n(from, range.count, next.begin() + range.first);
        from += range.count;
      }
    }
  }
  void require_server(const ServerOptions& options) const override {
    require(options.planned_clients == 0, ErrorId::value,
            "ExpertAggregator: planned_clients is ", options.planned_clients, ", expected 0: each expert has a divisor of its own");
  }
  bool exact() const override { return true; }

 private:
  using Groups = std::vector<std::vector<Range>>;  // by expert, and last all other numbers

  explicit ExpertAggregator(std::shared_ptr<const Groups> ranges) : ranges_(std::move(ranges)) {
    for (const std::vector<Range>& group : *ranges_) means_.emplace_back(count(group));
  }
  static Index count(const std::vector<Range>& group) {
    Index n = 0;
    for (const Range& range : group) n += range.count;
    return n;
  }
  static Groups divide(Index size, Index experts, std::span<const ExpertTensor> tensors) {
    require(experts >= 1, ErrorId::value, "ExpertAggregator: there are no experts");
    Groups groups(static_cast<std::size_t>(experts) + 1);
    std::vector<Range> taken;
    for (const ExpertTensor& t : tensors) {
      require(t.expert >= 0 && t.expert < experts && t.range.first >= 0 && t.range.count >= 0 && t.range.first <= size - t.range.count,
              ErrorId::value, "ExpertAggregator: a tensor of expert ", t.expert, " on module ", in_quotes(t.module),
              " is outside the ", size, " numbers of ", experts, " experts");
      groups[static_cast<std::size_t>(t.expert)].push_back(t.range);
      taken.push_back(t.range);
    }
    for (Index e = 0; e < experts; ++e)
      require(!groups[static_cast<std::size_t>(e)].empty(), ErrorId::value, "ExpertAggregator: expert ", e, " has no tensor");
    std::ranges::sort(taken, {}, &Range::first);
    Index place = 0;
    for (const Range& range : taken) {
      require(range.first >= place, ErrorId::value, "ExpertAggregator: two tensors of experts overlap at ", range.first);
      if (range.first > place) groups.back().push_back({place, range.first - place});
      place = range.first + range.count;
    }
    if (place < size) groups.back().push_back({place, size - place});
    return groups;
  }

  std::shared_ptr<const Groups> ranges_;
  std::vector<ExactMean<S>> means_;  // in the order of the groups
};

/// The error (ExactnessError) of experts whose cores share the basis of their module, each with its own weights. `cores` are their
/// R. Experts that nobody trained do not enter.
template <Real S>
double expert_exactness_error(const AdapterBases<S>& bases, std::span<const ExpertTensor> cores,
                              std::span<const AdmittedUpdate<S>> updates, std::span<const S> global) {
  ExactnessError error;
  for (const ExpertTensor& t : cores)
    detail::add_core(bases.at(t.module), t.range.first, updates,
                     [&](const auto& update) { return double(update.experts.at(std::size_t(t.expert))); }, global, error);
  return error.value();
}

}  // namespace lorasb::federated
