// What all members of a session hold alike, for Fed-SB and for every method that it is compared with.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "lorasb/adapter/cores.hpp"
#include "lorasb/adapter/lora/bind.hpp"
#include "lorasb/core/config.hpp"
#include "lorasb/federated/base_digest.hpp"
#include "lorasb/federated/baselines/communication.hpp"
#include "lorasb/federated/baselines/fedex_lora.hpp"
#include "lorasb/federated/baselines/flora.hpp"
#include "lorasb/federated/broadcast.hpp"
#include "lorasb/federated/exactness.hpp"

namespace lorasb::federated {

/// How a session starts.
template <Real S>
struct SharedModelStart {
  std::string session_id = {};
  FederatedMethod method = FederatedMethod::fed_sb;
  Index rank = 8;                   // of the LoRA methods
  Index clients = 1;                // of the session; bounds what a message may hold
  std::uint64_t seed = 0;           // of LoRA's random factors
  AdapterSet<S> adapters = {};      // of fed-sb, whose cores move into the values
  NamedSet<LoraAdapter<S>> factors =
      {};                           // of fedit, ffa-lora and fedex-lora: what they start from; empty: as initialize_lora() does
  ParameterLayout head = {};        // what is trained in full beside the adapters
  std::vector<S> head_values = {};  // in that layout
  std::vector<Module<S>> modules = {};  // with the frozen weights, which must outlive the model
  Index experts = 0;                // of a mixture (Session::experts), which is trained in full as far as this model knows
  std::vector<Module<S>> frozen = {};   // all frozen tensors that members must share, for the digest
};

/// The server has one, and the clients of a process share one, which changes when nobody trains. It starts alike everywhere and
/// changes only by the messages that it takes, so that members who took the same messages hold the same bits.
///
///     method      trained and sent up      sent down
///     fed-sb      R, head                  their means
///     fedit       B, A, head               their means
///     ffa-lora    B, head                  their means
///     fedex-lora  B, A, head               their means, and the residue as factors, which is added to the model
///     flora       B, A, head               the mean of the head, and the stack of B and A, which is added to the model
///
/// LoRA's s is 1: alpha is the rank.
template <Real S>
class LORASB_OWNS_MEMORY SharedModel {
 public:
  /// Throws what take_cores(), append_lora() and ParameterLayout::add() throw.
  explicit SharedModel(SharedModelStart<S> start)
      : method_(start.method), rank_(start.rank), clients_(start.clients), seed_(start.seed), modules_(std::move(start.modules)) {
    ParameterLayout layout, frozen_layout;
    for (const Module<S>& m : modules_) {
      if (method_ == FederatedMethod::ffa_lora)
        append_lora(m.name, m.W0.rows(), m.W0.cols(), rank_, layout, frozen_layout);
      else if (method_ != FederatedMethod::fed_sb)
        append_lora(m.name, m.W0.rows(), m.W0.cols(), rank_, layout);
      if (!adds_to_weights()) continue;
      tuned_.push_back(m.W0.widened());
      added_.push_back(Weight<double>::Zero(m.W0.rows(), m.W0.cols()));
    }
    if (method_ == FederatedMethod::fed_sb && start.experts == 0) append_cores(modules_, start.adapters, layout);
    layout.append(start.head);
    frozen_A_ = Parameters<S>(frozen_layout);
    values_ = Parameters<S>(layout);
    copy_tensors<S>(start.head, start.head_values, values_);
    if (method_ == FederatedMethod::fed_sb)
      bases_ = take_cores(std::move(start.adapters), values_);
    else if (start.factors.empty())
      start_lora(modules_, lora_options(seed_), method_ == FederatedMethod::ffa_lora ? frozen_A_ : values_);
    else
      take_factors(start.factors);
    for (const ParameterLayout::Tensor& t : frozen_A_.layout().tensors())
      start.frozen.push_back({t.name, std::as_const(frozen_A_)[t.name]});
    session_ = {.id = std::move(start.session_id), .base = base_digest(bases_, start.frozen), .layout = values_.layout(), .experts = start.experts};
  }

  const Session& session() const { return session_; }
  FederatedMethod method() const { return method_; }
  /// The global values.
  const Parameters<S>& values() const { return values_; }
  /// The round that they start; 0 before the first message.
  std::uint64_t round() const { return round_; }
  /// The adapted modules with their weights: the frozen ones, or those that rounds have added to.
  std::vector<Module<S>> modules() const {
    std::vector<Module<S>> modules;
    for (std::size_t m = 0; m < modules_.size(); ++m)
      modules.push_back({modules_[m].name, tuned_.empty() ? modules_[m].W0 : FrozenWeight<S>(tuned_[m])});
    return modules;
  }
  const AdapterBases<S>& bases() const { return bases_; }
  /// A of ffa-lora, which no round changes.
  const Parameters<S>& frozen_A() const { return frozen_A_; }
  /// Whether rounds add to the weights themselves, and what they have added so far, by module.
  bool adds_to_weights() const { return method_ == FederatedMethod::fedex_lora || method_ == FederatedMethod::flora; }
  const std::vector<Weight<double>>& added() const { return added_; }

  /// The layers of one client, or of the global model, with its values in `values`.
  Layers<S> bind(const Parameters<S>& values) const {
    if (method_ == FederatedMethod::fed_sb) return bind_cores<S>(modules(), bases_, values);
    if (method_ == FederatedMethod::ffa_lora) return bind_lora<S>(modules(), 1, values, frozen_A_);
    return bind_lora<S>(modules(), 1, values);
  }

  /// Gives a client of flora the factors that it starts the round with; the clients of all other methods start from values().
  void start_client(Index client, Parameters<S>& values) const {
    if (method_ == FederatedMethod::flora)
      start_lora(modules_, lora_options(derive_seed(derive_seed(seed_, round_), static_cast<std::uint64_t>(client))), values);
  }

  /// The message that starts a round: the means that the server holds, and what these updates add to the model.
  Bytes message(std::uint64_t round, std::span<const S> global, std::span<const AdmittedUpdate<S>> updates) const {
    const Index participants = std::ssize(updates);
    const Session sent = sent_session(participants);
    Parameters<S> values(sent.layout);
    copy_tensors(session_.layout, global, values);
    if (participants > 0 && adds_to_weights())
      for (const Module<S>& m : modules_) {
        const LowRankDelta<S> delta = delta_of(m.name, global, updates);
        if (delta.rank() == 0) continue;
        values.at(m.name, Role::delta_B) = delta.B;
        values.at(m.name, Role::delta_A) = delta.A;
      }
    return encode_broadcast<S>(sent, round, values.flat(), {{"participants", std::to_string(participants)}});
  }

  /// Takes over the message that starts a round, whole or not at all; once more is no harm. Throws ErrorId::value for one that
  /// is not of this session, or when one before it is missing whose additions to the model are not known.
  void take(std::span<const std::byte> message) {
    const auto refuse = [](const Rejection& rejection) {
      throw Error(ErrorId::value, concat("SharedModel::take: ", name_of(rejection.reason), ": ", rejection.text));
    };
    // the largest message there can be bounds its length; its own number of participants then its tensors
    const Checked<RawMessage> raw = read_message(message, "model", largest_message<S>(sent_session(clients_).layout));
    if (const Rejection* const rejection = std::get_if<Rejection>(&raw)) refuse(*rejection);
    const std::optional<std::uint64_t> participants = natural(std::get<RawMessage>(raw).field("participants"));
    if (!participants || *participants > static_cast<std::uint64_t>(clients_))
      refuse({Reason::malformed, "the model names no number of participants"});
    const Session sent = sent_session(static_cast<Index>(*participants));
    const Checked<Broadcast<S>> checked = validate_broadcast<S>(sent, round_, message);
    if (const Rejection* const rejection = std::get_if<Rejection>(&checked)) refuse(*rejection);
    const Broadcast<S>& broadcast = std::get<Broadcast<S>>(checked);
    if (broadcast.round == round_) return;
    require(!adds_to_weights() || broadcast.round == round_ + 1, ErrorId::value, "SharedModel::take: a message of round ",
            broadcast.round, " after one of round ", round_);
    apply(sent.layout, broadcast.values);
    round_ = broadcast.round;
  }

  /// The factors of a module in values of the session's layout, and the weight of their client.
  ClientFactors<S> factors(const std::string& module, std::span<const S> values, std::uint32_t weight) const {
    const ConstWeightView<S> A = method_ == FederatedMethod::ffa_lora ? frozen_A_.at(module, Role::factor_A)
                                                                       : tensor(module, Role::factor_A, values);
    return {.B = tensor(module, Role::factor_B, values), .A = A, .weight = weight};
  }

  /// The error of the round that ended in the values of now (ExactnessError). `added_before` is added() when it started,
  /// `updates` what counted, at least one.
  double exactness_error(const std::vector<Weight<double>>& added_before, std::span<const AdmittedUpdate<S>> updates) const {
    if (method_ == FederatedMethod::fed_sb) return core_exactness_error<S>(bases_, session_.layout, updates, values_.flat());
    ExactnessError error;
    for (std::size_t m = 0; m < modules_.size(); ++m) {
      std::vector<ClientFactors<S>> of_clients;
      for (const AdmittedUpdate<S>& update : updates)
        of_clients.push_back(factors(modules_[m].name, update.values, update.weight));
      const ClientFactors<S> own = factors(modules_[m].name, values_.flat(), 1);  // B = 0 with flora
      Weight<double> clients = mean_product<S>(of_clients, 1), now = mean_product<S>(std::span(&own, 1), 1);
      if (adds_to_weights()) {
        clients += added_before[m];
        now += added_[m];
      }
      error.add(clients, now);
    }
    return error.value();
  }

  /// SHA-256 of the global values, and of the weights where rounds add to them.
  Digest digest() const {
    Sha256 sha;
    sha.update(std::as_bytes(values_.flat()));
    for (const Weight<S>& W : tuned_) sha.update(std::as_bytes(flat(W)));
    return sha.digest();
  }

 private:
  /// LoRA's s is 1 here: that of the factors goes into B.
  void take_factors(const NamedSet<LoraAdapter<S>>& factors) {
    require(method_ != FederatedMethod::flora, ErrorId::value,
            "SharedModel: the clients of flora start every round from new factors");
    for (const Module<S>& m : modules_) {
      const LoraAdapter<S>& from = factors.at(m.name);
      require_shape(from.B, m.W0.rows(), rank_, "SharedModel", "B", "out_features of ", in_quotes(m.name), " x rank");
      require_shape(from.A, rank_, m.W0.cols(), "SharedModel", "A", "rank x in_features of ", in_quotes(m.name));
      values_.at(m.name, Role::factor_B) = from.scale * from.B;
      (method_ == FederatedMethod::ffa_lora ? frozen_A_ : values_).at(m.name, Role::factor_A) = from.A;
    }
  }
  LoraOptions lora_options(std::uint64_t seed) const { return {.rank = rank_, .alpha = double(rank_), .seed = seed}; }
  ConstWeightView<S> tensor(const std::string& module, Role role, std::span<const S> values) const {
    const ParameterLayout::Tensor& t = session_.layout.at(module, role);
    return {values.data() + t.offset, t.rows, t.cols};
  }

  /// What the round adds to the weight of a module, as it is sent.
  LowRankDelta<S> delta_of(const std::string& module, std::span<const S> global,
                           std::span<const AdmittedUpdate<S>> updates) const {
    std::vector<ClientFactors<S>> clients;
    for (const AdmittedUpdate<S>& update : updates) clients.push_back(factors(module, update.values, update.weight));
    if (method_ == FederatedMethod::flora) return flora_stack<S>(clients);
    return fedex_residue<S>(clients, tensor(module, Role::factor_B, global), tensor(module, Role::factor_A, global));
  }

  /// The session with the layout of a message after `participants` updates.
  Session sent_session(Index participants) const {
    Session sent{.id = session_.id, .base = session_.base, .layout = {}};
    const bool stacked = method_ == FederatedMethod::flora;
    sent.layout.append(session_.layout, [&](const ParameterLayout::Tensor& t) { return !stacked || !is_adapter(t.role); });
    const Index delta_rank = rank_ * (stacked ? participants : std::max<Index>(participants - 1, 0));
    if (adds_to_weights() && delta_rank > 0)
      for (const Module<S>& m : modules_) {
        sent.layout.add(m.name, Role::delta_B, m.W0.rows(), delta_rank);
        sent.layout.add(m.name, Role::delta_A, delta_rank, m.W0.cols());
      }
    return sent;
  }

  void apply(const ParameterLayout& layout, std::span<const S> sent) {
    std::vector<Weight<double>> added = added_;  // aside, so that nothing is half done when memory runs out
    for (std::size_t m = 0; m < added.size(); ++m) {
      const ParameterLayout::Tensor* const B = layout.find(modules_[m].name, Role::delta_B);
      if (B == nullptr) continue;
      const ParameterLayout::Tensor& A = layout.at(modules_[m].name, Role::delta_A);
      const Weight<double> left = ConstWeightView<S>(sent.data() + B->offset, B->rows, B->cols).template cast<double>();
      const Weight<double> right = ConstWeightView<S>(sent.data() + A.offset, A.rows, A.cols).template cast<double>();
      linalg::multiply(left, right, added[m], 1, 1);
    }
    copy_tensors(layout, sent, values_);
    added_.swap(added);
    for (std::size_t m = 0; m < added_.size(); ++m)  // in place: layers view these weights
      tuned_[m] = (modules_[m].W0.widened().template cast<double>() + added_[m]).template cast<S>();
  }

  FederatedMethod method_;
  Index rank_, clients_;
  std::uint64_t seed_;
  std::vector<Module<S>> modules_;             // with the weights of the base model
  AdapterBases<S> bases_;                      // fed-sb
  Parameters<S> frozen_A_{ParameterLayout{}};  // ffa-lora
  Parameters<S> values_{ParameterLayout{}};
  std::vector<Weight<double>> added_;  // fedex-lora, flora: by module, kept in double from the first round on
  std::vector<Weight<S>> tuned_;       // W0 + added
  Session session_;
  std::uint64_t round_ = 0;
};

}  // namespace lorasb::federated
