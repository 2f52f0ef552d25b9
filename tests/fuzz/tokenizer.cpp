// Fuzzes the readers of tokenizers: tokenizer.json, vocab.txt, vocab.json with merges.txt, and the vocabulary of use-lite.
#include "lorasb/text/open_tokenizer.hpp"

#include <algorithm>

#include "fuzz/fuzz.hpp"
#include "fuzz/mutator.hpp"
#include "lorasb/text/use_tokenizer.hpp"

namespace lorasb::fuzz {
namespace {

const std::string sample_text = "Hello w\xc3\xb6rld [MASK], \xe4\xbd\xa0  it's 42!";
const std::string wordpiece_json = R"({"version": "1.0", "truncation": null, "padding": null,
 "added_tokens": [{"id": 0, "content": "[PAD]", "single_word": false, "lstrip": false, "rstrip": false,
   "normalized": false, "special": true},
                  {"id": 4, "content": "[MASK]", "single_word": true, "lstrip": true, "rstrip": true, "normalized": true,
   "special": true}],
 "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null,
   "lowercase": true},
 "pre_tokenizer": {"type": "BertPreTokenizer"},
 "post_processor": {"type": "TemplateProcessing",
   "single": [{"SpecialToken": {"id": "[CLS]", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
   {"SpecialToken": {"id": "[SEP]", "type_id": 0}}],
   "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "[SEP]", "type_id": 0}},
   {"Sequence": {"id": "B", "type_id": 1}}],
   "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [2], "tokens": ["[CLS]"]}, "[SEP]": {"id": "[SEP]", "ids": [3],
   "tokens": ["[SEP]"]}}},
 "model": {"type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100,
   "vocab": {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3, "[MASK]": 4, "hello": 5, "wo": 6, "##rld": 7, "!": 8, "it": 9,
   "4": 10, "##2": 11}}})";
const std::string bpe_json =
    R"({"added_tokens": [{"id": 0, "content": "<s>", "special": true}, {"id": 9, "content": "<mask>", "lstrip": true}],
   "normalizer": null,
 "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
 "post_processor": {"type": "RobertaProcessing", "sep": ["</s>", 1], "cls": ["<s>", 0], "trim_offsets": true,
   "add_prefix_space": false},
 "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "", "end_of_word_suffix": "",
   "fuse_unk": false,
   "vocab": {"<s>": 0, "</s>": 1, "h": 2, "e": 3, "l": 4, "o": 5, "he": 6, "ll": 7, "hell": 8, "Ġ": 10}, "merges": ["h e",
   "l l", ["he", "ll"]]}})";

/// A table of replacements of 256 units, "A" to "b": the root, 65 for the letter, 64 for its replacement.
const std::string charsmap = "AAQ" + std::string(347, 'A') + "CAQQU" + std::string(1015, 'A') + "BiAGM=";
const std::string unigram_json = R"({"added_tokens": [{"id": 0, "content": "<s>", "special": true}, {"id": 2, "content": "<unk>", "special": true},
   {"id": 14, "content": "<mask>", "lstrip": true, "normalized": true}],
 "normalizer": {"type": "Sequence", "normalizers": [{"type": "Precompiled", "precompiled_charsmap": ")" + charsmap + R"("}, {"type": "Nmt"},
   {"type": "NFKC"}, {"type": "Lowercase"}, {"type": "Strip", "strip_left": false, "strip_right": true},
   {"type": "Replace", "pattern": {"Regex": " {2,}"}, "content": "▁"}, {"type": "Replace", "pattern": {"String": "ll"}, "content": "l"}]},
 "pre_tokenizer": {"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "▁",
   "prepend_scheme": "always", "split": true}]},
 "post_processor": {"type": "TemplateProcessing",
   "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}],
   "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
   "special_tokens": {"<s>": {"id": "<s>", "ids": [0], "tokens": ["<s>"]}, "</s>": {"id": "</s>", "ids": [1], "tokens": ["</s>"]}}},
 "model": {"type": "Unigram", "unk_id": 2, "byte_fallback": true, "vocab": [["<s>", 0], ["</s>", 0.0], ["<unk>", 0], ["▁", -2.5], ["▁he", -3],
   ["l", -3.5], ["lo", -4], ["o", -4], ["w", -5], ["rld", -6], ["<0xC3>", -9], ["<0xB6>", -9], ["it", -4], ["b", -7]]}})";
/// Changes digits of a table of replacements, which stays base64.
void change_charsmap(std::string& json, Mutator& m) {
  static const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", key = "\"precompiled_charsmap\"";
  const std::size_t found = json.find(key), first = found == json.npos ? found : json.find('"', found + key.size()) + 1;
  if (found == json.npos || first == 0) return;
  const std::size_t length = std::min(json.find('"', first), json.size()) - first;
  for (std::uint64_t i = m.below(4) + 1; length > 0 && i-- > 0;) json[first + m.below(length)] = digits[m.below(digits.size())];
}

void use(const text::Tokenizer& tokenizer, const std::string& words) {
  for (const std::size_t most : {text::Tokenizer::no_limit, std::size_t{8}}) {
    for (const bool pair : {false, true}) {
      try {
        const text::Encoding found = pair ? tokenizer.encode_pair(words, "hello", most) : tokenizer.encode(words, most);
        must(found.ids.size() == found.types.size() && found.ids.size() <= most, "a text has too many tokens or too few types");
        for (const std::int32_t id : found.ids)
          must(id >= 0 && std::size_t(id) < tokenizer.size(), "an id is not below the tokenizer's size");
      } catch (const Error&) {  // the text is no UTF-8, or the template has more special tokens than fit
      }
    }
  }
}

std::vector<Input> json_seeds() {
  return {{{{true, wordpiece_json}, {true, R"({"model_max_length": 512, "do_lower_case": true})"}, {true, sample_text}}},
          {{{true, bpe_json}, {false, ""}, {true, sample_text}}},
          {{{true, unigram_json}, {false, ""}, {true, sample_text}}}};
}
const Registered json_reader(
    {.name = "tokenizer_json",
     .files = {"tokenizer.json", "tokenizer_config.json", "text"},
     .seeds = json_seeds,
     .mutate =
         [](Input& input, Mutator& m) {
           if (m.one_in(4)) return m.text(input[2]);
           if (m.one_in(30)) input.files[1].there ^= true;
           if (m.one_in(10)) return m.json(input[1], "{\"model_max_length\": 8}");
           if (m.one_in(8)) return change_charsmap(input[0], m);
           static const std::vector<std::string> whole{wordpiece_json, bpe_json, unigram_json};
           m.json(input[0], m.one_of(whole));
         },
     .past_first_check = [](const Input& input) { return is_json(input[0]) && (!input.files[1].there || is_json(input[1])); },
     .read =
         [](const Input& input, const std::filesystem::path& folder) {
           const text::OpenedTokenizer opened = text::open_tokenizer(folder);
           must(opened.max_tokens > 0, "a tokenizer takes no tokens");
           use(*opened.tokenizer, input[2]);
         }});

std::vector<Input> vocabulary_seeds() {
  const Input::File none{false, ""};
  return {{{{true, "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nhello\nwo\n##rld\n!\n"},
            none,
            none,
            {true, "{\"do_lower_case\": true, \"strip_accents\": null}"},
            {true, sample_text}}},
          {{none,
            {true, R"({"<s>": 0, "<pad>": 1, "</s>": 2, "h": 3, "e": 4, "he": 5, "l": 6, "ll": 7, "<mask>": 8})"},
            {true, "#version: 0.2\nh e\nl l\n"},
            {true, "{\"add_prefix_space\": true}"},
            {true, sample_text}}}};
}
const Registered vocabulary_reader(
    {.name = "vocabulary",
     .files = {"vocab.txt", "vocab.json", "merges.txt", "tokenizer_config.json", "text"},
     .seeds = vocabulary_seeds,
     .mutate =
         [](Input& input, Mutator& m) {
           static const std::vector<Input> seeds = vocabulary_seeds();
           static const std::vector<std::string> words{"[CLS]", "[SEP]", "[UNK]", "##a",      "h", "e",
                                                       "h e",   "he ll", " ",     "#version", "\r"};
           if (m.one_in(60)) input.files[m.below(4)].there ^= true;
           switch (m.below(5)) {
             case 0:
               m.text(input[4]);
               break;
             case 1:
               m.json(input[3], seeds[0][3]);
               break;
             case 2:
               m.json(input[1], seeds[1][1]);
               break;
             default:
               m.lines(input[input.files[0].there ? 0 : 2], words);
           }
         },
     .past_first_check =
         [](const Input& input) {
           const bool config = !input.files[3].there || is_json(input[3]);
           return config && (input.files[0].there || (input.files[1].there && is_json(input[1]) && input.files[2].there));
         },
     .read = [](const Input& input,
                const std::filesystem::path& folder) { use(*text::open_tokenizer(folder).tokenizer, input[4]); }});

const std::string use_vocabulary =
    R"([["<unk>", 0], ["<s>", 0], ["</s>", 0], ["a", 0], ["b", 0], ["c", 0], ["▁", -2], ["▁hello", -3.5], ["h", -6], ["e",
   -5.5], ["ll", -7], ["o", null]])";
const Registered use_reader({.name = "use_vocabulary",
                             .files = {"vocab.json", "text"},
                             .seeds =
                                 [] {
                                   return std::vector<Input>{{{{true, use_vocabulary}, {true, "hello hel lo \xef\xac\x81"}}}};
                                 },
                             .mutate = [](Input& input,
                                          Mutator& m) { m.one_in(3) ? m.text(input[1]) : m.json(input[0], use_vocabulary); },
                             .past_first_check = [](const Input& input) { return is_json(input[0]); },
                             .read =
                                 [](const Input& input, const std::filesystem::path& folder) {
                                   const text::UseTokenizer tokenizer = text::UseTokenizer::from_json(folder / "vocab.json");
                                   try {
                                     for (const std::int32_t id : tokenizer.encode(input[1]))
                                       must(id >= 0 && std::size_t(id) < tokenizer.size(),
                                            "an id is not below the tokenizer's size");
                                   } catch (const Error&) {  // the text is no UTF-8
                                   }
                                 }});

}  // namespace
}  // namespace lorasb::fuzz
