// Where the sequences or examples of a packed batch begin and end.
#pragma once

#include <span>
#include <string_view>

#include "lorasb/core/check.hpp"

namespace lorasb {

/// Throws ErrorId::shape, in the name of the function `where`, unless offsets are n + 1 numbers that rise from 0 to `columns`.
/// Sequence i then owns columns offsets[i] to offsets[i + 1] - 1; it is empty when both are equal.
inline void require_offsets(std::span<const Index> offsets, Index columns, std::string_view where) {
  require(!offsets.empty() && offsets.front() == 0, ErrorId::shape, where, ": offsets must start with 0",
          offsets.empty() ? ", but there are none" : "");
  for (std::size_t i = 1; i < offsets.size(); ++i)
    require(offsets[i] >= offsets[i - 1], ErrorId::shape, where, ": offsets[", i, "] is ", offsets[i], ", below offsets[",
            i - 1, "], ", offsets[i - 1]);
  require(offsets.back() == columns, ErrorId::shape, where, ": offsets end at ", offsets.back(), ", expected the ", columns,
          " columns of the batch");
}

}  // namespace lorasb
