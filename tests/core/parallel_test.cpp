#include "lorasb/core/parallel.hpp"

#include <numeric>
#include <stdexcept>

#include "support.hpp"

using namespace lorasb;

TEST_CASE("every part runs exactly once on any number of threads") {
  for (int threads : {1, 2, 8}) {
    std::vector<int> runs(100);
    parallel_for(100, threads, [&](Index part) { ++runs[static_cast<std::size_t>(part)]; });
    CHECK(std::count(runs.begin(), runs.end(), 1) == 100);
  }
  parallel_for(0, 2, [](Index) { FAIL("there is no part"); });
}

TEST_CASE("the first exception of a part reaches the caller and the loop can be used again") {
  for (int threads : {1, 3}) {
    CHECK_THROWS_AS(parallel_for(20, threads,
                                 [](Index part) {
                                   if (part == 5) throw std::domain_error("part 5");
                                 }),
                    std::domain_error);
    int runs = 0;
    parallel_for(1, threads, [&](Index) { ++runs; });
    CHECK(runs == 1);
  }
  CHECK_ERROR(parallel_for(1, 0, [](Index) {}), ErrorId::value, "threads is 0");
}
