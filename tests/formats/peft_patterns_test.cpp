#include "lorasb/formats/peft_patterns.hpp"

#include <string>
#include <vector>

#include "support.hpp"

using lorasb::formats::names_module;
using lorasb::formats::NameExpression;
using lorasb::formats::NameList;
using lorasb::formats::PatternTable;
using lorasb::formats::sort_as_patterns;

namespace {

/// Whether one key matches; nothing when it cannot be evaluated.
std::optional<bool> pattern_matches(const std::string& key, const std::string& module) {
  const PatternTable table({key});
  if (table.unreadable()) return std::nullopt;
  return table.find(module).has_value();
}

}  // namespace

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

TEST_CASE("a key that is an expression matches what Python's does") {
  // Each line was run through Python's re.match(rf"(.*\.)?({key})$", module).
  CHECK(pattern_matches("layers.[01].query", "layers.0.query") == true);
  CHECK(pattern_matches("layers.[01].query", "x.layers.1.query") == true);
  CHECK(pattern_matches("layers.[01].query", "layers.2.query") == false);
  CHECK(pattern_matches("layers.[^01].query", "layers.2.query") == true);
  CHECK(pattern_matches(".*query", "layers.0.subquery") == true);
  CHECK(pattern_matches("(query|key)", "layers.0.key") == true);
  CHECK(pattern_matches("query|key", "layers.0.key") == true);
  CHECK(pattern_matches("query|key", "layers.0.monkey") == false);
  CHECK(pattern_matches("(?:query|key)", "layers.0.monkey") == false);
  CHECK(pattern_matches("(?P<which>query|key)", "layers.0.key") == true);
  CHECK(pattern_matches("layer\\d", "x.layer7") == true);
  CHECK(pattern_matches("layer\\d+\\.q", "layer12.q") == true);
  CHECK(pattern_matches("layer\\d+\\.q", "layer12_q") == false);
  CHECK(pattern_matches("layer[\\d_]*", "layer1_2") == true);
  CHECK(pattern_matches("\\w+_proj", "layers.0.q_proj") == true);
  CHECK(pattern_matches("^\\w+_proj", "layers.0.q_proj") == false);
  CHECK(pattern_matches("a{2}", "aa") == true);
  CHECK(pattern_matches("a{2,3}", "aaaa") == false);
  CHECK(pattern_matches(".*?q", "layers.q") == true);
  CHECK(pattern_matches("[]q]x", "]x") == true);
  CHECK(pattern_matches("q?", "") == true);
  CHECK(pattern_matches("q\\+", "q+") == true);
}

TEST_CASE("an expression that cannot be evaluated is not guessed at") {
  for (const char* key : {"(?!vision).*", "(?<=a)b", "(?i)query", "a(", "[", "a++", "\\bquery", "a{1000}", "a{60}{60}{60}", "^a|b", "a{,}"})
    CHECK_FALSE(pattern_matches(key, "layers.0.query").has_value());
  CHECK_FALSE(NameExpression::make(std::string(2000, 'a')).has_value());
}

TEST_CASE("of several keys the first that matches counts, whatever they are made of") {
  const PatternTable table({"never", "q.*", "0.query", "query", "a.b", "a_b"});
  CHECK(table.find("x.0.query") == 1u);
  CHECK(table.find("query") == 1u);
  CHECK(table.find("a_b") == 4u);  // the dot is any character
  CHECK(table.find("x") == std::nullopt);
  const NameList list({"query", "0.query", "a"});
  std::vector<std::size_t> found;
  list.for_each("x.0.query", [&](std::size_t i) { found.push_back(i); });
  std::ranges::sort(found);
  CHECK(found == std::vector<std::size_t>{0, 1});
  CHECK_FALSE(list.names("x.subquery"));
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

TEST_CASE("expressions that the C library would take minutes or all memory for are refused, and those near them are read") {
  const auto nested = [](int around) {
    std::string expression = "a";
    for (int i = 0; i < around; ++i) expression = "(" + expression + ")+";
    return expression;
  };
  std::string loops;
  for (int i = 0; i < 40; ++i) loops += "(.*)*";
  for (const std::string& bad : {nested(40), nested(300), loops, std::string("(a|b|(c|d|e)*)*{60}"), std::string("(a|)+"), std::string("(a?b?){2,}"),
                                 std::string("((ab){64}){64}"), std::string("(^)*"), std::string("a)")})
    CHECK_FALSE(lorasb::formats::NameExpression::make(bad).has_value());
  const auto matches = [](const char* expression, const char* name) {
    const auto made = lorasb::formats::NameExpression::make(expression);
    return made.has_value() && made->matches(name);
  };
  CHECK(matches("(layer\\.\\d+\\.)+(query|value)?", "layer.0.layer.12.query"));
  CHECK(matches("(a(b|c)?)*", "abaac"));
  CHECK(matches("(a?){3}b{,2}", "aab"));
  CHECK(matches(nested(8).c_str(), "aaaa"));
  CHECK_FALSE(matches("(a(b|c)?)*", "abbc"));
}
