#include "lorasb/federated/privacy_accounts.hpp"

#include <vector>

#include "support.hpp"

using namespace lorasb;
using namespace lorasb::federated;
using privacy::PrivacyUnit;

namespace {

/// Three clients, of which one has no examples, and the server of seven.
std::vector<RoundMechanism> accounts_of(PrivacyUnit unit) {
  if (unit == PrivacyUnit::client) return {{.population = 7}};
  return {dp_sgd_round(40, 8, 5), dp_sgd_round(0, 8, 0), dp_sgd_round(20, 8, 3)};
}
PrivacyAccountsOptions budget(PrivacyUnit unit) { return {.unit = unit, .delta = 0.01, .budget = 2, .rounds = 3}; }

}  // namespace

TEST_CASE("Row 27: a round without room in the budget is refused before anybody is asked") {
  for (const PrivacyUnit unit : {PrivacyUnit::example, PrivacyUnit::client}) {
    PrivacyAccounts accounts(accounts_of(unit), budget(unit));
    const std::vector<Index> asked{0, 1};
    for (int round = 0; round < 3; ++round) {
      CHECK(accounts.has_room(asked));
      accounts.charge(asked);
    }
    const std::vector<std::string> spent = accounts.saved();
    CHECK(accounts.epsilon_so_far() <= 2);
    CHECK(accounts.epsilon_so_far() > 1.99);
    CHECK_FALSE(accounts.has_room(asked));
    CHECK_ERROR(accounts.charge(asked), ErrorId::value, "budget");
    CHECK(accounts.saved() == spent);
    CHECK(accounts.has_room(std::vector<Index>{1, 2}) == (unit == PrivacyUnit::example));
  }
}

TEST_CASE("each client pays for its own rounds, with a noise of its own, and one without examples for nothing") {
  PrivacyAccounts accounts(accounts_of(PrivacyUnit::example), budget(PrivacyUnit::example));
  accounts.charge(std::vector<Index>{0, 1});
  accounts.charge(std::vector<Index>{0});
  const std::vector<AccountReport> report = accounts.report();
  REQUIRE(report.size() == 3);
  CHECK(report[0].steps == 10);
  CHECK(report[0].mechanism.rate == Approx(0.2));
  CHECK(report[0].mechanism.noise == privacy::noise_for(2, 0.01, report[0].mechanism.rate, 15));
  CHECK(report[1].steps == 0);
  CHECK(report[1].epsilon == 0.0);
  CHECK(report[2].steps == 0);
  CHECK(report[2].mechanism.noise != report[0].mechanism.noise);
  CHECK(accounts.mechanism(2).noise == report[2].mechanism.noise);
  const privacy::SubsampledGaussian spent{.rate = report[0].mechanism.rate, .noise = report[0].mechanism.noise, .steps = 10};
  CHECK(*report[0].epsilon == privacy::epsilon_of({&spent, 1}, 0.01).epsilon);
  CHECK(accounts.epsilon_so_far() == *report[0].epsilon);
}

TEST_CASE("the summary of all accounts says the largest epsilon, and none where one does not hold") {
  PrivacyAccounts accounts(accounts_of(PrivacyUnit::example), budget(PrivacyUnit::example));
  accounts.charge(std::vector<Index>{0, 1, 2});
  accounts.charge(std::vector<Index>{2});
  std::vector<AccountReport> all = accounts.report();
  const AccountReport& most = *all[0].epsilon > *all[2].epsilon ? all[0] : all[2];
  const privacy::PrivacyReport found = accounts.summary(all);
  CHECK(found.epsilon == most.epsilon);
  CHECK(found.noise == most.mechanism.noise);
  CHECK(found.rate == most.mechanism.rate);
  CHECK(found.steps == most.steps);
  CHECK(found.delta == 0.01);
  CHECK(found.unit == PrivacyUnit::example);
  CHECK(found.is_largest);
  all[2].epsilon.reset();
  CHECK_FALSE(accounts.summary(all).epsilon);
  all = {all[1]};  // without examples: nothing is spent
  CHECK(accounts.summary(all).epsilon == 0.0);
  PrivacyAccounts server(accounts_of(PrivacyUnit::client), budget(PrivacyUnit::client));
  CHECK_FALSE(server.summary(server.report()).is_largest);
}

TEST_CASE("with a given noise every round may be asked, seeded sources have no epsilon, and bases are paid for by all") {
  PrivacyAccountsOptions options{.delta = 0.01, .noise = 1, .rounds = 1, .is_private = false};
  PrivacyAccounts accounts(accounts_of(PrivacyUnit::example), options);
  for (int round = 0; round < 3; ++round) {
    CHECK(accounts.has_room(std::vector<Index>{0}));
    accounts.charge(std::vector<Index>{0});
  }
  CHECK(accounts.report()[0].steps == 15);
  CHECK_FALSE(accounts.report()[0].epsilon);
  CHECK(accounts.report()[0].claimed.epsilon > 0);
  options.bases_noise = 10;
  options.is_private = true;
  const std::vector<AccountReport> with_bases = PrivacyAccounts(accounts_of(PrivacyUnit::example), options).report();
  CHECK(with_bases[2].steps == 0);
  CHECK(*with_bases[2].epsilon > 0);
  CHECK(with_bases[1].epsilon == 0.0);  // nothing of it is in the bases
}

TEST_CASE("ledgers come back as they were, and those of another session or of before are refused") {
  PrivacyAccounts accounts(accounts_of(PrivacyUnit::example), budget(PrivacyUnit::example)), again = accounts;
  const std::vector<std::string> fresh = accounts.saved();
  CHECK(fresh[1].empty());
  accounts.charge(std::vector<Index>{0, 2});
  again.restore(accounts.saved());
  CHECK(again.saved() == accounts.saved());
  CHECK(again.epsilon_so_far() == accounts.epsilon_so_far());
  CHECK_ERROR(again.restore(fresh), ErrorId::journal, "of another session");
  CHECK_ERROR(again.restore({}), ErrorId::journal, "is unknown");
  PrivacyAccounts server(accounts_of(PrivacyUnit::client), budget(PrivacyUnit::client));
  CHECK_ERROR(again.restore(server.saved()), ErrorId::journal, "is unknown");
}

TEST_CASE("accounts without a budget or a noise, or of several servers, are refused") {
  CHECK_ERROR(PrivacyAccounts(accounts_of(PrivacyUnit::example), {.delta = 0.01}), ErrorId::value, "give one of both");
  CHECK_ERROR(PrivacyAccounts(accounts_of(PrivacyUnit::example), {.unit = PrivacyUnit::client, .delta = 0.01, .noise = 1}), ErrorId::value,
              "3 mechanisms");
  CHECK_ERROR(PrivacyAccounts({}, {.delta = 0.01, .noise = 1}), ErrorId::value, "0 mechanisms");
  CHECK_ERROR(PrivacyAccounts(accounts_of(PrivacyUnit::example), {.delta = 0.05, .noise = 1}), ErrorId::value, "1 / 40");
}
