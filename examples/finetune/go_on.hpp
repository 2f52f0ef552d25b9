// A run that goes on from a classifier that is there.
#pragma once

#include "examples/finetune/options.hpp"

namespace lorasb::examples {

/// Takes over what a loaded classifier decides: its method, but that of a head alone, from which every method can start, and
/// its ranks. Throws ErrorId::value for options that contradict it.
inline void go_on_from(const TrainedFolder& folder, FinetuneOptions& o) {
  const auto check = [&](bool good, const auto&... parts) {
    require(good, ErrorId::value, "--load: \"", folder.path.string(), "\" ", parts...);
  };
  go_on_from_texts(folder, o);
  if (folder.method == Method::head && o.given.contains("--method")) {
    if (o.method == Method::full && !o.given.contains("--weights")) o.weights = WeightType::f32;  // which it trains
    return;
  }
  check(!o.given.contains("--method") || o.method == folder.method, "goes on by --method ", name_of(folder.method), ", not ",
        name_of(o.method));
  o.method = folder.method;
  if (folder.written_by == "ffa-lora")
    std::fprintf(stderr, "%s was trained by ffa-lora; it goes on as lora, which trains A too\n", folder.path.c_str());
  check(o.method != Method::head || (o.keep == Keep::last && o.modules.empty()),
        "goes on as a head alone: no --keep best, --patience or --modules; --method starts another");
  check(o.modules.empty() || folder.adapters.empty(), "has adapters on modules of its own: no --modules");
  check(o.modules.empty() || o.method != Method::full, "was trained in full: no --modules");
  check(o.weights == WeightType::f32 || o.method != Method::full, "was trained in full: its weights stay f32 (--weights)");
  check(o.dropout == 0 || (o.method != Method::full && o.method != Method::head), "goes on without adapters: no --dropout");
  check(o.look_ahead <= 0, "has its bases: no --look-ahead");
  o.look_ahead = 0;
  if (folder.adapters.empty()) return;
  check(!o.given.contains("--rank") || o.rank == folder.rank(), "has adapters of rank ", folder.rank(), ", not ", o.rank, " (--rank)");
  o.rank = folder.rank();
}

}  // namespace lorasb::examples
