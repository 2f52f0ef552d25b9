// A dictionary of pieces that finds every piece a text begins with.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <span>
#include <vector>

#include "lorasb/text/utf8.hpp"

namespace lorasb::text {

/// A trie over code points in one array. The children of a node lie side by side, ordered by symbol, so a step is a binary
/// search.
class PieceTrie {
 public:
  struct Entry {
    CodePoints piece;
    std::int32_t id = 0;
  };

  /// Of equal pieces the last one counts; an empty piece is never found.
  explicit PieceTrie(std::vector<Entry> entries) {
    std::stable_sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) { return a.piece < b.piece; });
    // Breadth first: ranges[n] are the entries below node n, which all begin with the `depth` symbols on the way to it.
    struct Range {
      std::size_t begin, end, depth;
    };
    std::vector<Range> ranges{{0, entries.size(), 0}};
    nodes_.push_back({});
    for (std::size_t n = 0; n < nodes_.size(); ++n) {
      auto [at, end, depth] = ranges[n];
      for (; at < end && entries[at].piece.size() == depth; ++at) nodes_[n].id = entries[at].id;
      nodes_[n].children_begin = static_cast<std::int32_t>(nodes_.size());
      while (at < end) {
        const std::int32_t symbol = entries[at].piece[depth];
        const std::size_t first = at;
        while (at < end && entries[at].piece[depth] == symbol) ++at;
        nodes_.push_back({.symbol = symbol});
        ranges.push_back({first, at, depth + 1});
      }
      nodes_[n].children_end = static_cast<std::int32_t>(nodes_.size());
    }
  }

  /// Calls found(id, length in symbols) for each piece that `symbols` begins with, the shortest first.
  template <class Found>
  void prefixes(std::span<const std::int32_t> symbols, const Found& found) const {
    const Node* node = &nodes_.front();
    for (std::size_t i = 0; i < symbols.size(); ++i) {
      const Node* end = nodes_.data() + node->children_end;
      node = std::lower_bound(nodes_.data() + node->children_begin, end, symbols[i],
                              [](const Node& child, std::int32_t symbol) { return child.symbol < symbol; });
      if (node == end || node->symbol != symbols[i]) return;
      if (node->id != none) found(node->id, i + 1);
    }
  }

 private:
  static constexpr std::int32_t none = -1;
  struct Node {
    std::int32_t symbol = 0;  // that leads here
    std::int32_t id = none;   // of the piece that ends here
    std::int32_t children_begin = 0;
    std::int32_t children_end = 0;
  };
  std::vector<Node> nodes_;
};

}  // namespace lorasb::text
