// The expressions in configurations of PEFT, evaluated by the C library.
#pragma once

#include "lorasb/core/requirements.hpp"  // first

#include <regex.h>

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace lorasb::formats {

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

}  // namespace lorasb::formats
