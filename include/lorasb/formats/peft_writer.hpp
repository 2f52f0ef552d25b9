// Writes adapter folders, for lorasb itself and for every reader of plain LoRA.
#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "lorasb/adapter/low_rank_adapter.hpp"
#include "lorasb/adapter/merge.hpp"
#include "lorasb/core/check.hpp"
#include "lorasb/formats/peft_config.hpp"
#include "lorasb/formats/peft_folder.hpp"
#include "lorasb/formats/peft_names.hpp"
#include "lorasb/formats/peft_patterns.hpp"
#include "lorasb/io/atomic_file.hpp"
#include "lorasb/io/safetensors_writer.hpp"

namespace lorasb::formats {
namespace detail {

/// alpha with alpha / r = s: exactly for every float s, and for most double s (else the nearest quotient, one unit in the last
/// place away).
inline double alpha_for(double scale, Index rank) {
  const auto r = static_cast<double>(rank);
  const double alpha = scale * r;
  for (const double candidate : {alpha, std::nextafter(alpha, INFINITY), std::nextafter(alpha, -INFINITY)})
    if (candidate / r == scale) return candidate;
  return alpha;
}

/// What the tensors of a folder will be, gathered module by module; the matrices stay with the caller until write().
template <Real S>
class FolderWriter {
 public:
  FolderWriter(std::filesystem::path folder, std::string base_model, double dropout) : folder_(std::move(folder)) {
    require(dropout >= 0 && dropout < 1, ErrorId::value, folder_.string(), ": dropout is ", dropout, ", expected 0 to below 1");
    config_.base_model = std::move(base_model);
    config_.dropout = dropout;
    config_.target_modules.emplace();
  }

  void add(const std::string& module, const Weight<S>& B, const Weight<S>& A, S scale) {
    modules_.push_back({module, A.rows(), alpha_for(scale, A.rows()), static_cast<double>(scale)});
    metadata_[concat(scale_key, module)] = concat(static_cast<double>(scale));
    config_.target_modules->push_back(module);
    tensors_.push_back(io::tensor_bytes(tensor_name(module, suffix_A), A));
    tensors_.push_back(io::tensor_bytes(tensor_name(module, suffix_B), B));
  }
  void add_core(const std::string& module, ConstWeightView<S> R, S scale) {
    tensors_.push_back(io::tensor_bytes<S>(tensor_name(module, suffix_R), R));
    if (!config_.native_scale) config_.native_scale.emplace();
    config_.native_scale->emplace(module, scale);
  }
  void add(const NamedTensor<S>& tensor) {
    const std::string module(module_of(tensor.name));
    require(module != tensor.name && !module.empty(), ErrorId::value, folder_.string(), ": tensor \"", tensor.name,
            "\" is of no module, expected a name like \"classifier.weight\"");
    require(all_finite(std::span<const S>(tensor.values)), ErrorId::not_finite, folder_.string(), ": tensor \"",
            tensor.name, "\" holds NaN or infinity");
    if (std::find(config_.modules_to_save.begin(), config_.modules_to_save.end(), module) == config_.modules_to_save.end())
      config_.modules_to_save.push_back(module);
    tensors_.push_back(
        {std::string(prefix) + tensor.name, dtype_of<S>, tensor.shape, std::as_bytes(std::span(tensor.values))});
  }

  /// The configuration comes last: it is what says that there is an adapter.
  void write() {
    require(!modules_.empty(), ErrorId::value, folder_.string(), ": there is no adapter to write");
    add_patterns();
    check_readable();
    if (config_.native_scale) metadata_.emplace("lorasb", "native");
    const std::string config_text = peft_config_text(config_);
    const io::SafetensorsPlan plan = io::plan_safetensors(std::move(tensors_), metadata_);
    std::error_code error;
    std::filesystem::create_directories(folder_, error);
    require(!error, ErrorId::file_write, folder_.string(), ": cannot create the folder: ", error.message());
    io::write_safetensors(folder_ / tensor_file, plan);
    io::write_file(folder_ / config_file, config_text);
  }

 private:
  struct Module {
    std::string name;
    Index rank;
    double alpha;
    double scale;
  };

  /// r and lora_alpha are those of the first module. Where another one differs, every module gets its own key.
  void add_patterns() {
    config_.rank = modules_.front().rank;
    config_.alpha = modules_.front().alpha;
    const bool same_rank =
        std::all_of(modules_.begin(), modules_.end(), [&](const Module& m) { return m.rank == config_.rank; });
    const bool same_alpha =
        std::all_of(modules_.begin(), modules_.end(), [&](const Module& m) { return m.alpha == config_.alpha; });
    if (same_rank && same_alpha) return;
    std::map<std::string, Module> by_name;
    std::vector<std::string> names;
    for (const Module& module : modules_) {
      require(NameKey::make(module.name) && PatternTable({module.name}).find(module.name), ErrorId::value, folder_.string(), ": module \"", module.name,
              "\" has a name that PEFT would take for another pattern, and its modules differ in rank or scale");
      by_name.emplace(module.name, module);
      names.push_back(module.name);
    }
    sort_as_patterns(names);
    for (const std::string& name : names) {
      if (!same_rank) config_.rank_pattern.emplace_back(name, by_name.at(name).rank);
      if (!same_alpha) config_.alpha_pattern.emplace_back(name, by_name.at(name).alpha);
    }
  }

  /// The reader must find the modules and tensors that are meant, with their ranks and scales: a name can carry the name of an
  /// adapter or of a wrapper, which it leaves out, and a scale can leave the range of alpha.
  void check_readable() const {
    NameSorter sorter(folder_.string());
    try {
      for (const io::TensorBytes& t : tensors_) sorter.add(t.name);
    } catch (const Error& error) {
      throw Error(ErrorId::value, concat("a name cannot be written: ", error.what()));
    }
    const FolderIndex index = sorter.take();
    const auto check = [&](bool same, std::string_view name) {
      require(same, ErrorId::value, folder_.string(), ": ", in_quotes(name),
              " has a name that a reader would take for another one");
    };
    for (std::size_t i = 0; i < modules_.size(); ++i) {
      const Module& m = modules_[i];
      check(
          i < index.modules.size() && index.modules[i].module == m.name && index.modules[i].R.empty() == !config_.native_scale,
          m.name);
      require(m.rank >= 1, ErrorId::rank, folder_.string(), ": module ", in_quotes(m.name), " has rank 0, expected at least 1");
      const double scale = m.alpha / double(m.rank);
      require(is_finite(m.alpha) && static_cast<S>(scale) != 0 && std::abs(scale - m.scale) <= 1e-15 * std::abs(m.scale),
              ErrorId::value, folder_.string(), ": module ", in_quotes(m.name), " has the scale ", m.scale,
              ", which alpha = s r cannot say");
    }
    check(index.modules.size() == modules_.size(), index.modules.back().module);
    const std::size_t factors = modules_.size() * (config_.native_scale ? 3 : 2);
    check(index.full_tensors.size() + factors == tensors_.size(), tensors_.back().name);
    for (const FullTensor& t : index.full_tensors) check(prefix.size() + t.name.size() == t.stored.size(), t.stored);
  }

  std::filesystem::path folder_;
  PeftConfig config_;
  std::vector<Module> modules_;
  std::vector<io::TensorBytes> tensors_;
  std::map<std::string, std::string> metadata_{{"format", "pt"}};
};

}  // namespace detail

/// Plain LoRA: s B A. Numbers are stored as they are, F32 for float and F64 for double. The folder is made when it is not
/// there. Each of its two files is whole at every moment, the old or the new; the configuration is written last, and the tensor
/// file repeats every scale in its metadata, so that one old and one new file whose scales differ are refused, not misread.
/// `dropout` is what the adapters were trained with (InputDropout), PEFT's lora_dropout.
/// PEFT adapts every module whose name is or ends in a target's; one that was not meant gets lora_B = 0, which changes nothing.
/// Throws ErrorId::shape, ErrorId::value (no adapters, a full tensor without a module), ErrorId::not_finite,
/// ErrorId::duplicate_name and ErrorId::file_write; ErrorId::value, too, for a name that a reader would take for another one,
/// and for a scale that alpha cannot say: nothing is written that read_adapter_folder() refuses.
template <Real S>
void write_lora(const std::filesystem::path& folder, const NamedSet<LoraAdapter<S>>& adapters,
                const std::vector<NamedTensor<S>>& full_tensors = {}, std::string base_model = {}, double dropout = 0) {
  detail::FolderWriter<S> writer(folder, std::move(base_model), dropout);
  for (const auto& [module, adapter] : adapters) {
    const std::string where = folder.string() + ": " + module;
    require_shape(adapter.B, adapter.B.rows(), adapter.A.rows(), where, "B", "columns are the rank, the rows of A");
    require_finite(adapter.B, where, "B");
    require_finite(adapter.A, where, "A");
    require(is_finite(adapter.scale) && adapter.scale != 0, ErrorId::value, where, ": scale is ",
            static_cast<double>(adapter.scale), ", expected finite and not 0");
    writer.add(module, adapter.B, adapter.A, adapter.scale);
  }
  for (const NamedTensor<S>& tensor : full_tensors) writer.add(tensor);
  writer.write();
}

/// B, R, A and s as they are: reading gives the same bits. A reader that does not know R would drop it, so peft_type is "LORASB",
/// which PEFT refuses, the configuration has the key "lorasb", and the tensor file says "lorasb": "native" in its metadata. Throws
/// what write_lora throws.
template <Real S>
void write_native(const std::filesystem::path& folder, const AdapterSet<S>& adapters,
                  const std::vector<NamedTensor<S>>& full_tensors = {}, std::string base_model = {}, double dropout = 0) {
  detail::FolderWriter<S> writer(folder, std::move(base_model), dropout);
  for (const auto& [module, adapter] : adapters) {
    adapter.validate(module);
    writer.add(module, adapter.B, adapter.A, adapter.scale);
    writer.add_core(module, adapter.R, adapter.scale);
  }
  for (const NamedTensor<S>& tensor : full_tensors) writer.add(tensor);
  writer.write();
}
/// The same with every R as it is in the trainer's buffer.
template <Real S>
void write_native(const std::filesystem::path& folder, const AdapterBases<S>& bases, const Parameters<S>& values,
                  const std::vector<NamedTensor<S>>& full_tensors = {}, std::string base_model = {}, double dropout = 0) {
  detail::FolderWriter<S> writer(folder, std::move(base_model), dropout);
  for (const auto& [module, basis] : bases) {
    basis.validate(module);
    const ConstWeightView<S> R = values.at(module, Role::core);
    require_shape(R, basis.rank(), basis.rank(), module, "R", "the rank of the basis");
    require_finite(R, module, "R");
    writer.add(module, basis.B, basis.A, basis.scale);
    writer.add_core(module, R, basis.scale);
  }
  for (const NamedTensor<S>& tensor : full_tensors) writer.add(tensor);
  writer.write();
}

/// For readers of plain LoRA: lora_B = B R (summed in double, rounded once), lora_A = A, lora_alpha = s r. What they add to the
/// weight, (lora_alpha / r) lora_B lora_A, is s B R A. Throws what write_lora throws.
template <Real S>
void write_folded(const std::filesystem::path& folder, const AdapterSet<S>& adapters,
                  const std::vector<NamedTensor<S>>& full_tensors = {}, std::string base_model = {}, double dropout = 0) {
  NamedSet<LoraAdapter<S>> folded;
  for (const auto& [module, adapter] : adapters) folded.add(module, fold(adapter));
  write_lora(folder, folded, full_tensors, std::move(base_model), dropout);
}
template <Real S>
void write_folded(const std::filesystem::path& folder, const AdapterBases<S>& bases, const Parameters<S>& values,
                  const std::vector<NamedTensor<S>>& full_tensors = {}, std::string base_model = {}, double dropout = 0) {
  NamedSet<LoraAdapter<S>> folded;
  for (const auto& [module, basis] : bases) folded.add(module, fold<S>(basis, values.at(module, Role::core)));
  write_lora(folder, folded, full_tensors, std::move(base_model), dropout);
}

/// A model without adapters: the tensors in one safetensors file, as PyTorch would write them. Throws what write_safetensors
/// throws.
template <Real S>
void write_tensors(const std::filesystem::path& file, const std::vector<NamedTensor<S>>& tensors) {
  std::vector<io::TensorBytes> bytes;
  for (const NamedTensor<S>& t : tensors) bytes.push_back({t.name, dtype_of<S>, t.shape, std::as_bytes(std::span(t.values))});
  io::write_safetensors(file, std::move(bytes), {{"format", "pt"}});
}

}  // namespace lorasb::formats
