#include "lorasb/text/piece_trie.hpp"

#include <utility>

#include "support.hpp"

using namespace lorasb::text;

namespace {
using Found = std::vector<std::pair<std::int32_t, std::size_t>>;  // id, length

Found prefixes(const PieceTrie& trie, std::string_view text) {
  Found found;
  trie.prefixes(decode_utf8(text), [&](std::int32_t id, std::size_t length) { found.push_back({id, length}); });
  return found;
}
}  // namespace

TEST_CASE("The trie finds every piece a text begins with, the shortest first") {
  const PieceTrie trie(
      {{decode_utf8("abc"), 7}, {decode_utf8("b"), 3}, {decode_utf8("a"), 9}, {decode_utf8("ab▁"), 4}, {decode_utf8("😀"), 0}});
  CHECK(prefixes(trie, "abcd") == Found{{9, 1}, {7, 3}});
  CHECK(prefixes(trie, "ab▁") == Found{{9, 1}, {4, 3}});
  CHECK(prefixes(trie, "ab") == Found{{9, 1}});
  CHECK(prefixes(trie, "bcd") == Found{{3, 1}});
  CHECK(prefixes(trie, "😀😀") == Found{{0, 1}});
  CHECK(prefixes(trie, "cab").empty());
  CHECK(prefixes(trie, "").empty());
}

TEST_CASE("Of equal pieces the last one is found, an empty piece and an empty trie never") {
  CHECK(prefixes(PieceTrie({{decode_utf8("a"), 1}, {{}, 5}, {decode_utf8("ab"), 2}, {decode_utf8("a"), 3}}), "ab") ==
        Found{{3, 1}, {2, 2}});
  CHECK(prefixes(PieceTrie({}), "ab").empty());
}

TEST_CASE("The trie finds the same pieces as a search through the list") {
  lorasb::Random random(5);
  std::vector<PieceTrie::Entry> entries;
  const auto word = [&](std::uint64_t longest) {
    CodePoints symbols(random.below(longest) + 1);
    for (std::int32_t& symbol : symbols) symbol = static_cast<std::int32_t>(random.below(4));
    return symbols;
  };
  for (std::int32_t id = 0; id < 300; ++id) entries.push_back({word(6), id});
  const PieceTrie trie(entries);
  for (int i = 0; i < 200; ++i) {
    const CodePoints text = word(10);
    Found expected;
    for (std::size_t length = 1; length <= text.size(); ++length) {
      std::int32_t last = -1;
      for (const PieceTrie::Entry& entry : entries)
        if (entry.piece == CodePoints(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(length))) last = entry.id;
      if (last >= 0) expected.push_back({last, length});
    }
    Found found;
    trie.prefixes(text, [&](std::int32_t id, std::size_t length) { found.push_back({id, length}); });
    CHECK(found == expected);
  }
}
