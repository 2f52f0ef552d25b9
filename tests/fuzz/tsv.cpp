// Fuzzes the reader of the user's own texts.
#include "lorasb/data/tsv_corpus.hpp"

#include "fuzz/fuzz.hpp"
#include "fuzz/mutator.hpp"

namespace lorasb::fuzz {
namespace {

std::vector<Input> tsv_seeds() {
  return {{{{true, "spam\tbuy now\nham\tsee you\nspam\tcheap\n"}, {true, "ham\thello\n"}, {true, ""}}},
          {{{true, "\xEF\xBB\xBFlabel\ttext\r\n\xef\xac\x81 \ta\tb\r\n b\xc3\xa9\tc\r\n\r\n"},
            {true, "label\ttext\nfi\tx\n"},
            {true, "h"}}}};
}

void mutate_tsv(Input& input, Mutator& m) {
  static const std::vector<std::string> words{"\t", "spam\tx",  "ham\ty",       "\r", "\r\n", "\xEF\xBB\xBF",
                                              " ",  "\xc2\xa0", "\xef\xac\x81", "",   "spam", "a\tb\tc"};
  if (m.one_in(30)) {
    input[2] = m.one_in(2) ? "" : "h";
  } else {
    m.lines(input[m.below(2)], words);
  }
}

void read_tsv(const Input& input, const std::filesystem::path& folder) {
  const data::Corpus read = data::read_tsv(folder / "train.tsv", folder / "test.tsv", {.header = !input[2].empty()});
  must(read.label_names.size() >= 2 && !read.examples.empty() && !read.test.empty(), "a file without texts was accepted");
  const std::filesystem::path again = second_folder();
  const auto write = [&](const char* name, const std::vector<data::Example>& rows) {
    std::ofstream file(again / name, std::ios::binary);
    file << "\xEF\xBB\xBF";  // one is passed over, also where a label begins with another
    for (const data::Example& row : rows) file << read.label_names.at(std::size_t(row.label)) << '\t' << row.text << "\r\n";
  };
  write("train.tsv", read.examples);
  write("test.tsv", read.test);
  must_not_throw("texts that were read cannot be written and read again", [&] {
    const data::Corpus other = data::read_tsv(again / "train.tsv", again / "test.tsv");
    const auto same = [](const data::Example& a, const data::Example& b) {
      return a.text == b.text && a.label == b.label;
    };
    must(other.label_names == read.label_names && std::ranges::equal(other.examples, read.examples, same) &&
             std::ranges::equal(other.test, read.test, same),
         "texts are not what was read");
  });
}

const Registered tsv_reader({.name = "tsv",
                             .files = {"train.tsv", "test.tsv", "header"},
                             .seeds = tsv_seeds,
                             .mutate = mutate_tsv,
                             .past_first_check =
                                 [](const Input& input) {  // the first line has a label, a tab and a text, in UTF-8
                                   const std::string line = input[0].substr(0, input[0].find('\n'));
                                   const std::size_t tab = line.find('\t');
                                   return tab > 0 && tab != line.npos && tab + 1 < line.size() && !text::invalid_utf8(line);
                                 },
                             .read = read_tsv});

}  // namespace
}  // namespace lorasb::fuzz
