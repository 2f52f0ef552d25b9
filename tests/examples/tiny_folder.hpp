// lorasb-finetune on a tiny BERT, in a folder of its own.
#pragma once

#include <nlohmann/json.hpp>

#include "catch.hpp"
#include "program.hpp"

#ifdef LORASB_FINETUNE

namespace lorasb::test {

inline std::vector<std::string> with(std::vector<std::string> arguments, std::initializer_list<std::string> more) {
  arguments.insert(arguments.end(), more);
  return arguments;
}

/// A tiny BERT and texts of its words, in which one word decides the label.
struct TinyFolder : TextFolder {
  std::filesystem::path model = path / "model";
  TinyFolder() {
    std::filesystem::copy(std::filesystem::path(LORASB_TEST_DIR) / ".." / "models" / "golden" / "tiny_bert", model);
    std::ofstream(model / "vocab.txt") << "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\n##a\n##b\nthe\ngood\nbad\n.\nis\n";
    write("train.tsv", {"good", "bad"}, 40);
    write("test.tsv", {"good", "bad"}, 12);
  }
  /// `count` lines of each label; a label is the first word of its texts.
  void write(const std::string& name, const std::vector<std::string>& labels, int count) const {
    const std::vector<std::string> ends{"a", "b", "the b", "is a b", "ab ba .", "the"};
    std::ofstream out(path / name);
    for (int i = 0; i < count; ++i)
      for (const std::string& label : labels)
        out << label << "\t" << label << " " << ends[std::size_t(i) % ends.size()] << "\n";
  }
  std::vector<std::string> words(const std::string& out, std::initializer_list<std::string> more = {}) const {
    return with(
        {"--data", data(), "--out", (path / out).string(), "--batch", "8", "--epochs", "1", "--threads", "1", "--seed", "5"},
        more);
  }
  int run(const std::vector<std::string>& words) const { return finish(start(LORASB_FINETUNE, words, path / "log")); }
  /// A run that must end well.
  nlohmann::json metrics_of(const std::string& out, std::initializer_list<std::string> more) const {
    const int status = run(words(out, more));
    INFO(said());
    REQUIRE(status == 0);
    return nlohmann::json::parse(slurp(path / out / "metrics.json"));
  }
  std::string said() const { return slurp(path / "log"); }
  void refused(const std::vector<std::string>& words, const std::string& why) const {
    const int status = run(words);
    CHECK(status > 0);
    CHECK(status < 128);
    CHECK_THAT(said(), Catch::Contains(why));
  }
};

}  // namespace lorasb::test

#endif
