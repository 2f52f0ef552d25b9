// A run goes on only with the configuration that it started with.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "lorasb/core/check.hpp"
#include "lorasb/core/text.hpp"

namespace lorasb::io {

/// Throws `id` with all differences, in the order of the names: one option of a user can decide several. `what` is the file that
/// the saved one comes from.
inline void require_same_config(const std::map<std::string, std::string>& saved,
                                const std::map<std::string, std::string>& current, std::string_view what = "the checkpoint",
                                ErrorId id = ErrorId::checkpoint) {
  const auto find = [](const std::map<std::string, std::string>& config, const std::string& key) {
    const auto it = config.find(key);
    return it == config.end() ? nullptr : &it->second;
  };
  const auto shown = [](const std::string* text) { return text == nullptr ? "absent" : in_quotes(*text); };
  std::map<std::string, std::string> all = saved;
  all.insert(current.begin(), current.end());
  std::string differences;
  for (const auto& [key, unused] : all) {
    const std::string* const was = find(saved, key);
    const std::string* const is = find(current, key);
    if (was != nullptr && is != nullptr && *was == *is) continue;
    differences += concat(differences.empty() ? "" : ", ", in_quotes(key), " was ", shown(was), " and is now ", shown(is));
  }
  require(differences.empty(), id, what, " is of another run: ", differences);
}

}  // namespace lorasb::io
