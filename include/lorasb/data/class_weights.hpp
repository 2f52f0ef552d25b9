// Weights of the classes in the loss, for sets in which some are rare.
#pragma once

#include <algorithm>
#include <charconv>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lorasb/data/tsv.hpp"

namespace lorasb::data {

/// w_c = n / (k n_c) for n texts in k classes that occur, n_c of them in class c, as scikit-learn's "balanced" has it: the mean
/// weight of a text is 1. A class without texts has the weight 1.
inline std::vector<double> balanced_weights(Index classes, std::span<const std::int32_t> labels) {
  std::vector<double> counts(static_cast<std::size_t>(classes));
  for (const std::int32_t label : labels) ++counts.at(static_cast<std::size_t>(label));
  const double occur = double(std::ranges::count_if(counts, [](double n) { return n > 0; }));
  std::vector<double> weights;
  for (const double n : counts) weights.push_back(n > 0 ? double(labels.size()) / (occur * n) : 1);
  return weights;
}

/// Those of a file with a line label<TAB>weight for every class. Throws what read_tsv_file() throws, and ErrorId::data for a
/// weight that is no number above 0, and for a class that is not known, comes twice or is missing. `reader` begins the messages.
inline std::vector<double> read_class_weights(const std::filesystem::path& path, const std::vector<std::string>& names,
                                              std::string_view reader = "read_class_weights") {
  std::vector<double> weights(names.size());
  for (const Row& row : read_tsv_file(path)) {
    const auto check = [&](bool good, const auto&... parts) {
      require(good, ErrorId::data, reader, ": \"", path.string(), "\": the label \"", row.label, "\" ", parts...);
    };
    const auto name = std::ranges::find(names, row.label);
    check(name != names.end(), "is none of the classes");
    double& weight = weights[static_cast<std::size_t>(name - names.begin())];
    check(weight == 0, "comes twice");
    const char* const end = row.text.data() + row.text.size();
    const auto [read, error] = std::from_chars(row.text.data(), end, weight);
    check(error == std::errc() && read == end && is_finite(weight) && weight > 0, "has the weight \"", row.text,
          "\", expected a number above 0");
  }
  for (std::size_t c = 0; c < names.size(); ++c)
    require(weights[c] > 0, ErrorId::data, reader, ": \"", path.string(), "\" has no weight for the class \"", names[c],
            "\"");
  return weights;
}

}  // namespace lorasb::data
