// Reads the tensors of a tfjs graph model from model.json and the binary files beside it.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <system_error>
#include <utility>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/core/types.hpp"
#include "lorasb/io/json.hpp"

namespace lorasb::io {

/// A tensor as the manifest lists it, its shape as rows x cols: [n] and [1, n] as 1 x n, [1, 1, in, out] as in x out.
struct TfjsTensor {
  std::string name;
  std::string type;  // "float32" or "int32"
  Index rows = 1;
  Index cols = 1;
};

namespace detail {

/// The shard files as one run of bytes, read from front to back.
class Shards {
 public:
  explicit Shards(std::vector<std::filesystem::path> files) : files_(std::move(files)) {
    for (const std::filesystem::path& file : files_) {
      std::error_code unreadable;
      bytes_ += std::filesystem::file_size(file, unreadable);
      require(!unreadable, ErrorId::model, "read_tfjs: cannot read \"", file.string(), "\"");
    }
  }
  std::uintmax_t bytes() const { return bytes_; }

  /// Fills `numbers` from where the last call stopped, and from the next file when one ends.
  void read(std::span<float> numbers) {
    std::span<char> rest(reinterpret_cast<char*>(numbers.data()), numbers.size_bytes());
    while (!rest.empty()) {
      file_.read(rest.data(), static_cast<std::streamsize>(rest.size()));
      rest = rest.subspan(static_cast<std::size_t>(file_.gcount()));
      if (rest.empty()) return;
      require(next_ < files_.size(), ErrorId::model, "read_tfjs: \"", files_.back().string(), "\" ended too early");
      file_ = std::ifstream(files_[next_++], std::ios::binary);
    }
  }

 private:
  std::vector<std::filesystem::path> files_;
  std::uintmax_t bytes_ = 0;
  std::ifstream file_;
  std::size_t next_ = 0;  // file to open when file_ ends
};

inline std::vector<TfjsTensor> manifest_tensors(const nlohmann::json& weights) {
  constexpr Index most = Index{1} << 30;  // numbers in a tensor, so that no product of sizes overflows
  std::vector<TfjsTensor> tensors;
  for (const nlohmann::json& entry : weights) {
    TfjsTensor t{entry.at("name").get<std::string>(), entry.at("dtype").get<std::string>()};
    require((t.type == "float32" || t.type == "int32") && !entry.contains("quantization"), ErrorId::model, "read_tfjs: \"",
            t.name, "\" is ", t.type, entry.contains("quantization") ? ", quantised" : "", ", expected float32 or int32");
    for (const nlohmann::json& size : entry.at("shape")) {
      t.rows *= t.cols;
      t.cols = json_integer(size).value_or(-1);
      require(t.cols >= 0 && t.cols <= most && t.rows <= most / std::max<Index>(t.cols, 1), ErrorId::model, "read_tfjs: \"",
              t.name, "\" has the shape ", entry.at("shape").dump());
    }
    tensors.push_back(std::move(t));
  }
  return tensors;
}

}  // namespace detail

/// Calls use(tensor, numbers) for each tensor of the first group of weightsManifest, in the order of the files; the numbers of
/// an int32 tensor are its bits. All tensors lie one after another in the group's files, raw little-endian, four bytes a
/// number. One tensor at a time is in memory, for the time of the call. Throws ErrorId::model, with the file or tensor, when a
/// file is missing or is not what it should be.
template <class Use>
void read_tfjs(const std::filesystem::path& model_file, const Use& use) {
  static_assert(std::endian::native == std::endian::little);
  std::ifstream file(model_file, std::ios::binary);
  require(file.good(), ErrorId::model, "read_tfjs: cannot open \"", model_file.string(), "\"");
  const std::filesystem::path folder = model_file.parent_path();
  std::vector<std::filesystem::path> files;
  std::vector<TfjsTensor> tensors;
  try {
    const nlohmann::json group = nlohmann::json::parse(file).at("weightsManifest").at(0);
    for (const nlohmann::json& name : group.at("paths")) files.push_back(folder / name.get<std::string>());
    tensors = detail::manifest_tensors(group.at("weights"));
  } catch (const nlohmann::json::exception& e) {
    throw Error(ErrorId::model, concat("read_tfjs: \"", model_file.string(), "\": ", e.what()));
  }
  std::uintmax_t bytes = 0;
  for (const TfjsTensor& tensor : tensors) bytes += sizeof(float) * static_cast<std::uintmax_t>(tensor.rows * tensor.cols);
  detail::Shards shards(files);
  require(shards.bytes() == bytes, ErrorId::model, "read_tfjs: the files of numbers in \"", folder.string(), "\" hold ",
          shards.bytes(), " bytes, but \"model.json\" lists ", bytes, "; unpack the package anew");

  std::vector<float> numbers;
  for (const TfjsTensor& tensor : tensors) {
    numbers.resize(static_cast<std::size_t>(tensor.rows * tensor.cols));
    shards.read(numbers);
    use(tensor, std::span<const float>(numbers));
  }
}

}  // namespace lorasb::io
