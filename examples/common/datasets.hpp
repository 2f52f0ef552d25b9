// Finds a data set by the name that a user gives on the command line.
#pragma once

#include <algorithm>
#include <filesystem>
#include <string>
#include <string_view>

#include "examples/common/clinc150.hpp"
#include "examples/common/debian.hpp"
#include "examples/common/spam.hpp"
#include "examples/common/wordnet.hpp"
#include "lorasb/data/tsv_corpus.hpp"

namespace lorasb::examples {

/// How tsv files are read, with the programs' flags for messages.
inline TsvOptions tsv_options(bool header, bool pairs, ProblemType problem) {
  return {.header = header,
          .pairs = pairs,
          .problem = problem,
          .names = {.header = "--header", .regression = "--task regression"}};
}

namespace detail {

inline Corpus read_named(std::string_view name, const std::filesystem::path& spam_package, bool header, bool pairs,
                         const std::vector<std::string>& known, ProblemType problem) {
  if (name == "wordnet") return read_wordnet();
  if (name == "debian") return read_debian();
  if (name == "spam") return read_spam(spam_package);
  constexpr std::string_view clinc150 = "clinc150:", tsv = "tsv:";
  if (name.starts_with(clinc150)) {
    const std::string_view rest = name.substr(clinc150.size());
    const std::size_t colon = std::min(rest.find(':'), rest.size());
    const std::string_view domain = rest.substr(std::min(colon + 1, rest.size()));
    if (colon > 0 && (colon == rest.size() || !domain.empty())) return read_clinc150(rest.substr(0, colon), domain);
  }
  if (name.starts_with(tsv)) {
    const std::string_view files = name.substr(tsv.size());
    const std::size_t colon = files.find(':');
    if (colon != std::string_view::npos && colon > 0 && colon + 1 < files.size() && files.find(':', colon + 1) == files.npos)
      return read_tsv(files.substr(0, colon), files.substr(colon + 1), tsv_options(header, pairs, problem), known);
  }
  throw Error(ErrorId::data, concat("read_dataset: \"", name, "\", expected wordnet, debian, spam, clinc150:FILE[:DOMAIN] or tsv:TRAIN:TEST",
                                    std::ranges::count(name, ':') > 2 ? "; the names of files hold no colon" : ""));
}

}  // namespace detail

/// `name` is wordnet, debian, spam, clinc150:FILE[:DOMAIN] or tsv:TRAIN:TEST (files whose names hold no colon); `spam_package`
/// is the folder of the unpacked npm package that spam reads; `header` says that tsv files begin with one, `pairs` that their
/// lines have two texts. Labels that are `known` stand first in label_names, in their order, and need not occur. Another
/// `problem` than one label a text is read from tsv files alone. Throws ErrorId::data for another name, and what the readers
/// throw.
inline Corpus read_dataset(std::string_view name, const std::filesystem::path& spam_package, bool header = false,
                           bool pairs = false, const std::vector<std::string>& known = {},
                           ProblemType problem = ProblemType::single_label) {
  Corpus corpus = detail::read_named(name, spam_package, header, pairs, known, problem);
  put_known_first(corpus, known);
  return corpus;
}

}  // namespace lorasb::examples
