// Reads adapter folders as PEFT and lorasb write them.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/adapter/low_rank_adapter.hpp"
#include "lorasb/core/check.hpp"
#include "lorasb/core/sums.hpp"
#include "lorasb/formats/peft_config.hpp"
#include "lorasb/formats/peft_folder.hpp"
#include "lorasb/formats/peft_match.hpp"
#include "lorasb/formats/peft_names.hpp"
#include "lorasb/formats/peft_patterns.hpp"
#include "lorasb/io/safetensors.hpp"
#include "lorasb/linalg/inner_products.hpp"
#include "lorasb/linalg/product.hpp"

namespace lorasb::formats {

struct PeftReadOptions {
  bool plain_lora = false;  // also take a folder with no R in it, as R = I
  std::vector<std::string> ignore = {};  // tensors to leave out, by whole names in the file, or by modules or last parts of names
};

namespace detail {

/// Reads one folder, step by step.
template <Real S>
class FolderReader {
 public:
  explicit FolderReader(const std::filesystem::path& folder, PeftReadOptions options)
      : options_(std::move(options)),
        where_(folder.string()),
        config_(read_peft_config(folder / config_file)),
        file_(open(folder)),
        ranks_(keys_of(config_.rank_pattern)),
        alphas_(keys_of(config_.alpha_pattern)) {}

  AdapterFolder<S> read() {
    sort_names();
    check_kind();
    NameMatch match(where_, config_, index_, report_);
    if (config_.native_scale)
      match.check_native_names();
    else
      match.match_names();
    match.check_pattern(ranks_, config_.rank_pattern, "rank_pattern");
    match.check_pattern(alphas_, config_.alpha_pattern, "alpha_pattern");
    AdapterFolder<S> result;
    result.base_model = config_.base_model;
    result.task_type = config_.task_type;
    result.model_class = config_.model_class;
    result.native = config_.native_scale.has_value();
    result.plain_lora = plain_;
    result.fan_in_fan_out = config_.fan_in_fan_out;
    for (const ModuleTensors& tensors : index_.modules) {
      const LowRankAdapter<S>& adapter = result.adapters.add(tensors.module, read_adapter(tensors));
      report_.modules.push_back({tensors.module, adapter.rank(), norm_of(adapter)});
    }
    for (const FullTensor& tensor : index_.full_tensors) {
      if (is_floating(file_.at(tensor.stored).dtype))
        result.full_tensors.push_back(read_full(tensor));
      else
        report_.left_out.push_back(concat(tensor.stored, ": ", name_of(file_.at(tensor.stored).dtype), " is not trained"));
    }
    result.report = std::move(report_);
    return result;
  }

 private:
  template <class... Parts>
  void check(bool good, const Parts&... parts) const {
    require(good, ErrorId::adapter_folder, where_, ": ", parts...);
  }
  template <class T>
  static std::vector<std::string> keys_of(const std::vector<std::pair<std::string, T>>& pattern) {
    std::vector<std::string> keys;
    for (const auto& [key, value] : pattern) keys.push_back(key);
    return keys;
  }
  static io::SafetensorsFile open(const std::filesystem::path& folder) {
    const bool sharded = !io::is_there(folder / tensor_file) && io::is_there(folder / (concat(tensor_file, ".index.json")));
    require(!sharded, ErrorId::adapter_folder, folder.string(), ": holds ", tensor_file, ".index.json: an adapter in several files, which is "
            "not read; PEFT writes one file");
    const bool pickled = !io::is_there(folder / tensor_file) && io::is_there(folder / "adapter_model.bin");
    require(!pickled, ErrorId::adapter_folder, folder.string(), ": holds adapter_model.bin, which only Python reads; load it with PEFT and "
            "save it again with safe_serialization=True");
    return io::SafetensorsFile(folder / tensor_file);
  }

  void sort_names() {
    NameSorter sorter(file_.path().string());
    const NameList ignored(options_.ignore);
    for (const io::TensorInfo& tensor : file_.tensors()) {
      if (is_ignored(tensor.name, ignored))
        report_.left_out.push_back(concat(tensor.name, ": in the list of tensors to ignore"));
      else
        sorter.add(tensor.name);
    }
    index_ = sorter.take();
    for (const std::string& name : index_.copies) report_.left_out.push_back(concat(name, ": a copy of the base weights"));
  }
  /// The name, or a module that it is of.
  static bool is_ignored(std::string_view tensor, const NameList& ignored) {
    for (std::size_t end = tensor.size(); end != std::string_view::npos; end = tensor.rfind('.', end - 1)) {
      if (ignored.names(tensor.substr(0, end))) return true;
      if (end == 0) break;
    }
    return false;
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

  Index rank_of(const std::string& module) const {
    const std::optional<std::size_t> key = ranks_.find(module);
    return key ? config_.rank_pattern[*key].second : config_.rank;
  }
  /// s = alpha / r, or alpha / √r with use_rslora; the number of the native folder where there is one.
  double scale_of(const std::string& module, Index rank) const {
    const auto r = static_cast<double>(rank);
    const std::optional<std::size_t> key = alphas_.find(module);
    const double alpha = key ? config_.alpha_pattern[*key].second : config_.alpha;
    const double scale = alpha / (config_.rank_stabilised ? std::sqrt(r) : r);
    if (!config_.native_scale) return scale;
    const auto exact = config_.native_scale->find(module);
    check(exact != config_.native_scale->end(), "lorasb.scale has no module ", in_quotes(module));
    check(std::abs(exact->second - scale) <= 1e-15 * std::abs(scale), "module ", in_quotes(module), " has lorasb.scale ", exact->second,
          ", but alpha / r is ", scale);
    return exact->second;
  }

  LowRankAdapter<S> read_adapter(const ModuleTensors& tensors) const {
    const std::string& module = tensors.module;
    const Index r = rank_of(module);
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
    if (plain_) {
      shorten(adapter);
      adapter.R = Weight<S>::Identity(adapter.B.cols(), adapter.B.cols());  // only now is r a size and not a number in a file
    } else {
      check_shape(adapter.R, r, r, "R");
      check(r <= std::min(adapter.B.rows(), adapter.A.cols()), "module \"", module, "\": rank ", r, " is above min(out, in) of ",
            adapter.B.rows(), " x ", adapter.A.cols());
    }
    const double scale = scale_of(module, r);
    adapter.scale = static_cast<S>(scale);
    check(is_finite(adapter.scale) && adapter.scale != 0, "module ", in_quotes(module), ": the scale alpha / r is ",
          static_cast<double>(adapter.scale), ", expected finite and not 0");
    check_same_save(module, scale);
    return adapter;
  }
  /// LoRA takes any rank, as the routers of large mixtures show; above min(out, in) it is wasteful. B A is then written as I (B A) or
  /// (B A) I, summed in double.
  static void shorten(LowRankAdapter<S>& adapter) {
    const Index out = adapter.B.rows(), in = adapter.A.cols();
    if (adapter.B.cols() <= std::min(out, in)) return;
    const Matrix<S> A = adapter.A;  // column by column, for the sums
    Matrix<double> product(out, in);
    linalg::inner_products<S>(linalg::transposed(adapter.B), A, product);
    adapter.B = out <= in ? Weight<S>(Weight<S>::Identity(out, out)) : Weight<S>(product.template cast<S>());
    adapter.A = out <= in ? Weight<S>(product.template cast<S>()) : Weight<S>(Weight<S>::Identity(in, in));
  }
  /// ‖s B R A‖² = s² tr((B R)ᵀ (B R) A Aᵀ).
  static double norm_of(const LowRankAdapter<S>& a) {
    const Matrix<S> R = a.R;  // column by column, for the sums
    Matrix<double> BR(a.B.rows(), R.cols()), left(R.cols(), R.cols()), right(R.cols(), R.cols());
    linalg::inner_products<S>(linalg::transposed(a.B), R, BR);
    linalg::inner_products<double>(BR, BR, left);
    linalg::inner_products<S>(linalg::transposed(a.A), linalg::transposed(a.A), right);
    return std::abs(double(a.scale)) * std::sqrt(std::max(0.0, dot(left.data(), right.data(), left.size())));
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
  NamedTensor<S> read_full(const FullTensor& full) const {
    check_type(full.stored);
    const io::TensorInfo& tensor = file_.at(full.stored);
    NamedTensor<S> result{full.name, tensor.shape, std::vector<S>(static_cast<std::size_t>(tensor.elements()))};
    file_.template read<S>(full.stored, result.values);
    check(all_finite(std::span<const S>(result.values)), "tensor ", in_quotes(full.name), " holds NaN or infinity");
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
  PatternTable ranks_, alphas_;
  FolderIndex index_;
  PeftReadReport report_;
  bool plain_ = false;
};

}  // namespace detail

/// Adapters come in the order of target_modules. Narrower numbers are widened exactly; F64 is read as double only. In folders of
/// others the file is the authority and the configuration says how to read it; the result's report says what did not fit. In folders
/// of lorasb both must cover each other.
/// Throws ErrorId::file_open, json and safetensors for files that are not what their names say; ErrorId::tensor_missing for a
/// module without A, B or R, ErrorId::tensor_mismatch for a wrong type or shape, and ErrorId::adapter_folder when the two files
/// disagree, a tensor belongs to nothing, a module has no R, a number is not finite, or the folder is plain LoRA and that was
/// not asked for.
template <Real S>
AdapterFolder<S> read_adapter_folder(const std::filesystem::path& folder, PeftReadOptions options = {}) {
  return detail::FolderReader<S>(folder, options).read();
}

}  // namespace lorasb::formats
