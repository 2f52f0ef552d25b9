// The accounts of a private session as its options say, and their report.
#pragma once

#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "examples/federated/options.hpp"
#include "lorasb/federated/partition.hpp"
#include "lorasb/federated/privacy_accounts.hpp"
#include "lorasb/privacy/report.hpp"

namespace lorasb::examples {

using federated::PrivacyAccounts;

/// The accounts of a private session, else nothing: of each client with --unit example, of the server with --unit client, where
/// only Poisson samples amplify. Throws ErrorId::value for a δ that is too large for a client, or a budget that no noise meets.
inline std::optional<PrivacyAccounts> open_accounts(const FederateOptions& options, const federated::Shares& shares) {
  const PrivateOptions& p = options.privacy;
  if (!p.enabled) return std::nullopt;
  std::vector<federated::RoundMechanism> members;
  if (p.unit == privacy::PrivacyUnit::client) {
    members.push_back({.population = static_cast<std::uint64_t>(options.clients),
                       .rate = options.poisson_rate > 0 ? privacy::PoissonBatches::drawn_rate(options.poisson_rate) : 1});
  } else {
    for (const std::vector<Index>& share : shares) {
      const Index passes = options.local_epochs * ((std::ssize(share) + options.batch - 1) / options.batch);
      members.push_back(federated::dp_sgd_round(
          std::ssize(share), options.batch, static_cast<std::uint64_t>(options.local_steps > 0 ? options.local_steps : passes)));
    }
  }
  return PrivacyAccounts(members, {.unit = p.unit,
                                   .delta = p.delta,
                                   .budget = p.epsilon > 0 ? p.epsilon : std::numeric_limits<double>::infinity(),
                                   .noise = p.sigma,
                                   .rounds = static_cast<std::uint64_t>(options.rounds),
                                   .is_private = !p.noise_seed,
                                   .bases_noise = takes_noised_bases(options) ? bases_noise : 0});
}
/// Those of the clients, when they train privately themselves.
inline const PrivacyAccounts* client_accounts(const FederateOptions& options, const std::optional<PrivacyAccounts>& accounts) {
  return accounts && options.privacy.unit == privacy::PrivacyUnit::example ? &*accounts : nullptr;
}

/// What a private session has spent: for metrics.json, and all accounts in one.
struct SessionPrivacy {
  nlohmann::json metrics;
  privacy::PrivacyReport spent;
};

/// As on the command line.
inline std::string bases_name(const FederateOptions& options) {
  return options.method == federated::FederatedMethod::fed_sb ? options.privacy.bases_name() : "none";
}

/// `epsilon` is a list by client with --unit example; null for each where it does not hold. σ, q and steps are those of the client
/// who has spent most.
inline SessionPrivacy privacy_report(const PrivacyAccounts& accounts, const FederateOptions& options) {
  nlohmann::json epsilons = nlohmann::json::array(), by_client = nlohmann::json::array();
  const std::vector<federated::AccountReport> all = accounts.report();
  for (const federated::AccountReport& a : all) {
    const federated::RoundMechanism& m = a.mechanism;
    const nlohmann::json epsilon = a.epsilon ? nlohmann::json(*a.epsilon) : nlohmann::json();
    if (m.population == 0) {  // no texts, nothing spent
      epsilons.push_back(0);
      by_client.push_back(nullptr);
      continue;
    }
    epsilons.push_back(epsilon);
    by_client.push_back(
        {{"population", m.population}, {"q", m.rate}, {"sigma", m.noise}, {"steps", a.steps}, {"epsilon", epsilon}});
  }
  const PrivateOptions& p = options.privacy;
  SessionPrivacy found{.metrics = {}, .spent = accounts.summary(all)};
  found.spent.clip = p.clip;
  nlohmann::json& m = found.metrics;
  m = {{"epsilon", p.unit == privacy::PrivacyUnit::client ? epsilons[0] : epsilons},
       {"delta", p.delta},
       {"clip", p.clip},
       {"accountant", privacy::accountant_names[static_cast<std::size_t>(found.spent.accountant)]},
       {"unit", privacy::unit_names[static_cast<std::size_t>(p.unit)]},
       {"relation", privacy::relation_names[static_cast<std::size_t>(found.spent.relation)]},
       {"bases", bases_name(options)},
       {"noise", p.noise()},
       {"noise_kind", train::noise_kind_names[static_cast<std::size_t>(p.kind)]},
       {"client_sampling", client_sampling(options)}};
  if (takes_noised_bases(options)) m["bases_sigma"] = bases_noise;
  if (found.spent.noise > 0) {
    m["sigma"] = found.spent.noise;
    m["q"] = found.spent.rate;
    m["steps"] = found.spent.steps;
  }
  if (p.unit == privacy::PrivacyUnit::example) m["privacy_by_client"] = by_client;
  return found;
}

/// What is promised, in words.
inline std::string statement(const privacy::PrivacyReport& spent, const FederateOptions& options) {
  const bool of_clients = spent.unit == privacy::PrivacyUnit::client;
  return concat(privacy::statement(spent, of_clients ? "client, all its texts together" : "text of a client",
                                   ", bases " + bases_name(options)),
                !of_clients ? ""
                : options.poisson_rate > 0
                    ? "Clients of a round are a Poisson sample, by draws that nobody else may know: q amplifies.\n"
                    : "Clients of a round are a fixed number: that amplifies nothing (--client-sampling poisson:RATE would).\n",
                of_clients ? "The server is trusted: it sees what clients send.\n"
                           : "The server need not be trusted: what a client sends is private.\n",
                "Not covered: the texts to start from (--init-data) and the test texts, which are taken as public; the sizes of the "
                "clients; the choice of settings.\n");
}

}  // namespace lorasb::examples
