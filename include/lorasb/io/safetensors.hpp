// Reads tensors from a safetensors file, mapped and not copied.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/core/frozen_weight.hpp"
#include "lorasb/core/view.hpp"
#include "lorasb/core/dtype.hpp"
#include "lorasb/io/mapped_file.hpp"
#include "lorasb/io/safetensors_header.hpp"
#include "lorasb/io/tensor_info.hpp"

namespace lorasb::io {

/// A safetensors file, checked as a whole when it is opened. Views look at the mapped memory and live as long as the object,
/// also when it is moved; every read copies.
///
///     SafetensorsFile file("model.safetensors");
///     ConstWeightView<float> W = file.view_weight<float>("encoder.query.weight");  // F32 only, no copy
///     FrozenWeight<float> W0 = file.view_frozen<float>("encoder.key.weight");      // F32 or BF16, no copy
///     Weight<double> V = file.read_weight<double>("encoder.value.weight");         // converted from F64, F32, F16 or BF16
///
/// Throws ErrorId::file_open, ErrorId::safetensors (not a valid file), ErrorId::tensor_missing (no tensor of that name) and
/// ErrorId::tensor_mismatch (another type or shape), each with the path and the tensor.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(std::filesystem::path path)
      : file_(std::move(path)), header_(parse_safetensors_header(file_.bytes(), file_.path().string())) {
    for (std::size_t i = 0; i < header_.tensors.size(); ++i) index_.emplace(header_.tensors[i].name, i);
  }

  const std::filesystem::path& path() const { return file_.path(); }
  /// In the order of their bytes in the file.
  const std::vector<TensorInfo>& tensors() const { return header_.tensors; }
  const std::map<std::string, std::string>& metadata() const { return header_.metadata; }

  /// The whole file, header included.
  std::span<const std::byte> file_bytes() const { return file_.bytes(); }

  bool contains(std::string_view name) const { return index_.find(name) != index_.end(); }
  const TensorInfo& at(std::string_view name) const {
    const auto it = index_.find(name);
    require(it != index_.end(), ErrorId::tensor_missing, path().string(), ": no tensor \"", name, "\" among ",
            header_.tensors.size());
    return header_.tensors[it->second];
  }
  /// The bytes of a tensor of any type.
  std::span<const std::byte> bytes(std::string_view name) const {
    const TensorInfo& tensor = at(name);
    return file_.bytes().subspan(header_.data_begin + tensor.begin, tensor.end - tensor.begin);
  }

  /// The numbers of a tensor of any shape, where they lie. Its type must be that of T. A file whose header was not padded to 8
  /// bytes can hold numbers at odd addresses; these need read().
  template <class T>
  std::span<const T> view(std::string_view name) const {
    const TensorInfo& tensor = at(name);
    require_type(tensor, tensor.dtype == dtype_of<T>, name_of(dtype_of<T>));
    const std::span<const std::byte> raw = bytes(name);
    require(reinterpret_cast<std::uintptr_t>(raw.data()) % alignof(T) == 0, ErrorId::tensor_mismatch, path().string(),
            ": tensor \"", name, "\" starts at byte ", header_.data_begin + tensor.begin,
            " of the file, expected a multiple of ", alignof(T), " for a view; read() copies it");
    return {reinterpret_cast<const T*>(raw.data()), raw.size() / sizeof(T)};
  }
  /// A two-dimensional tensor as it lies in the file, out x in.
  template <Real S>
  ConstWeightView<S> view_weight(std::string_view name) const {
    const std::vector<Index>& shape = require_dimensions(name, 2).shape;
    return {view<S>(name).data(), shape[0], shape[1]};
  }

  /// The same for a layer's frozen weight, of S or narrower (F32, BF16, F16): it stays in the file, as it is stored there.
  template <Real S>
  FrozenWeight<S> view_frozen(std::string_view name) const {
    const TensorInfo& tensor = require_dimensions(name, 2);
    require_type(tensor, decodes_exactly<S>(tensor.dtype), concat(name_of(dtype_of<S>), " or narrower"));
    return {bytes(name).data(), tensor.dtype, tensor.shape[0], tensor.shape[1]};
  }

  /// Overwrites `out`, which has as many numbers as the tensor, with F64, F32, F16 or BF16 converted to S. F64 is rounded to
  /// the nearest float; everything else is exact.
  template <Real S>
  void read(std::string_view name, std::span<S> out) const {
    const TensorInfo& tensor = at(name);
    require(static_cast<Index>(out.size()) == tensor.elements(), ErrorId::tensor_mismatch, path().string(), ": tensor \"", name,
            "\" (", shape_text(tensor.shape), ") has ", tensor.elements(), " numbers, expected ", out.size());
    const Decode<S> decode = decoder<S>(tensor.dtype);
    require_type(tensor, decode != nullptr, "F64, F32, F16 or BF16");
    decode(bytes(name).data(), out.data(), static_cast<Index>(out.size()));
  }
  /// A one-dimensional tensor.
  template <Real S>
  Vector<S> read_vector(std::string_view name) const {
    Vector<S> out(require_dimensions(name, 1).shape[0]);
    read<S>(name, flat(out));
    return out;
  }
  /// A two-dimensional tensor, out x in.
  template <Real S>
  Weight<S> read_weight(std::string_view name) const {
    const std::vector<Index>& shape = require_dimensions(name, 2).shape;
    Weight<S> out(shape[0], shape[1]);
    read<S>(name, flat(out));
    return out;
  }

 private:
  void require_type(const TensorInfo& tensor, bool good, std::string_view expected) const {
    require(good, ErrorId::tensor_mismatch, path().string(), ": tensor \"", tensor.name, "\" is ", name_of(tensor.dtype),
            ", expected ", expected);
  }
  const TensorInfo& require_dimensions(std::string_view name, std::size_t dimensions) const {
    const TensorInfo& tensor = at(name);
    require(tensor.shape.size() == dimensions, ErrorId::tensor_mismatch, path().string(), ": tensor \"", name, "\" is ",
            shape_text(tensor.shape), ", expected ", dimensions, dimensions == 1 ? " dimension" : " dimensions");
    return tensor;
  }

  MappedFile file_;
  SafetensorsHeader header_;
  std::map<std::string, std::size_t, std::less<>> index_;  // name to place in tensors()
};

}  // namespace lorasb::io
