// Which options of lorasb-federate do nothing in a call, so that the program says so.
#pragma once

#include "examples/federated/options.hpp"

namespace lorasb::examples {

/// A line on standard error for options that were given and do nothing; once --load has settled the method.
inline void say_unused(const FederateOptions& o) {
  const bool loaded = !o.load.empty(), federated = o.setting == Setting::federated || o.compare;
  const bool is_private = o.privacy.enabled, public_texts = is_private && o.privacy.bases == PrivateBases::public_file;
  const bool fed_sb = o.compare || (o.method == federated::FederatedMethod::fed_sb);  // local and central train its cores
  const bool new_bases = fed_sb && !loaded;
  const bool scouts = new_bases && o.look_ahead != 0;
  const bool first_step = new_bases && (o.compare || !scouts) && (!is_private || public_texts);
  const bool adam = o.server.step == ServerStep::adam;
  const std::string bases = is_private ? "private bases come from --bases" : loaded ? "the bases and cores are those of --load"
                                                                      : "it is of the start of --method fed-sb";
  say_unused(
      "lorasb-federate", o.given,
      {{!o.compare, {"--seeds"}, "there is no --compare"},
       {o.compare, {"--method"}, "--compare runs every method"},
       {!is_private, {"--clip", "--unit", "--noise", "--noise-kind", "--bases"}, "there is no --private"},
       {is_private && !fed_sb && !public_texts, {"--bases"}, "only fed-sb takes bases"},
       {o.data != "spam", {"--spam-package"}, "it is of --data spam"},
       {!o.data.starts_with("tsv:"), {"--header"}, "it is of --data tsv:"},
       {!federated, {"--min-clients", "--cap", "--round-seconds"}, "nothing is sent: " + name_of(o) + " has no server"},
       {o.setting == Setting::local && !o.compare, {"--participation"}, "every client trains in every round"},
       {o.local_steps > 0, {"--local-epochs"}, "--local-steps takes its place"},
       {o.experts == 0, {"--top-k", "--balance"}, "there are no --experts"},
       {o.aggregate != Aggregate::trimmed, {"--trimmed-share"}, "it is of --aggregate trimmed"},
       {o.aggregate != Aggregate::krum, {"--liars"}, "it is of --aggregate krum"},
       {!o.server.enabled(), {"--server-learning-rate", "--server-momentum", "--server-beta2", "--server-epsilon"},
        "there is no --server-optimizer"},
       {!adam, {"--server-beta2", "--server-epsilon"}, "it is of --server-optimizer adam"},
       {loaded, {"--start-head-epochs"}, "the head is that of --load"},
       {loaded, {"--init-data"}, "head and bases are those of --load: these texts only belong to no client"},
       {is_private && o.privacy.unit == privacy::PrivacyUnit::example, {"--max-norm"}, "--clip bounds the gradient of each text"},
       {o.look_ahead_auto && !scouts, {"--look-ahead"}, bases},
       {!scouts, {"--scout", "--scout-rank", "--scout-learning-rate"}, "there is no --look-ahead"},
       {o.scout != train::ScoutKind::lora, {"--scout-rank"}, "it is of --scout lora"},
       {!first_step, {"--init-direction"}, scouts ? "the scout of --look-ahead gives the bases" : bases},
       {!new_bases, {"--estimate"}, bases},
       {!new_bases || is_private, {"--core-start"}, is_private ? "private cores start at 0" : bases}});
}

}  // namespace lorasb::examples
