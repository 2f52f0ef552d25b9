// What torch computed (golden/layers.py), by name: [tokens, features] there, features x tokens here.
#pragma once

#include <string>

#include "lorasb/io/safetensors.hpp"
#include "support.hpp"

namespace lorasb::test {

inline const io::SafetensorsFile& golden() {
  static const io::SafetensorsFile file(LORASB_TEST_DIR "/golden/layers.safetensors");
  return file;
}

/// Activations: a column for each token.
template <Real S>
Matrix<S> golden_matrix(const std::string& name) {
  return golden().read_weight<S>(name).transpose();
}

/// A weight, out x in.
template <Real S>
Weight<S> golden_weight(const std::string& name) {
  return golden().read_weight<S>(name);
}

template <Real S>
Vector<S> golden_vector(const std::string& name) {
  return golden().read_vector<S>(name);
}

/// Where the sequences of all packed batches in the file begin.
inline std::span<const Index> golden_offsets() { return golden().view<std::int64_t>("offsets"); }

}  // namespace lorasb::test
