#include "lorasb/data/corpus.hpp"

#include "support.hpp"
#include "data/texts_of.hpp"

using namespace lorasb;
using namespace lorasb::data;
using namespace lorasb::test;

TEST_CASE("Labels are numbered in the order of their names") {
  const Corpus corpus = gather({{"x", "pear"}, {"y", "apple", "someone"}, {"z", "pear"}}, "test");
  CHECK(corpus.label_names == std::vector<std::string>{"apple", "pear"});
  REQUIRE(corpus.examples.size() == 3);
  CHECK(corpus.examples[0].label == 1);
  CHECK(corpus.examples[1].label == 0);
  CHECK(corpus.examples[1].natural_client == "someone");
}

TEST_CASE("A text that is repeated is one example, and none when its labels differ") {
  const Corpus corpus = gather({{"a", "x"}, {"b", "y"}, {"a", "x"}, {"c", "x"}, {"c", "y"}, {"c", "x"}, {"d", "y"}}, "test");
  CHECK(texts_of(corpus.examples) == std::vector<std::string>{"a", "b", "d"});
  REQUIRE(corpus.notes.size() == 2);
  CHECK(corpus.notes[0] == "7 texts read, 3 repetitions left out");
  CHECK(corpus.notes[1] == "1 texts left out because they occur with two labels");
}

TEST_CASE("What counts as a repetition is the caller's choice") {
  const auto first_letter = [](const std::string& text) { return text.substr(0, 1); };
  const Corpus corpus = gather({{"ab", "x"}, {"ac", "x"}, {"b", "y"}}, "test", first_letter);
  CHECK(texts_of(corpus.examples) == std::vector<std::string>{"ab", "b"});
}

TEST_CASE("A set with fewer than two labels is refused") {
  CHECK_ERROR(gather({{"a", "x"}, {"b", "x"}}, "here"), ErrorId::data, "here: 2 examples with 1 labels");
  CHECK_ERROR(gather({}, "here"), ErrorId::data, "0 labels");
}

TEST_CASE("Labels that a classifier knows keep their numbers, and new ones follow") {
  Corpus corpus = gather({{"x", "pear"}, {"y", "apple"}, {"z", "fig"}}, "test");
  put_known_first(corpus, {"fig", "nut"});
  CHECK(corpus.label_names == std::vector<std::string>{"fig", "nut", "apple", "pear"});
  CHECK(corpus.examples[0].label == 3);
  CHECK(corpus.examples[1].label == 2);
  CHECK(corpus.examples[2].label == 0);
  CHECK(corpus.notes.back() == "2 labels that the classifier does not know yet; their rows of the head start at 0: apple, pear");
}
