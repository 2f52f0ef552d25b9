#include "lorasb/federated/selection.hpp"

#include <set>

#include "support.hpp"

using namespace lorasb;
using namespace lorasb::federated;

TEST_CASE("Clients of a round are a share rounded up, ascending and each once") {
  const auto count = [](Index clients, double participation) {
    const std::vector<Index> chosen = select_clients(clients, participation, 1, 1);
    CHECK(std::ranges::is_sorted(chosen));
    CHECK(std::set<Index>(chosen.begin(), chosen.end()).size() == chosen.size());
    CHECK(chosen.front() >= 0);
    CHECK(chosen.back() < clients);
    return std::ssize(chosen);
  };
  CHECK(count(10, 0.3) == 3);
  CHECK(count(10, 0.31) == 4);
  CHECK(count(100, 0.07) == 7);  // 0.07 * 100 comes out above 7
  CHECK(count(7, 1) == 7);
  CHECK(count(7, 1e-9) == 1);
  CHECK(count(1, 1) == 1);
}

TEST_CASE("Over many rounds every client takes part as often as the others") {
  std::vector<int> drawn(20);
  for (std::uint64_t round = 1; round <= 2000; ++round)
    for (const Index c : select_clients(20, 0.25, 3, round)) ++drawn[std::size_t(c)];
  // 500 each, with a deviation of sqrt(2000 * 0.25 * 0.75) = 19.4: five of them
  for (const int n : drawn) CHECK(std::abs(n - 500) < 97);
}

TEST_CASE("Seed, round and attempt each draw anew, and the first attempt is the draw that names none") {
  const std::vector<Index> draw = select_clients(100, 0.1, 3, 4);
  CHECK(select_clients(100, 0.1, 3, 4, 0) == draw);
  CHECK(select_clients(100, 0.1, 4, 4) != draw);
  CHECK(select_clients(100, 0.1, 3, 5) != draw);
  CHECK(select_clients(100, 0.1, 3, 4, 1) != draw);
  CHECK(select_clients(100, 0.1, 3, 4, 2) != select_clients(100, 0.1, 3, 4, 1));
}

TEST_CASE("The draw stays as it is: sessions go on from journals that other builds have written") {
  CHECK(select_clients(100, 0.05, 7, 1) == std::vector<Index>{10, 24, 39, 58, 66});
  CHECK(select_clients(100, 0.05, 7, 1, 1) == std::vector<Index>{53, 72, 73, 81, 91});
}

TEST_CASE("No clients, and shares that are none, are refused") {
  CHECK_ERROR(select_clients(0, 1, 1, 1), ErrorId::value, "there are 0 clients");
  for (const double share : {0.0, -0.5, 1.0000001, std::numeric_limits<double>::quiet_NaN()})
    CHECK_ERROR(select_clients(3, share, 1, 1), ErrorId::value, "participation is");
}
