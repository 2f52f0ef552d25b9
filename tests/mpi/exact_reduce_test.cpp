#include "lorasb/mpi/exact_reduce.hpp"

#include <algorithm>

#include "support.hpp"

using namespace lorasb;

namespace {

/// Update k of 1,000, with numbers of all sizes.
template <class S>
std::vector<S> update(std::uint64_t k) {
  Random random(3, k);
  std::vector<S> values(50);
  for (S& x : values) x = S(std::ldexp(random.normal(), int(random.below(80)) - 40));
  return values;
}
std::uint32_t weight(std::uint64_t k) { return static_cast<std::uint32_t>(Random(4, k).bits() >> 33) + 1; }

}  // namespace

TEMPLATE_TEST_CASE("1,000 updates shared out over ranks have the same mean bits as on one", "", float, double) {
  int rank = 0, ranks = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  ExactMean<TestType> part(50), all(50);
  for (std::uint64_t k = 0; k < 1000; ++k) {
    const std::vector<TestType> values = update<TestType>(k);
    if (k % std::uint64_t(ranks) == std::uint64_t(rank)) part.add(values, weight(k));
    all.add(values, weight(k));
  }
  mpi::merge_to_root(part, MPI_COMM_WORLD);
  if (rank > 0) return;
  std::vector<TestType> merged(50), expected(50);
  part.mean(merged);
  all.mean(expected);
  CHECK(part.total_weight() == all.total_weight());
  CHECK(std::ranges::equal(std::as_bytes(std::span(merged)), std::as_bytes(std::span(expected)),
                           [](std::byte a, std::byte b) { return a == b; }));
}
