#include "lorasb/formats/peft_patterns.hpp"

#include <string>
#include <vector>

#include "support.hpp"

using lorasb::formats::names_module;
using lorasb::formats::pattern_matches;
using lorasb::formats::sort_as_patterns;

TEST_CASE("an entry names a module by its whole name or its last parts") {
  CHECK(names_module("query", "encoder.0.query"));
  CHECK(names_module("0.query", "encoder.0.query"));
  CHECK(names_module("encoder.0.query", "encoder.0.query"));
  CHECK_FALSE(names_module("query", "encoder.0.subquery"));
  CHECK_FALSE(names_module("query", "encoder.query.0"));
  CHECK_FALSE(names_module("a.encoder.0.query", "encoder.0.query"));
  CHECK_FALSE(names_module("0.query", "encoder.10.query"));
}

TEST_CASE("a key of a pattern matches what PEFT's regular expression matches") {
  // Each line was run through Python's re.match(rf"(.*\.)?({key})$", module).
  CHECK(pattern_matches("query", "encoder.0.query") == true);
  CHECK(pattern_matches("query", "query") == true);
  CHECK(pattern_matches("query", "subquery") == false);
  CHECK(pattern_matches("0.query", "encoder.0.query") == true);
  CHECK(pattern_matches("0.query", "encoder.0_query") == true);
  CHECK(pattern_matches("0\\.query", "encoder.0_query") == false);
  CHECK(pattern_matches("0\\.query", "encoder.0.query") == true);
  CHECK(pattern_matches("^encoder.0.query", "encoder.0.query") == true);
  CHECK(pattern_matches("^encoder.0.query", "model.encoder.0.query") == false);
  CHECK(pattern_matches("^0.query", "encoder.0.query") == false);
  CHECK(pattern_matches("query$", "encoder.query") == true);
  CHECK(pattern_matches("query", "encoder.query.0") == false);
  CHECK(pattern_matches("a.b", "x.a.b") == true);
  CHECK(pattern_matches("a.b", "xa.b") == false);
}

TEST_CASE("a key that is more of a regular expression is not guessed at") {
  for (const char* key : {"layers.[01].query", ".*query", "(query|key)", "layer\\d", "q+", "q?", "a^b", "a$b", "a{2}"})
    CHECK_FALSE(pattern_matches(key, "layers.0.query").has_value());
}

TEST_CASE("in the order of patterns every module finds itself first") {
  std::vector<std::string> modules{"query", "a.b", "0.query", "a_b", "encoder.0.query", "x.a.b", "a.b.c", "a_b.c", "key"};
  sort_as_patterns(modules);
  for (const std::string& module : modules) {
    std::string first;
    for (const std::string& key : modules)
      if (first.empty() && pattern_matches(key, module) == true) first = key;
    CHECK(first == module);
  }
}
