// A mixer layer against PyTorch's autograd; golden/mixer_layer.py wrote the numbers.
#include <filesystem>
#include <map>

#include "lorasb/io/safetensors.hpp"
#include "lorasb/mixer/mixer_layer.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::mixer;
using namespace lorasb::test;

TEMPLATE_TEST_CASE("a mixer layer has PyTorch's outputs, loss and gradients", "", float, double) {
  using S = TestType;
  const io::SafetensorsFile file(std::filesystem::path(LORASB_TEST_DIR) / "golden" / "mixer_layer.safetensors");
  const auto read = [&](const std::string& name) { return Weight<S>(file.read_weight<double>(name).template cast<S>()); };
  const Weight<S> W0 = read("W0"), G = read("G"), x = read("X"), dy = read("dY");
  const Matrix<S> X = x.transpose(), dY = dy.transpose();
  std::vector<Weight<S>> B, R, A;
  std::vector<ExpertTensors<S>> experts;
  const double scales[] = {0.7, 1.1, 0.5};
  for (const int e : {0, 1, 2}) {
    B.push_back(read(concat("B", e)));
    R.push_back(read(concat("R", e)));
    A.push_back(read(concat("A", e)));
  }
  for (const std::size_t e : {0, 1, 2}) experts.push_back({B[e], R[e], A[e], S(scales[e])});
  const std::map<std::string, RoutingOptions> ways{
      {"soft", {.mode = RoutingMode::soft, .temperature = 0.8}},
      {"top_2", {.mode = RoutingMode::top_k, .k = 2, .temperature = 0.8}},
      {"top_2_raw", {.mode = RoutingMode::top_k, .k = 2, .renormalise = false, .temperature = 0.8}}};
  for (const auto& [name, routing] : ways) {
    INFO(name);
    const BalanceLossOptions loss{.balance = 0.3,
                                  .entropy = 0.2,
                                  .share = RoutedShare::top_1,
                                  .entropy_sign = name == "top_2" ? EntropySign::specialize : EntropySign::as_printed,
                                  .over_layers = OverLayers::sum};
    const MixerLayer<S> layer(W0, experts, {.G = G}, routing, loss);
    LinearCache<S> cache;
    Matrix<S> Y(5, 6), dX(4, 6);
    Vector<S> gradient = Vector<S>::Zero(layer.trainable());
    const ForwardPass<S> pass = layer.forward(X, Y, cache);
    layer.backward(pass, dY, cache, gradient, dX);
    CHECK(relative_error(Y, read(name + ".Y").transpose()) < Tolerance<S>::sum);
    std::vector<double> expected_loss(1);
    file.read<double>(name + ".loss", expected_loss);
    CHECK(layer.auxiliary_loss(cache.statistics) == Approx(expected_loss[0]).epsilon(Tolerance<S>::sum));
    CHECK(relative_error(dX, read(name + ".dX").transpose()) < Tolerance<S>::chain);
    Index place = 0;
    for (const std::string part : {"R0", "R1", "R2", "G"}) {
      const Weight<S> expected = read(name + ".d" + part);
      CHECK(relative_error(Eigen::Map<const Weight<S>>(gradient.data() + place, expected.rows(), expected.cols()), expected) <
            Tolerance<S>::chain);
      place += expected.size();
    }
  }
}
