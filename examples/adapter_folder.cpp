// An adapter folder from its files and back: read it, put it on a model's layers, train on, merge, write it again.
#include <cstdio>
#include <filesystem>

#include "lorasb/adapter/cores.hpp"
#include "lorasb/adapter/merge.hpp"
#include "lorasb/core/random.hpp"
#include "lorasb/formats/peft_reader.hpp"
#include "lorasb/formats/peft_writer.hpp"
#include "lorasb/io/open_model.hpp"
#include "lorasb/io/safetensors_writer.hpp"
#include "lorasb/linalg/product.hpp"
#include "lorasb/optim/adamw.hpp"

using namespace lorasb;
namespace fs = std::filesystem;

namespace {

Weight<float> random_weight(Index rows, Index cols, std::uint64_t seed) {
  Random random(seed);
  Weight<float> W(rows, cols);
  for (float& entry : flat(W)) entry = float(random.normal() / std::sqrt(double(cols)));
  return W;
}

/// Files as they would come from elsewhere: a model with two weights, and an adapter folder for them.
void write_inputs(const fs::path& folder) {
  const Weight<float> query = random_weight(24, 16, 1), value = random_weight(24, 16, 2);
  io::write_safetensors(folder / "model.safetensors",
                        {io::tensor_bytes("query.weight", query), io::tensor_bytes("value.weight", value)});
  AdapterSet<float> adapters;
  for (const char* module : {"query", "value"})
    adapters.add(module, {.B = random_weight(24, 4, 3), .R = random_weight(4, 4, 4), .A = random_weight(4, 16, 5)});
  formats::write_native(folder / "adapter", adapters);
}

}  // namespace

int main() {
  const fs::path folder = fs::temp_directory_path() / "lorasb-adapter-folder";
  fs::create_directories(folder);
  write_inputs(folder);

  // Read: the model stays in its mapped file; the adapters are values with an R each.
  const FrozenModel<float> model = io::open_model<float>(folder / "model.safetensors");
  formats::AdapterFolder<float> read = formats::read_adapter_folder<float>(folder / "adapter");
  std::vector<Module<float>> modules;
  for (const auto& [name, adapter] : read.adapters) modules.push_back({name, model.at(name + ".weight")});

  // Bind: the cores move into one flat buffer, and layers read them there.
  ParameterLayout layout;
  append_cores(modules, read.adapters, layout);
  Parameters<float> values(layout), gradient(layout);
  const AdapterBases<float> bases = take_cores(std::move(read.adapters), values);
  const Layers<float> layers = bind_cores(modules, bases, values);
  std::printf("%zu modules, %td trained values\n", modules.size(), layout.size());

  // Train on: both layers should map X to targets of their own.
  Random random(6);
  Matrix<float> X(16, 128), Y(24, 128), dY(24, 128);
  for (float& x : flat(X)) x = float(random.normal());
  optim::AdamW<float> optimizer(layout.size());
  LinearCache<float> cache;
  for (int step = 0; step <= 100; ++step) {
    double loss = 0;
    for (float& g : gradient.flat()) g = 0;
    for (std::size_t m = 0; m < layers.size(); ++m) {
      const ForwardPass<float> pass = layers[m]->forward(X, Y, cache);
      dY = Y;  // the target is 0
      loss += 0.5 * double(dY.squaredNorm()) / 128;
      layers[m]->backward(pass, dY, cache, gradient.flat(modules[m].name, Role::core), not_wanted);
    }
    if (step % 50 == 0) std::printf("loss at step %-4d%.2f\n", step, loss);
    optimizer.step(values.flat(), gradient.flat(), 0.05);
  }

  // Merge: W0 + s B R A with the R that was trained.
  Weight<float> merged(24, 16);
  merge(bases.at("query"), values.at("query", Role::core), model.at("query.weight"), merged);
  layers[0]->forward(X, Y, cache);
  std::printf("merged and adapted layer differ by %s\n", (linalg::product(merged, X) - Y).norm() < 1e-4f * Y.norm() ? "rounding" : "more");

  // Write: with R for lorasb, and folded into two factors for any PEFT-compatible loader.
  formats::write_native(folder / "trained", bases, values);
  formats::write_folded(folder / "folded", bases, values);
  const formats::AdapterFolder<float> again = formats::read_adapter_folder<float>(folder / "trained");
  std::printf("read back: R is %s\n", again.adapters.at("query").R == values["query.R"] ? "what was trained" : "another");
  fs::remove_all(folder);
}
