#include "lorasb/nn/problem.hpp"

#include "support.hpp"

using namespace lorasb;

TEST_CASE("Each problem has its loss, and a batch has the targets of its own examples") {
  const Matrix<double> outputs{{1, -2, 0.5}, {0.25, 3, -1}};
  const Matrix<float> values{{1, 0, 1}, {0, 1, 1}};
  const std::vector<std::int32_t> labels{0, 1, 1};
  const std::vector<Index> order{2, 0};
  const std::vector<double> weights{1, 5};
  nn::TargetBatch<double> batch;
  const auto check = [&](const nn::Targets<float>& all, Index correct, double loss, const Matrix<double>& gradient) {
    CHECK(all.size() == 3);
    Matrix<double> d(2, 2);
    d << outputs.col(2), outputs.col(0);
    const nn::Targets<double> some = batch.gather(all, order);
    REQUIRE(some.size() == 2);
    const nn::PassResult found = nn::differentiate_loss<double>(d, some, weights);
    CHECK(found.correct == correct);
    CHECK(found.loss == loss);
    CHECK(d == gradient);
  };
  const std::vector<std::int32_t> some_labels{1, 0};
  Matrix<double> logits(2, 2), targets(2, 2), gradient(2, 2);
  logits << outputs.col(2), outputs.col(0);
  targets << 1, 1, 1, 0;
  double loss = nn::cross_entropy<double>(logits, some_labels, gradient, {}, weights);
  check({.labels = labels}, 1, loss, gradient);
  loss = nn::binary_cross_entropy<double>(logits, targets, gradient);
  check({.problem = nn::ProblemType::multi_label, .values = values}, 0, loss, gradient);
  loss = nn::mean_squared_error<double>(logits, targets, gradient);
  check({.problem = nn::ProblemType::regression, .values = values}, 0, loss, gradient);
}
