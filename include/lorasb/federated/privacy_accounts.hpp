// What the members of a private session may spend, and what they have spent.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "lorasb/core/types.hpp"
#include "lorasb/privacy/ledger.hpp"
#include "lorasb/privacy/poisson_batches.hpp"
#include "lorasb/privacy/report.hpp"

namespace lorasb::federated {

/// What an account is charged for one round.
struct RoundMechanism {
  std::uint64_t population = 0;  // units that are protected; 0: there are none, and nothing is spent
  double rate = 1;               // q
  double noise = 0;              // σ over the clip, as PrivacyAccounts found it
  std::uint64_t steps = 1;       // of a round
};
/// A client that takes `steps` steps of DP-SGD in each round, over Poisson batches of `batch` of its examples.
inline RoundMechanism dp_sgd_round(Index examples, Index batch, std::uint64_t steps) {
  if (examples == 0) return {};
  return {.population = static_cast<std::uint64_t>(examples),
          .rate = privacy::PoissonBatches::drawn_rate(std::min(1.0, double(batch) / double(examples))),
          .steps = steps};
}

struct PrivacyAccountsOptions {
  privacy::PrivacyUnit unit = privacy::PrivacyUnit::example;
  double delta = 0;                                          // required
  double budget = std::numeric_limits<double>::infinity();  // the largest ε of each account
  double noise = 0;          // σ; 0: the least with which all rounds keep within the budget
  std::uint64_t rounds = 1;  // of the session
  bool is_private = true;    // whether samples and noise come from private sources
  double bases_noise = 0;    // of bases that each account paid for (train::noised_bases); 0: none
};

/// What an account has spent.
struct AccountReport {
  RoundMechanism mechanism = {};
  std::uint64_t steps = 0;             // of rounds
  std::optional<double> epsilon = 0;   // nothing where it does not hold
  privacy::Epsilon claimed = {};       // what it would be if every source had been private
};

/// With PrivacyUnit::example each client has a ledger over its own examples, which it trains on by DP-SGD; with
/// PrivacyUnit::client one ledger of the server is over all clients (NoisedAggregator). Whoever is asked is charged for the whole
/// round before it is asked, whether it answers or not and whether its update counts:
///
///     PrivacyAccounts accounts(members, {.delta = 1e-6, .budget = 3, .rounds = 20});
///     ... every round: accounts.charge(server.selected());   // throws where the budget has no room: then nobody may be asked
///
/// saved() and restore() carry the ledgers over a restart. They are to be written down before anybody is asked
/// (train::LedgerFile), so that a round that a killed server has lost is paid for.
class PrivacyAccounts {
 public:
  /// One mechanism for each client, or with PrivacyUnit::client one in all. Throws ErrorId::value for a δ that is too large for one
  /// of them, a noise of 0 without a budget, and a budget that no noise meets.
  PrivacyAccounts(const std::vector<RoundMechanism>& members, const PrivacyAccountsOptions& options) : options_(options) {
    require(!members.empty() && (members.size() == 1 || options.unit == privacy::PrivacyUnit::example), ErrorId::value,
            "PrivacyAccounts: there are ", members.size(), " mechanisms, expected one for each client, or one where clients are protected");
    require(options.noise > 0 || is_finite(options.budget), ErrorId::value,
            "PrivacyAccounts: noise is 0 and there is no budget that it could follow from; give one of both");
    std::map<std::pair<double, std::uint64_t>, double> known;  // noise by rate and steps: clients are often alike
    for (const RoundMechanism& member : members) {
      Account account{.mechanism = member, .ledger = {}};
      if (member.population > 0) {
        privacy::Ledger ledger(
            {.unit = options.unit, .population = member.population, .delta = options.delta, .budget = options.budget});
        if (options.bases_noise > 0) ledger.charge_all(options.bases_noise, options.is_private);
        const std::uint64_t steps = member.steps * options.rounds;
        double& noise = known.try_emplace({member.rate, steps}, options.noise).first->second;
        if (noise == 0) noise = privacy::noise_for(ledger, member.rate, steps);
        account.mechanism.noise = noise;
        ledger.reserve(privacy::SamplingScheme::poisson, member.rate, noise, steps);
        account.ledger = std::move(ledger);
      }
      accounts_.push_back(std::move(account));
    }
  }

  /// Of a client with examples, or of the server.
  const RoundMechanism& mechanism(Index client = 0) const { return accounts_[place(client)].mechanism; }

  /// Whether a round may ask these clients. Without a budget it always may; with one, rounds that were lost when a server was
  /// killed are paid for, and may be missing at the end.
  bool has_room(std::span<const Index> clients) const {
    if (!is_finite(options_.budget)) return true;
    if (options_.unit == privacy::PrivacyUnit::client) return has_room(accounts_[0]);
    return std::ranges::all_of(clients, [&](Index client) { return has_room(accounts_[place(client)]); });
  }
  /// A round that asks these clients. Throws ErrorId::value when it was not reserved: then nobody may be asked.
  void charge(std::span<const Index> clients) {
    if (options_.unit == privacy::PrivacyUnit::client) return charge(accounts_[0]);
    for (const Index client : clients) charge(accounts_[place(client)]);
  }

  /// What the account that has spent most has spent, whether it holds or not.
  double epsilon_so_far() {
    const Account* most = nullptr;
    double largest = -1;
    for (const Account& a : accounts_) {
      if (!a.ledger || a.ledger->steps() == 0) continue;
      const auto [known, is_new] = bound_.try_emplace(key(a), 0.0);  // RDP is quick, and orders them nearly right
      if (is_new) known->second = privacy::rdp_epsilon(a.ledger->spent(), options_.delta);
      if (known->second <= largest) continue;
      largest = known->second;
      most = &a;
    }
    return most == nullptr ? 0 : most->ledger->claimed_epsilon().epsilon;
  }
  /// By client, or of the server.
  std::vector<AccountReport> report() const {
    std::map<Key, privacy::Epsilon> known;
    std::vector<AccountReport> reports;
    for (const Account& a : accounts_) {
      AccountReport& r = reports.emplace_back(AccountReport{.mechanism = a.mechanism});
      if (!a.ledger) continue;
      const auto [found, is_new] = known.try_emplace(key(a));
      if (is_new) found->second = a.ledger->claimed_epsilon();
      r.claimed = found->second;
      r.steps = a.ledger->steps() - (options_.bases_noise > 0 ? 1 : 0);
      r.epsilon = a.ledger->is_private() ? std::optional(r.claimed.epsilon) : std::nullopt;
    }
    return reports;
  }

  /// What report() has found, in one: ε is the largest of all accounts, and nothing where one does not hold; σ, q and steps are those
  /// of the account that has spent most. The clip is the caller's to set.
  privacy::PrivacyReport summary(const std::vector<AccountReport>& all) const {
    privacy::PrivacyReport total{.epsilon = 0.0,
                                 .delta = options_.delta,
                                 .unit = options_.unit,
                                 .is_largest = options_.unit == privacy::PrivacyUnit::example};
    const AccountReport* most = nullptr;
    for (const AccountReport& a : all) {
      if (a.mechanism.population == 0) continue;  // nothing is spent
      total.epsilon = total.epsilon && a.epsilon ? std::optional(std::max(*total.epsilon, *a.epsilon)) : std::nullopt;
      if (most == nullptr || a.claimed.epsilon > most->claimed.epsilon) most = &a;
    }
    if (most == nullptr) return total;
    total.noise = most->mechanism.noise;
    total.rate = most->mechanism.rate;
    total.steps = most->steps;
    total.accountant = most->claimed.method;
    return total;
  }

  /// A text for each account (empty: it has no ledger), and back. Throws ErrorId::journal for texts of another session, or of
  /// before: ε is then unknown; and what Ledger::restore throws.
  std::vector<std::string> saved() const {
    std::vector<std::string> all;
    for (const Account& a : accounts_) all.push_back(a.ledger ? a.ledger->text() : std::string());
    return all;
  }
  void restore(std::span<const std::string> saved) {
    require(saved.size() == accounts_.size(), ErrorId::journal,
            "the journal holds no ledger of this session: its epsilon is unknown");
    for (std::size_t i = 0; i < accounts_.size(); ++i) {
      if (!accounts_[i].ledger) continue;
      const std::uint64_t before = accounts_[i].ledger->steps();
      accounts_[i].ledger->restore(saved[i]);
      require(accounts_[i].ledger->steps() >= before, ErrorId::journal, "a ledger has ", accounts_[i].ledger->steps(),
              " steps, fewer than the ", before, " that were spent before: it is of another session");
    }
  }

 private:
  struct Account {
    RoundMechanism mechanism;
    std::optional<privacy::Ledger> ledger;
  };
  using Key = std::tuple<double, double, std::uint64_t>;

  static Key key(const Account& a) { return {a.mechanism.rate, a.mechanism.noise, a.ledger->steps()}; }
  std::size_t place(Index client) const {
    return options_.unit == privacy::PrivacyUnit::client ? 0 : static_cast<std::size_t>(client);
  }
  static std::uint64_t room(const Account& a) { return a.ledger->reserved().empty() ? 0 : a.ledger->reserved().front().steps; }
  static bool has_room(const Account& a) { return !a.ledger || room(a) >= a.mechanism.steps; }
  void charge(Account& a) {
    if (!a.ledger) return;
    const RoundMechanism& m = a.mechanism;
    if (!is_finite(options_.budget) && !has_room(a))
      a.ledger->reserve(privacy::SamplingScheme::poisson, m.rate, m.noise, m.steps - room(a));
    for (std::uint64_t t = 0; t < m.steps; ++t)
      a.ledger->charge(privacy::SamplingScheme::poisson, m.rate, m.noise, options_.is_private);
  }

  PrivacyAccountsOptions options_;
  std::vector<Account> accounts_;  // by client, or one
  std::map<Key, double> bound_;
};

}  // namespace lorasb::federated
