// What lorasb-federate is asked to do.
#pragma once

#include "examples/common/common_options.hpp"
#include "examples/common/private_options.hpp"
#include "examples/federated/server_step_options.hpp"
#include "lorasb/federated/baselines/communication.hpp"
#include "lorasb/federated/partition.hpp"
#include "lorasb/federated/robust_aggregator.hpp"
#include "lorasb/federated/selection.hpp"

namespace lorasb::examples {

enum class Engine { in_process, mpi };
inline constexpr std::array<std::string_view, 2> engine_names{"in-process", "mpi"};

/// The federated methods of the library, and two baselines: every client by itself, and all data in one place.
enum class Setting { federated, local, central };

/// Whose texts the bases of fed-sb come from.
enum class Estimate { automatic, server, clients };
inline constexpr std::array<std::string_view, 3> estimate_names{"auto", "server", "clients"};

enum class Aggregate { mean, median, trimmed, krum };
inline constexpr std::array<std::string_view, 4> aggregate_names{"mean", "median", "trimmed", "krum"};
static_assert(std::ranges::equal(std::span(aggregate_names).subspan(1), federated::robust_rule_names));
/// Of every aggregate but the mean.
inline federated::RobustRule robust_rule(Aggregate aggregate) {
  return static_cast<federated::RobustRule>(static_cast<int>(aggregate) - 1);
}

struct FederateOptions : CommonOptions {
  std::filesystem::path journal;  // empty: none
  Setting setting = Setting::federated;
  federated::FederatedMethod method = federated::FederatedMethod::fed_sb;  // local and central train LoRA-SB
  Index rank = 0;                                                          // 0: 24 for LoRA-SB, 8 for LoRA
  Index experts = 0;                                                       // of a mixture of cores, fed-sb only; 0: one adapter
  Index top_k = 2;                                                         // of them, for a token
  double balance = 0.01;                                                   // weight of their balance loss
  std::vector<Index> ranks;  // of the clients in turn, fed-sb only; empty: all of them `rank`
  Index clients = 10;
  Index rounds = 10;
  Index local_epochs = 1;
  Index local_steps = 0;  // 0: local_epochs
  double participation = 1;
  double poisson_rate = 0;  // with which each client takes part in a round, by a draw of its own; 0: as `participation` says
  federated::PartitionOptions partition;
  Engine engine = Engine::in_process;
  Index min_clients = 1;
  Index cap = 0;
  double round_seconds = 0;        // deadline of a round; 0: none
  Estimate estimate = Estimate::automatic;  // see estimate_of()
  std::string init_data = "512";   // examples that belong to no client, or a file of them
  Aggregate aggregate = Aggregate::mean;
  double trimmed_share = 0.2;
  Index liars = 1;
  ServerStepOptions server;
  double proximal = 0;  // mu of FedProx
  std::size_t train_size = 5000;
  std::size_t test_size = 2000;
  PrivateOptions privacy;
  bool validation = false;  // measure on validation texts, to tune on

  FederateOptions() {
    out = "lorasb-federated-out";
    batch = 16;
  }
};

/// As on the command line.
inline std::string name_of(const FederateOptions& o) {
  if (o.setting == Setting::local) return "local";
  if (o.setting == Setting::central) return "central";
  return std::string(federated::name_of(o.method));
}

inline bool trains_fed_sb(const FederateOptions& o) {
  return o.setting == Setting::federated && o.method == federated::FederatedMethod::fed_sb;
}
/// Whether clients send clipped and noised gradients before the first round.
inline bool takes_noised_bases(const FederateOptions& o) {
  return o.privacy.enabled && o.privacy.bases == PrivateBases::noised && trains_fed_sb(o);
}
inline Estimate estimate_of(const FederateOptions& o) {
  if (o.estimate != Estimate::automatic) return o.estimate;
  if (o.privacy.enabled) return takes_noised_bases(o) ? Estimate::clients : Estimate::server;
  return o.look_ahead != 0 && trains_fed_sb(o) ? Estimate::clients : Estimate::server;
}

/// How the clients of a round are drawn, as on the command line.
inline std::string client_sampling(const FederateOptions& o) {
  return o.poisson_rate > 0 ? concat("poisson:", o.poisson_rate) : std::string("fixed");
}

inline Index adapter_rank(const FederateOptions& o) {
  if (!o.ranks.empty()) return *std::ranges::max_element(o.ranks);
  return o.rank > 0 ? o.rank : o.method == federated::FederatedMethod::fed_sb ? 24 : 8;
}

/// The rates that did best on WordNet's validation texts, for every method with adamw; see docs/results.md.
inline double learning_rate(const FederateOptions& o) {
  using federated::FederatedMethod;
  if (o.learning_rate > 0) return o.learning_rate;
  if (o.optimizer == OptimizerKind::sgd) return 0.1;
  if (o.setting == Setting::central) return 3e-3;
  if (o.setting == Setting::local) return 1e-2;
  return o.method == FederatedMethod::fed_sb || o.method == FederatedMethod::ffa_lora ? 3e-2 : 1e-2;
}

namespace detail {

/// Sets setting and method from the word after --method; returns what is wrong with it.
inline std::string set_method(FederateOptions& o, const std::string& word) {
  o.setting = word == "local" ? Setting::local : word == "central" ? Setting::central : Setting::federated;
  o.method = federated::FederatedMethod::fed_sb;
  if (o.setting != Setting::federated) return {};
  const auto method = federated::method_named(word);
  if (!method) return "expected fed-sb, fedit, ffa-lora, fedex-lora, flora, local or central, not \"" + word + "\"";
  o.method = *method;
  return {};
}

/// Every option of the program, once.
inline void describe(FederateOptions& o, OptionTable& t) {
  const CLI::Validator counted = between(1, 1 << 24), from_zero = between(0, 1 << 24);
  const CLI::Validator positive = above_0(), natural = at_least_0();
  describe_common(o, t, "with auto a pass over the texts that --estimate names. Only fed-sb looks ahead");
  t.word("--method", name_of(o), "fed-sb, fedit, ffa-lora, fedex-lora, flora, local or central", "method",
         [&o](const std::string& word) { return set_method(o, word); });
  t.add("--clients", o.clients, "Clients that the training texts are divided among", {.key = "clients", .check = counted});
  t.add("--rounds", o.rounds, "Rounds", {.key = "rounds", .check = counted});
  t.add("--local-epochs", o.local_epochs, "Passes of a client over its texts in a round", {.check = counted});
  t.set("local_epochs", o.local_steps > 0 ? 0 : o.local_epochs);
  t.add("--local-steps", o.local_steps, "Steps of a client in a round, instead of passes; 0: passes",
        {.key = "local_steps", .check = from_zero});
  t.add("--participation", o.participation, "Share of the clients that a round is for, above 0",
        {.key = "participation", .check = between(1e-9, 1.0)});
  t.word("--client-sampling", client_sampling(o),
         "fixed (the number that --participation says), or poisson:RATE: each client by a draw of its own, which --unit client "
         "accounts with q = RATE; a round of nobody counts there, too",
         "", [&o](const std::string& word) -> std::string {
           constexpr std::string_view poisson = "poisson:";
           if (word == "fixed") return o.poisson_rate = 0, "";
           const char* const end = word.data() + word.size();
           double rate = 0;
           if (word.starts_with(poisson)) {
             const auto [read, error] = std::from_chars(word.data() + poisson.size(), end, rate);
             if (error == std::errc() && read == end && rate > 0 && rate <= 1) return o.poisson_rate = rate, "";
           }
           return "expected fixed, or poisson:RATE with RATE above 0, at most 1, not \"" + word + "\"";
         });
  if (o.poisson_rate > 0) t.set("client_sampling", client_sampling(o));  // other sessions keep the names that they had
  t.word("--partition", name_of(o.partition), "iid, dirichlet:ALPHA (shares of each label), or natural (Debian's maintainers)",
         "partition", [&o](const std::string& word) -> std::string {
           const std::optional<federated::PartitionOptions> partition = federated::partition_named(word);
           if (!partition) return "expected iid, dirichlet:ALPHA with ALPHA above 0, or natural, not \"" + word + "\"";
           o.partition = *partition;
           return {};
         });
  t.add("--rank", o.rank, "Rank of every adapter (default: 24 for LoRA-SB, 8 for LoRA)",
        {.check = positive, .show_default = false});
  t.set("rank", adapter_rank(o));
  t.add("--experts", o.experts, "Experts of a mixture of cores over the shared bases, each averaged by the tokens it has seen; 0: one adapter",
        {.check = between(0, 256)});
  t.add("--top-k", o.top_k, "Experts that a token goes to", {.check = positive});
  t.add("--balance", o.balance, "Weight of the balance loss of their routers", {.check = natural});
  if (o.experts > 0) {  // other sessions keep the names that they had
    t.set("experts", o.experts);
    t.set("top_k", o.top_k);
    t.set("balance", o.balance);
  }
  t.list("--ranks", o.ranks, "Ranks of the clients in turn, as 8,16,24; fed-sb only", "ranks");
  t.choice("--engine", o.engine, engine_names, "in-process, or mpi (under mpirun)");
  t.add("--min-clients", o.min_clients, "A round with fewer updates changes nothing", {.key = "min_clients", .check = counted});
  t.choice("--aggregate", o.aggregate, aggregate_names,
           "What a round's updates become: mean (exact), or a robust mean, which is not exact: median or trimmed (of each number), or krum "
           "(one client's update)");
  t.add("--trimmed-share", o.trimmed_share, "Of --aggregate trimmed: share of the values left out at either end", {.check = between(0.0, 0.499)});
  t.add("--liars", o.liars, "Of --aggregate krum: clients that may lie, f; a round needs 2 f + 3 updates", {.check = from_zero});
  if (o.aggregate != Aggregate::mean)  // no words that older sessions have not
    t.set("aggregate", concat(aggregate_names[std::size_t(o.aggregate)], " ", o.trimmed_share, " ", o.liars));
  describe_server_step(o.server, t);
  t.add("--proximal", o.proximal, "Clients stay near the model that a round starts with: weight mu of mu/2 ||w - w0||^2 in their loss (FedProx); 0: do not",
        {.check = natural});
  if (o.proximal > 0) t.set("proximal", o.proximal);
  t.add("--cap", o.cap, "Most updates that count in a round; 0: all", {.key = "cap", .check = from_zero});
  t.add("--round-seconds", o.round_seconds, "Deadline of a round; 0: none. Late clients make results depend on time",
        {.key = "round_seconds", .check = natural});
  t.add("--learning-rate", o.learning_rate, "Rate of the first round, falling to 0 (default: the method's own)",
        {.check = positive, .show_default = false});
  t.set("learning_rate", learning_rate(o));
  t.add("--head-learning-rate", o.head_learning_rate, "The same of the head, with adamw",
        {.key = "head_learning_rate", .check = positive});
  t.add("--max-norm", o.max_norm, "Clip a client's gradients to this norm; 0: do not", {.key = "max_norm", .check = natural});
  t.choice("--optimizer", o.optimizer, optimizer_names, "adamw or sgd, of the clients; it starts anew in each round",
           "optimizer");
  t.add("--train-size", o.train_size, "Training texts at most, of clients and start together",
        {.key = "train_size", .check = positive});
  t.add("--test-size", o.test_size, "Test texts at most", {.key = "test_size", .check = positive});
  t.flag("--validation", o.validation, "Measure on as many validation texts instead, to tune on", "validation");
  t.add("--init-data", o.init_data,
        "What head and bases start from: that many training texts that no client has (0 with --load), or a file label<TAB>text",
        {.key = "init_data"});
  t.choice("--estimate", o.estimate, estimate_names,
           "Whose texts the bases of fed-sb come from: server (those of --init-data), or clients, in a round before the first: "
           "exact sums of their gradients, or with --look-ahead K of their updates after K local steps; auto: clients with "
           "--look-ahead, else server",
           "estimate");
  t.add("--start-head-epochs", o.start_head_epochs, "Epochs of the head on them", {.key = "start_head_epochs", .check = counted});
  describe_private(o.privacy, t);
  t.add("--load", o.load,
        "A classifier that is there, a folder that the programs or PEFT wrote: its head and adapters start the session");
  t.add("--out", o.out, "Folder for metrics, plot and adapters");
  t.add("--journal", o.journal, "File of committed rounds, to go on from when it is there already");
  t.flag("--compare", o.compare, "All methods with several seeds, and a picture of accuracy against bytes");
}

}  // namespace detail

/// All that decides the bits of a session. Threads and engine do not.
inline std::map<std::string, std::string> run_config(FederateOptions o) {
  OptionTable table(nullptr);
  detail::describe(o, table);
  return table.config();
}

}  // namespace lorasb::examples
