// What the clients of a private session may spend, and what they have spent.
#pragma once

#include <cmath>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "examples/federated/options.hpp"
#include "lorasb/privacy/ledger.hpp"
#include "lorasb/privacy/poisson_batches.hpp"

namespace lorasb::examples {

/// The mechanism of one client in one round, or of the server in one round.
struct RoundMechanism {
  std::uint64_t population = 0;
  double q = 0, sigma = 0;
  std::uint64_t steps = 0;  // of a round
};

/// With --unit example a ledger for each client, over its own texts; with --unit client one for all, over the clients. A client
/// that is asked is charged for the whole round before it is asked, whether it answers or not and whether its update counts.
class Accounts {
 public:
  /// Throws ErrorId::value for a δ that is too large for a client, or a budget that no noise meets.
  Accounts(const FederateOptions& options, const federated::Shares& shares) : options_(options) {
    const PrivateOptions& p = options.privacy;
    std::map<std::pair<double, std::uint64_t>, PrivateOptions> known;  // by rate and steps: shares are often alike
    const auto open = [&](RoundMechanism m) {
      const std::uint64_t steps = m.steps * static_cast<std::uint64_t>(options_.rounds);
      Account account{.mechanism = m, .ledger = p.ledger(m.population)};
      if (takes_noised_bases(options)) p.charge_bases(*account.ledger);
      PrivateOptions& fixed = known.try_emplace({m.q, steps}, p).first->second;
      fixed.sigma = account.mechanism.sigma = fixed.reserve(*account.ledger, m.q, steps);
      accounts_.push_back(std::move(account));
    };
    if (p.unit == privacy::PrivacyUnit::client) {
      open({.population = static_cast<std::uint64_t>(options_.clients), .q = client_rate(options), .steps = 1});
      return;
    }
    for (const std::vector<Index>& share : shares) {
      const Index examples = std::ssize(share);
      if (examples == 0) {
        accounts_.push_back({});
        continue;
      }
      const Index passes = options.local_epochs * ((examples + options.batch - 1) / options.batch);
      open({.population = static_cast<std::uint64_t>(examples),
            .q = privacy::PoissonBatches::drawn_rate(std::min(1.0, double(options.batch) / double(examples))),
            .steps = static_cast<std::uint64_t>(options.local_steps > 0 ? options.local_steps : passes)});
    }
  }

  /// Of a client with texts, or of the server.
  const RoundMechanism& mechanism(Index client = 0) const { return accounts_[place(client)].mechanism; }

  /// q of --unit client: only Poisson samples amplify.
  static double client_rate(const FederateOptions& options) {
    return options.poisson_rate > 0 ? privacy::PoissonBatches::drawn_rate(options.poisson_rate) : 1;
  }

  /// Whether a round may ask these clients. With --sigma it always may; with --epsilon, rounds that were lost when a server was
  /// killed are paid for, and may be missing at the end.
  bool has_room(std::span<const Index> clients) const {
    if (options_.privacy.sigma > 0) return true;
    if (options_.privacy.unit == privacy::PrivacyUnit::client) return has_room(accounts_[0]);
    return std::ranges::all_of(clients, [&](Index client) { return has_room(accounts_[place(client)]); });
  }
  /// A round that asks these clients. Throws ErrorId::value when it was not reserved: then nobody may be asked.
  void charge(std::span<const Index> clients) {
    if (options_.privacy.unit == privacy::PrivacyUnit::client) return charge_one(0);
    for (const Index client : clients) charge_one(client);
  }

  /// What the client who has spent most has spent, whether it holds or not.
  double epsilon_so_far() {
    const Account* most = nullptr;
    double largest = -1;
    for (const Account& a : accounts_) {
      if (!a.ledger || a.ledger->steps() == 0) continue;
      const auto [known, is_new] = bound_.try_emplace(key(a), 0.0);  // RDP is quick, and orders them nearly right
      if (is_new) known->second = privacy::rdp_epsilon(a.ledger->spent(), options_.privacy.delta);
      if (known->second <= largest) continue;
      largest = known->second;
      most = &a;
    }
    return most == nullptr ? 0 : most->ledger->claimed_epsilon().epsilon;
  }

  /// For the journal, and back. Throws ErrorId::journal for what is no such thing: then ε is unknown.
  nlohmann::json saved() const {
    nlohmann::json all = nlohmann::json::array();
    for (const Account& a : accounts_) all.push_back(a.ledger ? a.ledger->text() : std::string());
    return all;
  }
  void restore(const nlohmann::json& saved) {
    require(saved.is_array() && saved.size() == accounts_.size(), ErrorId::journal,
            "the journal holds no ledger of this session: its epsilon is unknown");
    for (std::size_t i = 0; i < accounts_.size(); ++i) {
      if (!accounts_[i].ledger) continue;
      const std::uint64_t before = accounts_[i].ledger->steps();
      accounts_[i].ledger->restore(saved[i].get<std::string>());
      require(accounts_[i].ledger->steps() >= before, ErrorId::journal, "a ledger has ", accounts_[i].ledger->steps(),
              " steps, fewer than the ", before, " that were spent before: it is of another session");
    }
  }

  /// For metrics.json. `epsilon` is a list by client with --unit example; null for each where it does not hold. σ, q and steps
  /// are those of the client who has spent most.
  nlohmann::json report() const {
    nlohmann::json epsilons = nlohmann::json::array(), by_client = nlohmann::json::array();
    std::map<Key, privacy::Epsilon> found;
    const Account* most = nullptr;
    double largest = -1;
    privacy::Accountant method = privacy::Accountant::best;
    for (const Account& a : accounts_) {
      if (!a.ledger) {  // no texts, nothing spent
        epsilons.push_back(0);
        by_client.push_back(nullptr);
        continue;
      }
      const auto [place, is_new] = found.try_emplace(key(a));
      if (is_new) place->second = a.ledger->claimed_epsilon();
      const privacy::Epsilon& claimed = place->second;
      const nlohmann::json epsilon = a.ledger->is_private() ? nlohmann::json(claimed.epsilon) : nlohmann::json();
      epsilons.push_back(epsilon);
      by_client.push_back({{"population", a.mechanism.population},
                           {"q", a.mechanism.q},
                           {"sigma", a.mechanism.sigma},
                           {"steps", steps(a)},
                           {"epsilon", epsilon}});
      if (claimed.epsilon > largest) {
        most = &a;
        largest = claimed.epsilon;
        method = claimed.method;
      }
    }
    const PrivateOptions& p = options_.privacy;
    nlohmann::json m = {{"epsilon", p.unit == privacy::PrivacyUnit::client ? epsilons[0] : epsilons},
                        {"delta", p.delta},
                        {"clip", p.clip},
                        {"accountant", privacy::accountant_names[static_cast<std::size_t>(method)]},
                        {"unit", privacy::unit_names[static_cast<std::size_t>(p.unit)]},
                        {"relation", privacy::relation_names[static_cast<std::size_t>(privacy::Relation::add_remove)]},
                        {"bases", options_.method == federated::FederatedMethod::fed_sb ? p.bases_name() : "none"},
                        {"noise", p.noise()},
                        {"noise_kind", noise_kind_names[static_cast<std::size_t>(p.kind)]},
                        {"client_sampling", client_sampling(options_)}};
    if (takes_noised_bases(options_)) m["bases_sigma"] = bases_noise;
    if (most != nullptr) {
      m["sigma"] = most->mechanism.sigma;
      m["q"] = most->mechanism.q;
      m["steps"] = steps(*most);
    }
    if (p.unit == privacy::PrivacyUnit::example) m["privacy_by_client"] = by_client;
    return m;
  }

 private:
  struct Account {
    RoundMechanism mechanism;
    std::optional<privacy::Ledger> ledger;
  };
  using Key = std::tuple<double, double, std::uint64_t>;

  /// Of training: the bases are a mechanism of their own.
  std::uint64_t steps(const Account& a) const { return a.ledger->steps() - (takes_noised_bases(options_) ? 1 : 0); }
  static Key key(const Account& a) { return {a.mechanism.q, a.mechanism.sigma, a.ledger->steps()}; }
  std::size_t place(Index client) const {
    return options_.privacy.unit == privacy::PrivacyUnit::client ? 0 : static_cast<std::size_t>(client);
  }
  static std::uint64_t room(const Account& a) { return a.ledger->reserved().empty() ? 0 : a.ledger->reserved().front().steps; }
  static bool has_room(const Account& a) { return !a.ledger || room(a) >= a.mechanism.steps; }
  void charge_one(Index client) {
    Account& a = accounts_[place(client)];
    if (!a.ledger) return;
    if (options_.privacy.sigma > 0 && !has_room(a))
      a.ledger->reserve(privacy::SamplingScheme::poisson, a.mechanism.q, a.mechanism.sigma, a.mechanism.steps - room(a));
    for (std::uint64_t t = 0; t < a.mechanism.steps; ++t)
      a.ledger->charge(privacy::SamplingScheme::poisson, a.mechanism.q, a.mechanism.sigma, !options_.privacy.noise_seed);
  }

  const FederateOptions& options_;
  std::vector<Account> accounts_;  // by client, or one
  std::map<Key, double> bound_;
};

/// The accounts of a private session, else nothing; and those of its clients, when they train privately themselves.
inline std::optional<Accounts> open_accounts(const FederateOptions& options, const federated::Shares& shares) {
  if (!options.privacy.enabled) return std::nullopt;
  return std::optional<Accounts>(std::in_place, options, shares);
}
inline const Accounts* client_accounts(const FederateOptions& options, const std::optional<Accounts>& accounts) {
  return accounts && options.privacy.unit == privacy::PrivacyUnit::example ? &*accounts : nullptr;
}

/// What is promised, in words.
inline std::string statement(const nlohmann::json& m) {
  const bool of_clients = m["unit"] == "client";
  std::string claim = "no epsilon: the noise is seeded";
  if (of_clients && !m["epsilon"].is_null()) claim = epsilon_text(m["epsilon"].get<double>());
  if (!of_clients) {
    double most = 0;
    bool known = true;
    for (const nlohmann::json& e : m["epsilon"]) e.is_null() ? known = false : (most = std::max(most, e.get<double>()), true);
    if (known) claim = epsilon_text(most) + " at most";
  }
  char mechanism[160];
  std::snprintf(mechanism, sizeof mechanism, "; noise %.4f, q %.4g, %llu steps, clip %g, bases ", m.value("sigma", 0.0),
                m.value("q", 0.0), static_cast<unsigned long long>(m.value("steps", std::uint64_t{0})), m["clip"].get<double>());
  return concat("Privacy of each ", of_clients ? "client, all its texts together" : "text of a client", " (add-remove): ", claim,
                " at delta ", m["delta"].get<double>(), ", by ", m["accountant"].get<std::string>(), mechanism,
                m["bases"].get<std::string>(), ".\n",
                !of_clients ? ""
                : m["client_sampling"] != "fixed"
                    ? "Clients of a round are a Poisson sample, by draws that nobody else may know: q amplifies.\n"
                    : "Clients of a round are a fixed number: that amplifies nothing (--client-sampling poisson:RATE would).\n",
                of_clients ? "The server is trusted: it sees what clients send.\n"
                           : "The server need not be trusted: what a client sends is private.\n",
                "Not covered: the texts to start from (--init-data) and the test texts, which are taken as public; the sizes of the "
                "clients; the choice of settings.\n");
}

}  // namespace lorasb::examples
