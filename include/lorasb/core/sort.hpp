// One compiled sort for values of all types.
#pragma once

#include <algorithm>
#include <cstddef>
#include <numeric>
#include <utility>
#include <vector>

namespace lorasb {
namespace detail {

/// 0 to count - 1, in the order of the values that they are the places of.
inline std::vector<std::size_t> sorted_places(std::size_t count, const void* values,
                                              bool (*less)(const void* values, std::size_t a, std::size_t b)) {
  std::vector<std::size_t> places(count);
  std::iota(places.begin(), places.end(), std::size_t{0});
  std::sort(places.begin(), places.end(), [&](std::size_t a, std::size_t b) {
    return less(values, a, b) || (a < b && !less(values, b, a));
  });
  return places;
}

}  // namespace detail

/// Sorts by less(a, b); equals stay in their order. As std::stable_sort, which is compiled anew for each type and each order:
/// 30 KB of code for a struct of four strings. Here only the moves are.
template <class T, class Less>
void sort_stably(std::vector<T>& values, const Less& less) {
  const std::pair<const T*, const Less*> all(values.data(), &less);
  const std::vector<std::size_t> places = detail::sorted_places(values.size(), &all, [](const void* state, std::size_t a, std::size_t b) {
    const auto& [data, before] = *static_cast<const std::pair<const T*, const Less*>*>(state);
    return (*before)(data[a], data[b]);
  });
  std::vector<T> sorted;
  sorted.reserve(values.size());
  for (const std::size_t place : places) sorted.push_back(std::move(values[place]));
  values = std::move(sorted);
}

}  // namespace lorasb
