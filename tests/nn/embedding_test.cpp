#include "lorasb/nn/embedding.hpp"

#include "golden_file.hpp"
#include "gradient_check.hpp"
#include "strided.hpp"

using namespace lorasb;
using lorasb::test::Strided;
using Ids = std::vector<std::int32_t>;

TEMPLATE_TEST_CASE("Embedding and its gradient are torch's", "", float, double) {
  using S = TestType;
  const std::span<const std::int32_t> ids = test::golden().view<std::int32_t>("embedding.ids");
  const Strided<Weight<S>> table(test::golden_weight<S>("embedding.table"));
  Strided<Matrix<S>> Y(6, 9);
  nn::embed<S>(table.view(), ids, Y.view());
  CHECK(Y.inner() == test::golden_matrix<S>("embedding.Y"));
  CHECK(Y.surroundings_untouched());

  const Strided<Matrix<S>> dY(test::golden_matrix<S>("embedding.dY"));
  Strided<Weight<S>> dTable(Weight<S>::Ones(10, 6));  // a gradient from before
  nn::embed_backward_parameters<S>(dTable.view(), ids, dY.view());
  CHECK(test::relative_error(dTable.inner(), Weight<S>::Ones(10, 6) + test::golden_weight<S>("embedding.dtable")) <=
        test::Tolerance<S>::exact);
  CHECK(dTable.surroundings_untouched());
}

TEST_CASE("The gradient of an embedding agrees with central differences, repeated ids included") {
  const Ids ids{2, 0, 2, 2};
  Weight<double> table = test::random_matrix<Weight<double>>(3, 2, 1);
  const Matrix<double> dY = test::random_matrix<Matrix<double>>(2, 4, 2);
  Matrix<double> Y(2, 4);
  const auto loss = [&] {
    nn::embed<double>(table, ids, Y);
    return Y.cwiseProduct(dY).sum();
  };
  Weight<double> dTable = Weight<double>::Zero(3, 2);
  nn::embed_backward_parameters<double>(dTable, ids, dY);
  CHECK(test::gradient_error(flat(table), flat(std::as_const(dTable)), loss) <= test::gradient_tolerance);
  CHECK(dTable.row(1).isZero(0));
}

TEST_CASE("An id outside the table is named with its place, and nothing is written") {
  const Weight<float> table = Weight<float>::Ones(3, 2);
  Matrix<float> Y = Matrix<float>::Zero(2, 2);
  CHECK_ERROR(nn::embed<float>(table, Ids{1, 3}, Y), ErrorId::value, "embed: ids[1] is 3, expected 0 to 2");
  CHECK_ERROR(nn::embed<float>(table, Ids{-1, 0}, Y), ErrorId::value, "ids[0] is -1");
  CHECK(Y.isZero(0));
  Weight<float> dTable = Weight<float>::Zero(3, 2);
  CHECK_ERROR(nn::embed_backward_parameters<float>(dTable, Ids{0, 3}, Matrix<float>::Ones(2, 2).eval()), ErrorId::value,
              "ids[1] is 3");
  CHECK(dTable.isZero(0));
}

TEST_CASE("Embedding refuses matrices of another shape, and takes no ids at all") {
  const Weight<float> table = Weight<float>::Ones(3, 2);
  Matrix<float> wrong(3, 2), none(2, 0);
  CHECK_ERROR(nn::embed<float>(table, Ids{0, 1}, wrong), ErrorId::shape, "Y is 3 x 2, expected 2 x 2");
  CHECK_NOTHROW(nn::embed<float>(table, Ids{}, none));
  Weight<float> dTable(3, 2);
  CHECK_ERROR(nn::embed_backward_parameters<float>(dTable, Ids{0, 1}, wrong), ErrorId::shape, "dY is 3 x 2, expected 2 x 2");
}
