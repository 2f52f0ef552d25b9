// How PEFT finds the modules that a name or an expression in its configuration means.
#pragma once

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/core/sort.hpp"
#include "lorasb/formats/name_expression.hpp"

namespace lorasb::formats {

/// An entry of target_modules or modules_to_save: the whole name of the module, or its last parts. "attention.query" means
/// "encoder.0.attention.query" but not "encoder.0.self_attention.query".
/// Source: PEFT, tuners/tuners_utils.py, check_target_module_exists.
inline bool names_module(std::string_view entry, std::string_view module) {
  return module.ends_with(entry) && (module.size() == entry.size() || module[module.size() - entry.size() - 1] == '.');
}

/// Calls f(end) for the whole name and for what follows each of its dots: what a name's last parts can be.
template <class F>
void for_each_ending(std::string_view module, const F& f) {
  for (std::size_t start = 0;;) {
    f(module.substr(start));
    const std::size_t dot = module.find('.', start);
    if (dot == std::string_view::npos) return;
    start = dot + 1;
  }
}

/// A key of a pattern without the anchors that PEFT's expression has anyway; `whole` for a key with `^`.
struct AnchoredKey {
  explicit AnchoredKey(std::string_view key) : whole(key.starts_with('^')), text(key) {
    if (whole) text.remove_prefix(1);
    if (text.ends_with('$') && !text.ends_with("\\$")) text.remove_suffix(1);
  }
  bool whole;
  std::string_view text;
};

/// Whether a key of rank_pattern or alpha_pattern is no more than a name: `.` is any character, `\` takes the next one as it is, `^`
/// at the start asks for the whole name. Its characters, and which of them are any.
struct NameKey {
  bool whole = false;
  std::string text;
  std::vector<std::size_t> any;  // places

  static std::optional<NameKey> make(std::string_view anchored) {
    const auto [whole, key] = AnchoredKey(anchored);
    NameKey name{.whole = whole, .text = {}, .any = {}};
    for (std::size_t i = 0; i < key.size(); ++i) {
      const bool escaped = key[i] == '\\' && i + 1 < key.size() && !std::isalnum(static_cast<unsigned char>(key[i + 1]));
      if (escaped) ++i;
      if (!escaped && std::string_view("^$*+?()[]{}|\\").find(key[i]) != std::string_view::npos) return std::nullopt;
      if (key[i] == '.' && !escaped) name.any.push_back(name.text.size());
      name.text += key[i];
    }
    return name;
  }
};

/// The keys of rank_pattern or alpha_pattern: Python's `re.match(rf"(.*\.)?({key})$", module)`, and the first key that matches
/// counts. Source: PEFT, utils/other.py, get_pattern_key. Finding a module's key takes logarithmic time in the number of keys that
/// are names, so that 36,000 modules with a key each are read in seconds.
class PatternTable {
 public:
  explicit PatternTable(const std::vector<std::string>& keys) {
    for (std::size_t i = 0; i < keys.size(); ++i) {
      if (std::optional<NameKey> name = NameKey::make(keys[i])) {
        for (const std::size_t place : name->any) name->text[place] = '\0';
        Shape& shape = shapes_[name->text.size()];
        const auto same = std::ranges::find_if(shape, [&](const Group& g) { return g.any == name->any && g.whole == name->whole; });
        Group& group = same != shape.end() ? *same : shape.emplace_back(Group{name->whole, name->any, {}});
        group.keys.emplace(std::move(name->text), i);
        continue;
      }
      const auto [whole, key] = AnchoredKey(keys[i]);
      const bool ambiguous = whole && key.find('|') != std::string_view::npos;  // ^ would be of the first alternative alone
      std::optional<NameExpression> expression;
      if (!ambiguous) expression = NameExpression::make(whole ? std::string(key) : "(.*\\.)?(" + std::string(key) + ")");
      if (expression)
        expressions_.emplace_back(i, std::move(*expression));
      else if (!unreadable_)
        unreadable_ = i;
    }
  }

  /// The first key that is more of an expression than can be evaluated.
  std::optional<std::size_t> unreadable() const { return unreadable_; }

  /// The number of the first key that matches the module.
  std::optional<std::size_t> find(std::string_view module) const {
    std::optional<std::size_t> first;
    const auto found = [&](std::size_t key) {
      if (!first || key < *first) first = key;
    };
    for_each_ending(module, [&](std::string_view end) {
      const auto shape = shapes_.find(end.size());
      if (shape == shapes_.end()) return;
      for (const Group& group : shape->second) {
        if (group.whole && end.size() < module.size()) continue;
        std::string text(end);
        for (const std::size_t place : group.any) text[place] = '\0';
        if (const auto key = group.keys.find(text); key != group.keys.end()) found(key->second);
      }
    });
    for (const auto& [key, expression] : expressions_)
      if (!first || key < *first)
        if (expression.matches(module)) found(key);
    return first;
  }

 private:
  struct Group {  // keys of one length with `.` at the same places
    bool whole = false;
    std::vector<std::size_t> any = {};
    std::map<std::string, std::size_t, std::less<>> keys = {};  // any characters as NUL; to the number of the first such key
  };
  using Shape = std::vector<Group>;

  std::map<std::size_t, Shape> shapes_;  // by length
  std::vector<std::pair<std::size_t, NameExpression>> expressions_;
  std::optional<std::size_t> unreadable_;
};

/// Entries of target_modules, exclude_modules or modules_to_save, each a name or its last parts; finds all that a module has.
class NameList {
 public:
  explicit NameList(const std::vector<std::string>& entries) {
    for (std::size_t i = 0; i < entries.size(); ++i) index_.emplace(entries[i], i);
  }
  /// Calls found(number) for every entry that names the module.
  template <class Found>
  void for_each(std::string_view module, const Found& found) const {
    for_each_ending(module, [&](std::string_view end) {
      const auto [first, last] = index_.equal_range(end);
      for (auto it = first; it != last; ++it) found(it->second);
    });
  }
  bool names(std::string_view module) const {
    bool any = false;
    for_each(module, [&](std::size_t) { any = true; });
    return any;
  }

 private:
  std::multimap<std::string, std::size_t, std::less<>> index_;
};

/// An order for module names as keys of a pattern in which each finds itself first: PEFT takes the first key that matches, and
/// a name matches every module that ends in it, so long names go first. Of two names of one length, a `.` of one can stand for
/// a character of the other, never the reverse: fewer dots go first.
inline void sort_as_patterns(std::vector<std::string>& modules) {
  const auto dots = [](const std::string& name) { return std::count(name.begin(), name.end(), '.'); };
  sort_stably(modules, [&](const std::string& a, const std::string& b) {
    return a.size() != b.size() ? a.size() > b.size() : dots(a) < dots(b);
  });
}

}  // namespace lorasb::formats
