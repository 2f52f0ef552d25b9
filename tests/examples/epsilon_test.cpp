// lorasb-epsilon as a user runs it.
#include <nlohmann/json.hpp>

#include "program.hpp"
#include "support.hpp"

#ifdef LORASB_EPSILON

using namespace lorasb::test;

namespace {

struct Answer {
  int status;
  std::string text;
};
Answer ask(std::vector<std::string> words) {
  const TextFolder folder;
  const int status = finish(start(LORASB_EPSILON, std::move(words), folder.path / "log"));
  return {status, slurp(folder.path / "log")};
}

}  // namespace

TEST_CASE("lorasb-epsilon prints one number, rounded up, or the whole statement") {
  const Answer plain = ask({"--q", "0.01", "--sigma", "1", "--steps", "1000", "--delta", "1e-10"});
  REQUIRE(plain.status == 0);
  CHECK(plain.text.find_first_not_of("0123456789.\n") == std::string::npos);
  const double epsilon = std::stod(plain.text);
  CHECK(epsilon >= 3.290443750897858);
  CHECK(epsilon <= 3.290443750897858 * 1.002);

  const Answer json = ask({"--q", "0.01", "--sigma", "1", "--steps", "1000", "--delta", "1e-10", "--json"});
  REQUIRE(json.status == 0);
  const nlohmann::json statement = nlohmann::json::parse(json.text);
  CHECK(statement["epsilon"] == epsilon);
  CHECK(statement["accountant"] == "best");
  CHECK(statement["method"] == "pld");
  CHECK(statement["relation"] == "add-remove");

  const Answer rdp = ask({"--q", "0.01", "--sigma", "1", "--steps", "1000", "--delta", "1e-10", "--accountant", "rdp"});
  CHECK(std::stod(rdp.text) > epsilon);
  const Answer replace = ask({"--q", "1", "--sigma", "1", "--steps", "1", "--delta", "1e-5", "--relation", "replace-one"});
  CHECK(std::stod(replace.text) == Approx(10.0).epsilon(2e-3));
  CHECK(ask({"--q", "0.01", "--sigma", "8", "--steps", "100", "--delta", "0.05"}).text == "0\n");
}

TEST_CASE("lorasb-epsilon calibrates noise that keeps the promise as it is printed") {
  const Answer sigma = ask({"--q", "0.1", "--epsilon", "1", "--steps", "100", "--delta", "1e-5"});
  REQUIRE(sigma.status == 0);
  CHECK(std::stod(sigma.text) == Approx(3.9416507).epsilon(1e-4));
  const Answer back = ask({"--q", "0.1", "--sigma", sigma.text.substr(0, sigma.text.find('\n')), "--steps", "100", "--delta", "1e-5"});
  CHECK(std::stod(back.text) <= 1);
}

TEST_CASE("Mistake 20: lorasb-epsilon prints no epsilon for words that are no setting") {
  const auto refused = [](const char* flag, const char* word, const std::string& said) {
    std::vector<std::string> words{"--q", "0.1", "--sigma", "1", "--steps", "10", "--delta", "1e-5"};
    for (std::size_t i = 0; i < words.size(); i += 2)
      if (words[i] == flag) words[i + 1] = word;
    const Answer answer = ask(words);
    INFO(flag << " " << word << ": " << answer.text);
    CHECK(answer.status != 0);
    CHECK(answer.text.find(said) != std::string::npos);
    CHECK(answer.text.size() < 300);
  };
  for (const char* flag : {"--q", "--sigma", "--delta", "--steps"})
    for (const char* word : {"0", "-1", "nan", "inf", "-0", "x"}) refused(flag, word, std::string(flag) + ": expected a number above 0");
  refused("--q", "1.5", "rate is 1.5");
  refused("--delta", "1", "delta is 1");
  refused("--sigma", "1e-300", "epsilon is above 1,000");
  refused("--steps", "18446744073709551617", "below 1125899906842624");
}

TEST_CASE("lorasb-epsilon names what is wrong") {
  const auto refused = [](std::vector<std::string> words, const std::string& part) {
    const Answer answer = ask(std::move(words));
    INFO(answer.text);
    CHECK(answer.status > 0);
    CHECK(answer.status < 128);
    CHECK(answer.text.find(part) != std::string::npos);
  };
  refused({"--q", "2", "--sigma", "1", "--steps", "1", "--delta", "1e-5"}, "rate is 2");
  refused({"--q", "0", "--sigma", "1", "--steps", "1", "--delta", "1e-5"}, "--q");
  refused({"--q", "0.1", "--sigma", "1", "--steps", "-1", "--delta", "1e-5"}, "--steps");
  refused({"--q", "0.1", "--sigma", "1", "--steps", "10", "--delta", "1"}, "delta is 1");
  refused({"--q", "0.1", "--steps", "10", "--delta", "1e-5"}, "either --sigma or --epsilon");
  refused({"--q", "0.1", "--sigma", "1", "--epsilon", "1", "--steps", "10", "--delta", "1e-5"}, "--sigma");
  refused({"--q", "0.1", "--sigma", "1", "--steps", "10", "--delta", "1e-5", "--accountant", "gdp"}, "best, pld, rdp or exact");
}

#endif
