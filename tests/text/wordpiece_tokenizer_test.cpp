#include "lorasb/text/wordpiece_tokenizer.hpp"

#include "golden_tokens.hpp"
#include "io/files.hpp"
#include "lorasb/text/open_tokenizer.hpp"
#include "models/model_files.hpp"

using namespace lorasb;
using namespace lorasb::text;
using namespace lorasb::test;

namespace {

const Vocabulary pieces{{"[UNK]", 0}, {"[CLS]", 1}, {"[SEP]", 2}, {"un", 3},    {"##aff", 4}, {"##able", 5},
                       {"a", 6},     {"##a", 7},   {"!", 8},     {"[MASK]", 9}, {"É", 10},    {"e", 11}};
const SequenceTemplate bert = SequenceTemplate::around(1, 2, 1, 1);

}  // namespace

TEST_CASE("Ids and token types are those of Hugging Face's WordPiece, of single texts and of pairs that are cut") {
  check_golden_tokens(WordPieceTokenizer::from_json(golden_folder / "wordpiece_tokenizer.json"), "wordpiece_tokens.json");
}

TEST_CASE("A word is cut into the longest pieces, and is one unknown token where that fails") {
  const WordPieceTokenizer tokenizer(pieces, {}, {}, bert);
  CHECK(tokenizer.size() == 12);
  CHECK(tokenizer.encode("unaffable").ids == Ids{1, 3, 4, 5, 2});
  CHECK(tokenizer.encode("UNAFFABLE a!").ids == Ids{1, 3, 4, 5, 6, 8, 2});
  CHECK(tokenizer.encode("unaffablx").ids == Ids{1, 0, 2});
  CHECK(tokenizer.encode("").ids == Ids{1, 2});
  CHECK(tokenizer.pieces("É") == Ids{11});
  CHECK(tokenizer.pieces(std::string(100, 'a')).size() == 100);
  CHECK(tokenizer.pieces(std::string(101, 'a')) == Ids{0});
}

TEST_CASE("Case and accents are kept where the configuration says so") {
  const TemporaryFolder folder;
  const auto file = folder.write("vocab.txt", "[UNK]\n[CLS]\n[SEP]\nÉ\ne\r\né\n中a\n");
  const auto pieces = [&](const char* config) {
    return WordPieceTokenizer::from_vocabulary(file, nlohmann::json::parse(config)).pieces("É 中a");
  };
  CHECK(WordPieceTokenizer::from_vocabulary(file).pieces("É 中a") == Ids{4, 0, 0});
  CHECK(pieces(R"({"do_lower_case": false})") == Ids{3, 0, 0});
  CHECK(pieces(R"({"strip_accents": false, "tokenize_chinese_chars": false})") == Ids{5, 6});
}

TEST_CASE("Special tokens in the text are kept whole, but not in another spelling") {
  const TemporaryFolder folder;
  const auto tokenizer =
      WordPieceTokenizer::from_vocabulary(folder.write("vocab.txt", "[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n[\n]\nmask\n"));
  CHECK(tokenizer.encode("a[MASK]a [mask]").ids == Ids{1, 4, 3, 4, 5, 7, 6, 2});
}

TEST_CASE("A text is cut to the limit and says so") {
  const WordPieceTokenizer tokenizer(pieces, {}, {}, bert);
  CHECK(!tokenizer.encode("a a a", 5).cut);
  const Encoding cut = tokenizer.encode("a a a", 4);
  CHECK(cut.cut);
  CHECK(cut.ids == Ids{1, 6, 6, 2});
  const Encoding pair = tokenizer.encode_pair("a", "! ! ! !", 6);
  CHECK(pair.ids == Ids{1, 6, 2, 8, 8, 2});
  CHECK(pair.types == Ids{0, 0, 0, 1, 1, 1});
  CHECK_ERROR(tokenizer.encode("a", 1), ErrorId::value, "at most 1 tokens");
}

TEST_CASE("The time for a line is linear in its length") {
  const WordPieceTokenizer tokenizer(pieces, {}, {}, bert);
  std::string marks;  // one run of marks in the reverse of their canonical order
  for (int i = 0; i < 200000; ++i) marks += i % 2 == 0 ? "\u0301" : "\u0323";
  CHECK(tokenizer.pieces(marks).empty());
  CHECK(tokenizer.pieces(std::string(1000000, 'a')) == Ids{0});
  CHECK(tokenizer.pieces(std::string(1000000, '!')).size() == 1000000);
}

TEST_CASE("A tokenizer.json that asks for something else is refused by key and value") {
  nlohmann::json json = io::read_json(golden_folder / "wordpiece_tokenizer.json");
  const auto check = [&](const char* pointer, nlohmann::json value, const std::string& message) {
    nlohmann::json changed = json;
    changed[nlohmann::json::json_pointer(pointer)] = std::move(value);
    CHECK_ERROR(WordPieceTokenizer::from_json(changed, "file"), ErrorId::vocabulary, message);
  };
  check("/model/type", "Unigram", "\"model\" is \"Unigram\"");
  check("/normalizer", {{"type", "NFC"}}, "\"normalizer\" is {\"type\":\"NFC\"}");
  check("/normalizer/lowercase", 3, "\"lowercase\" is not true or false");
  check("/pre_tokenizer", nullptr, "\"pre_tokenizer\" is null");
  check("/post_processor/type", "Odd", "\"post_processor\" is \"Odd\"");
  check("/post_processor/special_tokens", nullptr, "no ids for \"[CLS]\"");
  check("/model/unk_token", "none", "no \"none\"");
  check("/model/vocab", nlohmann::json::object(), "not an object of pieces");
  check("/model/vocab/the", -1, "the id of \"the\"");
  check("/model/vocab/the", 1e18, "the id of \"the\"");
  check("/model/max_input_chars_per_word", -1, "max_input_chars_per_word");
  check("/added_tokens/0/id", "x", "the id of \"[PAD]\"");
  check("/added_tokens", 3, "not an array");
  CHECK_ERROR(WordPieceTokenizer::from_json(nlohmann::json::array(), "file"), ErrorId::vocabulary, "\"model\" is null");
  for (const auto& [key, of] : {std::pair("pair", "A"), std::pair("single", "B"), std::pair("single", "A")}) {  // A B A: found by the fuzzer
    nlohmann::json twice = json;
    twice["post_processor"][key].push_back({{"Sequence", {{"id", of}, {"type_id", 0}}}});
    CHECK_ERROR(WordPieceTokenizer::from_json(twice, "file"), ErrorId::vocabulary, "does not have each of them once");
  }
  check("/post_processor/single", nlohmann::json::array(), "template for 1 text that");
  nlohmann::json high = json;  // a special token that only the template has, above every id of the vocabulary: found by the fuzzer
  high["post_processor"]["special_tokens"]["[CLS]"]["ids"] = {5000};
  const WordPieceTokenizer with_high = WordPieceTokenizer::from_json(high, "file");
  CHECK(with_high.encode("a").ids.front() == 5000);
  CHECK(with_high.size() == 5001);
  CHECK_ERROR(WordPieceTokenizer({{"a", 0}}, {}, {}, bert), ErrorId::vocabulary, "no \"[UNK]\"");
  CHECK_ERROR(WordPieceTokenizer({{"[UNK]", 0}, {"\xFF", 1}}, {}, {}, bert), ErrorId::vocabulary, "not UTF-8");
}

TEST_CASE("On MiniLM's vocabulary ids are those of Hugging Face's tokenizers, from tokenizer.json and from vocab.txt", "[model]") {
  if (!minilm_files_present()) return;
  const OpenedTokenizer opened = open_tokenizer(minilm_folder());
  CHECK(opened.max_tokens == 512);
  CHECK(opened.tokenizer->size() == 30522);
  check_golden_tokens(*opened.tokenizer, "minilm_tokens.json");
  check_golden_tokens(WordPieceTokenizer::from_vocabulary(minilm_folder() / "vocab.txt"), "minilm_tokens.json");
}

TEST_CASE("A folder's tokenizer is found by its files") {
  const TemporaryFolder folder;
  CHECK_ERROR(open_tokenizer(folder.path()), ErrorId::file_open, "no tokenizer.json, no vocab.txt");
  CHECK_ERROR(open_tokenizer(std::string(5000, 'a')), ErrorId::file_open, "no tokenizer.json");  // no name that the system takes
  folder.write("vocab.txt", "[UNK]\n[CLS]\n[SEP]\nA\na\n");
  CHECK(open_tokenizer(folder.path()).tokenizer->pieces("A") == Ids{4});
  CHECK(open_tokenizer(folder.path()).max_tokens == Tokenizer::no_limit);
  folder.write("tokenizer_config.json", R"({"do_lower_case": false, "model_max_length": 7})");
  CHECK(open_tokenizer(folder.path()).tokenizer->pieces("A") == Ids{3});
  CHECK(open_tokenizer(folder.path()).max_tokens == 7);
  CHECK(open_tokenizer(folder.path()).cut_side == CutSide::right);
  folder.write("tokenizer_config.json", R"({"do_lower_case": false, "truncation_side": "left"})");
  const OpenedTokenizer left = open_tokenizer(folder.path());
  CHECK(left.cut_side == CutSide::left);
  CHECK(left.tokenizer->encode("A a a A", 4, left.cut_side).ids == Ids{1, 4, 3, 2});
  CHECK(left.tokenizer->encode("A a a A", 4).ids == Ids{1, 3, 4, 2});
  CHECK(left.tokenizer->encode_pair("A a a", "A a", 6, left.cut_side).ids == Ids{1, 4, 4, 2, 4, 2});
  CHECK(left.tokenizer->encode_pair("A a a", "A a", 6).ids == Ids{1, 3, 4, 2, 3, 2});
  const auto side_of_json = [&](const char* config) {
    folder.write("tokenizer_config.json", config);
    nlohmann::json json = io::read_json(golden_folder / "wordpiece_tokenizer.json");
    json["truncation"] = {{"direction", "Left"}};
    folder.write("tokenizer.json", json.dump());
    return open_tokenizer(folder.path()).cut_side;
  };
  CHECK(side_of_json("{}") == CutSide::left);
  CHECK(side_of_json(R"({"truncation_side": "right"})") == CutSide::right);
  folder.write("tokenizer.json", R"({"model": {"type": "WordLevel"}})");
  CHECK_ERROR(open_tokenizer(folder.path()), ErrorId::vocabulary, "\"model\" is \"WordLevel\"");
}

TEST_CASE("categories of code points are those of tokenizers 0.23, for every one of them") {
  struct Set {
    bool (*has)(std::int32_t);
    std::int64_t count, sum;  // of the code points, as BertNormalizer and BertPreTokenizer of tokenizers treat them
  };
  for (const auto& [has, count, sum] : {Set{bert_unicode::is_control, 137682, 137913019292}, Set{bert_unicode::is_nonspacing_mark, 1567, 262554314},
                                        Set{bert_unicode::is_punctuation, 717, 20675279}}) {
    std::int64_t found = 0, total = 0;
    for (std::int32_t c = 1; c < 0x110000; ++c) {
      if ((c >= 0xD800 && c < 0xE000) || !has(c)) continue;
      ++found;
      total += c;
    }
    CHECK(found == count);
    CHECK(total == sum);
  }
}
