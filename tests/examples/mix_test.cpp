// lorasb-mix as a user runs it: the metrics that it promises, the mixture that it writes, and what it says to bad input.
#include <nlohmann/json.hpp>

#include "lorasb/mixer/mixture_folder.hpp"
#include "lorasb/models/sentence_encoder/weights.hpp"
#include "models/model_files.hpp"
#include "program.hpp"
#include "support.hpp"

#ifdef LORASB_MIX

using namespace lorasb;
using namespace lorasb::test;

namespace {

/// Two domains: animals and numbers, and colours and days.
struct TwoDomains : TextFolder {
  TwoDomains() {
    const std::vector<std::string> colours{"red paint", "a blue wall", "green as grass", "yellow and bright"};
    const std::vector<std::string> days{"on monday we met", "friday is the last one", "the meeting of tuesday", "next sunday"};
    std::ofstream train(path / "train2.tsv"), test(path / "test2.tsv");
    for (int i = 0; i < 60; ++i) {
      train << "colour\t" << colours[std::size_t(i % 4)] << " " << i << "\nday\t" << days[std::size_t(i / 2 % 4)] << " " << i
            << "\n";
      if (i % 3 == 0)
        test << "colour\tso " << colours[std::size_t(i % 4)] << "\nday\tperhaps " << days[std::size_t(i % 4)] << "\n";
    }
  }
  std::string second() const { return "tsv:" + (path / "train2.tsv").string() + ":" + (path / "test2.tsv").string(); }
  std::vector<std::string> arguments(const std::string& out, std::initializer_list<std::string> more = {}) const {
    std::vector<std::string> all{
        "--data", data(),    "--data", second(),  "--model", model_folder().string(), "--out", (path / out).string(), "--rank",
        "2",      "--batch", "16",     "--top-k", "1",       "--router-examples",     "100",   "--threads",           "2"};
    all.insert(all.end(), more);
    return all;
  }
  int run(std::vector<std::string> arguments) const { return finish(start(LORASB_MIX, std::move(arguments), path / "log")); }
  nlohmann::json metrics(const std::string& out) const { return nlohmann::json::parse(slurp(path / out / "metrics.json")); }
};

}  // namespace

TEST_CASE("lorasb-mix --compare leaves every row, a picture of the routing, and a mixture that loads", "[model]") {
  if (!model_files_present()) return;
  const TwoDomains folder;
  REQUIRE(folder.run(folder.arguments("out", {"--compare", "--experts", "cores", "--router-input", "basis"})) == 0);
  const nlohmann::json m = folder.metrics("out");
  std::vector<std::string> names;
  for (const nlohmann::json& row : m["methods"]) {
    names.push_back(row["name"]);
    INFO(names.back());
    CHECK(row["accuracy_by_domain"].size() == 2);
    const double mean = row["mean_accuracy"];
    CHECK(mean ==
          Approx((row["accuracy_by_domain"]["tsv"].get<double>() + row["accuracy_by_domain"]["tsv-2"].get<double>()) / 2));
    CHECK(mean > 0.5);
    CHECK(row["mean_accuracy_head_given"].get<double>() >= mean);
    CHECK(row["seconds_per_1000"].get<double>() > 0);
    CHECK(row.contains("trainable"));
    CHECK(row["routing"].is_array());
  }
  CHECK(names == std::vector<std::string>{"head", "single", "single-lora", "oracle-lora", "mixer-lora", "mixer-lora-sb",
                                          "oracle", "mixer-cores"});
  const nlohmann::json& cores = m["methods"].back();
  CHECK(cores["trainable"] == 10 * (2 * 4 + 2 * 2));  // on each of 10 modules two cores and a router of 2 experts x 2 numbers
  CHECK(m["methods"][6]["routing"] == nlohmann::json({{1.0, 0.0}, {0.0, 1.0}}));
  for (const nlohmann::json& domain : cores["routing"]) CHECK(domain[0].get<double>() + domain[1].get<double>() == Approx(1));
  CHECK(slurp(folder.path / "out" / "routing-mixer-cores.svg").find("<svg") == 0);

  const models::UseLite base = models::read_use_lite(model_folder());
  const mixer::SavedMixture<float> saved = mixer::read_mixture<float>(folder.path / "out" / "mixture", base.modules());
  CHECK(saved.mixture.bank.size() == 2);
  CHECK(saved.mixture.bank.shares_bases());
  CHECK(saved.routing.k == 1);

  const std::string experts = (folder.path / "out" / "mixture" / "experts").string();
  REQUIRE(folder.run(folder.arguments("loaded", {"--load-experts", experts + "/tsv", experts + "/tsv-2"})) == 0);
  CHECK(folder.metrics("loaded")["methods"][1]["trainable"] > 0);
}

TEST_CASE("threads change no number of a mixture's metrics", "[model]") {
  if (!model_files_present()) return;
  const TwoDomains folder;
  REQUIRE(folder.run(folder.arguments("two", {"--entropy-sign", "as-printed"})) == 0);
  REQUIRE(folder.run(folder.arguments("one", {"--entropy-sign", "as-printed", "--threads", "1"})) == 0);
  const nlohmann::json two = folder.metrics("two"), one = folder.metrics("one");
  CHECK(one["methods"][1]["accuracy_by_domain"] == two["methods"][1]["accuracy_by_domain"]);
  CHECK(slurp(folder.path / "one" / "mixture" / "router.safetensors") ==
        slurp(folder.path / "two" / "mixture" / "router.safetensors"));

  // --expert-head reaches stage 1: behind a head that stays, experts become others
  REQUIRE(folder.run(folder.arguments("frozen", {"--entropy-sign", "as-printed", "--expert-head", "frozen"})) == 0);
  CHECK(folder.metrics("frozen")["config"]["expert_head"] == "frozen");
  const std::filesystem::path expert = std::filesystem::path("mixture") / "experts" / "tsv" / "adapter_model.safetensors";
  CHECK(slurp(folder.path / "two" / expert) != slurp(folder.path / "frozen" / expert));
  for (const double accuracy : folder.metrics("frozen")["methods"][1]["accuracy_by_domain"]) CHECK(accuracy > 0.5);
}

TEST_CASE("lorasb-mix says what is wrong", "[model]") {
  if (!model_files_present()) return;
  const TwoDomains folder;
  const auto says = [&](std::vector<std::string> arguments, const std::string& words) {
    CHECK(folder.run(std::move(arguments)) != 0);
    INFO(slurp(folder.path / "log"));
    CHECK(slurp(folder.path / "log").find(words) != std::string::npos);
  };
  says({"--data", folder.data(), "--out", (folder.path / "x").string()}, "at least two domains");
  says(folder.arguments("x", {"--top-k", "3"}), "above the number of domains");
  says(folder.arguments("x", {"--entropy-sign", "down"}), "expected as-printed or specialize");
  says(folder.arguments("x", {"--load-experts", "nowhere"}), "one folder for each domain");
  says(folder.arguments("x", {"--load-experts", "nowhere", "nothing"}), "adapter_config.json");
  std::filesystem::create_directories(folder.path / "model");
  std::ofstream(folder.path / "model" / "config.json") << "{}";
  says(folder.arguments("model"), "holds a model (config.json)");
  std::filesystem::create_directories(folder.path / "trained" / "adapter");
  says(folder.arguments("trained"), "holds what another program trained (adapter)");
}

#endif
