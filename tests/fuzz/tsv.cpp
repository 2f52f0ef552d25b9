// Fuzzes the reader of the user's own texts, and of a test file for a classifier that is there.
#include "lorasb/data/tsv_corpus.hpp"

#include "fuzz/fuzz.hpp"
#include "fuzz/mutator.hpp"

namespace lorasb::fuzz {
namespace {

/// What a program's user says of the files, as letters: h the first line is a header, p pairs, m many labels, r numbers, k the
/// labels of a classifier that is there.
struct TsvForm {
  data::TsvOptions options;
  std::vector<std::string> known;
};
TsvForm form_of(const std::string& letters) {
  const auto says = [&](char letter) { return letters.find(letter) != letters.npos; };
  TsvForm form{.options = {.header = says('h'), .pairs = says('p')}, .known = {}};
  if (says('m')) form.options.problem = data::ProblemType::multi_label;
  if (says('r')) form.options.problem = data::ProblemType::regression;
  if (says('k')) form.known = {"spam", "ham"};
  return form;
}

std::vector<Input> tsv_seeds() {
  return {{{{true, "spam\tbuy now\nham\tsee you\nspam\tcheap\n"}, {true, "ham\thello\n"}, {true, ""}}},
          {{{true, "\xEF\xBB\xBFlabel\ttext\r\n\xef\xac\x81 \ta\tb\r\n b\xc3\xa9\tc\r\n\r\n"},
            {true, "label\ttext\nfi\tx\n"},
            {true, "h"}}},
          {{{true, "spam, ham\ta\tb\n\tc\td\nnew\te\tf\n"}, {true, "new,spam\tg\th\n"}, {true, "mpk"}}},
          {{{true, "1.5\ta\n-2e3\tb\n"}, {true, "+0.25\tc\n"}, {true, "r"}}}};
}

void mutate_tsv(Input& input, Mutator& m) {
  static const std::vector<std::string> words{"\t", "spam\tx",  "ham\ty",       "\r", "\r\n", "\xEF\xBB\xBF",  " ",    "\xc2\xa0", "\xef\xac\x81",
                                              "",   "spam", "a\tb\tc", ",",  ", ham", "\xef\xbc\x8c", "1e39", "-0",       "nan"};
  if (m.one_in(30)) {
    const char letter = "hpmrk"[m.below(5)];
    if (std::erase(input[2], letter) == 0) input[2] += letter;
  } else {
    m.lines(input[m.below(2)], words);
  }
}

bool same_rows(const std::vector<data::Example>& a, const std::vector<data::Example>& b) {
  return std::ranges::equal(a, b, [](const data::Example& x, const data::Example& y) {
    return x.text == y.text && x.label == y.label && x.values == y.values;
  });
}

/// What stands before the tab of a row.
std::string field_of(const data::Example& row, const std::vector<std::string>& labels, data::ProblemType problem) {
  if (problem == data::ProblemType::single_label) return labels.at(std::size_t(row.label));
  if (problem == data::ProblemType::regression) return concat(row.values.at(0));
  std::string field;
  for (std::size_t c = 0; c < labels.size(); ++c)
    if (row.values.at(c) > 0) field += (field.empty() ? "" : ",") + labels[c];
  return field;
}

/// The test file alone, as a program reads it for a classifier that knows its labels: it may have no new ones.
void read_test_alone(const std::filesystem::path& path, const TsvForm& form) {
  const std::vector<std::string> labels{"spam", "ham", "fi"};
  try {
    for (const data::Example& row : data::read_labelled_file(path, labels, form.options))
      must(row.label >= 0 && std::size_t(row.label) < labels.size(), "a text has a label that the classifier does not know");
  } catch (const Error&) {
  }
  if (!writes_again()) return;
  try {
    (void)data::read_text_lines(path, form.options.pairs);
  } catch (const Error&) {
  }
}

void read_tsv(const Input& input, const std::filesystem::path& folder) {
  const TsvForm form = form_of(input[2]);
  read_test_alone(folder / "test.tsv", form);
  data::Corpus read = data::read_tsv(folder / "train.tsv", folder / "test.tsv", form.options, form.known);
  const std::size_t fewest = form.options.problem == data::ProblemType::single_label ? 2 : 1;
  must(read.label_names.size() >= fewest && !read.examples.empty() && !read.test.empty(), "a file without texts was accepted");
  if (!writes_again()) return;
  must_not_throw("a test file is refused with the labels of its training file", [&] {
    must(same_rows(data::read_labelled_file(folder / "test.tsv", read.label_names, form.options), read.test),
         "a test file is another one alone");
  });
  const std::filesystem::path again = second_folder();
  const auto write = [&](const char* name, const std::vector<data::Example>& rows) {
    std::ofstream file(again / name, std::ios::binary);
    file << "\xEF\xBB\xBF";  // one is passed over, also where a label begins with another
    for (const data::Example& row : rows) file << field_of(row, read.label_names, form.options.problem) << '\t' << row.text << "\r\n";
  };
  write("train.tsv", read.examples);
  write("test.tsv", read.test);
  must_not_throw("texts that were read cannot be written and read again", [&] {
    const data::Corpus other = data::read_tsv(again / "train.tsv", again / "test.tsv",
                                              {.pairs = form.options.pairs, .problem = form.options.problem}, form.known);
    must(other.label_names == read.label_names && same_rows(other.examples, read.examples) && same_rows(other.test, read.test),
         "texts are not what was read");
  });
  if (form.options.problem == data::ProblemType::single_label) {
    const std::vector<data::Example> before = read.test;
    const std::vector<std::string> names = read.label_names;
    data::put_known_first(read, {"new", "ham"});
    for (std::size_t i = 0; i < before.size(); ++i)
      must(read.label_names.at(std::size_t(read.test[i].label)) == names.at(std::size_t(before[i].label)), "a label has become another one");
  }
}

const Registered tsv_reader({.name = "tsv",
                             .files = {"train.tsv", "test.tsv", "header"},
                             .seeds = tsv_seeds,
                             .mutate = mutate_tsv,
                             .past_first_check =
                                 [](const Input& input) {  // the first line has a label, a tab and a text, in UTF-8
                                   const std::string line = input[0].substr(0, input[0].find('\n'));
                                   const std::size_t tab = line.find('\t');
                                   return (tab > 0 || input[2].find('m') != line.npos) && tab != line.npos && tab + 1 < line.size() &&
                                          !text::invalid_utf8(line);
                                 },
                             .read = read_tsv});

}  // namespace
}  // namespace lorasb::fuzz
