// A session that goes on from a classifier that is there.
#pragma once

#include "examples/common/trained_folder.hpp"
#include "examples/federated/options.hpp"

namespace lorasb::examples {

/// Takes over what a loaded classifier decides: the rank, and fedit for plain LoRA, or ffa-lora as it was trained, when no
/// method was given. Throws ErrorId::value for a folder that the method cannot start from.
inline void go_on_from(const TrainedFolder& folder, FederateOptions& o) {
  const auto check = [&](bool good, const auto&... parts) {
    require(good, ErrorId::value, "--load: \"", folder.path.string(), "\" ", parts...);
  };
  check(folder.problem == ProblemType::single_label, "is of --task ", name_of(folder.problem),
        ": a session trains classifiers with one label for each text");
  check(!folder.adapters.empty(), "holds no adapters: a session goes on from those of lora-sb, lora-xs or lora");
  const bool plain = folder.method == Method::lora;
  if (plain && !o.given.contains("--method"))
    o.method = folder.written_by == "ffa-lora" ? federated::FederatedMethod::ffa_lora : federated::FederatedMethod::fedit;
  using federated::FederatedMethod;
  check(o.method != FederatedMethod::flora && o.method != FederatedMethod::fedex_lora, "cannot start --method ", name_of(o),
        ": it adds to the weights themselves, which no adapter holds");
  check(plain == (o.method != FederatedMethod::fed_sb), plain ? "holds plain LoRA: --method fedit or ffa-lora goes on from it"
                                                              : "holds cores: --method fed-sb goes on from them");
  for (const auto& [name, adapter] : folder.adapters)
    check(adapter.rank() == folder.rank(), "has adapters of several ranks, ", adapter.rank(), " and ", folder.rank(),
          ": a session has one");
  const bool rank_given = o.given.contains("--rank") || o.given.contains("--ranks");
  check(!rank_given || adapter_rank(o) == folder.rank(), "has adapters of rank ", folder.rank(), ", not ", adapter_rank(o));
  if (o.ranks.empty()) o.rank = folder.rank();
  if (o.weights != WeightType::f32)
    std::fprintf(stderr, "%s was trained on weights in bf16; the session computes with f32\n", folder.path.c_str());
  o.weights = WeightType::f32;
  go_on_from_texts(folder, o);
}

}  // namespace lorasb::examples
