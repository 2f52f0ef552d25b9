// The experts of a mixture as values: what each adds to the modules of a model, and whether it is trained.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/adapter/lora/lora.hpp"
#include "lorasb/adapter/low_rank_adapter.hpp"
#include "lorasb/core/module.hpp"

namespace lorasb::mixer {

enum class ExpertKind {
  lora,     // s B A, both trained
  lora_sb,  // s B R A with bases of its own, R trained
  cores,    // the same with one B, A and s for all experts of a module
};
inline constexpr std::array<std::string_view, 3> expert_kind_names{"lora", "lora-sb", "cores"};

/// One expert: an adapter for each module of the mixture, of any rank.
template <Real S>
struct LORASB_OWNS_MEMORY Expert {
  std::string name = {};
  ExpertKind kind = ExpertKind::lora;
  AdapterSet<S> adapters = {};   // R is 0 x 0 for lora; B and A are 0 x 0 for cores
  bool frozen = false;           // has no gradient
  bool kept_near_start = false;  // protected: the preserving term of the loss holds it
};

/// Where the numbers of an expert are in a trainer's buffer: "encoder.query.experts.spam" with Role::core, factor_B, factor_A.
inline std::string expert_module(std::string_view module, std::string_view expert) {
  return concat(module, ".experts.", expert);
}

/// Experts in the order in which they were added, which is that of task labels and of the router's rows. All sit on the modules
/// that the first one sits on.
///
///     ExpertBank<float> bank(std::move(bases));              // cores over shared bases; without bases, each brings its own
///     bank.add_cores("spam", std::move(cores));
///     bank.freeze("spam");
template <Real S>
class LORASB_OWNS_MEMORY ExpertBank {
 public:
  ExpertBank() = default;
  /// One basis a module, which every expert uses. Throws what AdapterBasis::validate throws, and ErrorId::value for no module.
  explicit ExpertBank(AdapterBases<S> shared) : bases_(std::move(shared)) {
    require(!bases_.empty(), ErrorId::value, "ExpertBank: no expert was put on any layer: the shared bases have no module");
    for (const auto& [module, basis] : bases_) {
      basis.validate(module);
      modules_.push_back({module, basis.out_features(), basis.in_features()});
    }
  }

  /// Adds an expert. Throws ErrorId::value (a name that is no file's name, an expert on no layer, a kind that does not fit the
  /// bank), duplicate_name, unknown_name (other modules than the first expert's), shape, and what validate() of an adapter
  /// throws.
  void add(std::string name, const NamedSet<LoraAdapter<S>>& adapters) {
    Expert<S> expert{.name = std::move(name), .kind = ExpertKind::lora};
    for (const auto& [module, a] : adapters) {
      require_shape(a.B, a.B.rows(), a.A.rows(), module, "B", "columns are the rank, the rows of A");
      const AdapterBasis<S> basis{a.B, a.A, a.scale};
      basis.validate(module);
      expert.adapters.add(module, {.B = a.B, .R = {}, .A = a.A, .scale = a.scale});
    }
    add(std::move(expert));
  }
  void add(std::string name, AdapterSet<S> adapters) {
    for (const auto& [module, adapter] : adapters) adapter.validate(module);
    add({.name = std::move(name), .kind = ExpertKind::lora_sb, .adapters = std::move(adapters)});
  }
  /// R of each module over the shared bases.
  void add_cores(std::string name, NamedSet<Weight<S>> cores) {
    Expert<S> expert{.name = std::move(name), .kind = ExpertKind::cores};
    for (auto& [module, R] : cores) {
      require_finite(R, module, "R");
      expert.adapters.add(module, {.B = {}, .R = std::move(R), .A = {}, .scale = 1});
    }
    add(std::move(expert));
  }

  void remove(std::string_view name) {
    experts_.erase(experts_.begin() + position(name));
    if (experts_.empty() && !shares_bases()) modules_.clear();
  }
  void freeze(std::string_view name, bool frozen = true) { at(name).frozen = frozen; }
  void freeze_all(bool frozen = true) {
    for (Expert<S>& expert : experts_) expert.frozen = frozen;
  }
  /// The preserving term of the loss holds the expert near the numbers that training starts from.
  void protect(std::string_view name, bool on = true) { at(name).kept_near_start = on; }

  Index size() const { return std::ssize(experts_); }
  const std::vector<Expert<S>>& experts() const { return experts_; }
  std::vector<Expert<S>>& experts() { return experts_; }
  /// Throws ErrorId::unknown_name.
  Expert<S>& at(std::string_view name) { return experts_[static_cast<std::size_t>(position(name))]; }
  bool shares_bases() const { return !bases_.empty(); }
  const AdapterBases<S>& bases() const { return bases_; }
  /// The modules that the experts sit on, with out x in.
  const std::vector<ModuleShape>& modules() const { return modules_; }
  /// Null when no expert sits on it.
  const ModuleShape* find_module(std::string_view name) const {
    const auto found = std::ranges::find(modules_, name, &ModuleShape::name);
    return found == modules_.end() ? nullptr : &*found;
  }
  /// Numbers of all experts and bases, trained or not.
  Index numbers() const {
    Index n = 0;
    for (const auto& [module, basis] : bases_) n += basis.B.size() + basis.A.size();
    for (const Expert<S>& expert : experts_)
      for (const auto& [module, a] : expert.adapters) n += a.B.size() + a.R.size() + a.A.size();
    return n;
  }

 private:
  std::ptrdiff_t position(std::string_view name) const {
    for (std::size_t i = 0; i < experts_.size(); ++i)
      if (experts_[i].name == name) return static_cast<std::ptrdiff_t>(i);
    throw Error(ErrorId::unknown_name, concat("ExpertBank: there is no expert ", in_quotes(name)));
  }
  void add(Expert<S> expert) {
    const std::string where = concat("ExpertBank: expert ", in_quotes(expert.name));
    const bool names_file = !expert.name.empty() && expert.name.find_first_of("./\\\"") == std::string::npos;
    require(names_file, ErrorId::value, where, ": expected a name that is not empty and has no dot, slash or quotation mark");
    for (const Expert<S>& other : experts_)
      require(other.name != expert.name, ErrorId::duplicate_name, where, " is there already");
    require(!expert.adapters.empty(), ErrorId::value, where, ": no expert was put on any layer: it has no adapters");
    require(shares_bases() == (expert.kind == ExpertKind::cores), ErrorId::value, where, " is of kind ",
            expert_kind_names[std::size_t(expert.kind)], ", but the bank ", shares_bases() ? "has" : "has no", " shared bases");
    if (modules_.empty())
      for (const auto& [module, a] : expert.adapters) modules_.push_back({module, a.out_features(), a.in_features()});
    for (const ModuleShape& m : modules_) {
      const LowRankAdapter<S>* const a = expert.adapters.find(m.name);
      require(a != nullptr, ErrorId::unknown_name, where, " has nothing for module ", in_quotes(m.name),
              ", on which the mixture's experts sit");
      if (shares_bases()) {
        const Index rank = bases_.at(m.name).rank();
        require_shape(a->R, rank, rank, where, "R", "the rank of the shared basis of ", in_quotes(m.name));
      } else {
        require(a->out_features() == m.out_features && a->in_features() == m.in_features, ErrorId::shape, where, " is ",
                a->out_features(), " x ", a->in_features(), " on module ", in_quotes(m.name), ", other experts are ",
                m.out_features, " x ", m.in_features);
      }
    }
    for (const auto& [module, adapter] : expert.adapters)
      require(find_module(module) != nullptr, ErrorId::unknown_name, where, " has module ", in_quotes(module),
              ", on which no other expert sits");
    experts_.push_back(std::move(expert));
  }

  AdapterBases<S> bases_;
  std::vector<Expert<S>> experts_;
  std::vector<ModuleShape> modules_;
};

/// Experts of ExpertKind::cores with these names, over the bases of one set of adapters; each core starts as its R.
template <Real S>
ExpertBank<S> make_cores(const AdapterSet<S>& start, const std::vector<std::string>& names) {
  AdapterBases<S> bases;
  NamedSet<Weight<S>> cores;
  for (const auto& [module, a] : start) {
    bases.add(module, {.B = a.B, .A = a.A, .scale = a.scale});
    cores.add(module, a.R);
  }
  ExpertBank<S> bank(std::move(bases));
  for (const std::string& name : names) bank.add_cores(name, cores);
  return bank;
}

}  // namespace lorasb::mixer
