// The ways of multiplying that the benchmarks go through: one row of a table for each.
#pragma once

#include <string>
#include <vector>

#include "lorasb/linalg/backend.hpp"
#ifdef LORASB_HAS_ONEDNN
#include "lorasb/onednn/backend.hpp"
#endif

namespace bench {

/// What multiplies, and whether frozen weights are bfloat16.
struct Backend {
  std::string name;
  const lorasb::linalg::Backend* products;
  bool narrow = false;

  /// The library multiplies this way until another is selected.
  void select() const { lorasb::linalg::use_backend(products); }
};

inline const std::vector<Backend>& backends() {
  static const std::vector<Backend> all{
      {"Eigen", nullptr},
#ifdef LORASB_HAS_ONEDNN
      {"oneDNN", &lorasb::onednn::backend()},
      {"oneDNN, bfloat16 weights", &lorasb::onednn::backend(), true},
#endif
  };
  return all;
}

template <class F>
void for_each_backend(const F& f) {
  for (const Backend& backend : backends()) f(backend);
}

}  // namespace bench
