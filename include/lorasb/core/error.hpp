// The one exception type of the library, and the numbers under which docs/errors.md explains each cause.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include "lorasb/core/text.hpp"

namespace lorasb {

/// Every number has a heading with cause and remedy in docs/errors.md (a test keeps both in step).
enum class ErrorId : int {
  shape = 101,            // a matrix has the wrong rows or columns
  value = 102,            // an option or argument is outside what is allowed
  not_finite = 103,       // NaN or infinity where a finite number is needed
  unknown_name = 104,     // no module or parameter of that name
  duplicate_name = 105,   // a name that exists already
  backend = 106,          // another library, chosen for products, failed
  rank = 201,             // rank 0, or above min(out, in)
  no_examples = 202,      // an estimate that saw no example
  zero_update = 203,      // an update of zero has no direction
  file_open = 301,        // a file cannot be opened or read
  file_write = 302,       // a file cannot be written completely
  safetensors = 303,      // bytes that are not a valid safetensors file
  tensor_missing = 304,   // a tensor that should be in the file is not
  tensor_mismatch = 305,  // a tensor has another type or shape than it should
  json = 306,             // text that is not the JSON it should be
  adapter_folder = 401,   // an adapter folder whose config and tensors disagree
  checkpoint = 402,       // a checkpoint that does not belong to this run, or of an unknown version
  journal = 403,          // a journal that is damaged, in use, of another run, or of an unknown version
  vocabulary = 501,       // a vocabulary that cannot be used
  text = 502,             // text that is not UTF-8
  data = 601,             // a data set that cannot be used: line, label or size
  model = 602,            // model files that are not what they should be
};

/// What lorasb throws. `what()` reads "[lorasb.101] AdaptedLinear::forward: X is 768 x 12, expected 1024 rows";
/// control characters in it, which come from names in files, are escaped.
class Error : public std::runtime_error {
 public:
  Error(ErrorId id, std::string_view text)
      : std::runtime_error(std::string("[lorasb.").append(std::to_string(static_cast<int>(id))).append("] ").append(without_controls(text, "\n\t"))),
        id_(id) {}

  ErrorId id() const noexcept { return id_; }

 private:
  ErrorId id_;
};

}  // namespace lorasb
