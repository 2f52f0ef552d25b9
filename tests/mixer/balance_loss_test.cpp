#include "lorasb/mixer/balance_loss.hpp"

#include <cmath>

#include "nn/gradient_check.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::mixer;
using namespace lorasb::test;

namespace {

constexpr Index experts = 4, tokens = 9;
constexpr RoutedShare shares[] = {RoutedShare::top_1, RoutedShare::top_k, RoutedShare::top_k_mass};

template <Real S>
struct Scores {
  Matrix<S> z, p, log_p;
  std::vector<Index> tasks = {};

  explicit Scores(Matrix<S> logits) : z(std::move(logits)) { update(); }
  void update() {
    p = z.array().exp();
    for (Index t = 0; t < p.cols(); ++t) p.col(t) /= p.col(t).sum();
    log_p = p.array().log();
  }
  std::vector<double> sums(const BalanceLossOptions& options) {
    update();
    std::vector<double> all(std::size_t(BalanceSums<double>::size(p.rows())));
    add_balance_sums<S>(p, log_p, tasks, options, all);
    return all;
  }
};

double entropy_of(Scores<double>& s) { return BalanceSums<const double>(s.sums({})).entropy() / double(s.z.cols()); }

}  // namespace

TEMPLATE_TEST_CASE("a uniform router has the balance α / E, a collapsed one α", "", float, double) {
  using S = TestType;
  for (const RoutedShare share : shares) {
    const BalanceLossOptions options{.balance = 0.8, .share = share, .share_k = 2, .over_layers = OverLayers::sum};
    Scores<S> uniform(Matrix<S>::Zero(experts, tokens));
    CHECK(balance_loss(uniform.sums(options), options) == Approx(0.8 / experts).epsilon(1e-15));
    Scores<S> collapsed(Matrix<S>::Zero(experts, tokens));
    collapsed.z.row(2).setConstant(80);
    const double expected = share == RoutedShare::top_k ? 0.4 : 0.8;  // α / k: the tokens have a second choice too
    CHECK(balance_loss(collapsed.sums(options), options) == Approx(expected).epsilon(1e-15));
  }
}

TEST_CASE("each term and both signs are what the equation says") {
  Scores<double> s(random_matrix<Matrix<double>>(experts, tokens, 1));
  for (Index t = 0; t < tokens; ++t) s.tasks.push_back(t % experts);
  double entropy = 0, cross_entropy = 0;
  Vector<double> top = Vector<double>::Zero(experts);
  for (Index t = 0; t < tokens; ++t) {
    Index best = 0;
    s.p.col(t).maxCoeff(&best);
    top(best) += 1.0 / tokens;
    entropy -= (s.p.col(t).array() * s.p.col(t).array().log()).sum() / tokens;
    cross_entropy -= std::log(s.p(t % experts, t)) / tokens;
  }
  const auto loss = [&](const BalanceLossOptions& o) { return balance_loss(s.sums(o), o); };
  CHECK(loss({.balance = 2, .share = RoutedShare::top_1}) == Approx(2 * s.p.rowwise().mean().dot(top)));
  CHECK(loss({.entropy = 2, .entropy_sign = EntropySign::as_printed}) == Approx(-2 * entropy));
  CHECK(loss({.entropy = 2, .entropy_sign = EntropySign::specialize}) == Approx(2 * entropy));
  CHECK(loss({.alignment = 2}) == Approx(2 * cross_entropy));
  const double imbalance = (experts * top.squaredNorm() - 1) / (experts - 1);
  CHECK(loss({.balance = 2, .share = RoutedShare::top_1, .scale_by_imbalance = true}) ==
        Approx(2 * imbalance * s.p.rowwise().mean().dot(top)));
}

TEST_CASE("the gradient of every term is that of central differences with the shares fixed") {
  for (const RoutedShare share : shares)
    for (const EntropySign sign : {EntropySign::as_printed, EntropySign::specialize})
      for (const bool scaled : {false, true}) {
        const BalanceLossOptions options{.balance = 0.7,
                                         .entropy = 0.3,
                                         .alignment = 0.2,
                                         .share = share,
                                         .share_k = 2,
                                         .entropy_sign = sign,
                                         .over_layers = OverLayers::mean,
                                         .scale_by_imbalance = scaled};
        Scores<double> s(random_matrix<Matrix<double>>(experts, tokens, 2));
        for (Index t = 0; t < tokens; ++t) s.tasks.push_back(t == 4 ? -1 : t % experts);
        const std::vector<double> base = s.sums(options);
        Matrix<double> dz = Matrix<double>::Zero(experts, tokens);
        add_balance_gradient<double>(s.p, s.log_p, s.tasks, base, options, 1.5, dz);
        CHECK(dz.col(4).isZero(0));
        const auto loss = [&] {
          std::vector<double> now = s.sums(options);
          std::ranges::copy(BalanceSums<const double>(base).share(), BalanceSums<double>(now).share().begin());
          return 1.5 * balance_loss(now, options);
        };
        CHECK(gradient_error(flat(s.z), flat(std::as_const(dz)), loss) < gradient_tolerance);
      }
}

TEST_CASE("a step down the gradient moves the entropy in the declared direction: up as printed, down to specialize") {
  for (const EntropySign sign : {EntropySign::as_printed, EntropySign::specialize}) {
    const BalanceLossOptions options{.entropy = 1, .entropy_sign = sign, .over_layers = OverLayers::sum};
    Scores<double> s(random_matrix<Matrix<double>>(experts, tokens, 3));
    const double before = entropy_of(s);
    Matrix<double> dz = Matrix<double>::Zero(experts, tokens);
    add_balance_gradient<double>(s.p, s.log_p, s.tasks, s.sums(options), options, 1, dz);
    s.z -= 0.1 * dz;
    if (sign == EntropySign::as_printed)
      CHECK(entropy_of(s) > before);
    else
      CHECK(entropy_of(s) < before);
  }
}

TEST_CASE("padding and an empty batch count nothing") {
  Scores<double> s(random_matrix<Matrix<double>>(experts, 3, 4));
  s.tasks = {-1, -1, -1};
  const BalanceLossOptions options{.balance = 1,
                                   .entropy = 1,
                                   .share = RoutedShare::top_1,
                                   .entropy_sign = EntropySign::specialize,
                                   .over_layers = OverLayers::sum};
  CHECK(balance_loss(s.sums(options), options) == 0);
  Matrix<double> dz = Matrix<double>::Zero(experts, 3);
  add_balance_gradient<double>(s.p, s.log_p, s.tasks, s.sums(options), options, 1, dz);
  CHECK(dz.isZero(0));
}

TEST_CASE("what the paper leaves open has no silent default") {
  CHECK_NOTHROW(BalanceLossOptions{}.validate(3));
  CHECK_ERROR((BalanceLossOptions{.balance = 1, .over_layers = OverLayers::sum}.validate(3)), ErrorId::value,
              "share must be given");
  CHECK_ERROR((BalanceLossOptions{.entropy = 1, .over_layers = OverLayers::sum}.validate(3)), ErrorId::value,
              "entropy_sign must be given");
  CHECK_ERROR((BalanceLossOptions{.alignment = 1}.validate(3)), ErrorId::value, "over_layers must be given");
  CHECK_ERROR(
      (BalanceLossOptions{.balance = 1, .share = RoutedShare::top_k, .share_k = 4, .over_layers = OverLayers::sum}.validate(3)),
      ErrorId::value, "share_k is 4");
  CHECK_ERROR((BalanceLossOptions{.balance = -1}.validate(3)), ErrorId::value, "a weight is -1");
  CHECK(warmed_up(0.5, 1, 10) == 0.05);
  CHECK(warmed_up(0.5, 11, 10) == 0.5);
  CHECK(warmed_up(0.5, 1, 0) == 0.5);
}
