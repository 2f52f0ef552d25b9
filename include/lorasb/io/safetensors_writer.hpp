// Writes tensors to a safetensors file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/core/dtype.hpp"
#include "lorasb/core/frozen_weight.hpp"
#include "lorasb/core/sort.hpp"
#include "lorasb/core/view.hpp"
#include "lorasb/io/atomic_file.hpp"
#include "lorasb/io/json_events.hpp"
#include "lorasb/io/ordered_json.hpp"
#include "lorasb/io/safetensors_header.hpp"
#include "lorasb/io/tensor_info.hpp"

namespace lorasb::io {

/// A tensor to be written: row-major bytes without gaps, which somebody else owns until the file is written.
struct TensorBytes {
  std::string name = {};
  Dtype dtype = Dtype::f32;
  std::vector<Index> shape = {};
  std::span<const std::byte> bytes = {};
};

/// Numbers as a tensor of one dimension.
template <class T>
TensorBytes tensor_bytes(std::string name, std::span<const T> numbers) {
  return {std::move(name), dtype_of<T>, {static_cast<Index>(numbers.size())}, std::as_bytes(numbers)};
}
template <class T>
requires(!std::is_const_v<T>) TensorBytes tensor_bytes(std::string name, std::span<T> numbers) {
  return tensor_bytes(std::move(name), std::span<const T>(numbers));
}
/// A weight as a tensor of two dimensions, out x in, of the type that it is stored in. Throws ErrorId::value when there are gaps
/// between its rows.
template <Real S>
TensorBytes tensor_bytes(std::string name, const FrozenWeight<S>& weight) {
  require(weight.rows() <= 1 || weight.row_bytes() == bytes_of(weight.dtype(), weight.cols()), ErrorId::value,
          "tensor_bytes: there are gaps between the rows of \"", name, "\"; write .eval()");
  return {std::move(name), weight.dtype(), {weight.rows(), weight.cols()}, {weight.bytes(), weight.stored_bytes()}};
}
template <Real S>
TensorBytes tensor_bytes(std::string name, ConstWeightView<S> weight) {
  return tensor_bytes<S>(std::move(name), FrozenWeight<S>(weight));
}
template <Real S>
TensorBytes tensor_bytes(std::string name, const Weight<S>& weight) {
  return {std::move(name), dtype_of<S>, {weight.rows(), weight.cols()}, std::as_bytes(flat(weight))};
}
template <Real S>
TensorBytes tensor_bytes(std::string name, const Weight<S>&& weight) = delete;  // would be gone before it is written

/// A file as it will be written.
struct SafetensorsPlan {
  std::string header;                // length, JSON and spaces: everything before the data
  std::vector<TensorBytes> tensors;  // in the order of their bytes
};

/// Wide types come first and names are sorted within a type, as in the reference implementation: every tensor is then aligned,
/// and the bytes of the file do not depend on the order of `tensors`. Spaces at the end of the header put the data at a
/// multiple of 8.
/// Throws ErrorId::value (bytes that do not fill the shape, a negative size, a name that is not UTF-8 or is
/// "__metadata__", a header above the format's limit) and ErrorId::duplicate_name.
inline SafetensorsPlan plan_safetensors(std::vector<TensorBytes> tensors,
                                        const std::map<std::string, std::string>& metadata = {}) {
  const auto check = [](bool good, const auto&... parts) { require(good, ErrorId::value, "plan_safetensors: ", parts...); };
  sort_stably(tensors, [](const TensorBytes& a, const TensorBytes& b) {
    return std::tuple(size_of(b.dtype), b.dtype, std::string_view(a.name)) <
           std::tuple(size_of(a.dtype), a.dtype, std::string_view(b.name));
  });
  OrderedJson header = OrderedJson::object();
  if (!metadata.empty()) {
    OrderedJson& all = header.add("__metadata__", OrderedJson::object());
    for (const auto& [key, value] : metadata) all.add(key, value);
  }
  std::set<std::string_view> names{"__metadata__"};
  std::size_t begin = 0;
  for (const TensorBytes& tensor : tensors) {
    require(names.insert(tensor.name).second, ErrorId::duplicate_name, "plan_safetensors: tensor \"", tensor.name,
            "\" is there twice, or reserved");
    check(tensor.shape.size() <= max_tensor_dimensions, "tensor \"", tensor.name, "\" has ", tensor.shape.size(),
          " dimensions, expected at most ", max_tensor_dimensions);
    const std::optional<std::size_t> needed = shape_bytes(tensor.shape, tensor.dtype);
    check(needed.has_value(), "tensor \"", tensor.name, "\" of shape ", shape_text(tensor.shape), " cannot be");
    check(tensor.bytes.size() == *needed, "tensor \"", tensor.name, "\" (", name_of(tensor.dtype), ", ",
          shape_text(tensor.shape), ") has ", tensor.bytes.size(), " bytes, expected ", *needed);
    OrderedJson& entry = header.add(tensor.name, OrderedJson::object());
    entry.add("dtype", name_of(tensor.dtype));
    entry.add("shape", tensor.shape);
    entry.add("data_offsets", std::vector<std::size_t>{begin, begin + *needed});
    begin += *needed;
  }
  std::string text = header.text();
  try {
    detail::SafetensorsJson read("what would be written");
    read_events(text, read);
  } catch (const Error& error) {
    throw Error(ErrorId::value, concat("plan_safetensors: a name or metadata is not UTF-8: ", error.what()));
  }
  text.append((8 - text.size() % 8) % 8, ' ');
  check(text.size() <= max_safetensors_header_bytes, "the header has ", text.size(), " bytes, above the limit of ",
        max_safetensors_header_bytes);
  std::string length(8, '\0');
  const std::uint64_t text_bytes = text.size();
  std::memcpy(length.data(), &text_bytes, 8);
  return {length + text, std::move(tensors)};
}

/// Writes the file whole or not at all (see AtomicFile). Throws ErrorId::file_write.
inline void write_safetensors(const std::filesystem::path& path, const SafetensorsPlan& plan) {
  AtomicFile file(path);
  file.write(plan.header);
  for (const TensorBytes& tensor : plan.tensors) file.write(tensor.bytes);
  file.commit();
}
/// Throws what plan_safetensors throws as well.
inline void write_safetensors(const std::filesystem::path& path, std::vector<TensorBytes> tensors,
                              const std::map<std::string, std::string>& metadata = {}) {
  write_safetensors(path, plan_safetensors(std::move(tensors), metadata));
}

}  // namespace lorasb::io
