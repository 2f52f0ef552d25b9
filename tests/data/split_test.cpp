#include "lorasb/data/split.hpp"

#include <set>

#include "support.hpp"
#include "data/texts_of.hpp"

using namespace lorasb;
using namespace lorasb::data;
using namespace lorasb::test;

namespace {
Corpus numbered(std::size_t count, std::size_t test = 0) {
  Corpus corpus;
  corpus.label_names = {"even", "odd"};
  for (std::size_t i = 0; i < count + test; ++i)
    (i < count ? corpus.examples : corpus.test).push_back({std::to_string(i), static_cast<std::int32_t>(i % 2), {}});
  return corpus;
}
}  // namespace

TEST_CASE("A split hands out each example once") {
  const Dataset set = split(numbered(1000), {.train = 600, .validation = 100, .test = 200});
  CHECK(set.train.size() == 600);
  CHECK(set.validation.size() == 100);
  CHECK(set.test.size() == 200);
  CHECK(set.notes == std::vector<std::string>{"training: 100 of 700 texts left out, the limit is 600"});
  CHECK(set.label_names.size() == 2);
  std::set<std::string> all;
  for (const auto* part : {&set.train, &set.validation, &set.test})
    for (const Example& example : *part) {
      all.insert(example.text);
      CHECK(example.label == std::stoi(example.text) % 2);
    }
  CHECK(all.size() == 900);
}

TEST_CASE("The test and validation set stay when the training set grows, which keeps its beginning") {
  const Dataset small = split(numbered(1000), {.train = 10, .validation = 50, .test = 100});
  const Dataset large = split(numbered(1000), {.train = 700, .validation = 50, .test = 100});
  CHECK(texts_of(small.test) == texts_of(large.test));
  CHECK(texts_of(small.validation) == texts_of(large.validation));
  std::vector<std::string> beginning = texts_of(large.train);
  beginning.resize(10);
  CHECK(texts_of(small.train) == beginning);
}

TEST_CASE("Another test size leaves the training and validation set as they are, and the test set keeps its beginning") {
  const Dataset small = split(numbered(1000), {.train = 300, .validation = 50, .test = 10});
  const Dataset large = split(numbered(1000), {.train = 300, .validation = 50, .test = 200});
  CHECK(texts_of(small.train) == texts_of(large.train));
  CHECK(texts_of(small.validation) == texts_of(large.validation));
  std::vector<std::string> beginning = texts_of(large.test);
  beginning.resize(10);
  CHECK(texts_of(small.test) == beginning);
}

TEST_CASE("The split is shuffled by its seed") {
  const std::vector<std::string> one = texts_of(split(numbered(1000), {.seed = 1}).test);
  CHECK(one == texts_of(split(numbered(1000), {.seed = 1}).test));
  CHECK(one != texts_of(split(numbered(1000), {.seed = 2}).test));
  std::size_t in_first_half = 0;
  for (const std::string& text : one) in_first_half += std::stoi(text) < 500;
  CHECK(in_first_half > one.size() / 4);
  CHECK(in_first_half < one.size() * 3 / 4);
}

TEST_CASE("A small set gives a fifth to the test set and a tenth to validation, and says so") {
  const Dataset set = split(numbered(50), {});
  CHECK(set.test.size() == 10);
  CHECK(set.validation.size() == 5);
  CHECK(set.train.size() == 35);
  REQUIRE(set.notes.size() == 3);
  CHECK(set.notes[0] == "training: 35 examples, fewer than the 10000 allowed");
}

TEST_CASE("A set with its own test set keeps it apart") {
  const Dataset all = split(numbered(100, 30), {});
  CHECK(all.test.size() == 30);
  CHECK(all.validation.size() == 10);
  CHECK(all.train.size() == 90);
  for (const Example& example : all.test) CHECK(std::stoi(example.text) >= 100);
  CHECK(split(numbered(100, 30), {.test = 7}).test.size() == 7);
}

TEST_CASE("Without a limit nothing is left out and nothing is said (pycaret 202)") {
  const Dataset set = split(numbered(34600, 12747), {.train = no_limit, .validation = 2000, .test = no_limit});
  CHECK(set.train.size() + set.validation.size() == 34600);
  CHECK(set.test.size() == 12747);
  CHECK(set.notes.empty());
}

TEST_CASE("A split of nothing is refused") {
  CHECK_ERROR(split(numbered(0), {}), ErrorId::data, "0 examples are too few");
  CHECK_ERROR(split(numbered(4), {}), ErrorId::data, "4 examples are too few");
  CHECK_ERROR(split(numbered(0, 5), {}), ErrorId::data, "too few");
  CHECK(split(numbered(5), {}).train.size() == 4);
  CHECK_ERROR(split(numbered(100), {.train = 0}), ErrorId::value, "train is 0");
  CHECK_ERROR(split(numbered(100), {.test = 0}), ErrorId::value, "test is 0");
  CHECK(split(numbered(100), {.validation = 0}).validation.empty());
}
