#include "lorasb/privacy/clipped_sum.hpp"

#include <limits>
#include <vector>

#include "support.hpp"

using namespace lorasb;
using namespace lorasb::privacy;

TEMPLATE_TEST_CASE("one example moves a clipped sum by at most C, in numbers and on a grid", "", float, double) {
  using S = TestType;
  Matrix<S> G = 3 * test::random_matrix<Matrix<S>>(5, 4, 1);
  G.col(1) *= S(1e-3);                                   // shorter than C
  G(2, 3) = std::numeric_limits<S>::quiet_NaN();         // adds nothing
  Vector<S> expected = G.col(0) / G.col(0).norm() / 2 + G.col(1) + G.col(2) / G.col(2).norm() / 2;
  std::vector<S> sum(5);
  const ClippedSum<S> numbers(0.5, std::span(sum));
  numbers.add(G.leftCols(2));  // in pieces, and of a block
  numbers.add(G.rightCols(2));
  CHECK(numbers.clip() == 0.5);
  CHECK(numbers.numbers().data() == sum.data());
  CHECK((as_vector(std::span<const S>(sum)) - expected).norm() < test::Tolerance<S>::chain);

  std::vector<std::int64_t> integers(5);
  const double grid = 0x1p-20;
  const ClippedSum<S> on_grid(0.5, grid, std::span(integers));
  on_grid.add(G);
  CHECK(on_grid.numbers().empty());
  for (std::size_t i = 0; i < 5; ++i)  // each of three examples is rounded by half of the grid
    CHECK(std::abs(double(integers[i]) * grid - double(expected(Index(i)))) < 1.5 * grid + test::Tolerance<S>::chain);
  CHECK_ERROR(ClippedSum<S>(0, std::span(sum)).add(G), ErrorId::value, "max_norm is 0");
  CHECK_ERROR(numbers.add(Matrix<S>::Zero(4, 1).eval()), ErrorId::shape, "numbers in sum");
}
