#include "lorasb/mixer/mixer_layer.hpp"

#include <limits>

#include "lorasb/adapter/adapted_linear.hpp"
#include "lorasb/adapter/lora/lora_linear.hpp"
#include "mixer/small_mixture.hpp"
#include "nn/gradient_check.hpp"

using namespace lorasb;
using namespace lorasb::mixer;
using namespace lorasb::test;

namespace {

constexpr ExpertKind kinds[] = {ExpertKind::lora, ExpertKind::lora_sb, ExpertKind::cores};
using Mode = RoutingMode;

BalanceLossOptions every_term() {
  return {.balance = 0.3,
          .entropy = 0.2,
          .alignment = 0.15,
          .preserve = 0.4,
          .share = RoutedShare::top_1,
          .entropy_sign = EntropySign::as_printed,
          .over_layers = OverLayers::sum};
}

/// The gradient of everything against central differences of <dY, Y> + the auxiliary loss.
void check_gradients(SmallMixture<double>& m) {
  Vector<double> gradient;
  Matrix<double> dX;
  m.gradients(gradient, dX);
  Index place = 0;
  for (const std::span<double> x : m.values()) {
    CHECK(gradient_error(x, flat(gradient).subspan(std::size_t(place), x.size()), [&] { return m.objective(); }) <
          gradient_tolerance);
    place += std::ssize(x);
  }
  CHECK(place == gradient.size());
  CHECK(gradient_error(flat(m.X), flat(dX), [&] { return m.objective(); }) < gradient_tolerance);
}

}  // namespace

TEMPLATE_TEST_CASE("forward is W0 X and the gated experts, for every kind and way of routing", "", float, double) {
  using S = TestType;
  for (const ExpertKind kind : kinds)
    for (const bool reads_basis : {false, true}) {
      if (reads_basis && kind != ExpertKind::cores) continue;
      for (const RoutingOptions options :
           {RoutingOptions{.mode = Mode::hard}, RoutingOptions{.mode = Mode::soft, .temperature = 0.8},
            RoutingOptions{.mode = Mode::top_k, .k = 2}, RoutingOptions{.mode = Mode::top_k, .k = 2, .renormalise = false}}) {
        SmallMixture<S> m(kind, 5, options, reads_basis);
        m.Y.setConstant(std::numeric_limits<S>::quiet_NaN());
        m.objective();
        Eigen::MatrixXd gates = m.expected_probabilities();
        for (Index t = 0; t < m.tokens; ++t) {
          if (options.mode == Mode::hard) gates.col(t) = Eigen::VectorXd::Unit(5, m.tasks[std::size_t(t)]);
          if (options.mode != Mode::top_k) continue;
          std::vector<Index> best;
          largest(gates.data() + 5 * t, 5, 2, best);
          const Eigen::VectorXd p = gates.col(t);
          const double sum = options.renormalise ? p(best[0]) + p(best[1]) : 1;
          gates.col(t).setZero();
          for (const Index e : best) gates(e, t) = p(e) / sum;
        }
        CHECK(relative_error(m.Y, m.expected(gates)) < Tolerance<S>::chain);
      }
    }
}

TEST_CASE("gradients of experts, router and input are those of central differences, on every path") {
  for (const ExpertKind kind : kinds)
    for (const bool reads_basis : {false, true}) {
      if (reads_basis && kind != ExpertKind::cores) continue;
      for (const RoutingOptions options :
           {RoutingOptions{.mode = Mode::hard}, RoutingOptions{.mode = Mode::soft, .temperature = 0.8},
            RoutingOptions{.mode = Mode::top_k, .k = 2, .temperature = 1.3},
            RoutingOptions{.mode = Mode::top_k, .k = 2, .renormalise = false}})
        for (const bool with_loss : {false, true}) {
          SmallMixture<double> m(kind, 4, options, reads_basis);
          INFO("kind " << int(kind) << ", mode " << int(*options.mode) << ", basis " << reads_basis << ", loss " << with_loss);
          m.tasks[3] = -1;  // padding
          if (with_loss) {
            m.loss = every_term();
            m.starts.resize(4);
            m.starts[1] = Vector<double>::Constant(m.expert(1).size(), 0.1);
          }
          check_gradients(m);
        }
    }
}

TEMPLATE_TEST_CASE("one expert, and any batch whose tokens all take one, is plain LoRA or LoRA-SB bit for bit", "", float,
                   double) {
  using S = TestType;
  for (const ExpertKind kind : kinds)
    for (const Index experts : {1, 3})
      for (const RoutingOptions options : {RoutingOptions{.mode = Mode::hard}, RoutingOptions{.mode = Mode::soft},
                                           RoutingOptions{.mode = Mode::top_k, .k = 1}}) {
        if (experts > 1 && options.mode == Mode::soft) continue;
        SmallMixture<S> m(kind, experts, options);
        const std::size_t taken = experts == 1 ? 0 : 2;
        m.tasks.assign(m.tasks.size(), Index(taken));
        m.X.row(0).setOnes();  // a router that is the same for every token
        m.G.setZero();
        m.G(Index(taken), 0) = 1;
        Vector<S> gradient;
        Matrix<S> dX;
        m.gradients(gradient, dX);

        const ExpertTensors<S> e = m.expert(taken);
        const AdapterBasis<S> basis{Weight<S>(e.B), Weight<S>(e.A), e.scale};
        std::unique_ptr<LinearLayer<S>> plain;
        if (kind == ExpertKind::lora)
          plain = std::make_unique<LoraLinear<S>>(m.W0, e.B, e.A, e.scale);
        else
          plain = std::make_unique<AdaptedLinear<S>>(m.W0, basis, e.R);
        LinearCache<S> cache;
        Matrix<S> Y(m.out, m.tokens), expected_dX(m.in, m.tokens);
        Vector<S> expected = Vector<S>::Zero(plain->trainable());
        const ForwardPass<S> pass = plain->forward(m.X, Y, cache);
        plain->backward(pass, m.dY, cache, expected, expected_dX);
        CHECK(m.Y == Y);
        CHECK(dX == expected_dX);
        Index place = 0;
        for (std::size_t i = 0; i < taken; ++i) place += m.expert(i).size();
        CHECK(gradient.segment(place, expected.size()) == expected);
        CHECK(gradient.squaredNorm() == Approx(expected.squaredNorm()).epsilon(1e-5));  // no router gradient, no other expert's
        CHECK(gradient.tail(m.G.size()).isZero(0));
      }
}

TEMPLATE_TEST_CASE("soft routing over equal experts is one adapter, and top-k of all of them is soft", "", float, double) {
  using S = TestType;
  for (const ExpertKind kind : kinds) {
    SmallMixture<S> m(kind, 4, {.mode = Mode::soft});
    for (LowRankAdapter<S>& a : m.adapters) a = m.adapters[0];
    m.objective();
    Eigen::MatrixXd one = Eigen::MatrixXd::Zero(4, m.tokens);
    one.row(0).setOnes();
    CHECK(relative_error(m.Y, m.expected(one)) < Tolerance<S>::chain);

    SmallMixture<S> soft(kind, 4, {.mode = Mode::soft}), all(kind, 4, {.mode = Mode::top_k, .k = 4});
    Vector<S> soft_gradient, all_gradient;
    Matrix<S> soft_dX, all_dX;
    soft.gradients(soft_gradient, soft_dX);
    all.gradients(all_gradient, all_dX);
    CHECK(soft.Y == all.Y);
    CHECK(soft_gradient == all_gradient);
    CHECK(soft_dX == all_dX);
  }
}

TEST_CASE("gradients per example sum to that of the batch, and parts with the batch's statistics add up to it") {
  for (const ExpertKind kind : kinds) {
    SmallMixture<double> m(kind, 4, {.mode = Mode::top_k, .k = 2});
    m.loss = every_term();
    m.loss.share = RoutedShare::top_k_mass;
    m.loss.share_k = 2;
    m.starts.resize(4);
    m.starts[0] = Vector<double>::Constant(m.expert(0).size(), 0.3);
    Vector<double> whole;
    Matrix<double> dX;
    m.gradients(whole, dX);
    const MixerLayer<double> layer = m.layer();
    const std::vector<double> statistics = m.cache.statistics;
    const double loss = layer.auxiliary_loss(statistics);

    const std::vector<Index> offsets{0, 5, 5, 9, 12};
    Matrix<double> each = Matrix<double>::Zero(layer.trainable(), 4);
    const ForwardPass<double> pass = layer.forward(m.X, m.Y, m.cache);
    layer.backward(pass, m.dY, m.cache, {each, offsets}, not_wanted);
    CHECK(relative_error(each.rowwise().sum(), whole) < Tolerance<double>::sum);
    CHECK(each.col(1).isZero());

    std::vector<double> sums(statistics.size());
    Vector<double> added = Vector<double>::Zero(layer.trainable());
    LinearCache<double> caches[2];
    std::vector<ForwardPass<double>> passes;
    const Index first[] = {0, 5}, count[] = {5, 7};
    Matrix<double> Y(m.out, m.tokens), part_dX(m.in, m.tokens);
    for (const int i : {0, 1}) {
      caches[i].tasks = std::span<const Index>(m.tasks).subspan(std::size_t(first[i]), std::size_t(count[i]));
      passes.push_back(layer.forward(m.X.middleCols(first[i], count[i]), Y.middleCols(first[i], count[i]), caches[i]));
      for (std::size_t k = 0; k < sums.size(); ++k) sums[k] += caches[i].statistics[k];
    }
    CHECK(layer.auxiliary_loss(sums) == Approx(loss).epsilon(1e-14));
    for (const int i : {0, 1}) {
      caches[i].batch_statistics = sums;
      layer.backward(passes[std::size_t(i)], m.dY.middleCols(first[i], count[i]), caches[i], added,
                     part_dX.middleCols(first[i], count[i]));
    }
    CHECK(relative_error(added, whole) < Tolerance<double>::sum);
    CHECK(relative_error(part_dX, dX) < Tolerance<double>::sum);
  }
}

TEST_CASE("layers of a group follow one router, whose gradient is that of all of them") {
  // y = layer 2(layer 1(x)); layer 2 takes the experts that layer 1's router chose from x
  SmallMixture<double> lead(ExpertKind::lora_sb, 3, {.mode = Mode::soft}), follow(ExpertKind::lora, 3, {.mode = Mode::soft});
  lead.router.group = follow.router.group = 0;
  follow.router.leads = false;
  follow.W0 = random_matrix<Weight<double>>(follow.out, follow.out, 8);
  for (LowRankAdapter<double>& a : follow.adapters) a.A = random_matrix<Weight<double>>(a.rank(), follow.out, 9);
  LinearCache<double> shared;
  lead.cache.shared = follow.cache.shared = &shared;
  const auto objective = [&] {
    const MixerLayer<double> a = lead.layer(), b = follow.layer();
    a.forward(lead.X, lead.Y, lead.cache);
    b.forward(lead.Y, follow.Y, follow.cache);
    return follow.Y.cwiseProduct(follow.dY).sum();
  };
  const MixerLayer<double> a = lead.layer(), b = follow.layer();
  CHECK(b.trainable() == 9 * 2 * (2 + 3 + 4));
  Vector<double> da = Vector<double>::Zero(a.trainable()), db = Vector<double>::Zero(b.trainable());
  Matrix<double> dX(lead.in, lead.tokens), middle(lead.out, lead.tokens);
  const ForwardPass<double> pass_a = a.forward(lead.X, lead.Y, lead.cache), pass_b = b.forward(lead.Y, follow.Y, follow.cache);
  for (int twice = 0; twice < 2; ++twice) {  // a pass may be used more than once
    da.setZero(), db.setZero();
    b.backward(pass_b, follow.dY, follow.cache, db, middle);
    a.backward(pass_a, middle, lead.cache, da, dX);
  }
  CHECK(gradient_error(flat(lead.G), flat(da).last(lead.G.size()), objective) < gradient_tolerance);
  CHECK(gradient_error(flat(lead.X), flat(dX), objective) < gradient_tolerance);
  CHECK(gradient_error(flat(follow.adapters[0].B), flat(db).first(18), objective) < gradient_tolerance);

  LinearCache<double> alone;
  CHECK_ERROR(b.forward(lead.Y, follow.Y, alone), ErrorId::value, "no shared cache");
  LinearCache<double> nobody;
  alone.shared = &nobody;
  CHECK_ERROR(b.forward(lead.Y, follow.Y, alone), ErrorId::shape, "the router that it follows");
}

TEMPLATE_TEST_CASE("logits of 1e4 are fine, NaN is an error", "", float, double) {
  using S = TestType;
  SmallMixture<S> m(ExpertKind::cores, 3, {.mode = Mode::soft});
  m.loss = every_term();
  m.G.setZero();
  m.X.row(0).setOnes();
  m.G(0, 0) = S(-1e4);
  m.G(2, 0) = S(1e4);
  Vector<S> gradient;
  Matrix<S> dX;
  m.gradients(gradient, dX);
  CHECK(gradient.allFinite());
  CHECK(dX.allFinite());
  CHECK(is_finite(m.layer().auxiliary_loss(m.cache.statistics)));
  m.G(1, 0) = std::numeric_limits<S>::quiet_NaN();
  CHECK_ERROR(m.objective(), ErrorId::not_finite, "router of \"q_proj\" has a logit for token 0");
}

TEST_CASE("padding takes no expert and no part in the statistics") {
  SmallMixture<double> m(ExpertKind::lora, 3, {.mode = Mode::soft});
  m.loss = every_term();
  m.tasks[2] = -1;
  m.objective();
  CHECK(relative_error(m.Y.col(2), m.W0 * m.X.col(2)) < Tolerance<double>::sum);
  CHECK(BalanceSums<const double>(m.cache.statistics).tokens() == 11);
}

TEST_CASE("what cannot be routed is refused") {
  using M = SmallMixture<double>;
  CHECK_ERROR(M(ExpertKind::lora, 3, {}).layer(), ErrorId::value, "mode is not given");
  CHECK_ERROR(M(ExpertKind::lora, 3, {.mode = Mode::top_k, .k = 4}).layer(), ErrorId::value,
              "k is 4, expected 1 to the number of experts, 3");
  CHECK_ERROR(M(ExpertKind::lora, 3, {.mode = Mode::soft, .temperature = 0}).layer(), ErrorId::value, "temperature is 0");
  CHECK_ERROR(M(ExpertKind::lora, 2, {.mode = Mode::soft}, true).layer(), ErrorId::value, "do not share one basis");
  M none(ExpertKind::lora, 1, {.mode = Mode::soft});
  CHECK_ERROR(MixerLayer<double>(none.W0, {}, {.G = none.G}, none.routing, none.loss), ErrorId::value, "there are no experts");
  M other(ExpertKind::lora_sb, 2, {.mode = Mode::soft});
  other.adapters[1] = random_adapter<double>(8, 7, 2, 1);
  CHECK_ERROR(other.layer(), ErrorId::shape, "expert 1 of \"q_proj\": B is 8 x 2, expected 9 x 2");
  M labels(ExpertKind::cores, 3, {.mode = Mode::hard});
  labels.tasks[4] = 3;
  CHECK_ERROR(labels.objective(), ErrorId::value, "token 4 has task label 3, expected 0 to 2");
  labels.tasks.clear();
  CHECK_ERROR(labels.objective(), ErrorId::shape, "0 task labels for 12 tokens");
  M aligned(ExpertKind::cores, 3, {.mode = Mode::soft});
  aligned.loss = {.alignment = 1, .over_layers = OverLayers::sum};
  aligned.tasks[4] = 5;
  CHECK_ERROR(aligned.objective(), ErrorId::value, "has task label 5");
}
