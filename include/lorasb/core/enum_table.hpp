// A table with a row for each value of an enumeration, in the order of the values.
#pragma once

#include "lorasb/core/requirements.hpp"  // first

#include <cstddef>

namespace lorasb::detail {

/// Whether row i is about value i, so that a table may be indexed by the value. `key` gets the value out of a row: a pointer to
/// the member.
template <class Table, class Key>
constexpr bool rows_are_in_order(const Table& table, Key key) {
  for (std::size_t i = 0; i < table.size(); ++i)
    if (static_cast<std::size_t>(table[i].*key) != i) return false;
  return true;
}

}  // namespace lorasb::detail
