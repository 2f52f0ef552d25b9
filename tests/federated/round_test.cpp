#include "lorasb/federated/round.hpp"

#include <set>

#include "support.hpp"

using namespace lorasb;
using namespace lorasb::federated;

TEST_CASE("Every reason has a name of its own, in the order of the reasons") {
  const char* const names[] = {"malformed",    "version",   "wrong_session",      "wrong_round", "late_round",
                               "unknown_client", "not_selected", "duplicate", "base_hash_mismatch", "schema",
                               "non_finite",   "weight",    "no_data",            "norm",        "over_cap"};
  REQUIRE(std::size(names) == reason_table.size());
  std::set<std::string_view> all;
  for (std::size_t i = 0; i < reason_table.size(); ++i) {
    CHECK(reason_table[i].second == names[i]);
    CHECK(name_of(reason_table[i].first) == names[i]);
    all.insert(names[i]);
  }
  CHECK(all.size() == reason_table.size());
}

TEST_CASE("Server options that contradict themselves are refused with the number that was found") {
  CHECK_NOTHROW(ServerOptions{}.validate());
  const auto refused = [](const ServerOptions& options, const char* words) {
    CHECK_ERROR(options.validate(), ErrorId::value, words);
  };
  const double nan = std::numeric_limits<double>::quiet_NaN(), infinity = std::numeric_limits<double>::infinity();
  refused({.min_clients = 0}, "min_clients is 0");
  refused({.min_clients = 3, .cap = 2}, "cap is 2");
  refused({.cap = -1}, "cap is -1");
  refused({.participation = 0}, "participation is 0");
  refused({.participation = 1.5}, "participation is 1.5");
  refused({.participation = nan}, "participation is");
  refused({.max_weight = 0}, "max_weight is 0");
  refused({.max_norm = -1}, "max_norm is -1");
  refused({.max_norm = nan}, "max_norm is");
  refused({.max_norm = infinity}, "max_norm is inf");
  refused({.weighting = Weighting::equal, .planned_clients = -1}, "planned_clients is -1");
  refused({.weighting = Weighting::equal, .planned_clients = Index{1} << 32}, "planned_clients is 4294967296");
  refused({.weighting = Weighting::examples, .planned_clients = 5}, "planned_clients is 5");
  refused({.min_clients = 6, .weighting = Weighting::equal, .planned_clients = 5}, "planned_clients is 5");
}
