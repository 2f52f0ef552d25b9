// The ways of multiplying that the benchmarks go through: one row of a table for each.
#pragma once

#include <string>
#include <vector>

namespace bench {

/// `select` makes the library multiply this way until another is selected.
struct Backend {
  std::string name;
  void (*select)();
};

inline const std::vector<Backend>& backends() {
  static const std::vector<Backend> all{
      {"Eigen", [] {}},
  };
  return all;
}

template <class F>
void for_each_backend(const F& f) {
  for (const Backend& backend : backends()) f(backend);
}

}  // namespace bench
