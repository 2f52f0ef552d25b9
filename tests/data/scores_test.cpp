#include "lorasb/data/scores.hpp"

#include "lorasb/models/tokenized_texts.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::data;

TEST_CASE("Scores of label sets are scikit-learn's, a label that nobody has or is given counting as 0") {
  // f1_score(truth, given, average="micro"), average="macro" with zero_division=0, and accuracy_score
  const Matrix<float> truth{{1, 0, 1, 0, 0}, {1, 1, 0, 0, 0}, {0, 0, 0, 0, 0}, {1, 0, 1, 0, 1}};
  const Matrix<float> logits{{2, -1, 0.5, 1, -1}, {-1, 3, -2, -1, -1}, {-1, -1, -1, -1, -1}, {1, 1, 2, -3, 0}};
  // by label: 2 hits of 3 given and 2 there; 1 of 1 and 2; none; 2 of 3 and 3
  const Scores found = label_set_scores(logits, truth);
  CHECK(std::string(found[0].key) == "micro_f1");
  CHECK(found[0].value == Approx(2 * 5.0 / (7 + 7)));
  CHECK(std::string(found[1].key) == "macro_f1");
  CHECK(found[1].value == Approx((2 * 2.0 / 5 + 2 * 1.0 / 3 + 0 + 2 * 2.0 / 6) / 4));
  CHECK(std::string(found[2].key) == "test_accuracy");
  CHECK(found[2].value == Approx(1.0 / 5));  // the third text alone
  for (const Score& score : label_set_scores(Matrix<float>(2, 0), Matrix<float>(2, 0))) CHECK(score.value == 0);
}

TEST_CASE("Scores are those of the problem that the texts have") {
  models::TokenizedTexts texts{.ids = {{1}, {2}, {3}, {4}}, .labels = {0, 1, 1, 0}};
  const Matrix<float> two{{1, 0, 0, 0}, {0, 1, 2, 3}};
  CHECK(scores_of(texts.targets(), two)[0].value == 0.75);
  texts.problem = ProblemType::regression;
  texts.values = Matrix<float>{{1, 2, 3, 5}};
  const Scores found = scores_of(texts.targets(), Matrix<float>{{2, 4, 6, 7}});
  CHECK(std::string(found[0].key) == "pearson");
  CHECK(found[0].value == Approx(pearson(std::vector<double>{2, 4, 6, 7}, std::vector<double>{1, 2, 3, 5})));
  CHECK(found[1].value == Approx(1));
  CHECK(found[2].value == Approx((1 + 4 + 9 + 4) / 4.0));
  texts.problem = ProblemType::multi_label;
  texts.values = Matrix<float>{{1, 0, 0, 0}, {0, 1, 1, 0}};
  CHECK(scores_of(texts.targets(), two)[2].value == 0.75);
  CHECK_ERROR(scores_of(texts.targets(), Matrix<float>(Matrix<float>::Zero(3, 4))), ErrorId::shape, "scores_of");
  Matrix<float> bad = two;
  bad(1, 2) = std::numeric_limits<float>::quiet_NaN();
  for (const ProblemType problem : {ProblemType::multi_label, ProblemType::single_label}) {
    texts.problem = problem;
    CHECK_ERROR(scores_of(texts.targets(), bad), ErrorId::not_finite, "holds nan at row 1, column 2");
  }
}
