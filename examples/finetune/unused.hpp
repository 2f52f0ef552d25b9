// Which options of lorasb-finetune do nothing in a call, so that the program says so.
#pragma once

#include "examples/finetune/options.hpp"

namespace lorasb::examples {

/// A line on standard error for options that were given and do nothing. `goes_on`: the adapters are those of --load, `has_head`:
/// the head is. For training, once --load has settled the method; --predict, --test and --write-merged of --load come first.
inline void say_unused(const FinetuneOptions& o, bool goes_on, bool has_head) {
  const char* const program = "lorasb-finetune";
  if (o.only_uses_loaded()) {
    const bool reads = !o.predict.empty() || !o.test.empty();
    say_unused(program, o.given,
               {{o.test.empty(), {"--header"}, "it is of --test and of --data tsv:"},
                {!reads, {"--json", "--parts", "--threads", "--backend"}, "nothing is predicted"},
                {true,
                 all_but(o.given, {"--load", "--predict", "--test", "--write-merged", "--json", "--header", "--model", "--pool",
                                   "--weights", "--pairs", "--max-tokens", "--parts", "--threads", "--backend"}),
                 "the classifier of --load is used as it is, and nothing is trained"}});
    return;
  }
  const bool is_private = o.privacy.enabled, public_texts = is_private && o.privacy.bases == PrivateBases::public_file;
  const bool head_alone = o.method == Method::head && !o.compare && !is_private;
  const bool new_bases = o.compare || (o.method == Method::lora_sb && !goes_on);
  const bool scouts = new_bases && o.look_ahead != 0;
  const bool first_step = new_bases && (o.compare || !scouts) && (!is_private || public_texts);
  const std::string bases = is_private ? "private bases come from --bases" : goes_on ? "the bases and cores are those of --load"
                                                                        : "it is of the start of --method lora-sb";
  say_unused(
      program, o.given,
      {{true, {"--json"}, "it is of --predict and --test"},
       {!o.compare, {"--seeds", "--lora-ranks", "--lora-sb-ranks"}, "there is no --compare"},
       {o.compare, {"--method", "--look-ahead-extra"}, "--compare runs every method"},
       {!is_private, {"--clip", "--unit", "--noise", "--noise-kind", "--bases"}, "there is no --private"},
       {is_private && o.method != Method::lora_sb && !public_texts, {"--bases"}, "only lora-sb takes bases"},
       {o.data != "spam", {"--spam-package"}, "it is of --data spam"},
       {!o.data.starts_with("tsv:"), {"--header"}, "it is of --data tsv:"},
       {head_alone,
        {"--rank", "--epochs", "--learning-rate", "--optimizer", "--warmup", "--max-norm", "--batch", "--accumulate",
         "--start-head-epochs", "--checkpoint-every"},
        "a head alone has --head-epochs and --head-learning-rate"},
       {!head_alone && !o.compare, {"--head-epochs"}, "it is of --method head; --start-head-epochs is of the others"},
       {!head_alone && has_head, {"--start-head-epochs", "--head-decay"}, "the head is that of --load"},
       {is_private && !public_texts, {"--start-head-epochs", "--head-decay"}, "a private head starts at 0"},
       {o.method == Method::full && !o.compare, {"--rank"}, "full fine-tuning has no adapters"},
       {is_private, {"--max-norm"}, "--clip bounds the gradient of each text"},
       {o.look_ahead_auto && !scouts, {"--look-ahead"}, bases},
       {!scouts, {"--scout", "--scout-rank", "--scout-learning-rate", "--look-ahead-extra"}, "there is no --look-ahead"},
       {o.scout != train::ScoutKind::lora, {"--scout-rank"}, "it is of --scout lora"},
       {!first_step, {"--init-direction", "--init-sketch", "--init-memory"}, scouts ? "the scout of --look-ahead gives the bases" : bases},
       {o.init_sketch, {"--init-memory"}, "it is of dense estimates, not of --init-sketch"},
       {!new_bases || is_private, {"--init-examples", "--init-memory", "--rank-allocation", "--core-start"}, bases}});
}

}  // namespace lorasb::examples
