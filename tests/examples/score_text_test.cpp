#include "examples/common/score_text.hpp"

#include <limits>

#include "catch.hpp"

using namespace lorasb::examples;

TEST_CASE("Scores are written as shares, with four digits, or with five where they have the unit of the user's numbers") {
  CHECK(score_text({"test_accuracy", "test acc.", 0.75, true}) == "75.00 %");
  CHECK(score_text({"macro_f1", "macro F1", 0.75}) == "0.7500");
  CHECK(score_text({"mean_squared_error", "MSE", 4.5}) == "4.5");
  CHECK(score_text({"mean_squared_error", "MSE", 1e60}) == "1e+60");  // was cut after 31 digits
  CHECK(score_text({"pearson", "Pearson", std::numeric_limits<double>::quiet_NaN()}) == "nan");
}
