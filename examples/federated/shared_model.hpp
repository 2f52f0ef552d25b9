// What all members of a session hold alike: the frozen model, the global numbers, and what rounds have added to the model.
#pragma once

#include <charconv>
#include <string>
#include <variant>
#include <vector>

#include "examples/common/tuned_model.hpp"
#include "examples/federated/task.hpp"
#include "lorasb/federated/aggregate.hpp"
#include "lorasb/federated/broadcast.hpp"
#include "lorasb/federated/server.hpp"

namespace lorasb::examples {

using federated::AdmittedUpdate;
using federated::Bytes;

/// The server has one, and the clients of a process share one, which changes when nobody trains. It starts alike everywhere,
/// from --init-data and the seed, and changes only by the messages that it takes, so that members who took the same messages
/// hold the same bits.
///
///     method      trained and sent up      sent down
///     fed-sb      R, head                  their means
///     fedit       B, A, head               their means
///     ffa-lora    B, head                  their means
///     fedex-lora  B, A, head               their means, and the residue as factors, which is added to the model
///     flora       B, A, head               the mean of the head, and the stack of B and A, which is added to the model
class SharedModel {
 public:
  SharedModel(const FederatedTask& task, const FederateOptions& options)
      : task_(task), options_(options), modules_(adapted_modules(task.base)) {
    const Parameters<float> head = start_head();
    ParameterLayout layout, frozen;
    switch (options.method) {
      case federated::Method::fed_sb:
        adapters_ = start_adapters(head);
        append_cores(modules_, adapters_, layout);
        break;
      case federated::Method::ffa_lora:
        for (const Module<float>& m : modules_) append_lora(m.name, m.W0.rows(), m.W0.cols(), rank(), layout, frozen);
        break;
      case federated::Method::fedex_lora:
      case federated::Method::flora:
        for (const Module<float>& m : modules_) {
          tuned_.push_back(m.W0.widened());
          added_.push_back(Weight<double>::Zero(m.W0.rows(), m.W0.cols()));
        }
        [[fallthrough]];
      case federated::Method::fedit:
        for (const Module<float>& m : modules_) append_lora(m.name, m.W0.rows(), m.W0.cols(), rank(), layout);
        break;
    }
    append_head(task.classes(), task.base.config.hidden, layout);
    frozen_A_ = Parameters<float>(frozen);
    values_ = Parameters<float>(layout);
    std::ranges::copy(head.flat(), values_.flat().last(head.flat().size()).begin());
    if (options.method == federated::Method::fed_sb)
      store_cores(adapters_, values_);
    else
      start_lora_factors(modules_, rank(), options.seed, options.method == federated::Method::ffa_lora ? frozen_A_ : values_);
    session_ = {.id = session_id(), .base = base(), .layout = values_.layout()};
  }

  const federated::Session& session() const { return session_; }
  /// The global numbers.
  const Parameters<float>& values() const { return values_; }
  /// The round that they start; 0 before the first message.
  std::uint64_t round() const { return round_; }
  /// The adapted modules with their weights: the frozen ones, or those that rounds have added to.
  std::vector<Module<float>> modules() const {
    std::vector<Module<float>> modules;
    for (std::size_t m = 0; m < modules_.size(); ++m)
      modules.push_back({modules_[m].name, tuned_.empty() ? modules_[m].W0 : FrozenWeight<float>(tuned_[m])});
    return modules;
  }
  const AdapterSet<float>& adapters() const { return adapters_; }
  const Parameters<float>& frozen_A() const { return frozen_A_; }
  /// Whether rounds add to the weights themselves, and what they have added so far, by module.
  bool adds_to_weights() const { return !added_.empty(); }
  const std::vector<Weight<double>>& added() const { return added_; }
  Index rank() const { return adapter_rank(options_); }
  float lora_scale() const { return 1; }  // alpha = rank: the learning rate alone sets the pace

  /// The layers of one client, or of the global model, with its numbers in `values`.
  Layers<float> bind(const Parameters<float>& values) const {
    if (options_.method == federated::Method::fed_sb) return bind_cores(modules(), adapters_, values);
    if (options_.method == federated::Method::ffa_lora) return bind_lora(modules(), lora_scale(), values, frozen_A_);
    return bind_lora(modules(), lora_scale(), values);
  }

  /// What a client starts the round from: the global numbers, and with flora factors of its own.
  void start_client(Index client, Parameters<float>& values) const {
    std::ranges::copy(values_.flat(), values.flat().begin());
    if (options_.method == federated::Method::flora)
      start_lora_factors(modules_, rank(), derive_seed(derive_seed(options_.seed, round_), static_cast<std::uint64_t>(client)),
                         values);
  }

  /// The message that starts a round: the means that the server holds, and what these updates add to the model.
  Bytes message(std::uint64_t round, std::span<const float> global, std::span<const AdmittedUpdate<float>> updates) const {
    const Index participants = std::ssize(updates);
    const federated::Session sent = sent_session(participants);
    Parameters<float> numbers(sent.layout);
    for (const ParameterLayout::Tensor& t : sent.layout.tensors())
      if (const ParameterLayout::Tensor* same = session_.layout.find(t.name))
        std::ranges::copy(global.subspan(std::size_t(same->offset), std::size_t(same->size())), numbers.flat(t.name).begin());
    if (participants > 0 && adds_to_weights())
      for (const Module<float>& m : modules_) {
        const federated::LowRankDelta<float> delta = delta_of(m.name, global, updates);
        if (delta.rank() == 0) continue;
        numbers[m.name + ".delta.B"] = delta.B;
        numbers[m.name + ".delta.A"] = delta.A;
      }
    return federated::encode_model<float>(sent, round, numbers.flat(), {{"participants", std::to_string(participants)}});
  }

  /// Takes over the message that starts a round, whole or not at all; once more is no harm. Throws ErrorId::value for one that
  /// is not of this session, or when one before it is missing whose additions to the model are not known.
  void take(std::span<const std::byte> message) {
    try {
      // the largest message there can be bounds its length; its own number of participants then its tensors
      const std::size_t most = static_cast<std::size_t>(sent_session(options_.clients).layout.size()) * sizeof(float);
      const std::optional<std::uint64_t> participants =
          federated::natural(federated::read_message(message, "model", most).field("participants"));
      if (!participants || *participants > static_cast<std::uint64_t>(options_.clients))
        throw federated::Refusal{federated::Rejection::malformed, "the model names no number of participants"};
      const federated::Session sent = sent_session(static_cast<Index>(*participants));
      auto found = federated::validate_model<float>(sent, round_, message);
      if (const federated::Refusal* refusal = std::get_if<federated::Refusal>(&found)) throw *refusal;
      const federated::Model<float>& model = std::get<federated::Model<float>>(found);
      if (model.round == round_) return;
      require(!adds_to_weights() || model.round == round_ + 1, ErrorId::value, "SharedModel::take: a message of round ",
              model.round, " after one of round ", round_);
      apply(sent.layout, model.values);
      round_ = model.round;
    } catch (const federated::Refusal& refusal) {
      throw Error(ErrorId::value,
                  "SharedModel::take: " + std::string(federated::name_of(refusal.reason)) + ": " + refusal.text);
    }
  }

  /// The factors of module `name` in numbers of the session's layout, and the weight of their client.
  federated::ClientFactors<float> factors(const std::string& name, std::span<const float> values, std::uint32_t weight) const {
    return {.B = tensor(name + ".B", values),
            .A = options_.method == federated::Method::ffa_lora ? frozen_A_[name + ".A"] : tensor(name + ".A", values),
            .weight = weight};
  }
  ConstWeightView<float> tensor(const std::string& name, std::span<const float> values) const {
    const ParameterLayout::Tensor& t = session_.layout.at(name);
    return {values.data() + t.offset, t.rows, t.cols};
  }

  /// What the round adds to the weight of a module, as it is sent.
  federated::LowRankDelta<float> delta_of(const std::string& name, std::span<const float> global,
                                          std::span<const AdmittedUpdate<float>> updates) const {
    std::vector<federated::ClientFactors<float>> clients;
    for (const AdmittedUpdate<float>& update : updates) clients.push_back(factors(name, update.values, update.weight));
    if (options_.method == federated::Method::flora) return federated::flora_stack<float>(clients);
    return federated::fedex_residue<float>(clients, tensor(name + ".B", global), tensor(name + ".A", global));
  }

  /// SHA-256 of the global numbers, and of the weights where rounds add to them.
  Digest digest() const {
    Sha256 sha;
    sha.update(std::as_bytes(values_.flat()));
    for (const Weight<float>& W : tuned_) sha.update(std::as_bytes(flat(W)));
    return sha.digest();
  }

 private:
  Parameters<float> start_head() const {
    const Matrix<float> features = frozen_features(task_.base, task_.start, 4, options_.threads);
    return train_head(features, task_.start.labels, task_.classes(),
                      {.epochs = options_.start_head_epochs,
                       .batch = 32,
                       .learning_rate = options_.head_learning_rate,
                       .weight_decay = 0.3,
                       .seed = options_.seed});
  }

  AdapterSet<float> start_adapters(const Parameters<float>& head) const {
    std::vector<Index> order(static_cast<std::size_t>(task_.start.size()));
    std::iota(order.begin(), order.end(), Index{0});
    train::InitializeModulesOptions init;
    init.adapter.rank = rank();
    init.adapter.rule = options_.optimizer == OptimizerKind::adamw ? FirstStep::adamw : FirstStep::sgd;
    // rounds know no warm-up: the first step is taken as if 50 steps of one came
    init.adapter.learning_rate = learning_rate(options_) / 50;
    init.adapter.seed = options_.seed;
    return sb_adapters(task_.base, head, task_.start, order, init).adapters;
  }

  /// Named after all that decides the session's bits.
  std::string session_id() const {
    Sha256 sha;
    for (const auto& [key, text] : run_config(options_)) {
      const std::string line = key + "=" + text + "\n";
      sha.update(std::as_bytes(std::span(line)));
    }
    return "lorasb-federate-" + hex(sha.digest()).substr(0, 16);
  }
  Digest base() const {
    std::vector<Module<float>> frozen;  // the whole model, and FFA-LoRA's A
    for (const Parameters<float>* numbers : {&task_.base.weights, &frozen_A_})
      for (const ParameterLayout::Tensor& t : numbers->layout().tensors()) frozen.push_back({t.name, (*numbers)[t.name]});
    return federated::base_digest(adapters_, frozen);
  }

  /// The session with the layout of a message after `participants` updates.
  federated::Session sent_session(Index participants) const {
    federated::Session sent{.id = session_.id, .base = session_.base, .layout = {}};
    const bool stacked = options_.method == federated::Method::flora;
    for (const ParameterLayout::Tensor& t : session_.layout.tensors())
      if (!stacked || t.name.starts_with("classifier.")) sent.layout.add(t.name, t.rows, t.cols);
    const Index delta_rank = rank() * (stacked ? participants : std::max<Index>(participants - 1, 0));
    if (adds_to_weights() && delta_rank > 0)
      for (const Module<float>& m : modules_) {
        sent.layout.add(m.name + ".delta.B", m.W0.rows(), delta_rank);
        sent.layout.add(m.name + ".delta.A", delta_rank, m.W0.cols());
      }
    return sent;
  }

  void apply(const ParameterLayout& layout, std::span<const float> sent) {
    const auto part = [&](const ParameterLayout::Tensor& t) {
      return sent.subspan(std::size_t(t.offset), std::size_t(t.size()));
    };
    std::vector<Weight<double>> added = added_;  // aside, so that nothing is half done when memory runs out
    for (std::size_t m = 0; m < added.size(); ++m) {
      const ParameterLayout::Tensor* const B = layout.find(modules_[m].name + ".delta.B");
      if (B == nullptr) continue;
      const ParameterLayout::Tensor& A = layout.at(modules_[m].name + ".delta.A");
      const Weight<double> left = ConstWeightView<float>(part(*B).data(), B->rows, B->cols).cast<double>();
      const Weight<double> right = ConstWeightView<float>(part(A).data(), A.rows, A.cols).cast<double>();
      linalg::multiply(left, right, added[m], double(lora_scale()), 1);
    }
    added_.swap(added);
    for (std::size_t m = 0; m < added_.size(); ++m)  // in place: layers look at these numbers
      tuned_[m] = (modules_[m].W0.wide().cast<double>() + added_[m]).cast<float>();
    for (const ParameterLayout::Tensor& t : layout.tensors())
      if (values_.layout().find(t.name) != nullptr) std::ranges::copy(part(t), values_.flat(t.name).begin());
  }

  const FederatedTask& task_;
  FederateOptions options_;
  std::vector<Module<float>> modules_;             // with the weights of the base model
  AdapterSet<float> adapters_;                     // fed-sb: B, A, s
  Parameters<float> frozen_A_{ParameterLayout{}};  // ffa-lora
  Parameters<float> values_{ParameterLayout{}};
  std::vector<Weight<double>> added_;  // fedex-lora, flora: by module, kept in double from the first round on
  std::vector<Weight<float>> tuned_;   // W0 + added
  federated::Session session_;
  std::uint64_t round_ = 0;
};

}  // namespace lorasb::examples
