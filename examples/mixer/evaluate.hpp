// Test accuracy with the head of a domain given, and with the head chosen without the domain.
#pragma once

#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "examples/common/progress.hpp"
#include "examples/mixer/task.hpp"
#include "lorasb/mixer/mixer_layer.hpp"
#include "lorasb/mixer/statistics.hpp"
#include "lorasb/mixer/two_phase.hpp"

namespace lorasb::examples {

/// How the head of a text is found where the domain is not given.
enum class HeadChoice {
  largest_logit,  // over the classes of all domains: a head that was trained over all of them
  routing,        // over the classes of all domains, log p(domain) of the routers added to the logits of its classes
  given,          // the domain is known
};

struct MixResult {
  std::string name;
  std::vector<double> accuracy = {}, accuracy_head_given = {};  // by domain
  Index trainable = 0;                                          // outside the head
  double seconds_per_1000 = 0;
  Matrix<double> routing = {};  // experts x domains: shares of the gates
  double router_entropy = 0;    // mean of H(p), in nats
  bool collapsed = false;

  static double mean_of(const std::vector<double>& x) {
    double sum = 0;
    for (const double v : x) sum += v;
    return sum / double(x.size());
  }
};

namespace detail {

template <class Vector>
double log_sum_exp(const Vector& x) {
  const double largest = double(x.maxCoeff());
  return largest + std::log((x.template cast<double>().array() - largest).exp().sum());
}

/// log p(expert) by expert (rows) and text: the mean of log p over the text's tokens and over the routers, normalised.
inline Matrix<double> routing_log_probabilities(const models::TextEncoder<float>& encoder, models::TextEncoderCache<float>& cache, Index experts,
                                     mixer::RoutingStatistics& statistics) {
  const std::span<const Index> offsets = cache.batch.offsets();
  Matrix<double> scores = Matrix<double>::Zero(experts, cache.batch.sequences());
  Index routers = 0;
  mixer::for_each_routing(encoder, cache, [&](const mixer::Routing<float>& routing, const LinearCache<float>& c) {
    statistics.add(routing, c.tasks);
    const ConstMatrixView<float> log_p = std::as_const(routing.log_probabilities()).view();
    if (routing.probabilities().cols() == 0) return;  // hard routing
    ++routers;
    for (Index i = 0; i < scores.cols(); ++i) {
      const bool texts = routing.tokens() == scores.cols() && routing.tokens() != offsets.back();
      const Index first = texts ? i : offsets[std::size_t(i)], last = texts ? i + 1 : offsets[std::size_t(i) + 1];
      for (Index e = 0; e < experts; ++e) scores(e, i) += log_p.row(e).segment(first, last - first).cast<double>().mean();
    }
  });
  for (Index i = 0; i < scores.cols(); ++i) {
    scores.col(i) /= double(std::max<Index>(routers, 1));
    scores.col(i).array() -= log_sum_exp(scores.col(i));
  }
  return scores;
}

}  // namespace detail

/// Fills accuracies, seconds and routing of `result`.
inline void evaluate(const MixTask& task, Classifier& classifier, const Parameters<float>& values, HeadChoice choice,
                     Index experts, const MixOptions& options, MixResult& result) {
  const models::Head<float> head(values);
  const std::size_t parts = std::size_t(options.parts), domains = task.domains.size();
  struct Counts {
    std::vector<Index> all, right, right_given;
  };
  std::vector<Counts> counts(parts, {std::vector<Index>(domains), std::vector<Index>(domains), std::vector<Index>(domains)});
  std::vector<mixer::RoutingStatistics> statistics(parts,
                                                   mixer::RoutingStatistics(std::max<Index>(experts, 1), task.domain_count()));
  const double began = seconds_now();
  models::for_pieces(task.test.size(), options.parts, options.threads, [&](Index part, Index, std::span<const Index> piece) {
    const ConstMatrixView<float> E = classifier.encode(task.test, piece, part);
    Matrix<float> logits(head.classes(), E.cols());
    head.forward(E, logits);
    Matrix<double> scores;
    if (experts > 0)
      scores = detail::routing_log_probabilities(classifier.encoder(), classifier.cache(part), experts, statistics[std::size_t(part)]);
    Counts& c = counts[std::size_t(part)];
    for (Index i = 0; i < E.cols(); ++i) {
      const std::size_t domain = std::size_t(task.test.tasks[std::size_t(piece[std::size_t(i)])]);
      const Index label = task.test.labels[std::size_t(piece[std::size_t(i)])];
      const auto best = [&](Range range) {
        Index place = 0;
        logits.col(i).segment(range.first, range.count).maxCoeff(&place);
        return range.first + place;
      };
      c.right_given[domain] += best(task.classes[domain]) == label;
      if (choice == HeadChoice::routing)
        for (std::size_t d = 0; d < domains; ++d)
          logits.col(i).segment(task.classes[d].first, task.classes[d].count).array() += float(scores(Index(d), i));
      const Range seen = choice == HeadChoice::given ? task.classes[domain] : Range{0, head.classes()};
      ++c.all[domain];
      c.right[domain] += best(seen) == label;
    }
  });
  result.seconds_per_1000 = (seconds_now() - began) / double(task.test.size()) * 1000;
  for (std::size_t d = 0; d < domains; ++d) {
    Index all = 0, right = 0, given = 0;
    for (const Counts& c : counts) all += c.all[d], right += c.right[d], given += c.right_given[d];
    result.accuracy.push_back(double(right) / double(all));
    result.accuracy_head_given.push_back(double(given) / double(all));
  }
  if (experts == 0) return;
  for (std::size_t p = 1; p < parts; ++p) statistics[0].add(statistics[p]);
  const mixer::RoutingReport report = statistics[0].report();
  result.routing = report.by_task;
  result.router_entropy = report.entropy;
  result.collapsed = report.collapsed;
}

}  // namespace lorasb::examples
