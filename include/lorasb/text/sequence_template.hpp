// Where special tokens stand around one text or two, such as [CLS] A [SEP] B [SEP].
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "lorasb/core/check.hpp"

namespace lorasb::text {

/// A text, or two, as a model reads them.
struct Encoding {
  std::vector<std::int32_t> ids = {};
  std::vector<std::int32_t> types = {};  // token types, one for each id
  bool cut = false;                      // tokens were left out
  bool unknown = false;                  // the vocabulary finds nothing in the text: no token, or the unknown one alone
};

/// The end of a text that loses tokens when there are too many.
enum class CutSide { right, left };

/// Items in the order of the tokens: a special token, or the place of a text.
struct SequenceTemplate {
  struct Item {
    enum class Kind { special, first, second };
    Kind kind = Kind::first;
    std::int32_t id = 0;  // of a special token
    std::int32_t type = 0;
  };
  std::vector<Item> single{{.kind = Item::Kind::first}};
  std::vector<Item> pair{{.kind = Item::Kind::first}, {.kind = Item::Kind::second, .type = 1}};

  /// begin A end, and begin A end … B end with `ends` tokens `end` between the texts; types are 0, and from B on `second_type`.
  static SequenceTemplate around(std::int32_t begin, std::int32_t end, int ends, std::int32_t second_type) {
    using enum Item::Kind;
    SequenceTemplate t;
    t.single = {{special, begin}, {first}, {special, end}};
    t.pair = t.single;
    for (int i = 1; i < ends; ++i) t.pair.push_back({special, end});
    t.pair.push_back({second, 0, second_type});
    t.pair.push_back({special, end, second_type});
    return t;
  }

  /// At most `max_tokens` ids, special tokens among them. Of two texts the longer one is cut first ("longest_first"), so that both
  /// end with the same length when both are cut. Throws ErrorId::value when the special tokens alone are more.
  Encoding apply(std::vector<std::int32_t> a, std::size_t max_tokens, CutSide side = CutSide::right) const {
    Encoding out;
    const std::size_t room = room_in(single, max_tokens);
    out.cut = a.size() > room;
    shorten(a, std::min(a.size(), room), side);
    fill(single, a, {}, out);
    return out;
  }
  Encoding apply(std::vector<std::int32_t> a, std::vector<std::int32_t> b, std::size_t max_tokens,
                 CutSide side = CutSide::right) const {
    Encoding out;
    const std::size_t room = room_in(pair, max_tokens);
    out.cut = a.size() > room || b.size() > room - a.size();
    if (out.cut) {
      std::size_t less = std::min(a.size(), b.size());
      std::size_t more = room - std::min(less, room);
      if (more < less) {  // both are cut; an odd token goes to the longer one
        less = room / 2;
        more = room - less;
      }
      const bool a_is_longer = a.size() > b.size();
      shorten(a, a_is_longer ? more : less, side);
      shorten(b, a_is_longer ? less : more, side);
    }
    fill(pair, a, b, out);
    return out;
  }

 private:
  static void shorten(std::vector<std::int32_t>& ids, std::size_t size, CutSide side) {
    if (side == CutSide::left) ids.erase(ids.begin(), ids.end() - static_cast<std::ptrdiff_t>(size));
    ids.resize(size);
  }
  static std::size_t room_in(const std::vector<Item>& items, std::size_t max_tokens) {
    const auto specials = static_cast<std::size_t>(std::ranges::count(items, Item::Kind::special, &Item::kind));
    require(specials <= max_tokens, ErrorId::value, "SequenceTemplate: at most ", max_tokens, " tokens are allowed, fewer than the ",
            specials, " special ones");
    return max_tokens - specials;
  }
  static void fill(const std::vector<Item>& items, std::span<const std::int32_t> a, std::span<const std::int32_t> b,
                   Encoding& out) {
    for (const Item& item : items) {
      const std::span<const std::int32_t> ids = item.kind == Item::Kind::special ? std::span(&item.id, 1)
                                                : item.kind == Item::Kind::first ? a
                                                                                 : b;
      out.ids.insert(out.ids.end(), ids.begin(), ids.end());
      out.types.insert(out.types.end(), ids.size(), item.type);
    }
  }
};

}  // namespace lorasb::text
