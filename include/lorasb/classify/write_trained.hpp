// Writes what was trained of a base model as a folder that open_classifier(), PEFT and lorasb-finetune read.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "lorasb/classify/base_model.hpp"
#include "lorasb/classify/classifier_file.hpp"
#include "lorasb/formats/peft_writer.hpp"
#include "lorasb/io/make_folder.hpp"
#include "lorasb/train/tuned_model.hpp"

namespace lorasb::classify {

/// Removes what an earlier run with another method left in a folder: a reader would take it for this run's.
inline void remove_classifiers(const std::filesystem::path& out) {
  for (const char* old : {"adapter/adapter_config.json", "folded/adapter_config.json", "model.safetensors", "classifier.json"})
    std::filesystem::remove(out / old);
}

/// Writes adapter/ (native) and folded/ of LoRA-SB and LoRA-XS; both the same for LoRA and FFA-LoRA, which has two factors anyway.
/// The head goes with them. Full fine-tuning and the head alone have no adapter: their tensors are in model.safetensors. Beside
/// the tensors lies classifier.json, from `file`; without a method there it is the model's. `dropout` is what adapter_config.json says of it.
/// `out` is made, and what is of another method in it is removed. Throws what the writers throw.
inline void write_trained(const std::filesystem::path& out, const BaseModel& base, const train::TunedModel<float>& model,
                          ClassifierFile file, double dropout = 0) {
  io::make_folder(out, "write_trained");
  remove_classifiers(out);
  const Parameters<float>& values = *model.values;
  std::vector<formats::NamedTensor<float>> head, all;
  for (const ParameterLayout::Tensor& t : values.layout().tensors()) {
    formats::NamedTensor<float>& added = (is_head(t.role) ? head : all).emplace_back(formats::named_tensor(values, t));
    if (is_head(t.role)) added.name = base.head_name(t);
  }
  if (file.method.empty()) file.method = name_of(model.method);
  std::vector<std::filesystem::path> folders{out / "adapter", out / "folded"};
  switch (model.method) {
    case Method::lora_sb:
    case Method::lora_xs:
      formats::write_native(folders[0], model.bases, values, head, base.name, dropout);
      formats::write_folded(folders[1], model.bases, values, head, base.name, dropout);
      break;
    case Method::lora:
    case Method::ffa_lora: {
      const NamedSet<LoraAdapter<float>> adapters = lora_adapters(base.modules, model.lora_scale, values, model.frozen.get());
      for (const std::filesystem::path& folder : folders) formats::write_lora(folder, adapters, head, base.name, dropout);
      break;
    }
    case Method::full:
    case Method::head:
      all.insert(all.end(), head.begin(), head.end());
      formats::write_tensors(out / "model.safetensors", all);
      folders = {out};
  }
  for (const std::filesystem::path& folder : folders) write_classifier_file(folder, file);
}

}  // namespace lorasb::classify
