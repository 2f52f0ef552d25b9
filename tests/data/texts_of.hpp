// What the tests of sets compare.
#pragma once

#include <string>
#include <vector>

#include "lorasb/data/corpus.hpp"

namespace lorasb::test {

inline std::vector<std::string> texts_of(const std::vector<data::Example>& examples) {
  std::vector<std::string> all;
  for (const data::Example& example : examples) all.push_back(example.text);
  return all;
}

}  // namespace lorasb::test
