#include "lorasb/core/buffer.hpp"

#include "support.hpp"

using namespace lorasb;

TEST_CASE("A buffer grows when it must and keeps its memory when it shrinks") {
  Buffer<float> buffer;
  CHECK(buffer.rows() == 0);
  float* const first = buffer.reshape(3, 4).data();
  CHECK(buffer.view().rows() == 3);
  CHECK(buffer.view().cols() == 4);
  CHECK(buffer.reshape(2, 5).data() == first);
  CHECK(buffer.reshape(4, 3).data() == first);
  buffer.reshape(40, 30)(39, 29) = 1;  // the sanitizers see whether it is there
  CHECK(buffer.cols() == 30);
}

TEST_CASE("A buffer that was moved from has no matrix, and can be used again") {
  Buffer<double> from;
  from.reshape(2, 2)(1, 1) = 5;
  Buffer<double> to(std::move(from));
  CHECK(to.view()(1, 1) == 5);
  CHECK(from.rows() == 0);
  CHECK(from.cols() == 0);
  from.reshape(1, 2)(0, 1) = 3;
  to = std::move(from);
  CHECK(to.view()(0, 1) == 3);
  CHECK(from.cols() == 0);
}

TEST_CASE("a buffer refuses a size that is negative or cannot be counted, and stays as it was") {
  Buffer<float> buffer;
  buffer.reshape(2, 3);
  CHECK_ERROR(buffer.reshape(Index{1} << 32, Index{1} << 32), ErrorId::shape, "4294967296 x 4294967296 is no size of a matrix");
  CHECK_ERROR(buffer.reshape(-1, 2), ErrorId::shape, "-1 x 2");
  CHECK(buffer.rows() == 2);
  CHECK(buffer.cols() == 3);
}
