// What a session is held against: clients that train alone, and all texts in one place.
#pragma once

#include <numeric>

#include "examples/federated/session.hpp"

namespace lorasb::examples {

/// The same rounds, rates and starts as a session of fed-sb, with nothing sent. central: one client has all texts. local: each
/// has its own and goes on from its own numbers; accuracy is the mean over clients, measured once, after the last round, and
/// those without texts stay at the start.
inline SessionResult run_alone(const FederatedTask& task, FederateOptions options, SharedModel& shared,
                               const federated::Shares& shares) {
  const double start = seconds_now();
  federated::Shares all = shares;
  if (options.setting == Setting::central) {
    // as many steps as the clients of a round together; passes over all texts are that anyway
    options.local_steps *= std::ssize(federated::select_clients(options.clients, options.participation, options.seed, 1));
    all.assign(1, std::vector<Index>(static_cast<std::size_t>(task.train.size())));
    std::iota(all[0].begin(), all[0].end(), Index{0});
  }
  shared.take(shared.message(1, shared.values().flat(), {}));
  std::vector<std::unique_ptr<Workplace>> workplaces;
  for (int t = 0; t < options.threads; ++t) workplaces.push_back(std::make_unique<Workplace>(task, shared, nullptr));
  const std::span<const float> common = shared.values().flat();
  std::vector<std::vector<float>> numbers(all.size(), {common.begin(), common.end()});
  std::vector<double> accuracies(all.size());
  SessionResult result;
  for (Index round = 1; round <= options.rounds; ++round) {
    const bool measured = options.setting == Setting::central || round == options.rounds;
    const double began = seconds_now();
    // a thread has a workplace to itself for the clients of its part
    const Index parts = std::min<Index>(options.threads, std::ssize(all));
    parallel_for(parts, options.threads, [&](Index part) {
      Workplace& work = *workplaces[static_cast<std::size_t>(part)];
      for (std::size_t c = static_cast<std::size_t>(part); c < all.size(); c += static_cast<std::size_t>(parts)) {
        std::ranges::copy(numbers[c], work.values.flat().begin());
        federated::LeadingMask<float> whole(work.values.layout(), 0, numbers[c]);
        if (!all[c].empty())
          train_locally(work, task, options, all[c], static_cast<Index>(c), static_cast<std::uint64_t>(round), whole);
        std::ranges::copy(work.values.flat(), numbers[c].begin());
        if (measured) accuracies[c] = models::accuracy(work.classifier, task.test, 1, 1);
      }
    });
    if (!measured) continue;
    result.accuracy = std::accumulate(accuracies.begin(), accuracies.end(), 0.0) / double(all.size());
    result.rounds.push_back({{"round", round},
                             {"accuracy", result.accuracy},
                             {"bytes_up_per_client", 0},
                             {"adapter_bytes_up_per_client", 0},
                             {"bytes_down_per_client", 0},
                             {"adapter_bytes_down_per_client", 0},
                             {"bytes_total", 0},
                             {"adapter_bytes_total", 0},
                             {"accepted", 0},
                             {"rejected", nlohmann::json::object()},
                             {"exactness_error", nullptr}});
    std::printf("round %3td/%td  accuracy %5.2f %%  %.1f s\n", round, options.rounds, 100 * result.accuracy,
                seconds_now() - began);
    std::fflush(stdout);
  }
  Sha256 sha;
  for (const std::vector<float>& x : numbers) sha.update(std::as_bytes(std::span(x)));
  result.digest = sha.digest();
  result.seconds = seconds_now() - start;
  return result;
}

}  // namespace lorasb::examples
