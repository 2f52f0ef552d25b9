// How the tokens of a batch are divided among the experts of a mixture: the options, and the division of one pass.
#pragma once

#include <algorithm>
#include <array>
#include <numeric>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/core/linear_cache.hpp"

namespace lorasb::mixer {

enum class RoutingMode {
  hard,   // the expert of the token's task label, with gate 1 (LoRA-Mixer's first stage)
  soft,   // every expert, with the router's probability as its gate (second stage)
  top_k,  // the k most probable experts (inference)
};
inline constexpr std::array<std::string_view, 3> routing_names{"hard", "soft", "top-k"};

struct RoutingOptions {
  std::optional<RoutingMode> mode = {};  // must be given
  Index k = 3;                           // of top_k; 3 in the paper
  bool renormalise = true;               // of top_k: the gates of a token sum to one
  double temperature = 1;                // τ

  /// Throws ErrorId::value.
  void validate(Index experts) const {
    require(mode.has_value(), ErrorId::value, "RoutingOptions: mode is not given, expected hard, soft or top_k");
    require(experts >= 1, ErrorId::value, "RoutingOptions: there are no experts to route to");
    require(*mode != RoutingMode::top_k || (k >= 1 && k <= experts), ErrorId::value, "RoutingOptions: k is ", k,
            ", expected 1 to the number of experts, ", experts);
    require(is_finite(temperature) && temperature > 0, ErrorId::value, "RoutingOptions: temperature is ", temperature,
            ", expected a finite number above 0");
  }
};

/// The k largest of n numbers as indices in rising order; the lowest index wins among equals.
template <Real S>
void largest(const S* x, Index n, Index k, std::vector<Index>& chosen) {
  chosen.resize(static_cast<std::size_t>(std::min(k, n)));
  if (k >= n) return std::iota(chosen.begin(), chosen.end(), Index{0});
  chosen.clear();
  for (Index i = 0; i < n; ++i) {
    const auto below = std::find_if(chosen.begin(), chosen.end(), [&](Index j) { return x[j] < x[i]; });  // ties stay behind
    if (below == chosen.end() && std::ssize(chosen) == k) continue;
    chosen.insert(below, i);
    if (std::ssize(chosen) > k) chosen.pop_back();
  }
  std::sort(chosen.begin(), chosen.end());
}

/// Which tokens go to which expert, and with what gates, in a cache that the layers of a router share. Expert e has the entries
/// offsets[e] to offsets[e + 1] - 1; entry i is a token, in rising order within an expert, and its gate.
template <Real S>
class Routing {
 public:
  explicit Routing(LinearCache<S>& cache) : cache_(cache) {}

  /// p, experts x tokens: softmax of the router's logits, where it ran; else empty.
  Buffer<S>& probabilities() const { return cache_.buffer(0); }
  /// log p, the same shape, finite where p underflows to 0.
  Buffer<S>& log_probabilities() const { return cache_.buffer(1); }
  MatrixView<S> gates() const { return cache_.buffer(2).view(); }   // 1 x entries
  MatrixView<S> dgates() const { return cache_.buffer(3).view(); }  // 1 x entries; the layers of the router add to it

  std::span<const Index> offsets() const { return cache_.indices(0); }
  Index tokens() const { return cache_.indices(2).empty() ? 0 : cache_.indices(2)[0]; }
  Index experts() const { return std::ssize(cache_.indices(0)) - 1; }
  Index first(Index expert) const { return cache_.indices(0)[static_cast<std::size_t>(expert)]; }
  Index count(Index expert) const { return first(expert + 1) - first(expert); }
  std::span<const Index> tokens_of(Index expert) const {
    return std::span<const Index>(cache_.indices(1))
        .subspan(static_cast<std::size_t>(first(expert)), static_cast<std::size_t>(count(expert)));
  }
  /// Whether every token of the batch goes to the expert.
  bool takes_all(Index expert) const { return count(expert) == tokens(); }

  /// Every token to the expert that is its task: gate 1. -1: to none. Throws ErrorId::shape without labels, and ErrorId::value
  /// for a label that is no expert.
  void by_label(Index experts, Index tokens, std::span<const Index> tasks) {
    require(std::ssize(tasks) == tokens, ErrorId::shape, "mixer: hard routing has ", tasks.size(), " task labels for ", tokens,
            " tokens; the model must set LinearCache::tasks");
    for (std::size_t t = 0; t < tasks.size(); ++t)
      require(tasks[t] >= -1 && tasks[t] < experts, ErrorId::value, "mixer: token ", t, " has task label ", tasks[t],
              ", expected 0 to ", experts - 1, " (", experts, " experts), or -1 for padding");
    fill(experts, tokens, tokens, [&](Index t, const auto& add) {
      if (tasks[static_cast<std::size_t>(t)] >= 0) add(tasks[static_cast<std::size_t>(t)], S(1));
    });
  }
  /// By the probabilities. The gates of top_k with `renormalise` are the softmax over the k chosen, p_e / Σ p of the chosen.
  /// Tokens with the task -1 go to none.
  void by_probability(const RoutingOptions& options, std::span<const Index> tasks) {
    const ConstMatrixView<S> p = probabilities().view();
    const Index experts = p.rows();
    const Index k = *options.mode == RoutingMode::top_k ? options.k : experts;
    std::vector<Index>& chosen = cache_.indices(4);
    const bool divide = k < experts && options.renormalise;
    fill(experts, p.cols(), k * p.cols(), [&](Index t, const auto& add) {
      if (!tasks.empty() && tasks[static_cast<std::size_t>(t)] < 0) return;
      const S* const column = p.data() + t * p.outerStride();
      largest(column, experts, k, chosen);
      S sum = 1;
      if (divide) {
        sum = 0;
        for (const Index e : chosen) sum += column[e];
      }
      for (const Index e : chosen) add(e, k == 1 && divide ? S(1) : column[e] / sum);
    });
  }

 private:
  /// route(t, add) calls add(expert, gate) for what token t goes to, `most` entries at most for all tokens.
  template <class Route>
  void fill(Index experts, Index tokens, Index most, const Route& route) {
    std::vector<Index>&offsets = cache_.indices(0), &list = cache_.indices(1), &next = cache_.indices(3);
    std::vector<Index>&expert_of = cache_.indices(5), &token_of = cache_.indices(6);
    offsets.assign(static_cast<std::size_t>(experts) + 1, 0);
    cache_.indices(2).assign(1, tokens);
    expert_of.clear();
    token_of.clear();
    MatrixView<S> by_token = cache_.buffer(4).reshape(1, most);  // gates, token by token
    for (Index t = 0; t < tokens; ++t)
      route(t, [&](Index e, S g) {
        by_token(0, std::ssize(expert_of)) = g;
        expert_of.push_back(e);
        token_of.push_back(t);
        ++offsets[static_cast<std::size_t>(e) + 1];
      });
    for (std::size_t e = 1; e < offsets.size(); ++e) offsets[e] += offsets[e - 1];
    list.resize(expert_of.size());
    next.assign(offsets.begin(), offsets.end() - 1);
    MatrixView<S> gate = cache_.buffer(2).reshape(1, offsets.back());
    for (std::size_t i = 0; i < expert_of.size(); ++i) {
      const Index place = next[static_cast<std::size_t>(expert_of[i])]++;
      list[static_cast<std::size_t>(place)] = token_of[i];
      gate(0, place) = by_token(0, Index(i));
    }
    cache_.buffer(3).reshape(1, offsets.back()).setZero();
  }

  LinearCache<S>& cache_;
};

}  // namespace lorasb::mixer
