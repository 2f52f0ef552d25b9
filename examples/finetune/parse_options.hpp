// The command line of lorasb-finetune, and which options go together.
#pragma once

#include "examples/finetune/options.hpp"

namespace lorasb::examples {

namespace detail {

/// Throws CLI::ValidationError for what a private run cannot do.
inline void check_private_run(FinetuneOptions& o) {
  check_private(o.privacy);
  if (!o.privacy.enabled) return;
  if (o.privacy.unit != privacy::PrivacyUnit::example)
    throw CLI::ValidationError("--unit", "client is for lorasb-federate: here there are no clients");
  if (o.look_ahead > 0) throw CLI::ValidationError("--look-ahead", "would take bases from private texts; see --bases");
  o.look_ahead = 0;
  if (o.method == Method::full)
    throw CLI::ValidationError("--private", "full fine-tuning trains norms and an embedding, which have no gradients per text");
  if (o.rank_allocation == RankAllocation::energy || o.init_sketch)
    throw CLI::ValidationError("--private", "--rank-allocation energy and --init-sketch are not for private runs");
  if (o.accumulate > 1)
    throw CLI::ValidationError("--accumulate",
                               "is not for private runs, whose --batch is an expected size and takes no memory");
  if (o.patience > 0)
    throw CLI::ValidationError("--patience", "is not for private runs, whose number of steps is in the account");
  if (o.compare) throw CLI::ValidationError("--private", "runs one method: no --compare");
}

/// Throws CLI::ValidationError, before anything is trained, for a place that --write-merged cannot write to.
inline void check_merged_folder(const FinetuneOptions& o) {
  const auto refuse = [](const std::string& why) { throw CLI::ValidationError("--write-merged", why); };
  if (o.write_merged.empty()) return;
  if (o.compare) refuse("writes one model, and --compare trains many");
  if (std::filesystem::weakly_canonical(o.write_merged) == std::filesystem::weakly_canonical(o.out))
    refuse("and --out need two folders");
  if (is_use_lite(o) && (o.load.empty() || o.given.contains("--model")))
    refuse("needs a Hugging Face folder to complete: --model minilm or a folder; use-lite is none");
  std::error_code error;
  if (!std::filesystem::exists(o.write_merged, error)) return;
  if (!std::filesystem::is_directory(o.write_merged, error))
    refuse(in_quotes(o.write_merged.string()) + " is there, and is no folder");
  if (!std::filesystem::is_empty(o.write_merged, error))
    refuse(in_quotes(o.write_merged.string()) + " is not empty; give a new folder");
}

/// Throws CLI::ValidationError for options that contradict each other.
inline void check(FinetuneOptions& o) {
  if (o.load.empty() && !(o.predict.empty() && o.test.empty()))
    throw CLI::ValidationError(o.predict.empty() ? "--test" : "--predict", "needs --load");
  if (!o.load.empty() && !o.only_uses_loaded() && !o.given.contains("--data"))
    throw CLI::ValidationError("--load", "needs --predict, --test or --write-merged, or --data to go on training with");
  if (o.given.contains("--data") && o.only_uses_loaded())
    throw CLI::ValidationError("--data", "trains, and --predict and --test use a classifier as it is: these are two calls");
  if (!o.load.empty() && (o.compare || o.privacy.enabled))
    throw CLI::ValidationError(
        "--load", "is for one run: no --compare; and no --private: what the folder has learnt from is in no account");
  if (!o.modules.empty() && (o.compare || o.method == Method::full || o.method == Method::head))
    throw CLI::ValidationError("--modules",
                               "is for the adapters of one run: not for --compare, and --method full and head have none");
  if (o.dropout > 0 && (o.method == Method::full || o.method == Method::head || o.compare || o.privacy.enabled))
    throw CLI::ValidationError("--dropout",
                               "is of the inputs of adapters: not for --method full and head, --compare and --private");
  check_merged_folder(o);
  if (o.patience > 0 && o.validation_size == 0)
    throw CLI::ValidationError("--patience", "needs validation texts: no --validation-size 0");
  if (o.patience > 0 && o.method == Method::head && !o.compare)
    throw CLI::ValidationError("--patience",
                               "is for methods that tune the encoder: the head alone has no validation between its epochs");
  if (o.pairs && o.load.empty() && !o.data.starts_with("tsv:"))
    throw CLI::ValidationError("--pairs", "needs --data tsv:TRAIN:TEST: the other sets have one text a line");
  if (o.lora_sb_ranks.empty()) o.lora_sb_ranks = {o.rank, 64};
  if (o.init_sketch && o.optimizer != OptimizerKind::sgd)
    throw CLI::ValidationError("--init-sketch", "needs --optimizer sgd: the sign in AdamW's first step is not linear");
  if (o.weights == WeightType::bf16 && (o.method == Method::full || o.compare))
    throw CLI::ValidationError("--weights", "full fine-tuning, which --compare runs too, trains the weights: they stay f32");
  if (o.keep == Keep::best && (o.validation_size == 0 || o.method == Method::head || o.privacy.enabled))
    throw CLI::ValidationError("--keep",
                               "best needs epochs with validation texts: no --validation-size 0, --method head or --private");
  if (o.class_weights != "none" && o.privacy.enabled)
    throw CLI::ValidationError("--class-weights", "are not for --private: counts of classes are of private texts");
  if (o.init_sketch && o.rank_allocation == RankAllocation::energy)
    throw CLI::ValidationError("--rank-allocation", "energy needs dense estimates, not --init-sketch");
  if (o.look_ahead > 0 && o.method != Method::lora_sb && !o.compare)
    throw CLI::ValidationError("--look-ahead", "gives the bases of --method lora-sb alone");
  check_common(o, o.init_sketch);
  check_private_run(o);
  if (o.patience > 0) o.keep = Keep::best;
}

}  // namespace detail

/// Fills `o` and returns -1, or returns the exit status after a message or --help.
inline int parse_options(int argc, char** argv, FinetuneOptions& o) {
  CLI::App app{"Fine-tunes a pretrained sentence encoder with LoRA-SB, and compares it with other methods."};
  OptionTable table(&app);
  detail::describe(o, table);
  try {
    app.parse(argc, argv);
    lift_limits(app, o, o.train_size, o.test_size);
    o.given = given_flags(app);
    detail::check(o);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  return -1;
}

}  // namespace lorasb::examples
