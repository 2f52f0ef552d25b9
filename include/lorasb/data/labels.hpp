// From the labels that a user wrote to what texts should come out as: a class, any number of labels, or a number.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/data/corpus.hpp"
#include "lorasb/nn/problem.hpp"
#include "lorasb/text/nfkc.hpp"

namespace lorasb::data {

using nn::ProblemType;

/// The one output of a regression, as transformers names it.
inline constexpr const char* regression_label = "LABEL_0";

/// A label in the spelling that texts have (NFKC), without white space around it, and whether there was some.
inline std::pair<std::string, bool> clean_label(std::string_view label) {
  const text::CodePoints all = text::nfkc(label);
  const auto stays = [](std::int32_t c) { return !text::is_whitespace(c); };
  const auto first = std::ranges::find_if(all, stays);
  auto last = all.end();
  while (last != first && !stays(*(last - 1))) --last;
  std::string out;
  for (auto at = first; at != last; ++at) text::append_utf8(*at, out);
  return {std::move(out), first != all.begin() || last != all.end()};
}

namespace detail {

/// A label with its white space as a sign and letters without width by number, cut after 80 letters.
inline std::string visible(std::string_view label) {
  std::string out;
  int left = 80;
  for (const std::int32_t c : text::decode_utf8(label)) {
    if (--left < 0) {
      out += "…";
      break;
    }
    if (utf8proc_category(c) == UTF8PROC_CATEGORY_CF) {  // of format: no width of their own
      char number[16];
      std::snprintf(number, sizeof number, "<U+%04X>", static_cast<unsigned>(c));
      out += number;
    } else {
      text::append_utf8(text::is_whitespace(c) ? 0x2423 : c, out);
    }
  }
  return without_controls(out);
}

/// "it knows bad, good": at most 30 labels, at the end of messages about one that is not among them.
inline std::string known_note(const std::vector<std::string>& labels) {
  constexpr std::size_t most = 30;
  std::string note = "it knows ";
  for (std::size_t i = 0; i < std::min(most, labels.size()); ++i) note += (i == 0 ? "" : ", ") + visible(labels[i]);
  if (labels.size() > most) note += concat(" and ", labels.size() - most, " more");
  return note;
}

}  // namespace detail

/// What a program's user has to say for a setting that a message advises.
struct OptionNames {
  std::string_view header = "TsvOptions::header";
  std::string_view regression = "ProblemType::regression";
};

/// Rows of a file, for messages that name a line. Lines count from 1, and a header is one.
struct RowSource {
  std::string_view reader;  // what begins the message
  const std::filesystem::path& path;
  bool header = false;
  OptionNames names = {};

  template <class... Parts>
  void check(bool good, std::size_t row, const Parts&... parts) const {
    require(good, ErrorId::data, reader, ": \"", path.string(), "\", line ", row + 1 + header, parts...);
  }
};

/// The labels of "a, b": without white space around them, each once. None of "". Throws ErrorId::data for an empty label beside
/// a comma.
inline std::set<std::string> label_set(std::string_view field, std::size_t row, const RowSource& source) {
  std::set<std::string> labels;
  while (!field.empty()) {
    const std::size_t comma = std::min(field.find(','), field.size());
    std::string label = clean_label(field.substr(0, comma)).first;
    source.check(!label.empty() && comma + 1 != field.size(), row, " has an empty label beside a comma");
    labels.insert(std::move(label));
    field.remove_prefix(std::min(comma + 1, field.size()));
  }
  return labels;
}

/// Throws ErrorId::data for what is no finite number.
inline float label_number(const std::string& field, std::size_t row, const RowSource& source) {
  double number = 0;
  const char* const end = field.data() + field.size();
  const auto [read, error] = std::from_chars(field.data() + (field.starts_with("+") && !field.starts_with("+-")), end, number);
  const bool is_number = error != std::errc::invalid_argument && read == end && !std::isnan(number) && !std::isinf(number);
  source.check(is_number, row, " has \"", is_number ? "" : detail::visible(field),
               "\" before its tab, expected a number for ", source.names.regression,
               row == 0 && !source.header ? concat("; if it is a header, say ", source.names.header) : std::string());
  source.check(error == std::errc() && is_finite(float(number)), row, " has \"", field, "\" before its tab, which float cannot hold");
  return float(number);
}

/// The labels of a multi-label problem: the `known` ones in their order, then the others in that of their names. Throws
/// ErrorId::data for no label at all.
inline std::vector<std::string> multi_label_names(const std::vector<Row>& rows, const std::vector<std::string>& known,
                                                  const RowSource& source) {
  std::set<std::string> found;
  for (std::size_t i = 0; i < rows.size(); ++i) found.merge(label_set(rows[i].label, i, source));
  std::vector<std::string> names = known;
  std::ranges::copy_if(found, std::back_inserter(names),
                       [&](const std::string& name) { return std::ranges::find(known, name) == known.end(); });
  require(!names.empty(), ErrorId::data, source.reader, ": \"", source.path.string(), "\": no line has a label");
  return names;
}

/// Rows as examples of a problem with the labels `names`. `unknown` is said of a label that is none of them. Throws
/// ErrorId::data, with the line, for that, an empty label beside a comma and what should be a number and is none.
inline std::vector<Example> label_rows(std::vector<Row> rows, ProblemType problem, const std::vector<std::string>& names,
                                       const RowSource& source, std::string_view unknown) {
  std::map<std::string_view, std::int32_t> places;
  for (const std::string& name : names) places.emplace(name, std::int32_t(places.size()));
  const auto place = [&](const std::string& label, std::size_t row) {
    const auto at = places.find(label);
    const bool is_known = at != places.end();
    source.check(is_known, row, " has the label \"", is_known ? "" : detail::visible(label), "\", ", unknown, ": ",
                 is_known ? "" : detail::known_note(names));
    return at->second;
  };
  std::vector<Example> examples;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    Example& example = examples.emplace_back();
    if (problem == ProblemType::single_label) {
      example.label = place(rows[i].label, i);
    } else if (problem == ProblemType::regression) {
      example.values = {label_number(rows[i].label, i, source)};
    } else {
      example.values.resize(names.size());
      for (const std::string& label : label_set(rows[i].label, i, source))
        example.values[static_cast<std::size_t>(place(label, i))] = 1;
    }
    example.text = std::move(rows[i].text);
  }
  return examples;
}

}  // namespace lorasb::data
