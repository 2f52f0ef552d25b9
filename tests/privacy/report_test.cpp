#include "lorasb/privacy/report.hpp"

#include "support.hpp"

using namespace lorasb;
using namespace lorasb::privacy;

TEST_CASE("a statement never says a smaller epsilon than what holds, and none where the noise is seeded") {
  CHECK(epsilon_text(2.99991) == "epsilon 3.0000");
  CHECK(epsilon_text(1.00001) == "epsilon 1.0001");
  CHECK(epsilon_text(0.5) == "epsilon 0.5000");
  PrivacyReport report{.epsilon = 1.00001, .delta = 1e-4, .noise = 1.5, .rate = 0.02, .clip = 0.5, .steps = 7, .accountant = Accountant::rdp};
  CHECK(statement(report) ==
        "Privacy of each example (add-remove): epsilon 1.0001 at delta 0.0001, by rdp; noise 1.5000, q 0.02, 7 steps, clip 0.5.\n");
  CHECK(grid_statement(report).empty());
  report.is_largest = true;
  CHECK(statement(report).find("epsilon 1.0001 at most at delta") != std::string::npos);
  report.epsilon.reset();
  report.unit = PrivacyUnit::client;
  report.relation = Relation::replace_one;
  CHECK(statement(report, {}, ", bases w0").find("each client (replace-one): no epsilon: the noise is seeded at delta") != std::string::npos);
  CHECK(statement(report, "mail", ", bases w0").ends_with("clip 0.5, bases w0.\n"));
  CHECK(statement(report, "mail").starts_with("Privacy of each mail "));
  report.grid = GridNoise::of(1.5, 0.5, 100);
  CHECK(grid_statement(report).ends_with("sigma is over that.\n"));
  report.epsilon = 1;
  report.epsilon_continuous = 0.75;
  CHECK(grid_statement(report, "a mail").find("a mail moves the sum") != std::string::npos);
  CHECK(grid_statement(report).ends_with("Of epsilon, 0.25 is for the rounding of gradients to it.\n"));
}
