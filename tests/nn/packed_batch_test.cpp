#include "lorasb/nn/packed_batch.hpp"

#include "support.hpp"

using namespace lorasb;
using lorasb::nn::PackedBatch;
using Ids = std::vector<std::int32_t>;

TEST_CASE("A packed batch lays its sequences side by side") {
  PackedBatch batch;
  CHECK(batch.sequences() == 0);
  CHECK(batch.tokens().empty());
  batch.add(Ids{5, 17, 4});
  batch.add(Ids{});
  batch.add(Ids{9, 4});
  CHECK(batch.sequences() == 3);
  CHECK(Ids(batch.tokens().begin(), batch.tokens().end()) == Ids{5, 17, 4, 9, 4});
  CHECK(std::vector<Index>(batch.offsets().begin(), batch.offsets().end()) == std::vector<Index>{0, 3, 3, 5});
  CHECK_NOTHROW(require_offsets(batch.offsets(), 5, "test"));
}

TEST_CASE("A cleared batch is as new") {
  PackedBatch batch;
  batch.add(Ids{1, 2});
  batch.clear();
  CHECK(batch.sequences() == 0);
  CHECK(batch.tokens().empty());
  batch.add(Ids{3});
  CHECK(std::vector<Index>(batch.offsets().begin(), batch.offsets().end()) == std::vector<Index>{0, 1});
}

TEST_CASE("Offsets that do not describe the columns are refused") {
  using Offsets = std::vector<Index>;
  CHECK_NOTHROW(require_offsets(Offsets{0}, 0, "test"));
  CHECK_ERROR(require_offsets(Offsets{}, 0, "pool"), ErrorId::shape, "pool: offsets must start with 0, but there are none");
  CHECK_ERROR(require_offsets(Offsets{1, 2}, 2, "pool"), ErrorId::shape, "offsets must start with 0");
  CHECK_ERROR(require_offsets(Offsets{0, 3, 2}, 2, "pool"), ErrorId::shape, "offsets[2] is 2, below offsets[1], 3");
  CHECK_ERROR(require_offsets(Offsets{0, 3}, 4, "pool"), ErrorId::shape, "offsets end at 3, expected the 4 columns");
}

TEST_CASE("Token types lie beside the tokens, 0 where none are given") {
  PackedBatch batch, other;
  batch.add(Ids{5, 17, 4}, Ids{0, 1, 1});
  batch.add(Ids{9});
  CHECK(Ids(batch.types().begin(), batch.types().end()) == Ids{0, 1, 1, 0});
  other.add(Ids{5, 17, 4});
  other.add(Ids{9});
  CHECK(!(batch == other));
  CHECK_ERROR(batch.add(Ids{1, 2}, Ids{0}), ErrorId::shape, "1 token types for 2 tokens");
}
