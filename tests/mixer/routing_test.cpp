#include "lorasb/mixer/routing.hpp"

#include "support.hpp"

using namespace lorasb;
using namespace lorasb::mixer;
using namespace lorasb::test;

TEST_CASE("the largest are found in rising order, the lowest index first among equals") {
  std::vector<Index> chosen;
  const double x[] = {1, 3, 2, 3, 0};
  largest(x, 5, 1, chosen);
  CHECK(chosen == std::vector<Index>{1});
  largest(x, 5, 2, chosen);
  CHECK(chosen == std::vector<Index>{1, 3});
  largest(x, 5, 3, chosen);
  CHECK(chosen == std::vector<Index>{1, 2, 3});
  largest(x, 5, 5, chosen);
  CHECK(chosen == std::vector<Index>{0, 1, 2, 3, 4});
  const double equal[] = {2, 2, 2, 2};
  largest(equal, 4, 2, chosen);
  CHECK(chosen == std::vector<Index>{0, 1});
}

TEMPLATE_TEST_CASE("tokens are grouped by expert, with gates that sum to one", "", float, double) {
  using S = TestType;
  LinearCache<S> cache;
  Routing<S> routing(cache);
  MatrixView<S> p = routing.probabilities().reshape(3, 4);
  p << S(.5), S(.1), S(.25), S(.4), S(.3), S(.2), S(.5), S(.4), S(.2), S(.7), S(.25), S(.2);  // token 3: 0 and 1 are equal
  routing.by_probability({.mode = RoutingMode::top_k, .k = 2}, {});
  CHECK(std::vector<Index>(routing.offsets().begin(), routing.offsets().end()) == std::vector<Index>{0, 3, 7, 8});
  CHECK(std::ranges::equal(routing.tokens_of(0), std::vector<Index>{0, 2, 3}));
  CHECK(std::ranges::equal(routing.tokens_of(1), std::vector<Index>{0, 1, 2, 3}));
  CHECK(std::ranges::equal(routing.tokens_of(2), std::vector<Index>{1}));
  CHECK(routing.takes_all(1));
  CHECK(routing.gates()(0, 0) == Approx(.5 / .8));
  CHECK(routing.gates()(0, 2) == S(.5));
  routing.by_probability({.mode = RoutingMode::top_k, .k = 1}, std::vector<Index>{0, 0, -1, 0});
  CHECK(std::ranges::equal(routing.tokens_of(0), std::vector<Index>{0, 3}));
  CHECK(routing.count(1) == 0);
  CHECK((routing.gates().array() == 1).all());
  routing.by_label(3, 4, std::vector<Index>{2, -1, 0, 2});
  CHECK(std::ranges::equal(routing.tokens_of(2), std::vector<Index>{0, 3}));
  CHECK(routing.gates().cols() == 3);
  CHECK_ERROR(routing.by_label(3, 4, std::vector<Index>{2, -2, 0, 2}), ErrorId::value, "token 1 has task label -2");
}
