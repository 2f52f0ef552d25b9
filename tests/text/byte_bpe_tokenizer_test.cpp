#include "lorasb/text/byte_bpe_tokenizer.hpp"

#include "golden_tokens.hpp"
#include "io/files.hpp"
#include "lorasb/text/open_tokenizer.hpp"

using namespace lorasb;
using namespace lorasb::text;
using namespace lorasb::test;

namespace {

const Vocabulary small{{"<s>", 0}, {"</s>", 1}, {"a", 2}, {"b", 3}, {"ab", 4}, {"aa", 5}, {"Ġ", 6}, {"Ġa", 7}, {"aab", 8}};
const SequenceTemplate roberta = SequenceTemplate::around(0, 1, 2, 0);

}  // namespace

TEST_CASE("Ids are those of Hugging Face's byte-level BPE, of single texts and of pairs that are cut") {
  check_golden_tokens(ByteBpeTokenizer::from_json(golden_folder / "byte_bpe_tokenizer.json"), "byte_bpe_tokens.json");
}

TEST_CASE("vocab.json and merges.txt give the ids of tokenizer.json") {
  const nlohmann::json model = io::read_json(golden_folder / "byte_bpe_tokenizer.json")["model"];
  const TemporaryFolder folder;
  nlohmann::json vocabulary = model["vocab"];
  vocabulary["<mask>"] = vocabulary.size();  // an added token of the file
  folder.write("vocab.json", vocabulary.dump());
  std::string merges = "#version: 0.2\n";
  for (const nlohmann::json& merge : model["merges"])
    merges += merge[0].get<std::string>() + " " + merge[1].get<std::string>() + "\n";
  folder.write("merges.txt", merges);
  check_golden_tokens(ByteBpeTokenizer::from_vocabulary(folder / "vocab.json", folder / "merges.txt"), "byte_bpe_tokens.json");
  check_golden_tokens(*open_tokenizer(folder.path()).tokenizer, "byte_bpe_tokens.json");
}

TEST_CASE("The pair that was merged first in training is joined first, and the leftmost of equal ones") {
  const ByteBpeTokenizer first_ab(small, {{"a", "b"}, {"a", "a"}, {"aa", "b"}}, {}, {}, roberta);
  CHECK(first_ab.encode("aab").ids == Ids{0, 2, 4, 1});
  const ByteBpeTokenizer first_aa(small, {{"a", "a"}, {"a", "b"}, {"aa", "b"}}, {}, {}, roberta);
  CHECK(first_aa.pieces("aab") == Ids{8});
  CHECK(first_aa.pieces("aaa") == Ids{5, 2});
  CHECK(first_aa.pieces("z").empty());  // a byte that is no piece
  CHECK(first_aa.encode_pair("a", "b").ids == Ids{0, 2, 1, 1, 3, 1});
}

TEST_CASE("A space is put before a text where the configuration says so") {
  const ByteBpeTokenizer tokenizer(small, {{"Ġ", "a"}}, {.add_prefix_space = true}, {}, roberta);
  CHECK(tokenizer.pieces("a a") == Ids{7, 7});
  CHECK(tokenizer.pieces(" a") == Ids{7});
}

TEST_CASE("A word of a million letters takes no longer than as many short ones, nearly") {
  const ByteBpeTokenizer tokenizer(small, {{"a", "a"}, {"a", "b"}, {"aa", "b"}}, {}, {}, roberta);
  CHECK(tokenizer.pieces(std::string(1000000, 'a')).size() == 500000);
}

TEST_CASE("A byte-level tokenizer.json that asks for something else is refused by key and value") {
  const nlohmann::json json = io::read_json(golden_folder / "byte_bpe_tokenizer.json");
  const auto check = [&](const char* pointer, nlohmann::json value, const std::string& message) {
    nlohmann::json changed = json;
    changed[nlohmann::json::json_pointer(pointer)] = std::move(value);
    CHECK_ERROR(ByteBpeTokenizer::from_json(changed, "file"), ErrorId::vocabulary, message);
  };
  check("/model/type", "Unigram", "\"model\" is \"Unigram\"");
  check("/pre_tokenizer", nullptr, "\"pre_tokenizer\" is null");
  check("/pre_tokenizer/use_regex", false, "\"pre_tokenizer\" is {");
  check("/normalizer", {{"type", "NFC"}}, "\"normalizer\" is {\"type\":\"NFC\"}");
  check("/model/end_of_word_suffix", "</w>", "\"end_of_word_suffix\" is \"</w>\"");
  check("/model/byte_fallback", true, "\"byte_fallback\" is true");
  check("/model/merges", 3, "\"merges\" is not an array");
  check("/model/merges/0", "a", "merge 0 is \"a\", expected two pieces");
  check("/model/merges/0", {"a"}, "merge 0 is not two pieces");
  check("/model/merges/0", {"a", "no such piece"}, "no \"ano such piece\"");
}
