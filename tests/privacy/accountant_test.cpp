#include "lorasb/privacy/accountant.hpp"

#include <vector>

#include "support.hpp"

using namespace lorasb;
using namespace lorasb::privacy;

namespace {

struct Exact {
  double q, sigma, steps, delta, epsilon;  // by contour integrals and closed forms
};
struct Calibrated {
  double q, steps, epsilon, delta, sigma;
};

constexpr Exact exact[] = {
    {0.01, 0.5, 100, 1e-05, 6.476210004291079},
    {0.01, 2.0, 1000, 1e-05, 0.6220303088502095},
    {0.05, 0.5, 100, 1e-05, 18.193752547371737},
    {0.05, 1.0, 100, 1e-05, 3.5021481508149903},
    {0.05, 2.0, 1000, 1e-05, 3.6997372502986265},
    {1.0, 1.0, 1, 1e-05, 4.3771780956812245},
    {1.0, 5.0, 1000, 1e-06, 49.31927666069618},
    {1.0, 4.0, 1, 1e-10, 1.492026856985376},
    {0.01, 1.0, 1, 1e-10, 1.4386459545544428},
    {0.5, 1.0, 1, 1e-05, 3.5339979854489547},
    {0.999, 1.0, 1, 1e-05, 4.375956608532346},
    {0.2, 4.0, 200, 1e-10, 4.75539552231488},
    {0.9, 10.0, 1000, 1e-05, 15.593279893341336},
    {0.4, 12.0, 1000, 1e-06, 5.213358819913411},
    {0.1, 1.0, 100, 1e-05, 7.046602616978491},
    {0.01, 8.0, 100, 0.05, 0.0},
    {1e-06, 1.0, 1000000, 1e-10, 0.00650159289012186},
    {1.0, 10.0, 1000000, 1e-10, 5635.164637628352},
    {1e-06, 0.5, 100000, 1e-07, 0.05815523980206741},
    {0.0001, 0.6, 1000000, 1e-10, 3.95346486098},
};
constexpr Calibrated calibrated[] = {
    {0.1, 100, 1.0, 1e-05, 3.9416507049490646},
    {1.0, 1, 1.0, 1e-05, 3.730631634815942},
    {0.1, 100, 1.0, 0.001, 2.753322905084948},
};
}  // namespace

TEST_CASE("Mistake 20: the loss distribution never tells less than what is true, and hardly more") {
  for (const Exact& row : exact) {
    INFO("q " << row.q << " sigma " << row.sigma << " steps " << row.steps << " delta " << row.delta);
    const SubsampledGaussian mechanism{.rate = row.q, .noise = row.sigma, .steps = std::uint64_t(row.steps)};
    const double found = pld_epsilon({&mechanism, 1}, row.delta);
    CHECK(found >= row.epsilon * (1 - 1e-9));
    CHECK(found <= row.epsilon * (row.q == 1e-6 ? 1.0001 : 1.00001) + 1e-9);  // the reference itself is open at that rate
    const double rdp = rdp_epsilon({&mechanism, 1}, row.delta);
    CHECK(rdp >= row.epsilon * (1 - 1e-9));
    CHECK(found <= rdp * (1 + 1e-9) + 1e-12);
  }
}

TEST_CASE("the contour integral is the true epsilon, or has no answer") {
  for (const Exact& row : exact) {
    INFO("q " << row.q << " sigma " << row.sigma << " steps " << row.steps << " delta " << row.delta);
    const SubsampledGaussian mechanism{.rate = row.q, .noise = row.sigma, .steps = std::uint64_t(row.steps)};
    const std::optional<double> found = exact_epsilon({&mechanism, 1}, row.delta);
    CHECK(found.has_value() == (row.q > 1e-6 || row.sigma < 1));  // there the loss is nearly an atom
    if (found) CHECK(std::abs(*found - row.epsilon) <= 1e-6 * row.epsilon);
    const Epsilon reported = epsilon_of({&mechanism, 1}, row.delta, Accountant::exact);
    CHECK(reported.method == (found ? Accountant::exact : Accountant::pld));
  }
  const std::vector<SubsampledGaussian> parts{{0.1, 1, 40}, {0.1, 1, 60}};
  CHECK(*exact_epsilon(parts, 1e-5) == Approx(7.046602616978491).epsilon(1e-9));
  const SubsampledGaussian one{.rate = 1, .noise = 1, .steps = 4}, half{.rate = 1, .noise = 0.25, .steps = 1};
  CHECK(*exact_epsilon({&one, 1}, 1e-5, Relation::replace_one) == Approx(*exact_epsilon({&half, 1}, 1e-5)).epsilon(1e-7));
  CHECK_ERROR(exact_epsilon({{SubsampledGaussian{.rate = 2}}}, 1e-5), ErrorId::value, "rate");
}

TEST_CASE("fewer frequencies, and fewer points, only loosen the bound") {
  const SubsampledGaussian mechanisms[] = {{0.01, 0.8, 1000}, {0.001, 1, 100}, {0.2, 3, 100}};
  const double epsilon[] = {3.1410141394508435, 0.05516510439736556, 3.371054837};
  const double delta[] = {1e-5, 1e-5, 1e-6};
  for (int i = 0; i < 3; ++i) {
    INFO("mechanism " << i);
    double before = std::numeric_limits<double>::infinity();
    for (const std::int64_t frequencies : {50, 1000, 100000}) {
      const double found = pld_epsilon({&mechanisms[i], 1}, delta[i], Relation::add_remove, {.max_frequencies = frequencies});
      CHECK(found >= epsilon[i] * (1 - 1e-9));
      CHECK(found <= before * (1 + 1e-9));
      before = found;
    }
    const double coarse = pld_epsilon({&mechanisms[i], 1}, delta[i], Relation::add_remove, {.accuracy = 1e-3});
    CHECK(coarse > before * (1 + 1e-5));
    CHECK(coarse < before * 1.01);
  }
}

TEST_CASE("steps that take every example are one Gaussian mechanism, beside others too") {
  CHECK(gaussian_epsilon(1, 1e-5) == Approx(4.3771780956812245).epsilon(1e-11));
  CHECK(gaussian_epsilon(1 / 0.3, 1e-5) == Approx(19.130767834361926).epsilon(1e-11));
  CHECK(gaussian_epsilon(50, 1e-10) == Approx(gaussian_epsilon(50, 1.001e-10)).epsilon(1e-5));  // e^epsilon is beyond doubles
  CHECK(gaussian_epsilon(1e-6, 1e-5) == 0);
  const std::vector<SubsampledGaussian> with{{1, 4, 16}, {0.05, 1, 100}}, nearly{{1 - 1e-12, 4, 16}, {0.05, 1, 100}};
  CHECK(pld_epsilon(with, 1e-5) == Approx(pld_epsilon(nearly, 1e-5)).epsilon(2e-5));
}

TEST_CASE("an integral that was lost in rounding is no answer") {  // at some optimisation levels it said 0.489
  const SubsampledGaussian rare{.rate = 1.06824044e-05, .noise = 4.75293, .steps = 137209};
  const Epsilon found = epsilon_of({&rare, 1}, 1.626e-10, Accountant::exact, Relation::replace_one);
  CHECK(found.epsilon == Approx(0.008139).epsilon(1e-4));
}

TEST_CASE("Mistake 18: parts compose to the whole, with different rates and noise too") {
  const std::vector<SubsampledGaussian> parts{{0.1, 1, 40}, {0.1, 1, 60}};
  CHECK(pld_epsilon(parts, 1e-5) == Approx(7.046602616978491).epsilon(1e-3));
  // two Gaussians without sampling are one: 1 / σ² adds up
  const std::vector<SubsampledGaussian> two{{1, 3, 1}, {1, 4, 1}};
  const SubsampledGaussian one{.rate = 1, .noise = 12.0 / 5, .steps = 1};
  CHECK(pld_epsilon(two, 1e-6) == Approx(pld_epsilon({&one, 1}, 1e-6)).epsilon(1e-3));
  // a mixture of both lies between twice the one and twice the other
  const std::vector<SubsampledGaussian> mixed{{0.1, 1, 20}, {0.05, 1, 20}}, low{{0.05, 1, 40}}, high{{0.1, 1, 40}};
  CHECK(pld_epsilon(mixed, 1e-5) > pld_epsilon(low, 1e-5));
  CHECK(pld_epsilon(mixed, 1e-5) < pld_epsilon(high, 1e-5));
}

TEST_CASE("Mistake 15: replacing an example costs about what half the noise does") {
  const auto replace = [](SubsampledGaussian m) { return epsilon_of({&m, 1}, 1e-5, Accountant::best, Relation::replace_one).epsilon; };
  const SubsampledGaussian half{.rate = 1, .noise = 0.5, .steps = 1};
  CHECK(replace({1, 1, 1}) == Approx(pld_epsilon({&half, 1}, 1e-5)).epsilon(1e-3));
  CHECK(replace({1, 1, 1}) == Approx(10.0).epsilon(2e-3));
  CHECK(replace({0.01, 1, 1000}) == Approx(2.84).epsilon(2e-3));
  const SubsampledGaussian any{.rate = 0.1};
  CHECK_ERROR(epsilon_of({&any, 1}, 1e-5, Accountant::rdp, Relation::replace_one), ErrorId::value, "add-remove");
}

TEST_CASE("the best accountant is the least of all, and says which it was") {
  const SubsampledGaussian mechanism{.rate = 0.1, .noise = 1, .steps = 100};
  const Epsilon pld = epsilon_of({&mechanism, 1}, 1e-5, Accountant::pld), rdp = epsilon_of({&mechanism, 1}, 1e-5, Accountant::rdp);
  const Epsilon best = epsilon_of({&mechanism, 1}, 1e-5);
  CHECK(best.epsilon == std::min(pld.epsilon, rdp.epsilon));
  CHECK(best.method == Accountant::pld);
  CHECK(rdp.method == Accountant::rdp);
}

TEST_CASE("calibrated noise holds its promise, and a little less would not") {
  for (const Calibrated& row : calibrated) {
    INFO("q " << row.q << " steps " << row.steps << " epsilon " << row.epsilon << " delta " << row.delta);
    const double sigma = noise_for(row.epsilon, row.delta, row.q, std::uint64_t(row.steps));
    CHECK(sigma >= row.sigma * (1 - 1e-9));
    CHECK(sigma <= row.sigma * (1 + 1e-3));
    const auto epsilon = [&](double noise) {
      const SubsampledGaussian m{.rate = row.q, .noise = noise, .steps = std::uint64_t(row.steps)};
      return epsilon_of({&m, 1}, row.delta).epsilon;
    };
    CHECK(epsilon(sigma) <= row.epsilon);
    CHECK(epsilon(sigma * (1 - 1e-4)) > row.epsilon);
  }
}

TEST_CASE("Mistake 20: noise is found where few draws make epsilon nearly flat in it") {
  const double sigma = noise_for(500, 1e-5, 0.01, 10);  // the tangent led to a noise of 5e-6, which is refused
  const SubsampledGaussian m{.rate = 0.01, .noise = sigma, .steps = 10};
  CHECK(epsilon_of({&m, 1}, 1e-5).epsilon <= 500);
  CHECK(epsilon_of({&m, 1}, 1e-5).method == Accountant::pld);
  CHECK(sigma == Approx(0.0564956).epsilon(1e-4));
  // the loss of the data without the example against those with it is one number there, whose variance was 0 here and there
  double last = std::numeric_limits<double>::infinity();
  for (double noise = 0.0563; noise < 0.0567; noise += 2e-5) {
    const SubsampledGaussian near{.rate = 0.01, .noise = noise, .steps = 10};
    const double epsilon = pld_epsilon({&near, 1}, 1e-5);
    CHECK(epsilon < last * (1 + 1e-5));
    last = epsilon;
  }
}

TEST_CASE("Mistake 20: noise that is nearly none, or huge, and a delta below every double give what is true or are refused") {
  const auto of = [](double q, double noise, std::uint64_t steps, double delta, Accountant accountant, Relation relation) {
    const SubsampledGaussian m{.rate = q, .noise = noise, .steps = steps};
    return epsilon_of({&m, 1}, delta, accountant, relation).epsilon;
  };
  const double least = SubsampledGaussian::least_noise;
  for (const Relation relation : {Relation::add_remove, Relation::replace_one})
    for (const Accountant accountant : {Accountant::best, Accountant::pld, Accountant::exact}) {
      for (const double noise : {1e-300, 1e-9, 0.9 * least}) {  // squares that are 0 were an epsilon of 0, and 1e-3 took minutes
        CHECK_ERROR(of(0.1, noise, 10, 1e-5, accountant, relation), ErrorId::value, "epsilon is above 1,000");
        CHECK(of(1e-6, noise, 9, 1e-5, accountant, relation) == 0);  // the example is drawn with a probability below delta
        CHECK_ERROR(of(1e-6, noise, 11, 1e-5, accountant, relation), ErrorId::value, "noise");
      }
      for (const double noise : {1e12, 1e200, 1e300}) CHECK(of(0.1, noise, 10, 1e-5, accountant, relation) == 0);
    }
  // ten draws with a probability of 1/2: one of them happens with 1 - 2^-10, which 10 / 2 says nothing of
  CHECK(of(0.5, 0.01, 10, 0.9991, Accountant::best, Relation::add_remove) == 0);
  CHECK_ERROR(of(0.5, 0.01, 10, 0.9990, Accountant::best, Relation::add_remove), ErrorId::value, "noise");
  CHECK(of(0.1, least, 10, 1e-5, Accountant::pld, Relation::add_remove) > 1000);
  CHECK(of(1, 1e-6, 1, 1e-5, Accountant::best, Relation::add_remove) == Approx(0.5e12).epsilon(1e-4));  // has a closed form
  const double usual = of(0.1, 1, 10, 1e-300, Accountant::best, Relation::add_remove);
  const double least_delta = of(0.1, 1, 10, 1e-320, Accountant::best, Relation::add_remove);
  CHECK(least_delta > usual);
  CHECK(least_delta < 1.1 * usual);
  // a distribution that is not a number is no small epsilon
  CHECK(lorasb::privacy::detail::falling_root([](double) { return std::numeric_limits<double>::quiet_NaN(); }) > 1e300);
  // roots near 0, far away and of a step: the least number at which the function is at most 0, and hardly more
  for (const double root : {1e-7, 0.3, 1.0, 1e3, 1e12})
    for (const double accuracy : {1e-15, 1e-10}) {
      const double line = lorasb::privacy::detail::falling_root([&](double x) { return root - x; }, accuracy);
      const double bent = lorasb::privacy::detail::falling_root([&](double x) { return std::log(root) - std::log(x); }, accuracy);
      const double step = lorasb::privacy::detail::falling_root([&](double x) { return x < root ? 1.0 : -1e9; }, accuracy);
      for (const double found : {line, bent, step}) {
        CHECK(found >= root * (1 - 1e-14));
        CHECK(found <= root * (1 + 2 * accuracy + 1e-14));
      }
    }
  CHECK(std::isnan(rdp_to_epsilon(std::numeric_limits<double>::quiet_NaN(), 2, 1e-5)));
}

TEST_CASE("Mistake 20: what lies beyond the last point of a loss counts as infinite, and nothing is lost between the points") {
  using lorasb::privacy::detail::LossGrid;
  for (const Relation relation : {Relation::add_remove, Relation::replace_one})
    for (const double tail : {0.05, 1e-6}) {
      const LossGrid grid({.rate = 0.3, .noise = 0.7, .steps = 1}, relation, false, 20, tail);
      CHECK(grid.infinite() > 0.5 * tail);
      CHECK(grid.infinite() < tail);
      CHECK(std::exp(grid.moments(0).log_sum) + grid.infinite() == Approx(1).epsilon(1e-9));
    }
}

TEST_CASE("noise that could be less than what is accounted is the least that is") {
  CHECK(noise_for(1e6, 1e-5, 0.1, 10) == Approx(SubsampledGaussian::least_noise).epsilon(1e-6));
  CHECK(noise_for(0.5, 1e-5, 1e-7, 10) == Approx(SubsampledGaussian::least_noise).epsilon(1e-6));  // drawn too rarely to matter
  const double sigma = noise_for(1e9, 1e-5, 1, 10);
  CHECK(gaussian_epsilon(std::sqrt(10.0) / sigma, 1e-5) <= 1e9);
  CHECK(gaussian_epsilon(std::sqrt(10.0) / sigma, 1e-5) > 0.999e9);
}

TEST_CASE("what cannot be accounted is refused by name") {
  const SubsampledGaussian good{.rate = 0.1, .noise = 1, .steps = 10};
  const auto of = [](const SubsampledGaussian& m, double delta) { return epsilon_of({&m, 1}, delta).epsilon; };
  for (const double delta : {0.0, 1.0, -1e-5, std::numeric_limits<double>::quiet_NaN()})
    CHECK_ERROR(of(good, delta), ErrorId::value, "delta");
  CHECK_ERROR(of({.rate = 2}, 1e-5), ErrorId::value, "rate");
  CHECK_ERROR(of({.noise = -1}, 1e-5), ErrorId::value, "noise");
  CHECK_ERROR(epsilon_of({}, 1e-5), ErrorId::value, "no mechanism");
  CHECK_ERROR(noise_for(0, 1e-5, 0.1, 10), ErrorId::value, "epsilon");
  CHECK(of({.rate = 0.01, .noise = 1e6, .steps = 100}, 1e-5) == 0);  // the step tells next to nothing
}
