#include "lorasb/text/unigram_tokenizer.hpp"

#include <limits>

#include "golden_tokens.hpp"
#include "io/files.hpp"
#include "lorasb/text/open_tokenizer.hpp"

using namespace lorasb;
using namespace lorasb::text;
using namespace lorasb::test;

namespace {

const std::vector<ScoredPiece> few_pieces{{"<s>", 0}, {"</s>", 0}, {"<unk>", 0}, {"▁", -2}, {"a", -3}, {"b", -3}, {"ab", -5}, {"▁a", -4}, {"bcd", -4}};
const SequenceTemplate xlmr = SequenceTemplate::around(0, 1, 2, 0);

UnigramTokenizer with(Metaspace::Prepend prepend, bool split = true, const std::vector<AddedToken>& added = {}) {
  return {few_pieces, {.metaspace = Metaspace{.prepend = prepend, .split = split}, .unknown = 2}, added, xlmr};
}
UnigramTokenizer plain(std::vector<ScoredPiece> more = {}, bool byte_fallback = false) {
  more.insert(more.begin(), few_pieces.begin(), few_pieces.end());
  return {more, {.unknown = 2, .byte_fallback = byte_fallback}, {}, xlmr};
}

}  // namespace

TEST_CASE("Ids are those of Hugging Face's Unigram with a table of replacements, of single texts and of pairs that are cut") {
  check_golden_tokens(UnigramTokenizer::from_json(golden_folder / "unigram_tokenizer.json"), "unigram_tokens.json");
  const TemporaryFolder folder;
  std::filesystem::copy(golden_folder / "unigram_tokenizer.json", folder / "tokenizer.json");
  folder.write("tokenizer_config.json", R"({"model_max_length": 512})");
  const OpenedTokenizer opened = open_tokenizer(folder.path());
  check_golden_tokens(*opened.tokenizer, "unigram_tokens.json");
  CHECK(opened.max_tokens == 512);
}

TEST_CASE("The pieces with the largest sum of scores win, of equal sums those whose last piece begins first") {
  CHECK(plain().pieces("ab") == Ids{6});                // -5, against -6
  CHECK(plain({{"x", -6}}).pieces("abx") == Ids{6, 9});
  CHECK(plain({{"ba", -6}}).pieces("ba") == Ids{9});    // -6 both
  CHECK(plain({{"ba", -6.5}}).pieces("ba") == Ids{5, 4});
  CHECK(plain({{"ab", -7}}).pieces("ab") == Ids{4, 5});  // of equal pieces the last one counts
  CHECK(plain().encode_pair("a", "b").ids == Ids{0, 4, 1, 1, 5, 1});
  CHECK(plain().size() == 9);
}

TEST_CASE("A symbol that is no piece costs ten more than the worst piece, also where longer pieces begin") {
  CHECK(plain().pieces("c") == Ids{2});
  CHECK(plain().pieces("ccac") == Ids{2, 4, 2});  // a run is one
  CHECK(plain().pieces("bcd") == Ids{8});
  CHECK(plain({{"cd", -11}, {"xyz", -40}}).pieces("bcd") == Ids{8});
  CHECK(plain({{"xy", -40}}).pieces("xz") == Ids{2});
  CHECK(plain({{"xy", 30}, {"yz", 60}}).pieces("xyz") == Ids{2, 10});  // "x" is unknown though "xy" begins there
}

TEST_CASE("An unknown run that is a piece has its id") {
  CHECK(plain().pieces("<unk>") == Ids{2});
  CHECK(UnigramTokenizer({{"<unk>", 100}, {"xy", 100}, {"a", 100}}, {}, {}, xlmr).pieces("xy") == Ids{1});  // x and y, 90 each
}

TEST_CASE("Unknown symbols are bytes where all of them are pieces") {
  const std::vector<ScoredPiece> bytes{{"<0xC3>", -20}, {"<0xA9>", -20}, {"<0x7A>", -20}};
  CHECK(plain(bytes, true).pieces("aéza") == Ids{4, 9, 10, 11, 4});
  CHECK(plain(bytes, false).pieces("aéza") == Ids{4, 2, 4});
  CHECK(plain(bytes, true).pieces("aéya") == Ids{4, 2, 4});  // y is none, and the run is one token
}

TEST_CASE("A space is put in front always, of the first part, or never") {
  using enum Metaspace::Prepend;
  const std::vector<AddedToken> mask{{.content = "<mask>", .id = 9, .lstrip = true}};
  CHECK(with(always, true, mask).pieces("a<mask>a") == Ids{7, 9, 7});
  CHECK(with(first, true, mask).pieces("a<mask>a") == Ids{7, 9, 4});
  CHECK(with(first, true, mask).pieces(" <mask>a") == Ids{9, 4});
  CHECK(with(never, true, mask).pieces("a<mask>a") == Ids{4, 9, 4});
  CHECK(with(always).pieces(" a  a▁a") == Ids{7, 3, 7, 7});
  CHECK(with(always).pieces("").empty());
  CHECK(with(never).pieces("b a") == Ids{5, 7});
}

TEST_CASE("A token that is a word of its own has no letter, mark or decimal digit beside it, but any other number") {
  const UnigramTokenizer tokenizer = with(Metaspace::Prepend::never, true, {{.content = "ab", .id = 9, .single_word = true}});
  for (const char* beside : {"²", "½", "①", "-", "😀", " "}) CHECK(tokenizer.pieces("ab" + std::string(beside)).front() == 9);
  for (const char* beside : {"a", "1", "Ⅷ", "Ⓐ", "\u0301", "_", "\u200D"}) CHECK(tokenizer.pieces("ab" + std::string(beside)).front() != 9);
}

TEST_CASE("Pieces cross words where these are not split") {
  std::vector<ScoredPiece> pieces = few_pieces;
  pieces.push_back({"a▁a", -1});
  for (const bool split : {true, false}) {
    const UnigramTokenizer tokenizer(pieces, {.metaspace = Metaspace{.split = split}, .unknown = 2}, {}, xlmr);
    CHECK(tokenizer.pieces("a a") == (split ? Ids{7, 7} : Ids{3, 9}));
  }
}

TEST_CASE("Words are what stands between white space") {
  const UnigramTokenizer tokenizer(few_pieces, {.split_whitespace = true, .metaspace = Metaspace{}, .unknown = 2}, {}, xlmr);
  CHECK(tokenizer.pieces("\u3000 a\t\u2028a \n") == Ids{7, 7});
  CHECK(tokenizer.pieces(" \n").empty());
  CHECK(UnigramTokenizer(few_pieces, {.split_whitespace = true, .unknown = 2}, {}, xlmr).pieces("a a") == Ids{4, 4});
}

TEST_CASE("A text of which nothing is known says so") {
  const UnigramTokenizer tokenizer = with(Metaspace::Prepend::always);
  CHECK(tokenizer.encode("").unknown);
  CHECK(tokenizer.encode("😀 x").unknown);  // ▁ and unknown ones
  CHECK(!tokenizer.encode("😀 a").unknown);
}

TEST_CASE("A word of a million letters takes linear time") {
  for (const bool split : {true, false}) {
    CHECK(with(Metaspace::Prepend::always, split).pieces(std::string(1000000, 'a')).size() == 1000000);
    CHECK(with(Metaspace::Prepend::always, split).pieces(std::string(1000000, ' ')).size() == 1000000);
    CHECK(with(Metaspace::Prepend::always, split).pieces(std::string(1000000, 'x')).size() == 2);
  }
}

TEST_CASE("A vocabulary that cannot be used is refused") {
  CHECK_ERROR(UnigramTokenizer({}, {}, {}, xlmr), ErrorId::vocabulary, "the unknown id is 0 of 0 pieces");
  CHECK_ERROR(UnigramTokenizer({{"a", 0}}, {.unknown = -1}, {}, xlmr), ErrorId::vocabulary, "the unknown id is -1 of 1 pieces");
  CHECK_ERROR(UnigramTokenizer({{"a", 0}, {"\xFF", 0}}, {}, {}, xlmr), ErrorId::vocabulary, "piece 1 is not UTF-8");
  CHECK_ERROR(UnigramTokenizer({{"a", std::numeric_limits<double>::infinity()}}, {}, {}, xlmr), ErrorId::vocabulary, "score of piece 0 is inf");
}

TEST_CASE("A Unigram tokenizer.json that asks for something else is refused by key and value") {
  const nlohmann::json json = io::read_json(golden_folder / "unigram_tokenizer.json");
  const auto from = [&](const char* pointer, nlohmann::json value) {
    nlohmann::json changed = json;
    changed[nlohmann::json::json_pointer(pointer)] = std::move(value);
    return UnigramTokenizer::from_json(changed, "file").size();
  };
  const auto check = [&](const char* pointer, nlohmann::json value, const std::string& message) {
    CHECK_ERROR(from(pointer, std::move(value)), ErrorId::vocabulary, message);
  };
  check("/model/type", "BPE", "\"model\" is \"BPE\"");
  check("/model/unk_id", nullptr, "\"unk_id\" is null");
  check("/model/unk_id", -1, "the id of the unknown piece");
  check("/model/unk_id", 100000, "the unknown id is 100000 of 232 pieces");
  check("/model/byte_fallback", 1, "\"byte_fallback\" is not true or false");
  check("/model/vocab", nullptr, "\"vocab\" is not an array");
  check("/model/vocab/5", "a", "piece 5 is not [piece, score]");
  check("/model/vocab/5/1", nullptr, "piece 5 is not [piece, score]");
  check("/normalizer", {{"type", "NFD"}}, "\"normalizer\" is {\"type\":\"NFD\"}");
  check("/pre_tokenizer/pretokenizers/0/type", "Whitespace", "\"pre_tokenizer\" is {\"type\":\"Whitespace\"}");
  check("/pre_tokenizer/pretokenizers/2", {{"type", "WhitespaceSplit"}}, "\"pre_tokenizer\" is {\"type\":\"WhitespaceSplit\"}");
  check("/pre_tokenizer/pretokenizers", 3, "\"pretokenizers\" is not an array");
  check("/pre_tokenizer/pretokenizers/1/replacement", "__", "\"replacement\" is not one letter");
  check("/pre_tokenizer/pretokenizers/1/prepend_scheme", "odd", "\"prepend_scheme\" is \"odd\"");
  check("/pre_tokenizer/pretokenizers/1/prepend_scheme", "first", "\"prepend_scheme\" is \"first\", which is not supported beside WhitespaceSplit");
  check("/pre_tokenizer/pretokenizers/1/add_prefix_space", false, "\"add_prefix_space\" is false");
  check("/pre_tokenizer/pretokenizers/1/split", 3, "\"split\" is not true or false");
  CHECK(from("/pre_tokenizer", nullptr) == 232);
  CHECK(from("/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "▁"}, {"add_prefix_space", true}}) == 232);  // before prepend_scheme
  CHECK(from("/pre_tokenizer", {{"type", "Metaspace"}, {"replacement", "▁"}, {"add_prefix_space", false}, {"prepend_scheme", "never"}}) == 232);
}
