#include "lorasb/data/tsv.hpp"

#include "io/files.hpp"
#include "lorasb/data/tsv_corpus.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::data;
using lorasb::test::TemporaryFolder;

TEST_CASE("TSV: the user's lines as they are") {
  const TemporaryFolder folder;
  const auto train = folder.write("train.tsv", "\xEF\xBB\xBFgood\tfine  thing\r\nbad\tpoor\tone\r\ngood\tfine  thing\r\n");
  const auto test = folder.write("test.tsv", "bad\tworst\ngood\tfine  thing");
  const Corpus corpus = read_tsv(train, test);
  CHECK(corpus.label_names == std::vector<std::string>{"bad", "good"});
  REQUIRE(corpus.examples.size() == 3);
  CHECK(corpus.examples[0].text == "fine  thing");
  CHECK(corpus.examples[0].label == 1);
  CHECK(corpus.examples[1].text == "poor\tone");
  REQUIRE(corpus.test.size() == 2);
  CHECK(corpus.test[0].text == "worst");
  CHECK(corpus.test[0].label == 0);
  CHECK(corpus.notes == std::vector<std::string>{train.string() + ": 3 lines", test.string() + ": 2 lines", "2 classes: bad (1), good (2)",
                                                 "1 texts of the test file stand in the training file too"});
}

TEST_CASE("TSV: a first line whose labels no other line has may be a header, and one that is passed over is none") {
  const TemporaryFolder folder;
  const auto notes = [&](std::string_view lines, ProblemType problem, bool header = false) {
    const auto file = folder.write("header.tsv", lines);
    std::string all;
    for (const std::string& note : read_tsv(file, file, {.header = header, .problem = problem}).notes) all += note + "\n";
    return all;
  };
  const std::string words = "if it is a header, say TsvOptions::header";
  CHECK_THAT(notes("labels\ttext\na,b\tfox\nb\tdog\na\tcab\n", ProblemType::multi_label), Catch::Contains("the one example of \"labels\": " + words));
  CHECK_THAT(notes("label\ttext\na\tfox\na\tdog\n", ProblemType::single_label), Catch::Contains("the one example of \"label\": " + words));
  CHECK_THAT(notes("label\ttext\na\tfox\nb\tdog\na\tcab\n", ProblemType::single_label, true), !Catch::Contains(words));
  CHECK_THAT(notes("a,b\tfox\nb\tdog\na\tcab\n", ProblemType::multi_label), !Catch::Contains(words));
  CHECK_THAT(notes("\tfox\nb\tdog\na\tcab\n", ProblemType::multi_label), !Catch::Contains(words));
}

TEST_CASE("TSV: numbers that are all equal are refused, and letters without width are shown by number") {
  const TemporaryFolder folder;
  const auto equal = folder.write("equal.tsv", "2\tfox\n2\tdog\n");
  CHECK_ERROR(read_tsv(equal, equal, {.problem = ProblemType::regression}), ErrorId::data, "all training texts (2) have the number 2");
  const auto hidden = folder.write("hidden.tsv", "pos\tfox\npos\xE2\x80\x8B\tdog\n");
  CHECK_THAT(read_tsv(hidden, hidden).notes.at(2), Catch::Contains("pos (1), pos<U+200B> (1)"));
}

TEST_CASE("TSV: a bad line is refused with its file and number") {
  const TemporaryFolder folder;
  const auto good = folder.write("good.tsv", "a\tx\nb\ty\n");
  const auto check = [&](std::string_view bytes, ErrorId id, const std::string& message) {
    const auto bad = folder.write("bad.tsv", bytes);
    CHECK_ERROR(read_tsv(bad, good), id, message);
    CHECK_ERROR(read_tsv(good, bad), id, message);
  };
  check("", ErrorId::data, "bad.tsv\" is empty");
  check("a\tx\nno tab\n", ErrorId::data, "bad.tsv\", line 2 has no tab");
  check("a\tx\n\nb\ty\n", ErrorId::data, "bad.tsv\", line 2 is empty");
  check("a\tx\rb\ty\r", ErrorId::data, "carriage returns alone");
  check("a\tx\n \xC2\xA0\ty\n", ErrorId::data, "bad.tsv\", line 2 has a label of white space");
  check("a\tx\nb\t\n", ErrorId::data, "bad.tsv\", line 2 has no text");
  check("a\tx\nb\t \t \r\n", ErrorId::data, "bad.tsv\", line 2 has no text");
  check("\tx\n", ErrorId::data, "bad.tsv\", line 1 has no label");
  check("a\tx\nb\ty\na\tna\xEFve\n", ErrorId::text, "bad.tsv\", line 3: byte 4 ");

  CHECK_ERROR(read_tsv(good, folder.write("new.tsv", "a\tz\nc\tx\n")), ErrorId::data, "new.tsv\", line 2 has the label \"c\"");
  CHECK_ERROR(read_tsv(folder.write("one.tsv", "a\tx\na\ty\n"), good), ErrorId::data, "2 examples with 1 labels");
  CHECK_ERROR(read_tsv(folder.path() / "none.tsv", good), ErrorId::data, "none.tsv");
  CHECK_ERROR(read_tsv(folder.path(), good), ErrorId::data, "cannot open");
}

TEST_CASE("TSV: white space around labels makes no class of its own (fastText 1118)") {
  const TemporaryFolder folder;
  const auto train = folder.write("train.tsv", "spam\ta\nspam \tb\n\xC2\xA0spam\tc\nnot  so\td\nham\te\nham\tf\n");
  const Corpus corpus = read_tsv(train, folder.write("test.tsv", "ham \tx\n\xEF\xBD\x88\xEF\xBD\x81\xEF\xBD\x8D\ty\n"));  // ｈａｍ
  CHECK(corpus.label_names == std::vector<std::string>{"ham", "not  so", "spam"});
  CHECK(corpus.test[0].label == 0);
  CHECK(corpus.test[1].label == 0);
  CHECK(corpus.notes[0] == train.string() + ": 6 lines, 2 labels without the white space around them");
  CHECK(corpus.notes[2] == "3 classes: not\xE2\x90\xA3\xE2\x90\xA3so (1), ham (2), spam (3)");
}

TEST_CASE("TSV: a header line is passed over when told, and suspected when not (machinelearning-samples 11)") {
  const TemporaryFolder folder;
  const auto train = folder.write("train.tsv", "label\ttext\na\tx\nb\ty\n"), test = folder.write("test.tsv", "label\ttext\na\tz\n");
  const Corpus with = read_tsv(train, test, {.header = true}), without = read_tsv(train, test);
  CHECK(with.label_names == std::vector<std::string>{"a", "b"});
  CHECK(with.test.size() == 1);
  CHECK(with.notes[0] == train.string() + ": 3 lines, 1 left out (the header)");
  CHECK(without.label_names.size() == 3);
  CHECK(without.notes.at(3).find("TsvOptions::header") != std::string::npos);
}

TEST_CASE("TSV: empty lines at the end are passed over (fastText 667)") {
  const TemporaryFolder folder;
  const auto train = folder.write("train.tsv", "a\tx\nb\ty\n\n\r\n  \n");
  const Corpus corpus = read_tsv(train, train);
  CHECK(corpus.examples.size() == 2);
  CHECK(corpus.notes[0] == train.string() + ": 5 lines, 3 left out (empty, at the end)");
}

TEST_CASE("TSV: labels with commas between them, none of them, and numbers") {
  const TemporaryFolder folder;
  const auto train = folder.write("sets.tsv", "b, a\tx\n\ty\nc\tz\n \tw\na,a\tv\n");
  const auto test = folder.write("test.tsv", "a,c\tx\n\tu\n");
  const Corpus sets = read_tsv(train, test, {.problem = ProblemType::multi_label});
  CHECK(sets.label_names == std::vector<std::string>{"a", "b", "c"});
  const auto values = [](const std::vector<Example>& examples) {
    std::vector<std::vector<float>> all;
    for (const Example& e : examples) all.push_back(e.values);
    return all;
  };
  using Values = std::vector<std::vector<float>>;
  CHECK(values(sets.examples) == Values{{1, 1, 0}, {0, 0, 0}, {0, 0, 1}, {0, 0, 0}, {1, 0, 0}});
  CHECK(values(sets.test) == Values{{1, 0, 1}, {0, 0, 0}});
  CHECK(sets.examples[1].text == "y");
  CHECK(std::ranges::count(sets.notes, "3 labels: b (1), c (1), a (2); 2 texts without any") == 1);
  CHECK(std::ranges::count(sets.notes, "1 texts of the test file stand in the training file too") == 1);
  // those that a classifier knows stand first, in its order
  Corpus known = read_tsv(train, test, {.problem = ProblemType::multi_label}, {"c", "d"});
  put_known_first(known, {"c", "d"});
  CHECK(known.label_names == std::vector<std::string>{"c", "d", "a", "b"});
  CHECK(values(known.test) == Values{{1, 0, 1, 0}, {0, 0, 0, 0}});
  const auto numbers = folder.write("numbers.tsv", "score\ttext\n-1.5\tx\n +3e2 \ty\n");
  const Corpus regression = read_tsv(numbers, numbers, {.header = true, .problem = ProblemType::regression});
  CHECK(values(regression.test) == Values{{-1.5f}, {300}});
  CHECK(regression.label_names == std::vector<std::string>{"LABEL_0"});
  CHECK(std::ranges::count(regression.notes, "numbers from -1.5 to 300") == 1);
  CHECK(read_tsv(numbers, numbers, {.header = true, .problem = ProblemType::regression}, {"score"}).label_names == std::vector<std::string>{"score"});
  const auto refused = [&](const char* lines, ProblemType problem, const char* message) {
    const auto bad = folder.write("bad.tsv", lines);
    CHECK_ERROR(read_tsv(bad, bad, {.problem = problem, .names = {.header = "--header"}}), ErrorId::data, message);
  };
  refused("1\tx\ntwo\ty\n", ProblemType::regression, "bad.tsv\", line 2 has \"two\" before its tab, expected a number");
  refused("score\tx\n1\ty\n", ProblemType::regression, "if it is a header, say --header");
  refused("nan\tx\n", ProblemType::regression, "line 1 has \"nan\"");
  refused("+-1\tx\n", ProblemType::regression, "line 1 has \"+-1\" before its tab, expected a number");
  refused("1e39\tx\n", ProblemType::regression, "line 1 has \"1e39\" before its tab, which float cannot hold");
  refused("1,5\tx\n", ProblemType::regression, "line 1 has \"1,5\"");
  refused("\tx\n", ProblemType::regression, "no label before its tab");
  refused("a\tx\na,,b\ty\n", ProblemType::multi_label, "line 2 has an empty label beside a comma");
  refused("a, \tx\n", ProblemType::multi_label, "line 1 has an empty label beside a comma");
  refused(",a\tx\n", ProblemType::multi_label, "line 1 has an empty label beside a comma");
  refused("\tx\n\ty\n", ProblemType::multi_label, "no line has a label");
  CHECK_ERROR(read_tsv(train, folder.write("new.tsv", "a\tz\na,e\tx\n"), {.problem = ProblemType::multi_label}), ErrorId::data,
              "new.tsv\", line 2 has the label \"e\", which");
}

TEST_CASE("Texts for a classifier that is there have its labels, and a line with another is named") {
  const TemporaryFolder folder;
  const auto file = folder.write("test.tsv", "spam\tx\nham\ty\tz\n");
  const std::vector<Example> found = read_labelled_file(file, {"spam", "ham"});
  REQUIRE(found.size() == 2);
  CHECK(found[0].label == 0);
  CHECK(found[1].label == 1);
  CHECK(found[1].text == "y\tz");
  CHECK_ERROR(read_labelled_file(file, {"spam", "eggs"}, {}, "--test"), ErrorId::data,
              "--test: \"" + file.string() + "\", line 2 has the label \"ham\", which the classifier does not know: it knows spam, eggs");
  CHECK_ERROR(read_labelled_file(file, {"LABEL_0"}, {.problem = ProblemType::regression}), ErrorId::data, "expected a number");
}

TEST_CASE("A text on each line is read as it is, empty ones too, and a pair needs its tab") {
  const TemporaryFolder folder;
  const auto file = folder.write("lines", "\xEF\xBB\xBFone\ttwo\r\n\nthree");
  CHECK(read_text_lines(file) == std::vector<std::string>{"one\ttwo", "", "three"});
  CHECK_ERROR(read_text_lines(file, true), ErrorId::data, "line 2 has no two texts, expected text<TAB>text");
  CHECK_ERROR(read_text_lines(folder.write("mac", "one\rtwo\r")), ErrorId::data, "line 1 is the whole file: its lines end in carriage returns");
  CHECK(read_text_lines(folder.write("inside", "one\rtwo\nthree\n")).size() == 2);
  CHECK_ERROR(read_text_lines(folder.write("latin", "a\nna\xEFve\n"), false, "--predict"), ErrorId::text, "--predict: \"");
  CHECK_ERROR(read_text_lines(folder.write("utf16", "\xFF\xFE")), ErrorId::text, "line 1 is not UTF-8; the file is UTF-16");
  CHECK_ERROR(read_text_lines(folder.path() / "none"), ErrorId::data, "cannot open");
}
