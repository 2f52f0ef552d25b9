#include "lorasb/privacy/rdp.hpp"

#include <vector>

#include "support.hpp"

using namespace lorasb;
using namespace lorasb::privacy;

namespace {

struct Order {
  double q, sigma, alpha, log_moment;  // by mpmath, 40 digits
};
struct Composed {
  double q, sigma, steps, delta, opacus_orders, all_orders;
};

constexpr Order orders[] = {
    {1e-06, 0.3, 1.01, 1.23330218914330924e-10},
    {1e-06, 0.3, 32, 5069.0147732562547462},
    {1e-06, 1.0, 2, 1.71828182845756883e-12},
    {1e-06, 1.0, 256.1, 29127.402746105354888},
    {1e-06, 4.0, 10.9, 3.47980057125973074e-12},
    {0.0001, 1.0, 1.5, 6.44268695383664972e-9},
    {0.0001, 1.0, 128, 6949.0764323870486159},
    {0.001, 0.5, 4.7, 2.4095544063950007255},
    {0.01, 0.3, 1.1, 0.00209223947767546524},
    {0.01, 0.3, 58.7, 18546.287621193613367},
    {0.01, 1.0, 2.5, 0.00032636299842282069},
    {0.01, 1.0, 1024, 519060.30572954819446},
    {0.01, 10.0, 16, 0.00012077079762160851},
    {0.04, 1.5, 1.75, 0.00058375071183656227},
    {0.04, 1.5, 256, 13682.63445550040728},
    {0.1, 1.0, 8, 9.6485298794368860187},
    {0.4, 12.0, 1.25, 0.00017390039604559478},
    {0.4, 12.0, 63, 2.4263605114701112827},
    {0.5, 1.0, 3, 1.3937782371960881563},
    {0.9, 10.0, 1.01, 0.00004090741623589846},
    {0.9, 10.0, 32, 4.12437304361165381},
    {0.999, 5.0, 2, 0.03992161501684296909},
    {0.999, 5.0, 256.1, 1306.3659813553793461},
    {1.0, 0.3, 10.9, 599.50000000000008543},
    {1.0, 4.0, 1.5, 0.0234375},
    {1.0, 4.0, 128, 508.0},
};
constexpr Composed composed[] = {
    {0.001, 0.5, 100, 1e-05, 3.598113209729392, 3.596149448038804},
    {0.001, 1.0, 10000, 1e-05, 0.78765953442774638, 0.7871398093910749},
    {0.01, 0.8, 1000, 1e-05, 3.6954288325625342, 3.695393615630679},
    {0.05, 0.5, 100, 1e-05, 20.909315344822417, 20.908722919739862},
    {0.05, 1.0, 10000, 1e-05, 50.112587749094091, 50.08690479067826},
    {1.0, 5.0, 1000, 1e-06, 51.723724650111365, 51.719404463000245},
    {1e-06, 0.5, 100000, 1e-07, 2.2583303916108671, 2.2549572071712443},
    {0.5, 1.0, 1, 1e-05, 3.8935758781414105, 3.89331777834486},
    {0.01, 1.0, 1000, 1e-10, 3.7252343282376841, 3.7251537390630087},
    {0.4, 12.0, 1000, 1e-06, 5.5712397065434319, 5.571177626239692},
    {0.05, 0.8, 1000, 1e-06, 21.136716538538092, 21.1149761670263},
    {0.01, 8.0, 100, 0.05, 0.0, 0.0},
};
}  // namespace

TEST_CASE("the moment of a step is right to rounding at every order, where sums of binomials cancel") {
  for (const Order& row : orders) {
    INFO("q " << row.q << " sigma " << row.sigma << " alpha " << row.alpha);
    CHECK(rdp_log_moment({.rate = row.q, .noise = row.sigma}, row.alpha) == Approx(row.log_moment).epsilon(1e-12));
  }
}

TEST_CASE("Rényi epsilon is that of the orders that others list, and not above it over all orders") {
  std::vector<double> listed;
  for (int i = 11; i < 110; ++i) listed.push_back(i / 10.0);
  for (int i = 12; i < 64; ++i) listed.push_back(i);
  for (const Composed& row : composed) {
    INFO("q " << row.q << " sigma " << row.sigma << " steps " << row.steps << " delta " << row.delta);
    const SubsampledGaussian mechanism{.rate = row.q, .noise = row.sigma, .steps = std::uint64_t(row.steps)};
    double least = 1e300;
    for (const double alpha : listed) least = std::min(least, rdp_epsilon_at({&mechanism, 1}, row.delta, alpha));
    CHECK(least == Approx(row.opacus_orders).epsilon(1e-9));
    const double found = rdp_epsilon({&mechanism, 1}, row.delta);
    CHECK(found == Approx(row.all_orders).epsilon(1e-6));
    CHECK(found >= row.all_orders * (1 - 1e-9));
  }
}

TEST_CASE("a composition is its parts, and bad mechanisms are refused") {
  const SubsampledGaussian whole{.rate = 0.02, .noise = 1.1, .steps = 300};
  const std::vector<SubsampledGaussian> parts{{0.02, 1.1, 100}, {0.02, 1.1, 200}};
  CHECK(rdp_epsilon(parts, 1e-6) == Approx(rdp_epsilon({&whole, 1}, 1e-6)).epsilon(1e-9));
  CHECK(rdp_to_epsilon(0.0, 2, 1e-5) == 0);       // nothing happened
  CHECK(rdp_to_epsilon(1e-14, 2, 1e-5) == 0);     // the two distributions differ by less than δ
  CHECK_ERROR(rdp_log_moment({.rate = 0}, 2), ErrorId::value, "rate");
  CHECK_ERROR(rdp_log_moment({.rate = 1.5}, 2), ErrorId::value, "rate");
  CHECK_ERROR(rdp_log_moment({.noise = 0}, 2), ErrorId::value, "noise");
  CHECK_ERROR(rdp_log_moment({.steps = 0}, 2), ErrorId::value, "steps");
  CHECK_ERROR(rdp_log_moment({}, 1), ErrorId::value, "alpha");
}
