// Values of scikit-learn 1.x (accuracy_score, f1_score, matthews_corrcoef) and of scipy 1.17 (pearsonr, spearmanr).
#include <array>
#include <cmath>

#include "lorasb/data/metrics.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::data;

namespace {

bool near(double a, double b) { return std::abs(a - b) < 1e-14; }  // sums of a dozen doubles of size one

constexpr std::array<std::int32_t, 12> truth{0, 0, 0, 1, 1, 2, 2, 2, 2, 1, 0, 2}, predicted{0, 1, 0, 1, 2, 2, 2, 0, 2, 1, 0, 4};

}  // namespace

TEST_CASE("accuracy, macro F1 and Matthews of five classes are those of scikit-learn, with a class that nobody has") {
  const ConfusionMatrix m(5, truth, predicted);
  CHECK(m.at(0, 1) == 1);
  CHECK(m.at(2, 4) == 1);
  CHECK(m.total() == 12);
  CHECK(near(accuracy(m), 2.0 / 3));
  CHECK(near(macro_f1(m), 0.5208333333333333));
  CHECK(near(matthews(m), 0.5208421985061126));
}

TEST_CASE("macro F1 and Matthews of two classes are those of scikit-learn") {
  const ConfusionMatrix m(2, std::array<std::int32_t, 8>{1, 0, 1, 1, 0, 0, 1, 0}, std::array<std::int32_t, 8>{1, 0, 0, 1, 1, 0, 1, 1});
  CHECK(near(accuracy(m), 0.625));
  CHECK(near(f1(m, 1), 2.0 / 3));
  CHECK(near(macro_f1(m), 0.6190476190476191));
  CHECK(near(matthews(m), 0.2581988897471611));
}

TEST_CASE("metrics of classes are defined without examples, and Matthews is 0 when all predictions are one class") {
  CHECK(accuracy(ConfusionMatrix(3)) == 0);
  CHECK(macro_f1(ConfusionMatrix(3)) == 0);
  CHECK(matthews(ConfusionMatrix(2, std::array<std::int32_t, 3>{0, 1, 1}, std::array<std::int32_t, 3>{1, 1, 1})) == 0);
}

TEST_CASE("a class that is out of range, or another number of predictions, is refused") {
  ConfusionMatrix m(2);
  CHECK_THROWS_AS(m.add(2, 0), Error);
  CHECK_THROWS_AS(m.add(0, -1), Error);
  CHECK_THROWS_AS(ConfusionMatrix(2, std::array<std::int32_t, 2>{0, 1}, std::array<std::int32_t, 1>{0}), Error);
}

TEST_CASE("Pearson and Spearman are those of scipy, with ties") {
  constexpr std::array<double, 8> x{2.5, 0, 5, 3.2, 1.5, 3.2, 4.75, 0}, y{2.1, 0.3, 4.4, 3.9, 3.9, 2, 4.9, -0.5};
  CHECK(near(pearson(x, y), 0.8409669185232822));
  CHECK(near(spearman(x, y), 0.8181968448917964));
  CHECK(ranks(x) == std::vector<double>{4, 1.5, 8, 5.5, 3, 5.5, 7, 1.5});
  CHECK(std::isnan(pearson(x, std::array<double, 8>{1, 1, 1, 1, 1, 1, 1, 1})));
}
