// Reads adapter folders as PEFT and lorasb write them.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/adapter/low_rank_adapter.hpp"
#include "lorasb/core/check.hpp"
#include "lorasb/formats/peft_config.hpp"
#include "lorasb/formats/peft_folder.hpp"
#include "lorasb/io/safetensors.hpp"

namespace lorasb::formats {

struct PeftReadOptions {
  bool plain_lora = false;  // also take a folder with no R in it, as R = I
};

namespace detail {

/// Tensor names of one module; empty where the file has none.
struct ModuleTensors {
  std::string module;
  std::string A;
  std::string B;
  std::string R;
};

/// The names of a tensor file, sorted out.
struct FolderIndex {
  std::vector<ModuleTensors> modules;     // in the order of the file
  std::vector<std::string> full_tensors;  // without the prefix
};

/// Throws ErrorId::adapter_folder for a tensor without the prefix, and for R under both of its names.
inline FolderIndex index_tensors(const io::SafetensorsFile& file) {
  FolderIndex index;
  const auto module_named = [&](std::string_view name) -> ModuleTensors& {
    for (ModuleTensors& module : index.modules)
      if (module.module == name) return module;
    return index.modules.emplace_back(ModuleTensors{std::string(name), {}, {}, {}});
  };
  for (const io::TensorInfo& tensor : file.tensors()) {
    require(tensor.name.starts_with(prefix), ErrorId::adapter_folder, file.path().string(), ": tensor \"", tensor.name,
            "\" does not start with \"", prefix, "\"");
    const std::string_view name = std::string_view(tensor.name).substr(prefix.size());
    const auto module = [name](std::string_view suffix) { return name.substr(0, name.size() - suffix.size()); };
    if (name.ends_with(suffix_A)) {
      module_named(module(suffix_A)).A = tensor.name;
    } else if (name.ends_with(suffix_B)) {
      module_named(module(suffix_B)).B = tensor.name;
    } else if (name.ends_with(suffix_R) || name.ends_with(suffix_R_stripped)) {
      ModuleTensors& tensors = module_named(module(name.ends_with(suffix_R) ? suffix_R : suffix_R_stripped));
      require(tensors.R.empty(), ErrorId::adapter_folder, file.path().string(), ": module \"", tensors.module,
              "\" has its R under two names, \"", tensors.R, "\" and \"", tensor.name, "\"");
      tensors.R = tensor.name;
    } else {
      index.full_tensors.emplace_back(name);
    }
  }
  return index;
}

/// Reads one folder, step by step.
template <Real S>
class FolderReader {
 public:
  explicit FolderReader(const std::filesystem::path& folder, PeftReadOptions options)
      : options_(options),
        where_(folder.string()),
        config_(read_peft_config(folder / config_file)),
        file_(folder / tensor_file),
        index_(index_tensors(file_)) {}

  AdapterFolder<S> read() {
    check_kind();
    check_names();
    AdapterFolder<S> result;
    result.base_model = config_.base_model;
    result.plain_lora = plain_;
    for (const ModuleTensors& tensors : index_.modules) result.adapters.add(tensors.module, read_adapter(tensors));
    for (const std::string& name : index_.full_tensors) result.full_tensors.push_back(read_full(name));
    return result;
  }

 private:
  template <class... Parts>
  void check(bool good, const Parts&... parts) const {
    require(good, ErrorId::adapter_folder, where_, ": ", parts...);
  }

  /// Native as both files say, or R for all modules (folders of LoRA-XS and LoRA-SB by others), or, when asked for, plain LoRA.
  void check_kind() {
    check(!index_.modules.empty(), "has no adapter tensors");
    const auto it = file_.metadata().find("lorasb");
    const bool native_tensors = it != file_.metadata().end();
    check(native_tensors == config_.native_scale.has_value(), native_tensors ? tensor_file : config_file,
          " is of a native folder, but ", native_tensors ? config_file : tensor_file, " is not");
    check(!native_tensors || it->second == "native", tensor_file,
          " is of the unknown kind \"lorasb\": ", native_tensors ? in_quotes(it->second) : "");
    const auto has_core = [](const ModuleTensors& tensors) { return !tensors.R.empty(); };
    plain_ = !native_tensors && std::none_of(index_.modules.begin(), index_.modules.end(), has_core);
    check(!plain_ || options_.plain_lora,
          "is plain LoRA, without R; read it with PeftReadOptions{.plain_lora = true}, which takes R = I");
  }

  /// target_modules and modules with tensors cover each other, and so do modules_to_save and the other tensors. Then the
  /// modules are put into the order of target_modules, as far as these are whole names.
  void check_names() {
    if (config_.target_modules) {
      const std::vector<std::string>& targets = *config_.target_modules;
      for (const ModuleTensors& tensors : index_.modules)
        check(std::any_of(targets.begin(), targets.end(),
                          [&](const std::string& target) { return is_target(target, tensors.module); }),
              "module \"", tensors.module, "\" has tensors, but is not among the target_modules");
      for (const std::string& target : targets)
        check(std::any_of(index_.modules.begin(), index_.modules.end(),
                          [&](const ModuleTensors& tensors) { return is_target(target, tensors.module); }),
              "target module \"", target, "\" has no tensors");
      const auto place = [&](const ModuleTensors& tensors) {
        return std::find(targets.begin(), targets.end(), tensors.module);
      };
      std::stable_sort(index_.modules.begin(), index_.modules.end(),
                       [&](const ModuleTensors& a, const ModuleTensors& b) { return place(a) < place(b); });
    }
    const std::vector<std::string>& saved = config_.modules_to_save;
    for (const std::string& name : index_.full_tensors)
      check(std::any_of(saved.begin(), saved.end(), [&](const std::string& module) { return is_inside(module, name); }),
            "tensor ", in_quotes(name), " is of no adapter, and its module is not among the modules_to_save");
    for (const std::string& module : saved)
      check(std::any_of(index_.full_tensors.begin(), index_.full_tensors.end(),
                        [&](const std::string& name) { return is_inside(module, name); }),
            "module to save \"", module, "\" has no tensors");
  }
  /// Native folders have whole names; PEFT's may have the last parts only.
  bool is_target(std::string_view target, std::string_view module) const {
    return config_.native_scale ? target == module : names_module(target, module);
  }
  /// "classifier" has the tensors "classifier.weight", "model.classifier.dense.bias".
  static bool is_inside(std::string_view module, std::string_view tensor) {
    for (std::size_t dot = tensor.find('.'); dot != std::string_view::npos; dot = tensor.find('.', dot + 1))
      if (names_module(module, tensor.substr(0, dot))) return true;
    return false;
  }

  LowRankAdapter<S> read_adapter(const ModuleTensors& tensors) const {
    const std::string& module = tensors.module;
    const Index r = config_.rank_of(module, where_);
    LowRankAdapter<S> adapter;
    adapter.A = read_matrix(tensors.A, module, "lora_A");
    adapter.B = read_matrix(tensors.B, module, "lora_B");
    check(plain_ || !tensors.R.empty(), "module \"", module, "\" has no R, as \"", tensor_name(module, suffix_R), "\" or \"",
          tensor_name(module, suffix_R_stripped), "\"");
    if (!plain_) adapter.R = read_matrix(tensors.R, module, "R");
    const auto check_shape = [&](const Weight<S>& m, Index rows, Index cols, std::string_view what) {
      require(m.rows() == rows && m.cols() == cols, ErrorId::tensor_mismatch, where_, ": module \"", module, "\": ", what,
              " is ", m.rows(), " x ", m.cols(), ", expected ", rows, " x ", cols, " (rank ", r, " in ", config_file, ")");
    };
    check_shape(adapter.A, r, adapter.A.cols(), "lora_A");
    check_shape(adapter.B, adapter.B.rows(), r, "lora_B");
    if (plain_) adapter.R = Weight<S>::Identity(r, r);  // only now is r a size and not a number in a file
    check_shape(adapter.R, r, r, "R");
    check(r <= std::min(adapter.B.rows(), adapter.A.cols()), "module \"", module, "\": rank ", r, " is above min(out, in) of ",
          adapter.B.rows(), " x ", adapter.A.cols());
    adapter.scale = static_cast<S>(config_.scale_of(module, where_));
    check(is_finite(adapter.scale) && adapter.scale != 0, "module \"", module, "\": the scale alpha / r is ",
          static_cast<double>(adapter.scale), ", expected finite and not 0");
    check_same_save(module, config_.scale_of(module, where_));
    return adapter;
  }
  /// A crash between the writing of the two files leaves a new one beside an old one.
  void check_same_save(const std::string& module, double scale) const {
    const auto it = file_.metadata().find(concat(scale_key, module));
    if (it == file_.metadata().end()) return;  // somebody else's folder
    double saved = 0;
    const char* const end = it->second.data() + it->second.size();
    check(std::from_chars(it->second.data(), end, saved).ptr == end && std::abs(saved - scale) <= 1e-15 * std::abs(scale),
          "module \"", module, "\" has the scale ", scale, " in ", config_file, ", but its tensors were saved with ",
          in_quotes(it->second), ": the two files are of different saves");
  }
  Weight<S> read_matrix(const std::string& name, std::string_view module, std::string_view what) const {
    require(!name.empty(), ErrorId::tensor_missing, where_, ": module \"", module, "\" has no ", what);
    check_type(name);
    Weight<S> matrix = file_.template read_weight<S>(name);
    check(all_finite(matrix.data(), matrix.size()), "module \"", module, "\": ", what, " holds NaN or infinity");
    return matrix;
  }
  NamedTensor<S> read_full(const std::string& name) const {
    const std::string stored = std::string(prefix) + name;
    check_type(stored);
    const io::TensorInfo& tensor = file_.at(stored);
    NamedTensor<S> result{name, tensor.shape, std::vector<S>(static_cast<std::size_t>(tensor.elements()))};
    file_.template read<S>(stored, result.values);
    check(all_finite(std::span<const S>(result.values)), "tensor ", in_quotes(name), " holds NaN or infinity");
    return result;
  }
  /// Doubles would be rounded on their way into floats: what was saved would not be what is loaded.
  void check_type(const std::string& name) const {
    require(file_.at(name).dtype != Dtype::f64 || std::same_as<S, double>, ErrorId::tensor_mismatch, where_, ": tensor ",
            in_quotes(name), " is F64, expected F32, F16 or BF16 when reading float");
  }

  PeftReadOptions options_;
  std::string where_;
  PeftConfig config_;
  io::SafetensorsFile file_;
  FolderIndex index_;
  bool plain_ = false;
};

}  // namespace detail

/// Adapters come in the order of target_modules. Narrower numbers are widened exactly; F64 is read as double only.
/// Throws ErrorId::file_open, json and safetensors for files that are not what their names say; ErrorId::tensor_missing for a
/// module without A, B or R, ErrorId::tensor_mismatch for a wrong type or shape, and ErrorId::adapter_folder when the two files
/// disagree, a tensor belongs to nothing, a module has no R, a number is not finite, or the folder is plain LoRA and that was
/// not asked for.
template <Real S>
AdapterFolder<S> read_adapter_folder(const std::filesystem::path& folder, PeftReadOptions options = {}) {
  return detail::FolderReader<S>(folder, options).read();
}

}  // namespace lorasb::formats
