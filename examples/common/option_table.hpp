// One table of options for a program: the command line and the configuration of a run are both made from its rows.
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <initializer_list>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "lorasb/core/text.hpp"

namespace lorasb::examples {
namespace detail {

/// A check of a number that says "expected EXPECTED, not WORD"; `kind` stands in --help. Not a number is refused by all.
template <class Good>
CLI::Validator number_check(std::string kind, std::string expected, Good good) {
  return CLI::Validator(
      [expected, good](std::string& word) {
        double value = 0;
        if (CLI::detail::lexical_cast(word, value) && good(value)) return std::string();
        return concat("expected ", expected, ", not ", word);
      },
      std::move(kind));
}

}  // namespace detail

// CLI11's own checks show the largest double as a bound, and let nan pass.

inline CLI::Validator above_0() {
  return detail::number_check("POSITIVE", "a number above 0", [](double x) { return x > 0 && std::isfinite(x); });
}
inline CLI::Validator at_least_0() {
  return detail::number_check("NONNEGATIVE", "a number of at least 0", [](double x) { return x >= 0 && std::isfinite(x); });
}
template <class T>
CLI::Validator between(T least, T most) {
  const char* const kind = std::is_integral_v<T> ? "INT in [" : "FLOAT in [";
  return detail::number_check(concat(kind, least, " - ", most, "]"), concat("a number from ", least, " to ", most),
                              [=](double x) { return x >= double(least) && x <= double(most); });
}
inline CLI::Validator at_least(double least) {
  return detail::number_check("", concat("a number of at least ", least), [=](double x) { return x >= least && std::isfinite(x); });
}
/// The parser takes whole numbers that are too large for the largest.
inline CLI::Validator below(double limit) {
  return detail::number_check("", concat("a number below ", limit), [=](double x) { return x < limit; });
}
inline CLI::Validator finite_number() {
  return detail::number_check("", "a finite number", [](double x) { return std::isfinite(x); });
}

/// The flags that stand on the command line.
inline std::set<std::string> given_flags(const CLI::App& app) {
  std::set<std::string> given;
  for (const CLI::Option* option : app.get_options())
    if (option->count() > 0) given.insert(option->get_name());
  return given;
}

/// Flags that do nothing in calls of some kind.
struct UnusedFlags {
  bool here = false;  // the call is of that kind
  std::vector<std::string> flags;
  std::string why;
};
/// For each kind whose flags were given a line on standard error. A flag is in the first of them alone.
inline void say_unused(const char* program, std::set<std::string> given, const std::vector<UnusedFlags>& kinds) {
  for (const UnusedFlags& kind : kinds) {
    std::string found;
    int count = 0;
    for (const std::string& flag : kind.flags)
      if (kind.here && given.erase(flag) > 0) {
        found += (count == 0 ? "" : ", ") + flag;
        ++count;
      }
    if (count > 0) std::fprintf(stderr, "%s: %s %s nothing here: %s\n", program, found.c_str(), count == 1 ? "does" : "do", kind.why.c_str());
  }
}
/// The flags of `given` that are none of `used`.
inline std::vector<std::string> all_but(const std::set<std::string>& given, std::initializer_list<const char*> used) {
  std::vector<std::string> others;
  for (const std::string& flag : given)
    if (std::ranges::find(used, flag) == used.end()) others.push_back(flag);
  return others;
}

/// What a row says beside flag, value and help text.
struct OptionRow {
  const char* key = "";     // in the configuration: the option decides the bits of a run; empty: it does not
  std::optional<CLI::Validator> check = {};  // of the value
  bool show_default = true;  // false: the default is computed, and the help text says how
};

/// Rows are added to a CLI::App, to a configuration (name to text), or to both.
class OptionTable {
 public:
  using Config = std::map<std::string, std::string>;

  /// `app` may be null: only the configuration is wanted.
  explicit OptionTable(CLI::App* app) : app_(app) {
    if (app_ != nullptr)  // the last word counts, so that scripts can add theirs
      app_->option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  }

  bool has_command_line() const { return app_ != nullptr; }

  template <class T>
  void add(const char* flag, T& value, const char* help, const OptionRow& row = {}) {
    if constexpr (!std::is_same_v<T, std::filesystem::path>) set(row.key, value);
    if (app_ == nullptr) return;
    CLI::Option* const option = app_->add_option(flag, value, help);
    if (row.show_default) option->capture_default_str();
    if constexpr (is_unsigned<T>)  // the parser would take -1 for 2^64 - 1
      option->check([](const std::string& word) {
        return word.starts_with('-') ? "expected a number of at least 0, not " + word : std::string();
      });
    if constexpr (std::is_integral_v<T>)  // and the largest number for a larger one
      option->check([](const std::string& word) {
        T number = 0;
        const bool fits = std::from_chars(word.data(), word.data() + word.size(), number).ec != std::errc::result_out_of_range;
        return fits ? std::string() : concat("expected a number of at most ", std::numeric_limits<T>::max(), ", not ", word);
      });
    if constexpr (std::is_floating_point_v<T>) option->check(finite_number());
    if (row.check) option->check(*row.check);
  }
  void flag(const char* flag, bool& value, const char* help, const char* key = "") {
    set(key, int(value));
    if (app_ != nullptr) app_->add_flag(flag, value, help);
  }
  /// A word that `parse` understands: it returns what is wrong with a word, or nothing. `word` is the default, `kind` what
  /// --help shows in the place of a value.
  template <class Parse>
  void word(const char* flag, const std::string& word, const char* help, const char* key, Parse parse,
            const std::string& kind = "WORD") {
    set(key, word);
    if (app_ == nullptr) return;
    app_->add_option_function<std::string>(
            flag,
            [flag, parse](const std::string& given) {
              if (const std::string bad = parse(given); !bad.empty()) throw CLI::ValidationError(flag, bad);
            },
            help)
        ->type_name(kind)
        ->default_str(word);
  }
  /// One of `names`, which --help shows, and which stand for the values 0, 1, ... of an enumeration.
  template <class Enum, class Names>
  void choice(const char* flag, Enum& value, const Names& names, const char* help, const char* key = "") {
    word(
        flag, std::string(names[static_cast<std::size_t>(value)]), help, key,
        [&value, &names](const std::string& given) {
          const auto it = std::ranges::find(names, given);
          if (it == std::end(names)) return concat("expected ", listed(names), ", not \"", given, "\"");
          value = static_cast<Enum>(it - std::begin(names));
          return std::string();
        },
        joined(names));
  }
  /// Numbers with commas between them.
  template <class T>
  void list(const char* flag, std::vector<T>& values, const char* help, const char* key = "") {
    std::string text;
    for (const T& value : values) text += (text.empty() ? "" : ",") + std::to_string(value);
    set(key, text);
    if (app_ == nullptr) return;
    app_->add_option(flag, values, help)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->capture_default_str()
        ->delimiter(',')
        ->check(above_0());
  }

  /// A key of the configuration that no flag gives as it is.
  template <class T>
  void set(const char* key, const T& value) {
    if (*key != 0) config_[key] = concat(value);
  }
  const Config& config() const { return config_; }

 private:
  template <class T>
  struct UnsignedValue : std::is_unsigned<T> {};
  template <class T>
  struct UnsignedValue<std::optional<T>> : std::is_unsigned<T> {};
  template <class T>
  static constexpr bool is_unsigned = UnsignedValue<T>::value;

  /// "a|b|c"
  template <class Names>
  static std::string joined(const Names& names) {
    std::string text;
    for (const auto& name : names) text += (text.empty() ? "" : "|") + std::string(name);
    return text;
  }
  /// "a, b or c"
  template <class Names>
  static std::string listed(const Names& names) {
    std::string text;
    for (std::size_t i = 0; i < std::size(names); ++i)
      text += (i == 0 ? "" : i + 1 == std::size(names) ? " or " : ", ") + std::string(names[i]);
    return text;
  }

  CLI::App* app_;
  Config config_;
};

}  // namespace lorasb::examples
