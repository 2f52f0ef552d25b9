// The options of private training.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "examples/common/option_table.hpp"
#include "lorasb/models/classifier.hpp"
#include "lorasb/privacy/ledger.hpp"
#include "lorasb/privacy/noise_source.hpp"
#include "lorasb/train/private_step.hpp"

namespace lorasb::examples {

/// What bases of LoRA-SB come from when texts are private; raw private texts are no choice.
enum class PrivateBases { weight, random, public_file, noised };

inline constexpr std::array<std::string_view, 2> noise_kind_names{"continuous", "discrete"};

/// Noise on the sums that --bases noised takes bases from, over the clipping norm: epsilon is 0.43 at delta 1e-5.
inline constexpr double bases_noise = 10;

struct PrivateOptions {
  bool enabled = false;
  double epsilon = 0, sigma = 0;  // one of them is given
  double delta = 0;
  double clip = 1;
  privacy::PrivacyUnit unit = privacy::PrivacyUnit::example;
  std::optional<std::uint64_t> noise_seed;  // nothing: the operating system
  train::NoiseKind kind = train::NoiseKind::continuous;
  PrivateBases bases = PrivateBases::weight;
  std::string public_file;  // of PrivateBases::public_file

  /// A ledger over `population` examples or clients, with --epsilon as its budget. Throws ErrorId::value for a δ that is too large.
  privacy::Ledger ledger(std::uint64_t population) const {
    return privacy::Ledger({.unit = unit,
                            .population = population,
                            .delta = delta,
                            .accountant = accountant(),
                            .budget = epsilon > 0 ? epsilon : std::numeric_limits<double>::infinity()});
  }
  /// The one that holds for this kind of noise.
  privacy::Accountant accountant() const {
    return kind == train::NoiseKind::discrete ? privacy::Accountant::rdp_whole : privacy::Accountant::best;
  }
  /// Adds the noise of the training to a ledger that may hold a cost already: --sigma, or as --epsilon allows. Returns it.
  double reserve(privacy::Ledger& ledger, double rate, std::uint64_t steps) const {
    const double noise = sigma > 0 ? sigma
                                   : privacy::noise_for(epsilon, delta, rate, steps, ledger.options().accountant,
                                                        ledger.options().relation, ledger.spent());
    ledger.reserve(privacy::SamplingScheme::poisson, rate, noise, steps);
    return noise;
  }
  /// Charges the sums that --bases noised takes bases from, over all examples. Throws ErrorId::value for a budget that has no room.
  void charge_bases(privacy::Ledger& ledger) const {
    ledger.reserve(privacy::SamplingScheme::poisson, 1, bases_noise, 1);
    ledger.charge(privacy::SamplingScheme::poisson, 1, bases_noise, !noise_seed);
  }

  /// Of what is frozen; `with_bases`: whether the method takes bases at all.
  train::Origin origin(bool with_bases) const {
    if (bases == PrivateBases::public_file) return train::Origin::public_data;
    return with_bases && bases == PrivateBases::noised ? train::Origin::noised : train::Origin::no_data;
  }

  /// As on the command line.
  std::string noise() const { return noise_seed ? concat("seeded:", *noise_seed) : "os"; }
  std::string bases_name() const {
    constexpr std::array<const char*, 4> names{"w0", "random", "public:", "noised"};
    return names[static_cast<std::size_t>(bases)] + (bases == PrivateBases::public_file ? public_file : std::string());
  }
  /// Streams of draws: 0 for samples, 1 for noise, 2 for the noise on bases. `part` tells seeded sources of clients and rounds apart.
  std::unique_ptr<privacy::NoiseSource> source(std::uint64_t stream, std::uint64_t part = 0) const {
    if (noise_seed) return std::make_unique<privacy::SeededNoise>(part == 0 ? *noise_seed : derive_seed(*noise_seed, part), stream);
    return std::make_unique<privacy::SystemNoise>();
  }
};

inline void describe_private(PrivateOptions& o, OptionTable& t) {
  const CLI::Validator positive = above_0();
  t.flag("--private", o.enabled, "Train with differential privacy (DP-SGD)", "private");
  t.add("--epsilon", o.epsilon, "Most privacy that may be spent; the noise is calibrated to it",
        {.key = "epsilon", .check = positive, .show_default = false});
  t.add("--sigma", o.sigma, "Noise over the clipping norm, instead of --epsilon",
        {.key = "sigma", .check = positive, .show_default = false});
  t.add("--delta", o.delta, "Delta, below 1 over the texts (of a client), or over the clients; required", {.key = "delta", .check = positive, .show_default = false});
  t.add("--clip", o.clip, "Norm that the gradient of a text is clipped to, or what a client changes in a round", {.key = "clip", .check = positive});
  t.choice("--unit", o.unit, privacy::unit_names, "What is protected: an example (a text), or a client with all its texts", "unit");
  t.word("--noise", o.noise(), "os, or seeded:N for trials: then nothing is private and epsilon is null", "noise",
         [&o](const std::string& word) -> std::string {
           constexpr std::string_view seeded = "seeded:";
           if (word == "os") return o.noise_seed.reset(), "";
           std::uint64_t seed = 0;
           const char* const end = word.data() + word.size();
           if (word.starts_with(seeded)) {
             const auto [read, error] = std::from_chars(word.data() + seeded.size(), end, seed);
             if (error == std::errc() && read == end) return o.noise_seed = seed, "";
           }
           return "expected os or seeded:N, not \"" + word + "\"";
         });
  t.choice("--noise-kind", o.kind, noise_kind_names,
           "continuous, or discrete: integers on a grid, drawn by integer arithmetic, which no rounding can betray; epsilon is "
           "then that of the discrete mechanism, by whole orders of RDP");
  if (o.kind != train::NoiseKind::continuous) t.set("noise_kind", "discrete");
  t.word("--bases", o.bases_name(),
         "Where the bases of private lora-sb or fed-sb come from: w0 (the weights' SVD), random, public:FILE (label<TAB>text lines "
         "that may be known; the head starts from them, too), or noised (clipped gradients of the private texts, with noise of 10 "
         "clips; its cost is in epsilon)",
         "bases", [&o](const std::string& word) -> std::string {
           constexpr std::string_view file = "public:";
           if (word == "w0") return o.bases = PrivateBases::weight, "";
           if (word == "random") return o.bases = PrivateBases::random, "";
           if (word == "noised") return o.bases = PrivateBases::noised, "";
           if (!word.starts_with(file) || word.size() == file.size())
             return "expected public:FILE, w0, random or noised, not \"" + word + "\"";
           o.bases = PrivateBases::public_file;
           o.public_file = word.substr(file.size());
           return {};
         });
}

/// Throws CLI::ValidationError for options that contradict each other.
inline void check_private(const PrivateOptions& o) {
  if (!o.enabled) {
    if (o.epsilon > 0 || o.sigma > 0 || o.delta > 0) throw CLI::ValidationError("--private", "is what --epsilon, --sigma and --delta are for");
    return;
  }
  if ((o.epsilon > 0) == (o.sigma > 0)) throw CLI::ValidationError("--private", "needs either --epsilon or --sigma");
  if (!(o.delta > 0)) throw CLI::ValidationError("--private", "needs --delta, below 1 over the texts (of a client), or over the clients");
}

/// A pass of clipped texts to floats, or to integers on the grid of the step.
inline train::PassResult pass_clipped(models::TextClassifier<float>& classifier, const models::TokenizedTexts& texts,
                                      std::span<const Index> order, Index part, const train::PrivateStep<float>& step,
                                      std::span<float> sum) {
  return classifier.pass_clipped(texts, order, part, step.options().clip, sum);
}
inline train::PassResult pass_clipped(models::TextClassifier<float>& classifier, const models::TokenizedTexts& texts,
                                      std::span<const Index> order, Index part, const train::PrivateStep<float>& step,
                                      std::span<std::int64_t> sum) {
  return classifier.pass_clipped_to_grid(texts, order, part, step.options().clip, step.on_grid().grid, sum);
}

/// Adds a batch to a private step in pieces of twice its expected size, so that a large draw needs no more memory.
/// pass(piece, part, first, count, sum) is a Step's pass over a piece, to `sum` of floats or, with discrete noise, of integers.
template <class Pass>
void accumulate_in_pieces(train::PrivateStep<float>& step, std::span<const Index> batch, Index expected, const Pass& pass) {
  const auto most = static_cast<std::size_t>(2 * expected);
  for (std::size_t first = 0; first < batch.size(); first += most) {
    const std::span<const Index> piece = batch.subspan(first, std::min(most, batch.size() - first));
    const auto on_piece = [&](Index part, Index start, Index count, auto sum) { return pass(piece, part, start, count, sum); };
    if (step.options().kind == train::NoiseKind::discrete)
      step.accumulate_on_grid(std::ssize(piece), on_piece);
    else
      step.accumulate(std::ssize(piece), on_piece);
  }
}

}  // namespace lorasb::examples
