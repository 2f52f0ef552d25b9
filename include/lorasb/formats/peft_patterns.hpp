// How PEFT finds the modules that a name or an expression in its configuration means.
#pragma once

#include "lorasb/core/requirements.hpp"  // first

#include <regex.h>

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

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

/// A Python expression that a whole name must match, evaluated by the C library. Expressions of patterns are read as far as module
/// names need them: classes, groups, |, repetitions, \d \w \s, named groups. make() gives nothing for one that is not, such as one
/// that looks ahead or back, that repeats something more than 64 times or without an end what may be empty, that has more than 2,000
/// parts when repetitions are written out, or that is longer than 1,000 characters.
class NameExpression {
 public:
  static std::optional<NameExpression> make(std::string_view python) {
    const std::optional<std::string> posix = translate(python);
    if (!posix) return std::nullopt;
    std::unique_ptr<regex_t, Free> compiled(new regex_t{});
    if (regcomp(compiled.get(), ("^(" + *posix + ")$").c_str(), REG_EXTENDED | REG_NOSUB) != 0) {
      delete compiled.release();  // there is nothing to free in it
      return std::nullopt;
    }
    return NameExpression(std::move(compiled));
  }
  /// Names of more than 4,096 bytes match nothing.
  bool matches(std::string_view name) const {
    return name.size() <= 4096 && name.find('\0') == std::string_view::npos &&
           regexec(compiled_.get(), std::string(name).c_str(), 0, nullptr, 0) == 0;
  }

 private:
  struct Free {
    void operator()(regex_t* compiled) const {
      regfree(compiled);
      delete compiled;
    }
  };
  explicit NameExpression(std::unique_ptr<regex_t, Free> compiled) : compiled_(std::move(compiled)) {}

  /// What the C library can take. It writes repetitions out (x+ is xx* there: twenty + around each other are a million parts, and forty
  /// take all memory), and its time doubles with every loop around something that may be empty, such as (.*)*.
  class Parts {
   public:
    void atom(bool may_be_empty = false) { add(1, may_be_empty); }
    void open() { outer_.push_back(std::exchange(group_, {})); }
    void alternative() {
      group_.empty_branch = group_.empty_branch || group_.empty;
      group_.empty = group_.empty_before_last = true;
      add(1, true);
    }
    void close() {
      good_ = good_ && !outer_.empty();
      if (!good_) return;
      const Group inner = std::exchange(group_, outer_.back());
      outer_.pop_back();
      add(inner.parts + 1, inner.empty || inner.empty_branch);
    }
    /// Of the last part: x{least,most}, without an end as x* and x+.
    void repeat(std::size_t least, std::size_t most, bool without_end) {
      good_ = good_ && !(without_end && group_.last_empty);
      group_.parts -= group_.last;
      group_.empty = group_.empty_before_last;
      add((most + without_end) * group_.last, group_.last_empty || least == 0);
    }
    bool good() const { return good_; }

   private:
    struct Group {
      std::size_t parts = 0, last = 0;       // of all, of the last one
      bool last_empty = false;               // whether the last part may be empty,
      bool empty_before_last = true, empty = true;  // all before it, all of this alternative
      bool empty_branch = false;             // or one before
    };
    void add(std::size_t parts, bool may_be_empty) {
      group_.last = parts;
      group_.last_empty = may_be_empty;
      group_.parts += parts;
      group_.empty_before_last = group_.empty;
      group_.empty = group_.empty && may_be_empty;
      good_ = good_ && group_.parts <= 2000;
    }
    std::vector<Group> outer_;  // the groups that are open
    Group group_;
    bool good_ = true;
  };

  /// POSIX's extended syntax.
  static std::optional<std::string> translate(std::string_view python) {
    if (python.size() > 1000) return std::nullopt;
    std::string posix;
    bool in_class = false;
    Parts parts;
    for (std::size_t i = 0; i < python.size() && parts.good(); ++i) {
      const char c = python[i];
      const char next = i + 1 < python.size() ? python[i + 1] : '\0';
      if (c == '\\') {
        ++i;
        const std::string_view of_class = next == 'd' ? "0-9" : next == 'w' ? "[:alnum:]_" : next == 's' ? "[:space:]" : "";
        if (!of_class.empty())
          posix += in_class ? std::string(of_class) : "[" + std::string(of_class) + "]";
        else if (next == '\0' || std::isalnum(static_cast<unsigned char>(next)) || (in_class && (next == ']' || next == '\\' || next == '^' || next == '-')))
          return std::nullopt;
        else
          (in_class ? posix : posix += '\\') += next;
        if (!in_class) parts.atom();
      } else if (in_class) {
        if (c == '[') return std::nullopt;
        in_class = c != ']' || posix.ends_with('[') || posix.ends_with("[^");
        posix += c;
      } else if (c == '(' && next == '?') {
        const std::size_t end = python.substr(i).starts_with("(?P<") ? python.find('>', i) : python.find(':', i);
        if (end == std::string_view::npos || (!python.substr(i).starts_with("(?P<") && end != i + 2)) return std::nullopt;
        posix += '(';
        parts.open();
        i = end;
      } else if (c == '{') {
        std::size_t digits = i + 1;
        int least = -1, largest = 0, number = 0;
        for (; digits < python.size() && python[digits] != '}'; ++digits) {
          if (python[digits] == ',') {
            least = number;
            number = 0;
            continue;
          }
          if (!std::isdigit(static_cast<unsigned char>(python[digits]))) return std::nullopt;
          number = std::min(1000, 10 * number + (python[digits] - '0'));
          largest = std::max(largest, number);
        }
        if (digits == python.size() || largest > 64 || largest == 0) return std::nullopt;
        if (least < 0) least = number;
        parts.repeat(static_cast<std::size_t>(least), static_cast<std::size_t>(largest), python[digits - 1] == ',');
        posix += python.substr(i, digits + 1 - i);
        i = digits;
      } else {
        const bool repeats = !posix.empty() && (posix.back() == '*' || posix.back() == '+' || posix.back() == '?' || posix.back() == '}');
        const bool escaped = posix.size() >= 2 && posix[posix.size() - 2] == '\\';
        if (c == '?' && repeats && !escaped) continue;  // lazy: the same names match
        if ((c == '*' || c == '+') && repeats && !escaped) return std::nullopt;
        in_class = c == '[';
        if (c == '(')
          parts.open();
        else if (c == ')')
          parts.close();
        else if (c == '|')
          parts.alternative();
        else if (c == '*' || c == '+')
          parts.repeat(c == '+', 1, true);
        else if (c == '?')
          parts.repeat(0, 1, false);
        else
          parts.atom(c == '^' || c == '$');
        posix += c;
      }
    }
    if (in_class || !parts.good()) return std::nullopt;
    return posix;
  }

  std::unique_ptr<regex_t, Free> compiled_;
};

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
  std::stable_sort(modules.begin(), modules.end(), [&](const std::string& a, const std::string& b) {
    return a.size() != b.size() ? a.size() > b.size() : dots(a) < dots(b);
  });
}

}  // namespace lorasb::formats
