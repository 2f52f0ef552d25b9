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
                              const federated::Shares& shares) {
  nlohmann::json examples = nlohmann::json::array();
  for (const std::vector<Index>& share : shares) examples.push_back(share.size());
  nlohmann::json m = {{"method", name_of(options)},
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
          {"start",
           {{"estimate", estimate_names[static_cast<std::size_t>(estimate_of(options))]},
            {"look_ahead", options.look_ahead == FederateOptions::automatic ? nlohmann::json("auto") : nlohmann::json(options.look_ahead)},
            {"accuracy", result.start.accuracy},
            {"seconds", result.start.seconds},
            {"bytes_up_per_client", result.start.bytes_up_per_client},
            {"bytes_down_per_client", result.start.bytes_down_per_client},
            {"bytes_total", result.start.bytes_total}}},
          {"test_examples", task.test.size()},
          {"classes", task.classes()},
          {"labels", task.label_names},
          {"notes", task.notes},
          {"seconds", result.seconds},
          {"peak_rss_bytes", peak_rss_bytes()}};
  if (task.loaded) m["loaded_from"] = options.load.string();
  if (options.setting != Setting::federated || options.experts == 0) m["modules"] = names_of(task.base.modules);
  if (options.experts > 0) m["experts"] = options.experts;
  if (result.privacy) m.update(result.privacy->metrics);
  return m;
}

/// adapter/ and folded/ as lorasb-finetune writes them, with the head. FedEx-LoRA and FLoRA change the frozen weights, which no
/// adapter can say: they leave the adapted weights themselves and the head in model.safetensors. Nothing for clients that
/// trained alone.
inline void write_model(const SharedModel& shared, const FederateOptions& options, const BaseModel& base) {
  if (options.setting != Setting::federated) return;
  const std::string& base_model = base.name;
  const Parameters<float>& values = shared.values();
  std::vector<formats::NamedTensor<float>> head;
  for (const ParameterLayout::Tensor& t : values.layout().tensors())
    if (is_head(t.role)) {
      head.push_back(formats::named_tensor(values, t));
      head.back().name = base.head_name(t);
    }
  if (options.method == federated::FederatedMethod::fed_sb) {
    formats::write_native(options.out / "adapter", shared.bases(), values, head, base_model);
    formats::write_folded(options.out / "folded", shared.bases(), values, head, base_model);
    return;
  }
  NamedSet<LoraAdapter<float>> adapters;
  for (const Module<float>& m : shared.modules()) {
    const federated::ClientFactors<float> factors = shared.factors(m.name, values.flat(), 1);
    adapters.add(m.name, {.B = factors.B, .A = factors.A, .scale = 1});
  }
  if (!shared.adds_to_weights()) {
    formats::write_lora(options.out / "adapter", adapters, head, base_model);
    formats::write_lora(options.out / "folded", adapters, head, base_model);
    return;
  }
  std::vector<formats::NamedTensor<float>> tensors;
  for (const Module<float>& m : shared.modules()) {
    Weight<float> W = m.W0.widened();
    const LoraAdapter<float>& lora = adapters.at(m.name);
    linalg::multiply(lora.B, lora.A, W, lora.scale, 1);
    tensors.push_back({.name = m.name + std::string(suffix_of(Role::weight)),
                       .shape = {W.rows(), W.cols()},
                       .values = {W.data(), W.data() + W.size()}});
  }
  tensors.insert(tensors.end(), head.begin(), head.end());
  formats::write_tensors(options.out / "model.safetensors", tensors);
}

/// Label names beside what write_model() has written, as lorasb-finetune --load and this program's --load read them.
inline void write_labels(const SharedModel& shared, const FederateOptions& options, const std::vector<std::string>& labels) {
  if (options.setting != Setting::federated) return;
  if (shared.adds_to_weights()) return write_classifier_file(options.out, name_of(options), labels, options);
  for (const char* folder : {"adapter", "folded"})
    write_classifier_file(options.out / folder, name_of(options), labels, options);
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
