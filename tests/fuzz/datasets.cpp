// Fuzzes the readers of data sets in JSON: CLINC150 and the mails of SpamAssassin.
#include "examples/common/clinc150.hpp"
#include "examples/common/spam.hpp"
#include "fuzz/fuzz.hpp"
#include "fuzz/mutator.hpp"

namespace lorasb::fuzz {
namespace {

void must_be_whole(const examples::Corpus& corpus) {
  must(corpus.label_names.size() >= 2, "a set with fewer than two labels was accepted");
  for (const auto* part : {&corpus.examples, &corpus.validation, &corpus.test})
    for (const examples::Example& example : *part)
      must(example.label >= 0 && std::size_t(example.label) < corpus.label_names.size() && !example.text.empty(),
           "an example has no label or no text");
}

const std::string clinc_json =
    R"({"train": [["what is my balance", "balance"], ["freeze my card", "freeze"], ["tell me a joke", "joke"]],
 "val": [["balance please", "balance"]], "test": [["a joke", "joke"], ["freeze it", "freeze"]], "oos_train": [["x", "oos"]]})";
const std::string domains_json = R"({"banking": ["balance", "freeze"], "talk": ["joke"]})";

void read_clinc(const Input&, const std::filesystem::path& folder) {
  std::size_t accepted = 0;
  for (const char* domain : {"", "banking"}) {
    try {
      must_be_whole(examples::read_clinc150(folder / "data_full.json", domain));
      ++accepted;
    } catch (const Error&) {
    }
  }
  require(accepted > 0, ErrorId::data, "refused");
}
const Registered clinc_reader(
    {.name = "clinc150",
     .files = {"data_full.json", "domains.json"},
     .seeds =
         [] {
           return std::vector<Input>{{{{true, clinc_json}, {true, domains_json}}}, {{{true, clinc_json}, {false, ""}}}};
         },
     .mutate =
         [](Input& input, Mutator& m) {
           if (m.one_in(60)) input.files[m.below(2)].there ^= true;
           m.one_in(3) ? m.json(input[1], domains_json) : m.json(input[0], clinc_json);
         },
     .past_first_check =
         [](const Input& input) {
           return input.files[0].there && is_json(input[0]) && (!input.files[1].there || is_json(input[1]));
         },
     .read = read_clinc});

std::string mail_json(const std::string& group, const std::string& text) {
  return nlohmann::json{{"id", "1"}, {"group", group}, {"text", text}}.dump();
}

std::vector<Input> spam_seeds() {
  return {{{{true, mail_json("easy-ham-1", "From: a\nSubject: hello\n you\n\nA <b>body</b>\n")},
            {true, mail_json("spam-1", "Subject: buy\r\n\r\n<a href='x'>now</a>")},
            {true, mail_json("spam-2", "\n\nother words")}}}};
}
const Registered spam_reader({.name = "spam",
                              .files = {"data/easy-ham-1/1.json", "data/spam-1/2.json", "data/spam-2/3.json"},
                              .seeds = spam_seeds,
                              .mutate =
                                  [](Input& input, Mutator& m) {
                                    static const Input whole = spam_seeds()[0];
                                    const std::size_t file = m.below(3);
                                    if (m.one_in(60)) input.files[file].there ^= true;
                                    if (!m.one_in(3)) return m.json(input[file], whole[file]);
                                    nlohmann::json mail = nlohmann::json::parse(input[file], nullptr, false);
                                    if (!mail.is_object() || !mail.contains("text") || !mail["text"].is_string())
                                      mail = nlohmann::json::parse(whole[file]);
                                    static const std::vector<std::string> words{"Subject:", "<",    ">", "<!",
                                                                                "\r\n",     "\n\n", " "};
                                    std::string text = mail["text"];
                                    m.lines(text, words);
                                    mail["text"] = text;
                                    input[file] = mail.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
                                  },
                              .past_first_check =
                                  [](const Input& input) {
                                    for (const Input::File& file : input.files)
                                      if (file.there && !is_json(file.text)) return false;
                                    return true;
                                  },
                              .read = [](const Input&,
                                         const std::filesystem::path& folder) { must_be_whole(examples::read_spam(folder)); }});

}  // namespace
}  // namespace lorasb::fuzz
