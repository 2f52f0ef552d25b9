#include "lorasb/core/linear_cache.hpp"

#include "support.hpp"

using namespace lorasb;

TEST_CASE("a cache has as many buffers, index lists and inner caches as a layer asks for, at addresses that stay") {
  LinearCache<float> cache;
  Buffer<float>& first = cache.buffer(0);
  float* const data = first.reshape(2, 3).data();
  std::vector<Index>& tokens = cache.indices(1);
  LinearCache<float>& expert = cache.child(0);
  expert.buffer(3).reshape(1, 1);
  for (std::size_t slot = 0; slot < 200; ++slot) {
    cache.buffer(slot);
    cache.indices(slot);
    cache.child(slot).buffer(0);
  }
  CHECK(&cache.buffer(0) == &first);
  CHECK(first.view().data() == data);
  CHECK(first.rows() == 2);
  CHECK(&cache.indices(1) == &tokens);
  CHECK(&cache.child(0) == &expert);
  CHECK(expert.buffer(3).cols() == 1);
  CHECK(cache.pass() == 0);
}
