// The round before a session's first: what all clients' data say about where training goes, as one exact mean.
#pragma once

#include <algorithm>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lorasb/adapter/gradient_estimate.hpp"
#include "lorasb/core/module.hpp"
#include "lorasb/federated/client.hpp"
#include "lorasb/federated/server.hpp"

namespace lorasb::federated {

/// What an estimate round found.
template <Real S>
struct EstimateRoundResult {
  Parameters<S> mean;            // Σ_k n_k x_k / Σ_k n_k over the clients that counted
  RoundReport round;             // whose answers counted; total_weight is the number of their examples
  std::size_t question_bytes = 0;  // of the message to each client
};

/// Bases that a server makes from its own texts know nothing of what clients see. Here every client sends, once and before there
/// is an adapter, as many numbers as the layout says: gradient sums at W0 (append_estimates), or an update ΔW of its own. The mean
/// is the exact one of any round. Nothing but a question is sent down.
///
///     EstimateRound<float> round("s1-start", base_digest(AdapterBases<float>(), frozen), layout, names, answer);
///     InProcessTransport transport(round.host(), threads);
///     const auto found = round.collect(transport, {.min_clients = 2}, 60);
///     auto start = train::initialize_modules(take_estimates(found.mean, modules, found.round.total_weight, 32), options);
template <Real S>
class EstimateRound {
 public:
  /// Overwrites `values`, zero at first and in the layout, with means over the client's own examples, and returns how many these
  /// are; a client without examples returns 0. Called from several threads at once.
  using Answer = std::function<std::uint64_t(Index client, std::span<S> values)>;

  /// `base` is base_digest() of the frozen weights. Throws what Clients does.
  EstimateRound(std::string id, const Digest& base, ParameterLayout layout, std::vector<std::string> clients, Answer answer)
      : session_{.id = id, .base = base, .layout = std::move(layout)},
        question_{.id = std::move(id), .base = base, .layout = {}},
        names_(std::move(clients)) {
    ClientWork<S> work{.train = [answer = std::move(answer)](Index client, int, std::uint64_t, std::span<S> values,
                                                             LeadingMask<S>&) { return answer(client, values); },
                       .names = names_};
    work.take = [this](std::span<const std::byte> message) {
      Checked<Broadcast<S>> checked = validate_broadcast<S>(question_, 0, message);
      if (const Rejection* const rejection = std::get_if<Rejection>(&checked))
        throw Error(ErrorId::value, concat("federated::EstimateRound: ", name_of(rejection->reason), ": ", rejection->text));
      return Broadcast<S>{.round = std::get<Broadcast<S>>(checked).round,
                          .values = std::vector<S>(static_cast<std::size_t>(session_.layout.size()))};
    };
    clients_.emplace(session_, std::move(work));
  }
  EstimateRound(const EstimateRound&) = delete;
  EstimateRound& operator=(const EstimateRound&) = delete;

  const ParameterLayout& layout() const { return session_.layout; }
  /// The clients' side, for a transport.
  ClientHost& host() { return *clients_; }

  /// The server's side. Throws ErrorId::value when fewer than options.min_clients answer, and what Server does.
  template <Transport T>
  EstimateRoundResult<S> collect(T& transport, const ServerOptions& options, double timeout_seconds) const {
    const std::vector<S> zeros(static_cast<std::size_t>(session_.layout.size()));
    Server<S> server(session_, zeros, names_, options);
    const auto question = std::make_shared<const Bytes>(encode_broadcast<S>(question_, 1, {}));
    EstimateRoundResult<S> result{.mean = Parameters<S>(session_.layout),
                                  .round = run_round(server, transport, question, timeout_seconds),
                                  .question_bytes = question->size()};
    require(result.round.committed, ErrorId::value, "federated::EstimateRound: ", result.round.accepted, " of ", names_.size(),
            " clients answered, expected at least ", options.min_clients,
            result.round.failures.empty() ? "" : "; the first failure: ",
            result.round.failures.empty() ? std::string() : result.round.failures.front());
    std::ranges::copy(server.global(), result.mean.flat().begin());
    return result;
  }

 private:
  Session session_, question_;  // the question carries no numbers
  std::vector<std::string> names_;
  std::optional<Clients<S>> clients_;
};

namespace detail {

inline std::string squares_of(const std::string& module) { return module + ".squares"; }

}  // namespace detail

/// Appends room for the gradient sums of every module, and for those of their squares.
template <Real S>
void append_estimates(const std::vector<Module<S>>& modules, GradientMoments moments, ParameterLayout& layout) {
  for (const Module<S>& m : modules) layout.add(m.name, Role::weight, m.W0.rows(), m.W0.cols());
  if (moments == GradientMoments::first_and_second)
    for (const Module<S>& m : modules) layout.add(detail::squares_of(m.name), m.W0.rows(), m.W0.cols());
}

/// A client's answer: Σ G_b / n and Σ G_b² / n over its n examples, where the layout has room. The estimates are named like their
/// modules. Throws ErrorId::unknown_name, shape, and no_examples.
template <Real S>
void put_estimates(const std::vector<GradientEstimate<S>>& estimates, const ParameterLayout& layout, std::span<S> values) {
  for (const GradientEstimate<S>& estimate : estimates) {
    require(estimate.examples() >= 1, ErrorId::no_examples, "put_estimates: the estimate of \"", estimate.name(),
            "\" saw no example");
    const S examples = static_cast<S>(estimate.examples());
    const auto put = [&](const ParameterLayout::Tensor& to, const Weight<S>& sums) {
      require_shape(sums, to.rows, to.cols, "put_estimates", to.name);
      std::ranges::transform(flat(sums), to.range().of(values).begin(), [&](S x) { return x / examples; });
    };
    put(layout.at(estimate.name(), Role::weight), estimate.sum());
    if (estimate.has_second_moments()) put(layout.at(detail::squares_of(estimate.name())), estimate.sum_of_squares());
  }
}

/// The estimates of all clients together, from the mean of their answers. `examples` is the total weight of the round, in
/// minibatches of `batch` examples. Throws what GradientEstimate::from_sums does.
template <Real S>
std::vector<GradientEstimate<S>> take_estimates(const Parameters<S>& mean, const std::vector<Module<S>>& modules,
                                                std::uint64_t examples, Index batch) {
  std::vector<GradientEstimate<S>> estimates;
  for (const Module<S>& m : modules) {
    Weight<S> squares;
    if (mean.layout().find(detail::squares_of(m.name)) != nullptr) squares = mean[detail::squares_of(m.name)] * static_cast<S>(examples);
    const Index count = static_cast<Index>(examples);
    estimates.push_back(GradientEstimate<S>::from_sums(mean.at(m.name, Role::weight) * static_cast<S>(examples),
                                                       std::move(squares), count, std::max<Index>(count / batch, 1), m.name));
  }
  return estimates;
}

}  // namespace lorasb::federated
