// What private training has spent, and what it may spend.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <functional>
#include <optional>
#include <sstream>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/privacy/accountant.hpp"
#include "lorasb/privacy/sampling_scheme.hpp"

namespace lorasb::privacy {

/// What one more or one less of makes two data sets neighbours.
enum class PrivacyUnit { example, client };
/// Entry i is the name of the value i.
inline constexpr std::array<std::string_view, 2> unit_names{"example", "client"};

struct LedgerOptions {
  PrivacyUnit unit = PrivacyUnit::example;
  std::uint64_t population = 0;  // units in the data: δ must be below one of them
  double delta = 0;              // required
  Relation relation = Relation::add_remove;
  Accountant accountant = Accountant::best;
  double budget = std::numeric_limits<double>::infinity();  // the largest ε

  /// Throws ErrorId::value.
  void validate() const {
    require(population >= 1, ErrorId::value, "LedgerOptions: population is 0, expected the number of ",
            unit_names[static_cast<std::size_t>(unit)], "s");
    require(is_finite(delta) && delta > 0 && delta * double(population) < 1, ErrorId::value, "LedgerOptions: delta is ", delta,
            ", expected above 0 and below 1 / ", population, ": a mechanism that publishes one of ", population,
            " at random satisfies delta = 1 / ", population);
    require(budget > 0, ErrorId::value, "LedgerOptions: budget is ", budget, ", expected above 0");
  }
};

/// Steps are reserved before data is touched, and charged one by one:
///
///     Ledger ledger({.population = N, .delta = 1e-6, .budget = 3});
///     ledger.reserve(batches.scheme(), batches.rate(), sigma, steps);   // throws when that is more than the budget
///     ... every step: ledger.charge(...);                               // throws for a step too many
///     ledger.epsilon();                                                 // nothing when a seeded source drew anything
class Ledger {
 public:
  explicit Ledger(const LedgerOptions& options) : options_(options) { options_.validate(); }

  const LedgerOptions& options() const { return options_; }
  /// Everything charged so far, neighbours of equal rate and noise joined.
  const std::vector<SubsampledGaussian>& spent() const { return spent_; }
  /// What may still be charged.
  const std::vector<SubsampledGaussian>& reserved() const { return reserved_; }
  std::uint64_t steps() const { return steps_of(spent_); }
  /// How many of them had this rate and noise.
  std::uint64_t steps(double rate, double noise) const {
    const auto found = std::ranges::find_if(spent_, [&](const auto& m) { return m.rate == rate && m.noise == noise; });
    return found == spent_.end() ? 0 : found->steps;
  }
  bool is_private() const { return is_private_; }

  /// Makes room for steps to come. Throws ErrorId::value when these, what was charged and what is still reserved come to more than
  /// the budget, for batches that are no Poisson samples, and for a mechanism out of range.
  void reserve(SamplingScheme scheme, double rate, double noise, std::uint64_t steps) {
    require_poisson(scheme);
    const SubsampledGaussian more{.rate = rate, .noise = noise, .steps = steps};
    more.validate();
    std::vector<SubsampledGaussian> reserved = reserved_;
    add(reserved, more);
    if (is_finite(options_.budget)) {
      std::vector<SubsampledGaussian> all = spent_;
      for (const SubsampledGaussian& m : reserved) add(all, m);
      const double epsilon = epsilon_of(all, options_.delta, options_.accountant, options_.relation).epsilon;
      require(epsilon <= options_.budget, ErrorId::value, "Ledger::reserve: ", steps, " steps with rate ", rate, " and noise ",
              noise, " would bring epsilon to ", epsilon, ", above the budget of ", options_.budget);
    }
    reserved_ = std::move(reserved);
  }

  /// One step that is about to be taken. `is_private`: whether sample and noise are drawn from private sources. Throws
  /// ErrorId::value when it was not reserved.
  void charge(SamplingScheme scheme, double rate, double noise, bool is_private) {
    require_poisson(scheme);
    const auto found = std::ranges::find_if(
        reserved_, [&](const SubsampledGaussian& m) { return m.rate == rate && m.noise == noise && m.steps > 0; });
    require(found != reserved_.end(), ErrorId::value, "Ledger::charge: no step with rate ", rate, " and noise ", noise,
            " is reserved: the budget does not allow it");
    if (--found->steps == 0) reserved_.erase(found);
    add(spent_, {.rate = rate, .noise = noise, .steps = 1});
    is_private_ = is_private_ && is_private;
    if (on_charge_) on_charge_(text());
  }
  /// Reserves and charges a mechanism over all units at once (q = 1), which is not a step: noised bases, a noised count. Throws
  /// what both do.
  void charge_all(double noise, bool is_private) {
    reserve(SamplingScheme::poisson, 1, noise, 1);
    charge(SamplingScheme::poisson, 1, noise, is_private);
  }
  /// Calls save(text()) at the end of each charge, so before data is touched: what was spent is then written down ahead of what it
  /// was spent on (train/ledger_file.hpp). What `save` throws leaves charge(), and the step must not be taken.
  void on_charge(std::function<void(const std::string& text)> save) { on_charge_ = std::move(save); }

  /// ε of what was charged; nothing when it does not hold, because a seeded source was used.
  std::optional<Epsilon> epsilon() const {
    if (!is_private_) return std::nullopt;
    return claimed_epsilon();
  }
  /// What ε would be if every source had been private, for trials.
  Epsilon claimed_epsilon() const {
    if (spent_.empty()) return {.epsilon = 0, .method = options_.accountant};
    return epsilon_of(spent_, options_.delta, options_.accountant, options_.relation);
  }

  /// All of it in one line, for checkpoints and journals; numbers come back to the bit.
  std::string text() const {
    std::ostringstream out;
    out << std::hexfloat << "ledger 1 " << unit_names[static_cast<std::size_t>(options_.unit)] << ' ' << options_.population << ' '
        << options_.delta << ' ' << relation_names[static_cast<std::size_t>(options_.relation)] << ' ' << is_private_;
    for (const std::vector<SubsampledGaussian>* runs : {&spent_, &reserved_}) {
      out << ' ' << runs->size();
      for (const SubsampledGaussian& m : *runs) out << ' ' << m.rate << ' ' << m.noise << ' ' << m.steps;
    }
    return out.str();
  }
  /// Takes it back. Throws ErrorId::checkpoint for another unit, population, δ or relation, and for what is no ledger: ε is then
  /// unknown.
  void restore(std::string_view text) {
    std::istringstream in{std::string(text)};
    std::string word, unit, relation;
    std::uint64_t version = 0, population = 0, is_private = 0;
    in >> word >> version >> unit >> population;
    const double delta = real(in);
    in >> relation >> is_private;
    require(in && word == "ledger" && version == 1, ErrorId::checkpoint, "Ledger::restore: this is no ledger");
    require(unit == unit_names[static_cast<std::size_t>(options_.unit)] && population == options_.population &&
                delta == options_.delta && relation == relation_names[static_cast<std::size_t>(options_.relation)],
            ErrorId::checkpoint, "Ledger::restore: the ledger is of ", population, " ", unit, "s, delta ", delta, ", ", relation,
            ", not of ", options_.population, " ", unit_names[static_cast<std::size_t>(options_.unit)], "s, delta ",
            options_.delta, ", ", relation_names[static_cast<std::size_t>(options_.relation)]);
    std::vector<SubsampledGaussian> runs[2];
    for (std::vector<SubsampledGaussian>& all : runs) {
      std::size_t size = 0;
      in >> size;
      for (std::size_t i = 0; in && i < size; ++i) {
        SubsampledGaussian m{.rate = real(in), .noise = real(in)};
        in >> m.steps;
        require(!in.fail(), ErrorId::checkpoint, "Ledger::restore: the ledger is cut off");
        m.validate();
        all.push_back(m);
      }
    }
    require(!in.fail(), ErrorId::checkpoint, "Ledger::restore: the ledger is cut off");
    spent_ = std::move(runs[0]);
    reserved_ = std::move(runs[1]);
    is_private_ = is_private == 1;
  }

 private:
  static void require_poisson(SamplingScheme scheme) {
    require(scheme == SamplingScheme::poisson, ErrorId::value, "Ledger: batches are ",
            scheme_names[static_cast<std::size_t>(scheme)], ", but only Poisson samples are accounted; use PoissonBatches");
  }
  static std::uint64_t steps_of(const std::vector<SubsampledGaussian>& runs) {
    std::uint64_t steps = 0;
    for (const SubsampledGaussian& m : runs) steps += m.steps;
    return steps;
  }
  static void add(std::vector<SubsampledGaussian>& runs, const SubsampledGaussian& m) {
    const auto same = std::ranges::find_if(runs, [&](const auto& r) { return r.rate == m.rate && r.noise == m.noise; });
    if (same != runs.end())
      same->steps += m.steps;
    else
      runs.push_back(m);
  }
  static double real(std::istringstream& in) {  // streams do not read hexadecimal floating point
    std::string word;
    in >> word;
    char* end = nullptr;
    const double x = std::strtod(word.c_str(), &end);
    require(!word.empty() && *end == 0, ErrorId::checkpoint, "Ledger::restore: ", in_quotes(word), " is no number");
    return x;
  }

  LedgerOptions options_;
  std::vector<SubsampledGaussian> spent_, reserved_;
  bool is_private_ = true;
  std::function<void(const std::string&)> on_charge_;
};

/// The least noise with which `steps` more keep within the ledger's budget, after all that it has charged. Throws what the other
/// noise_for() throws.
inline double noise_for(const Ledger& ledger, double rate, std::uint64_t steps) {
  const LedgerOptions& o = ledger.options();
  return noise_for(o.budget, o.delta, rate, steps, o.accountant, o.relation, ledger.spent());
}

}  // namespace lorasb::privacy
