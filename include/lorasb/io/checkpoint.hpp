// The state of a training run, from which it goes on to the same bits.
#pragma once

#include <array>
#include <bit>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/core/types.hpp"
#include "lorasb/io/same_config.hpp"
#include "lorasb/io/atomic_file.hpp"
#include "lorasb/io/checksum.hpp"
#include "lorasb/core/text.hpp"
#include "lorasb/io/safetensors.hpp"
#include "lorasb/io/safetensors_writer.hpp"

namespace lorasb::io {

inline constexpr std::string_view checkpoint_version = "1";

/// Everything that the next step depends on: numbers of any kind, NaN included, come back bit for bit.
///
///     Checkpoint<float> checkpoint;
///     checkpoint.tensors["parameters"] = {values.begin(), values.end()};
///     checkpoint.put_integer("step", step);
///     checkpoint.put_number("best_loss", loss);
///     checkpoint.config["rank"] = "16";
///     save_checkpoint("run/checkpoint.safetensors", checkpoint);
///
/// The getters throw ErrorId::checkpoint for a name that is not there, or a text that is no such number.
template <Real S>
struct Checkpoint {
  std::map<std::string, std::vector<S>> tensors = {};  // trainable numbers, optimizer state: flat
  std::map<std::string, std::string> state = {};       // counters, positions, seeds: changes from step to step
  std::map<std::string, std::string> config = {};      // what must be the same when the run goes on (require_same_config)

  const std::vector<S>& tensor(const std::string& name) const { return find(tensors, name, "tensor"); }

  void put_integer(const std::string& name, std::uint64_t value) { state[name] = std::to_string(value); }
  std::uint64_t integer(const std::string& name) const { return parse(name, 10); }

  /// As the 16 hexadecimal digits of its bits.
  void put_number(const std::string& name, double value) {
    constexpr std::string_view digits = "0123456789abcdef";
    const auto bits = std::bit_cast<std::uint64_t>(value);
    std::string text;
    for (int shift = 60; shift >= 0; shift -= 4) text += digits[(bits >> shift) & 15];
    state[name] = text;
  }
  double number(const std::string& name) const { return std::bit_cast<double>(parse(name, 16)); }

 private:
  template <class Map>
  static const typename Map::mapped_type& find(const Map& map, const std::string& name, std::string_view what) {
    const auto it = map.find(name);
    require(it != map.end(), ErrorId::checkpoint, "checkpoint has no ", what, " \"", name, "\"");
    return it->second;
  }
  std::uint64_t parse(const std::string& name, int base) const {
    const std::string& text = find(state, name, "state");
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    require(error == std::errc() && end == text.data() + text.size() && (base == 10 || text.size() == 16), ErrorId::checkpoint,
            "checkpoint state \"", name, "\" is \"", text, "\", expected ",
            base == 10 ? "an integer from 0 to 2^64 - 1" : "the 16 hexadecimal digits of a double");
    return value;
  }
};

/// A safetensors file. Its metadata hold "lorasb": "checkpoint", the version, and state and config with their names after
/// "state." and "config."; the last tensor, "checksum", is the FNV-1a (64 bits) of all bytes before it, so that a damaged file
/// is never taken for a run. Whole or not at all (see AtomicFile): a full disk leaves the checkpoint before it. Throws
/// ErrorId::file_write, and ErrorId::value for text that is not UTF-8.
template <Real S>
void save_checkpoint(const std::filesystem::path& path, const Checkpoint<S>& checkpoint) {
  std::map<std::string, std::string> metadata{{"lorasb", "checkpoint"}, {"version", std::string(checkpoint_version)}};
  for (const auto& [name, text] : checkpoint.state) metadata.emplace("state." + name, text);
  for (const auto& [name, text] : checkpoint.config) metadata.emplace("config." + name, text);
  std::array<std::byte, 8> checksum{};
  std::vector<TensorBytes> tensors{{"checksum", Dtype::u8, {8}, checksum}};  // bytes: sorted after all numbers
  for (const auto& [name, values] : checkpoint.tensors) tensors.push_back(tensor_bytes(name, std::span<const S>(values)));
  const SafetensorsPlan plan = plan_safetensors(std::move(tensors), metadata);

  AtomicFile file(path);
  Fnv64 sum;
  const auto write = [&](std::span<const std::byte> bytes) {
    sum.add(bytes);
    file.write(bytes);
  };
  write(std::as_bytes(std::span(plan.header)));
  for (std::size_t i = 0; i + 1 < plan.tensors.size(); ++i) write(plan.tensors[i].bytes);
  const std::uint64_t value = sum.value();
  std::memcpy(checksum.data(), &value, 8);
  file.write(checksum);
  file.commit();
}

/// Throws ErrorId::file_open; ErrorId::safetensors or ErrorId::checkpoint for a file that is damaged, no checkpoint, or of
/// another version; ErrorId::tensor_mismatch for one of another scalar.
template <Real S>
Checkpoint<S> load_checkpoint(const std::filesystem::path& path) {
  const SafetensorsFile file(path);
  const auto check = [&](bool good, const auto&... parts) {
    require(good, ErrorId::checkpoint, path.string(), ": ", parts...);
  };
  const auto metadata = [&](const std::string& key) {
    const auto it = file.metadata().find(key);
    return it == file.metadata().end() ? "" : it->second;
  };
  check(metadata("lorasb") == "checkpoint", "is not a checkpoint");
  check(metadata("version") == checkpoint_version, "is a checkpoint of version ", in_quotes(metadata("version")),
        ", expected version ", checkpoint_version);
  check(!file.tensors().empty() && file.tensors().back().name == "checksum" && file.bytes("checksum").size() == 8,
        "has no checksum");
  std::uint64_t stored = 0;
  std::memcpy(&stored, file.bytes("checksum").data(), 8);
  Fnv64 sum;
  sum.add(file.file_bytes().first(file.file_bytes().size() - 8));
  check(sum.value() == stored, "is damaged: its bytes have the checksum ", sum.value(), ", expected ", stored);

  Checkpoint<S> checkpoint;
  for (const TensorInfo& tensor : file.tensors()) {
    if (tensor.name == "checksum") continue;
    const std::span<const S> values = file.view<S>(tensor.name);
    checkpoint.tensors[tensor.name] = {values.begin(), values.end()};
  }
  for (const auto& [key, text] : file.metadata()) {
    if (key.starts_with("state.")) checkpoint.state[key.substr(6)] = text;
    if (key.starts_with("config.")) checkpoint.config[key.substr(7)] = text;
  }
  return checkpoint;
}

}  // namespace lorasb::io
