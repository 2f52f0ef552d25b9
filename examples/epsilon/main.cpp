// lorasb-epsilon: what private training steps cost, or the noise that they need. `--help` lists what it can do.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "examples/common/option_table.hpp"
#include "lorasb/privacy/accountant.hpp"

namespace {

using namespace lorasb;
using namespace lorasb::privacy;

/// 10 significant digits, rounded up, so that neither ε nor σ is ever printed below what holds.
std::string rounded_up(double x) {
  if (x == 0) return "0";
  const double unit = std::pow(10.0, std::floor(std::log10(x)) - 9);
  char text[40];
  std::snprintf(text, sizeof text, "%.10g", std::ceil(x / unit) * unit);
  if (std::strtod(text, nullptr) < x) std::snprintf(text, sizeof text, "%.10g", (std::ceil(x / unit) + 1) * unit);
  return text;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "Prints epsilon of steps of the Gaussian mechanism on Poisson samples, or with --epsilon the noise multiplier sigma that they "
      "need. Rounded up."};
  double q = 0, sigma = 0, epsilon = 0, delta = 0;
  std::uint64_t steps = 0;
  Accountant accountant = Accountant::best;
  Relation relation = Relation::add_remove;
  bool json = false;
  constexpr std::array offered{accountant_names[0], accountant_names[1], accountant_names[2], accountant_names[3]};
  app.add_option("--q", q, "Probability with which a step takes an example")->required()->check(examples::above_0());
  CLI::Option* const given_sigma = app.add_option("--sigma", sigma, "Noise over the clipping norm")->check(examples::above_0());
  CLI::Option* const given_epsilon =
      app.add_option("--epsilon", epsilon, "Print the sigma for this epsilon")->check(examples::above_0())->excludes(given_sigma);
  app.add_option("--steps", steps, "Steps")->required()->check(examples::above_0());
  app.add_option("--delta", delta, "Delta, above 0 and below 1")->required()->check(examples::above_0());
  examples::OptionTable table(&app);
  table.choice("--accountant", accountant, offered, "best (the less of pld and rdp), pld, rdp, or exact (no bound; pld where its integral fails)");
  table.choice("--relation", relation, relation_names, "Neighbours: add-remove or replace-one");
  table.flag("--json", json, "Print the whole statement");
  try {
    app.parse(argc, argv);
    if (given_sigma->count() + given_epsilon->count() != 1)
      throw CLI::ValidationError("--sigma", "give either --sigma or --epsilon");
    if (given_epsilon->count() > 0) sigma = std::strtod(rounded_up(noise_for(epsilon, delta, q, steps, accountant, relation)).c_str(), nullptr);
    const SubsampledGaussian mechanism{.rate = q, .noise = sigma, .steps = steps};
    const Epsilon found = epsilon_of({&mechanism, 1}, delta, accountant, relation);
    if (json) {
      const nlohmann::json statement = {
          {"epsilon", std::strtod(rounded_up(found.epsilon).c_str(), nullptr)},
          {"delta", delta},
          {"sigma", sigma},
          {"q", q},
          {"steps", steps},
          {"accountant", accountant_names[static_cast<std::size_t>(accountant)]},
          {"method", accountant_names[static_cast<std::size_t>(found.method)]},
          {"relation", relation_names[static_cast<std::size_t>(relation)]},
          {"sampling", "poisson"},
          {"bound", "upper"},
          {"not_covered", {"the choice of settings", "bases and heads from private data", "measurements on private data"}}};
      std::printf("%s\n", statement.dump(2).c_str());
    } else {
      std::printf("%s\n", rounded_up(given_epsilon->count() > 0 ? sigma : found.epsilon).c_str());
    }
    return 0;
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "lorasb-epsilon: %s\n", error.what());
    return 1;
  }
}
