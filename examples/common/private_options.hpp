// The options of private training.
#pragma once

#include <array>
#include <charconv>
#include <cstdint>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "examples/common/option_table.hpp"
#include "lorasb/privacy/ledger.hpp"
#include "lorasb/privacy/noise_source.hpp"
#include "lorasb/train/noised_bases.hpp"
#include "lorasb/train/private_step.hpp"

namespace lorasb::examples {

/// What bases of LoRA-SB come from when texts are private; raw private texts are no choice.
enum class PrivateBases { weight, random, public_file, noised };

/// Of --bases noised.
inline constexpr double bases_noise = train::NoisedBasesOptions().noise;

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
                            .budget = epsilon > 0 ? epsilon : std::numeric_limits<double>::infinity()});
  }
  /// Of what is frozen; `with_bases`: whether the method takes bases at all.
  train::Origin origin(bool with_bases) const {
    if (bases == PrivateBases::public_file) return train::Origin::public_data;
    return with_bases && bases == PrivateBases::noised ? train::Origin::noised : train::Origin::no_data;
  }

  /// Of --bases noised.
  train::NoisedBasesOptions noised_bases(Index rank, std::uint64_t at_seed) const {
    return {.clip = clip, .adapter = {.rank = rank, .seed = at_seed}};
  }

  /// As on the command line.
  std::string noise() const { return noise_seed ? concat("seeded:", *noise_seed) : "os"; }
  std::string bases_name() const {
    constexpr std::array<const char*, 4> names{"w0", "random", "public:", "noised"};
    return names[static_cast<std::size_t>(bases)] + (bases == PrivateBases::public_file ? public_file : std::string());
  }
  /// Of seeded sources; `part` tells those of clients and rounds apart. Streams: 0 for samples, 1 for noise, 2 for the noise on
  /// bases, 3 for samples of clients.
  std::optional<std::uint64_t> seed(std::uint64_t part = 0) const {
    return noise_seed && part != 0 ? derive_seed(*noise_seed, part) : noise_seed;
  }
  std::unique_ptr<privacy::NoiseSource> source(std::uint64_t stream, std::uint64_t part = 0) const {
    return privacy::make_noise_source(seed(part), stream);
  }
};

inline void describe_private(PrivateOptions& o, OptionTable& t) {
  const CLI::Validator positive = above_0();
  t.flag("--private", o.enabled, "Train with differential privacy (DP-SGD)", "private");
  t.add("--epsilon", o.epsilon, "Most privacy that may be spent; the noise is calibrated to it",
        {.key = "epsilon", .check = positive, .show_default = false});
  t.add("--sigma", o.sigma, "Noise over the clipping norm, instead of --epsilon",
        {.key = "sigma", .check = at_least(privacy::SubsampledGaussian::least_noise), .show_default = false});
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
  t.choice("--noise-kind", o.kind, train::noise_kind_names,
           "continuous, or discrete: integers on a grid, drawn by integer arithmetic, which no rounding can betray; epsilon is "
           "then that of the discrete mechanism, clipping and rounding together");
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
  if ((o.epsilon > 0) == (o.sigma > 0)) throw CLI::ValidationError("--private", "needs either --epsilon or --sigma, not both");
  if (!(o.delta > 0)) throw CLI::ValidationError("--private", "needs --delta, below 1 over the texts (of a client), or over the clients");
}

}  // namespace lorasb::examples
