// The rows of the table: head alone, one adapter for all domains, experts under hard routing, and the mixture.
#pragma once

#include <numeric>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "examples/mixer/evaluate.hpp"
#include "examples/mixer/training.hpp"
#include "lorasb/mixer/mixture_folder.hpp"

namespace lorasb::examples {

using mixer::ExpertKind;

class Methods {
 public:
  Methods(const MixTask& task, MixOptions options) : task_(task), options_(std::move(options)) {
    std::vector<Index> all(std::size_t(task_.train.size()));
    std::iota(all.begin(), all.end(), Index{0});
    all_texts_ = std::move(all);
    features_ = frozen_features(task_.base, task_.train, options_.parts, options_.threads);
    head_ = train::train_head<float>(
        features_, task_.train.labels, task_.class_count(),
        {.epochs = options_.start_head_epochs, .learning_rate = options_.head_learning_rate, .seed = options_.seed});
  }

  /// The frozen encoder with a head over the classes of all domains.
  MixResult head() {
    MixResult result{.name = "head"};
    const train::TunedModel<float> model = train::tune_head<float>(task_.base.weights, task_.base.modules, frozen_head());
    Classifier classifier = mix_classifier(task_, model.layers, *model.values, false, options_.parts);
    evaluate(task_, classifier, *model.values, HeadChoice::largest_logit, 0, options_, result);
    return result;
  }

  /// One adapter of that kind for all domains, with as many steps as the experts together.
  MixResult single(ExpertKind kind, std::string name) {
    MixResult result{.name = std::move(name)};
    train::TunedModel<float> model =
        kind == ExpertKind::lora
            ? train::tune_lora<float>(task_.base.weights, task_.base.modules,
                                      {.rank = options_.rank, .alpha = double(options_.rank), .seed = options_.seed}, *head_)
            : train::tune_cores<float>(Method::lora_sb, task_.base.weights, task_.base.modules,
                                       first_step_adapters(all_texts_), *head_);
    mixer::BalanceLossOptions none;
    train_stage(task_, model.layers, *model.values, none, options_, stage_1(kind, result.name, false));
    Classifier classifier = mix_classifier(task_, model.layers, *model.values, false, options_.parts);
    result.trainable = classifier.adapter_size();
    evaluate(task_, classifier, *model.values, HeadChoice::largest_logit, 0, options_, result);
    return result;
  }

  /// Both stages. `oracle` gets the experts under hard routing, after stage 1, when it is not null; the mixture is written to
  /// `folder` when there is one.
  MixResult mixture(ExpertKind kind, MixResult* oracle, const std::optional<std::filesystem::path>& folder) {
    MixResult result{.name = concat("mixer-", mixer::expert_kind_names[std::size_t(kind)])};
    const std::vector<Module<float>> modules = task_.base.modules;
    mixer::ExpertBank<float> bank = options_.load_experts.empty() ? new_experts(kind) : loaded_experts(modules);
    // routers that start small break ties between experts
    const mixer::RouterInput input = bank.shares_bases() ? options_.router_input : mixer::RouterInput::projection;
    mixer::Mixture<float> mixture = mixer::make_mixture(std::move(bank), input, {}, 0.01, options_.seed);

    mixture.trains_router = false;  // stage 1: the experts, each on its own domain
    mixer::BalanceLossOptions none;
    const bool stays = options_.expert_head == ExpertHead::frozen;
    Parameters<float> head = stays ? frozen_head() : *head_;
    {
      Parameters<float> values = mixer::start_values(modules, mixture, head);
      StageOptions stage = stage_1(kind, result.name + " experts", true);
      // a head that stays still compares the classes of all domains; beside frozen experts it is all that trains
      if (stays && values.layout().size() > head.layout().size()) stage.head_learning_rate = 0;
      const Layers<float> layers =
          mixer::bind_mixture<float>(modules, mixture, values, {.mode = mixer::RoutingMode::hard}, none);
      train_stage(task_, layers, values, none, options_, stage);
      none.multiplier = 1;
      if (oracle != nullptr) {
        Classifier classifier = mix_classifier(task_, layers, values, false, options_.parts);
        oracle->trainable = classifier.adapter_size();
        evaluate(task_, classifier, values, HeadChoice::given, task_.domain_count(), options_, *oracle);
      }
      result.trainable = values.layout().count([](const auto& t) { return !is_head(t.role); });
      mixture = mixer::with_values(mixture, values);
      copy_tensors(values, head);
    }
    const std::vector<mixer::Expert<float>>& experts = mixture.bank.experts();
    std::vector<bool> frozen;
    for (const mixer::Expert<float>& e : experts) frozen.push_back(e.frozen);
    mixture.bank.freeze_all();  // stage 2: the router, and the head over the classes of all domains
    mixture.trains_router = true;
    mixer::BalanceLossOptions loss = options_.loss;
    Parameters<float> values = mixer::start_values(modules, mixture, head);
    {
      const Layers<float> layers = mixer::bind_mixture<float>(
          modules, mixture, values, {.mode = mixer::RoutingMode::soft, .temperature = options_.temperature}, loss);
      train_stage(task_, layers, values, loss, options_,
                  {.name = result.name + " router",
                   .texts = router_texts(),
                   .epochs = options_.router_epochs,
                   .learning_rate = options_.router_learning_rate,
                   .head_learning_rate = options_.head_learning_rate / 10,  // few texts, seen often
                   .head_by_domain = false});
    }
    result.trainable += values.layout().count([](const auto& t) { return t.role == Role::router; });
    const mixer::RoutingOptions inference{
        .mode = mixer::RoutingMode::top_k, .k = options_.top_k, .temperature = options_.temperature};
    const Layers<float> layers = mixer::bind_mixture<float>(modules, mixture, values, inference, none);
    Classifier classifier = mix_classifier(task_, layers, values, false, options_.parts);
    evaluate(task_, classifier, values, HeadChoice::routing, task_.domain_count(), options_, result);
    if (folder) {
      mixer::Mixture<float> whole = mixer::with_values(mixture, values);
      for (std::size_t e = 0; e < frozen.size(); ++e) whole.bank.experts()[e].frozen = frozen[e];
      mixer::write_mixture(*folder, whole, inference);
    }
    return result;
  }

 private:
  StageOptions stage_1(ExpertKind kind, std::string name, bool by_domain) const {
    return {.name = std::move(name),
            .texts = all_texts_,
            .epochs = options_.epochs,
            .learning_rate = learning_rate(options_, kind),
            .head_learning_rate = options_.head_learning_rate,
            .head_by_domain = by_domain};
  }
  /// As many texts of all domains as asked for, mixed.
  std::vector<Index> router_texts() const {
    const Index count = std::min(Index(options_.router_examples), task_.train.size());
    train::ShuffledBatches mixed(task_.train.size(), count, options_.seed + 1);
    const std::span<const Index> first = mixed.next();
    return {first.begin(), first.end()};
  }
  /// A head that is trained to the end on the frozen encoder, made when it is first asked for.
  const Parameters<float>& frozen_head() {
    if (!frozen_head_)
      frozen_head_ =
          train::train_head<float>(features_, task_.train.labels, task_.class_count(),
                                   {.learning_rate = options_.head_learning_rate, .weight_decay = 0.3, .seed = options_.seed});
    return *frozen_head_;
  }

  /// LoRA-SB's first step from up to 256 of the texts.
  AdapterSet<float> first_step_adapters(const std::vector<Index>& texts) const {
    std::vector<Index> order;
    train::ShuffledBatches shuffled(std::ssize(texts), std::min<Index>(256, std::ssize(texts)), options_.seed);
    for (const Index i : shuffled.next()) order.push_back(texts[std::size_t(i)]);
    train::InitializeModulesOptions init;
    init.adapter = {
        .rank = options_.rank, .learning_rate = learning_rate(options_, ExpertKind::lora_sb) / 10, .seed = options_.seed};
    return sb_adapters(task_.base, *head_, task_.train, order, options_.parts, options_.threads, init).adapters;
  }
  mixer::ExpertBank<float> new_experts(ExpertKind kind) const {
    if (kind == ExpertKind::cores) return mixer::make_cores(first_step_adapters(all_texts_), task_.domains);
    mixer::ExpertBank<float> bank;
    for (Index d = 0; d < task_.domain_count(); ++d) {
      const std::string& name = task_.domains[std::size_t(d)];
      if (kind == ExpertKind::lora_sb) bank.add(name, first_step_adapters(task_.train_texts(d)));
      if (kind != ExpertKind::lora) continue;
      NamedSet<LoraAdapter<float>> lora;
      std::uint64_t position = 0;
      for (const Module<float>& m : task_.base.modules)
        lora.add(m.name, initialize_lora<float>(m.W0.rows(), m.W0.cols(),
                                                {.rank = options_.rank,
                                                 .alpha = double(options_.rank),
                                                 .seed = derive_seed(options_.seed + std::uint64_t(d), position++)}));
      bank.add(name, lora);
    }
    return bank;
  }
  mixer::ExpertBank<float> loaded_experts(const std::vector<Module<float>>& modules) const {
    mixer::ExpertBank<float> bank;
    for (std::size_t d = 0; d < task_.domains.size(); ++d) {
      const std::filesystem::path run = options_.load_experts[d];  // of lorasb-finetune, or an adapter folder itself
      const bool is_run = std::filesystem::exists(run / "adapter" / "adapter_config.json");
      mixer::load_expert<float>(is_run ? run / "adapter" : run, task_.domains[d], modules, bank);
    }
    return bank;
  }

  const MixTask& task_;
  MixOptions options_;
  std::vector<Index> all_texts_;
  Matrix<float> features_;                 // of the training texts by the frozen encoder
  std::optional<Parameters<float>> head_, frozen_head_;  // over the classes of all domains: of a few epochs, and to the end
};

}  // namespace lorasb::examples
