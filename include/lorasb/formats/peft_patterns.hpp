// How PEFT finds the modules that a name in its configuration means.
#pragma once

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lorasb::formats {

/// An entry of target_modules or modules_to_save: the whole name of the module, or its last parts. "attention.query" means
/// "encoder.0.attention.query" but not "encoder.0.self_attention.query".
/// Source: PEFT, tuners/tuners_utils.py, check_target_module_exists.
inline bool names_module(std::string_view entry, std::string_view module) {
  return module.ends_with(entry) && (module.size() == entry.size() || module[module.size() - entry.size() - 1] == '.');
}

/// A key of rank_pattern or alpha_pattern: the Python expression `re.match(rf"(.*\.)?({key})$", module)`. Keys are read as far
/// as names need it: `.` is any character, `\` takes the next one as it is, `^` at the start asks for the whole name. Nothing
/// for a key that uses more of regular expressions. Source: PEFT, utils/other.py, get_pattern_key.
inline std::optional<bool> pattern_matches(std::string_view key, std::string_view module) {
  const bool whole = key.starts_with('^');
  if (whole) key.remove_prefix(1);
  if (key.ends_with('$') && !key.ends_with("\\$")) key.remove_suffix(1);
  struct Character {
    char value;
    bool any;
  };
  std::vector<Character> name;
  for (std::size_t i = 0; i < key.size(); ++i) {
    const bool escaped = key[i] == '\\' && i + 1 < key.size() && !std::isalnum(static_cast<unsigned char>(key[i + 1]));
    if (escaped) ++i;
    if (!escaped && std::string_view("^$*+?()[]{}|\\").find(key[i]) != std::string_view::npos) return std::nullopt;
    name.push_back({key[i], key[i] == '.' && !escaped});
  }
  if (name.size() > module.size()) return false;
  const std::size_t start = module.size() - name.size();
  if (start > 0 && (whole || module[start - 1] != '.')) return false;
  return std::equal(name.begin(), name.end(), module.begin() + static_cast<std::ptrdiff_t>(start),
                    [](const Character& c, char m) { return c.any || c.value == m; });
}

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
