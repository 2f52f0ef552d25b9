// The parts of the library that all programs use, by their short names.
#pragma once

namespace lorasb::data {}
namespace lorasb::classify {}

namespace lorasb::examples {

using namespace data;      // rows, labels, scores
using namespace classify;  // base models, classifiers and their folders

}  // namespace lorasb::examples
