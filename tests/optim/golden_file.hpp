// Reads the numbers that torch wrote, by name.
#pragma once

#include <string>
#include <vector>

#include "lorasb/io/safetensors.hpp"
#include "support.hpp"

namespace lorasb::test {

inline const io::SafetensorsFile& golden() {
  static const io::SafetensorsFile file(LORASB_TEST_DIR "/golden/optimizers.safetensors");
  return file;
}

/// The tensor of that name, flattened, converted to S.
template <Real S>
std::vector<S> golden_numbers(const std::string& name) {
  std::vector<S> numbers(static_cast<std::size_t>(golden().at(name).elements()));
  golden().read<S>(name, numbers);
  return numbers;
}

/// The tensor that torch computed in the scalar S.
template <Real S>
std::vector<S> golden_in(const std::string& name) {
  return golden_numbers<S>(name + (std::same_as<S, float> ? ".f32" : ".f64"));
}

}  // namespace lorasb::test
