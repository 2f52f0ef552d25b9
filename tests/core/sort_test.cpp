#include "lorasb/core/sort.hpp"

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "lorasb/core/random.hpp"
#include "support.hpp"

using lorasb::sort_stably;

TEST_CASE("sort_stably gives the order of std::stable_sort, equals in theirs, for values that are moved") {
  using Row = std::pair<int, std::string>;
  lorasb::Random random(3);
  for (const std::size_t size : {0, 1, 2, 15, 16, 17, 1000}) {
    std::vector<Row> rows;
    for (std::size_t i = 0; i < size; ++i) rows.emplace_back(int(random.uniform() * 8), "a text that is kept elsewhere, number " + std::to_string(i));
    std::vector<Row> expected = rows;
    const auto less = [](const Row& a, const Row& b) { return a.first > b.first; };
    std::stable_sort(expected.begin(), expected.end(), less);
    sort_stably(rows, less);
    CHECK(rows == expected);
  }
}
