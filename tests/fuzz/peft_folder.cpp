// Fuzzes the reader of adapter folders.
#include "lorasb/formats/peft_reader.hpp"

#include "fuzz/fuzz.hpp"
#include "fuzz/mutator.hpp"
#include "lorasb/formats/peft_writer.hpp"

namespace lorasb::fuzz {
namespace {

Weight<float> peft_matrix(Index rows, Index cols) {
  Weight<float> m(rows, cols);
  for (Index i = 0; i < m.size(); ++i) m.data()[i] = 0.25f * float(i + 1);
  return m;
}
Input folder_input(const std::filesystem::path& folder) {
  return {{{true, read_file(folder / "adapter_config.json")}, {true, read_file(folder / "adapter_model.safetensors")}}};
}

/// Plain LoRA as PEFT's classifiers have it, with ranks and alphas of their own, and lorasb's own folder.
std::vector<Input> peft_seeds() {
  const std::filesystem::path folder = second_folder();
  NamedSet<LoraAdapter<float>> plain;
  AdapterSet<float> native;
  for (const Index r : {1, 2}) {
    const std::string module = "bert.encoder.layer." + std::to_string(r) + ".query";
    plain.add(module, {.B = peft_matrix(4, r), .A = peft_matrix(r, 3), .scale = 0.5f * float(r)});
    native.add(module, {.B = peft_matrix(4, r), .R = peft_matrix(r, r), .A = peft_matrix(r, 3), .scale = 2});
  }
  const std::vector<formats::NamedTensor<float>> head{{"classifier.weight", {2, 3}, std::vector<float>(6, 0.5f)},
                                                      {"classifier.bias", {2}, {1, 2}}};
  std::vector<Input> seeds;
  formats::write_lora<float>(folder / "plain", plain, head, "model");
  seeds.push_back(folder_input(folder / "plain"));
  formats::write_native<float>(folder / "native", native, head, "model");
  seeds.push_back(folder_input(folder / "native"));
  Input patterns = seeds[0];
  patterns[0] =
      R"({"peft_type": "LORA", "r": 1, "lora_alpha": 2, "use_rslora": false, "target_modules": "bert\\.encoder.*query",
   "rank_pattern": {"2.query": 2},
    "alpha_pattern": {"layer\\.[12].query": 3}, "modules_to_save": ["classifier", "score"], "layers_to_transform": [1, 2],
   "layers_pattern": "layer",
    "exclude_modules": ["key"], "fan_in_fan_out": false, "bias": "none", "init_lora_weights": true, "task_type": "SEQ_CLS"})";
  TensorFile tensors = *TensorFile::from_bytes(patterns[1]);
  tensors.metadata = {{"format", "pt"}};  // as PEFT writes it: without lorasb's scales
  patterns[1] = tensors.to_bytes();
  seeds.push_back(std::move(patterns));
  return seeds;
}

bool peft_past_first_check(const Input& input) { return is_json(input[0]) && is_safetensors(input[1]); }

void mutate_peft(Input& input, Mutator& m) {
  static const std::vector<Input> seeds = peft_seeds();
  const Input& whole = m.one_of(seeds);
  if (m.one_in(60)) {
    input.files[m.below(2)].there ^= true;
  } else if (m.one_in(2)) {
    m.json(input[0], whole[0]);
  } else {
    m.safetensors(input[1], whole[1]);
  }
}

void must_be_same(formats::AdapterFolder<float> a, formats::AdapterFolder<float> b) {
  for (formats::AdapterFolder<float>* one : {&a, &b})
    std::ranges::sort(one->full_tensors, {}, &formats::NamedTensor<float>::name);  // they lie in another order
  must(a.adapters.size() == b.adapters.size() && a.full_tensors == b.full_tensors && a.base_model == b.base_model,
       "a folder has lost something");
  for (const auto& [module, one] : a.adapters) {
    const LowRankAdapter<float>* other = b.adapters.find(module);
    must(other != nullptr && one.B == other->B && one.R == other->R && one.A == other->A && one.scale == other->scale,
         "an adapter is not what was read");
  }
}

void read_peft(const Input&, const std::filesystem::path& folder) {
  const formats::AdapterFolder<float> read = formats::read_adapter_folder<float>(folder, {.plain_lora = true});
  must(!read.adapters.empty() && read.report.modules.size() == read.adapters.size(), "a folder without adapters was accepted");
  must(!read.report.text().empty(), "a report is empty");
  if (!writes_again()) return;
  const std::filesystem::path again = second_folder();
  try {
    formats::write_native<float>(again, read.adapters, read.full_tensors, read.base_model);
  } catch (const Error&) {
    return;  // such as a tensor that belongs to no module: the writer may refuse, but write nothing that the reader refuses
  }
  must_not_throw("a folder that was written is refused",
                 [&] { must_be_same(read, formats::read_adapter_folder<float>(again)); });
}

const Registered peft_reader({.name = "peft_folder",
                              .files = {"adapter_config.json", "adapter_model.safetensors"},
                              .seeds = peft_seeds,
                              .mutate = mutate_peft,
                              .past_first_check = peft_past_first_check,
                              .read = read_peft});

}  // namespace
}  // namespace lorasb::fuzz
