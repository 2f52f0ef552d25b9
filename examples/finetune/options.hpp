// What lorasb-finetune is asked to do.
#pragma once

#include "examples/common/common_options.hpp"
#include "examples/common/private_options.hpp"
#include "examples/common/trained_folder.hpp"
#include "examples/common/tuned_model.hpp"

namespace lorasb::examples {

/// One rank for all modules, or by the energies of their updates with as many numbers in all.
enum class RankAllocation { equal, energy };
inline constexpr std::array<std::string_view, 2> allocation_names{"equal", "energy"};

/// The numbers that a run ends with: those after its last step, or those after the epoch with the best score on validation texts.
enum class Keep { last, best };
inline constexpr std::array<std::string_view, 2> keep_names{"last", "best"};

struct FinetuneOptions : CommonOptions {
  Method method = Method::lora_sb;
  Index rank = 24;
  Index epochs = 3;
  double warmup = 0.06;  // share of all steps
  double dropout = 0;    // of what adapters read in training
  Index init_examples = 256;
  Index init_memory_mb = 1024;
  bool init_sketch = false;
  bool look_ahead_extra = false;
  RankAllocation rank_allocation = RankAllocation::equal;
  std::size_t train_size = 10000;
  std::size_t validation_size = 2000;
  std::size_t test_size = 10000;
  Index head_epochs = 60;   // of --method head: until its loss stands still
  double head_decay = 0.3;  // of the head alone
  Keep keep = Keep::last;
  std::string class_weights = "none";  // balanced, none or a file
  Index parts = 4;               // pieces of a batch; results depend on it, not on threads
  Index checkpoint_every = 200;  // steps
  Index accumulate = 1;          // batches of an update
  Index patience = 0;            // epochs without a better validation; 0: all epochs are run
  bool resume = false;
  PrivateOptions privacy;
  std::filesystem::path predict, test;  // what to do with the classifier of --load
  std::filesystem::path write_merged;   // a folder for the whole model, adapters merged; empty: none
  bool json = false;
  std::vector<Index> lora_ranks{8, 16};
  std::vector<Index> lora_sb_ranks{};  // rank, and 64


  /// Whether the classifier of --load is used as it is, and nothing is trained.
  bool only_uses_loaded() const {
    return !load.empty() && (!predict.empty() || !test.empty() || (!write_merged.empty() && !given.contains("--data")));
  }

  FinetuneOptions() {
    out = "lorasb-out";
    takes_pooler = true;
  }
};

/// The rate that did best on WordNet's validation texts, see docs/results.md.
inline double default_learning_rate(Method method, OptimizerKind optimizer, bool look_ahead) {
  if (optimizer == OptimizerKind::sgd) return method == Method::full ? 0.03 : 0.1;
  switch (method) {
    case Method::lora_sb:
      return look_ahead ? 3e-3 : 1e-2;
    case Method::ffa_lora:
      return 1e-2;  // not tuned: in federation it does best at three times LoRA's rate
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
  // on the BERT family a first step of 1e-2 raises the loss; 1e-3 did best of 3e-4, 1e-3, 3e-3, 1e-2 with MiniLM on 2,000 texts of WordNet
  if (o.learning_rate == 0 && o.method == Method::lora_sb && o.optimizer == OptimizerKind::adamw && o.look_ahead == 0 && !is_use_lite(o)) return 1e-3;
  return o.learning_rate > 0 ? o.learning_rate : default_learning_rate(o.method, o.optimizer, o.look_ahead != 0);
}

namespace detail {

/// Every option of the program, once.
inline void describe(FinetuneOptions& o, OptionTable& t) {
  const CLI::Validator positive = above_0(), natural = at_least_0();
  describe_common(o, t, "they count as steps of the run, and auto is a sixth of these. Only lora-sb looks ahead");
  t.flag("--look-ahead-extra", o.look_ahead_extra, "The scout's steps come on top of --epochs", "look_ahead_extra");
  t.choice("--task", o.problem, task_names,
           "What the first column of tsv: and --test is: classification, a class; multilabel, any number of labels with commas between "
           "them, or nothing; regression, a number (default: what the folder of --load or --model says, else classification)");
  if (o.problem != ProblemType::single_label) t.set("task", name_of(o.problem));  // no words that older runs have not
  t.choice("--method", o.method, method_names,
           "lora-sb, lora, lora-xs, ffa-lora (A stays random, B is trained), full or head", "method");
  t.add("--rank", o.rank, "Rank of every adapter", {.key = "rank", .check = positive});
  t.add("--epochs", o.epochs, "Passes over the training texts", {.key = "epochs", .check = between(1, 1 << 20)});
  t.add("--learning-rate", o.learning_rate, "Highest rate (default: the method's own)",
        {.check = positive, .show_default = false});
  t.set("learning_rate", learning_rate(o));
  t.choice("--optimizer", o.optimizer, optimizer_names, "adamw or sgd; it decides LoRA-SB's first step too", "optimizer");
  t.add("--warmup", o.warmup, "Share of the steps with a rising rate", {.key = "warmup", .check = between(0.0, 1.0)});
  t.add("--dropout", o.dropout, "Share of the inputs of adapters that a training step leaves out: PEFT's lora_dropout",
        {.check = between(0.0, 0.99)});
  if (o.dropout > 0) t.set("dropout", o.dropout);  // no words that older runs have not
  t.add("--max-norm", o.max_norm, "Clip the gradient to this norm; 0: do not", {.key = "max_norm", .check = natural});
  t.add("--init-examples", o.init_examples, "Training texts that LoRA-SB's first step is estimated from",
        {.key = "init_examples", .check = positive});
  t.choice("--rank-allocation", o.rank_allocation, allocation_names,
           "equal: --rank for every module of lora-sb; energy: as many numbers in all, more where the update has more energy",
           "rank_allocation");
  t.add("--init-memory", o.init_memory_mb, "MiB for dense estimates; less takes more passes", {.check = between(1, 1 << 30)});
  t.flag("--init-sketch", o.init_sketch, "Estimate by random sketches in one pass (sgd only)", "init_sketch");
  t.add("--train-size", o.train_size, "Training texts at most", {.key = "train_size", .check = positive});
  t.add("--test-size", o.test_size, "Test texts at most", {.key = "test_size", .check = positive});
  t.add("--validation-size", o.validation_size, "Validation texts at most, seen after each epoch",
        {.key = "validation_size", .check = natural});
  t.add("--head-epochs", o.head_epochs, "Epochs of --method head", {.check = between(1, 1 << 20)});
  t.add("--start-head-epochs", o.start_head_epochs, "Epochs of the head before the encoder is tuned", {.check = between(1, 1 << 20)});
  t.set("head_epochs", o.method == Method::head ? o.head_epochs : o.start_head_epochs);
  t.add("--head-learning-rate", o.head_learning_rate, "Highest rate of the head, alone and, with adamw, beside the encoder",
        {.key = "head_learning_rate", .check = positive});
  t.add("--head-decay", o.head_decay, "Weight decay of the head when it is trained alone",
        {.key = "head_decay", .check = natural});
  t.choice("--keep", o.keep, keep_names,
           "What adapters and test accuracy are of: last, the last step, or best, the epoch with the best validation accuracy "
           "(multilabel: micro F1; regression: Pearson)");
  t.add("--class-weights", o.class_weights,
        "Weights of the classes in the loss: none, balanced (texts over classes times the class's texts), or a file with lines "
        "label<TAB>weight");
  if (o.keep != Keep::last) t.set("keep", keep_names[std::size_t(o.keep)]);  // no words that older runs have not
  if (o.class_weights != "none") t.set("class_weights", o.class_weights);
  t.add("--accumulate", o.accumulate, "Batches whose gradients make one update, as one batch of so many times the size would",
        {.check = between(1, 1 << 20)});
  if (o.accumulate > 1) t.set("accumulate", o.accumulate);  // no words that older runs have not
  t.add(
      "--patience", o.patience,
      "Stop after that many epochs without a better validation score (see --keep), and keep the best epoch's numbers; 0: run all epochs",
      {.check = natural});
  if (o.patience > 0) t.set("patience", o.patience);
  t.flag("--pairs", o.pairs, "Lines have two texts: label<TAB>text<TAB>text in tsv: and --test, text<TAB>text in --predict");
  if (o.pairs) t.set("pairs", 1);
  t.choice("--weights", o.weights, weight_names, "The frozen weights of the encoder in memory: f32 or bf16", "weights");
  t.add("--parts", o.parts, "Pieces that a batch is divided into; at least as many as threads pays",
        {.key = "parts", .check = between(1, 4096)});
  t.add("--checkpoint-every", o.checkpoint_every, "Steps between checkpoints; 0: none", {.check = natural});
  t.add("--out", o.out, "Folder for metrics, plot, adapters and checkpoint");
  t.flag("--resume", o.resume, "Go on from the checkpoint in the folder; with --compare, keep the runs that are done");
  describe_private(o.privacy, t);
  t.add("--load", o.load,
        "A classifier that is there, a folder that the programs or PEFT wrote: for --predict and --test, or to go on training "
        "from with --data");
  t.add("--predict", o.predict, "With --load: a file with a text per line; prints label<TAB>probability for each, or what --task predicts");
  t.add("--test", o.test, "With --load: a file with lines label<TAB>text; prints accuracy and macro F1, or the scores of --task");
  t.add("--write-merged", o.write_merged,
        "Write the whole model, adapters merged into its weights, as a Hugging Face folder: after training, or with --load");
  t.flag("--json", o.json, "Print --predict and --test as JSON lines");
  t.flag("--compare", o.compare, "Run head, LoRA-SB, LoRA-XS, LoRA and full fine-tuning with several seeds");
  t.list("--lora-ranks", o.lora_ranks, "Ranks of LoRA in --compare");
  t.list("--lora-sb-ranks", o.lora_sb_ranks,
         "Ranks of LoRA-SB in --compare, default --rank and 64; differences are to the first");
}

}  // namespace detail

/// All that decides the bits of a run. Threads do not.
inline std::map<std::string, std::string> run_config(FinetuneOptions o) {
  OptionTable table(nullptr);
  detail::describe(o, table);
  return table.config();
}

}  // namespace lorasb::examples
