// The header of a safetensors file, checked before any of it is believed.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/core/dtype.hpp"
#include "lorasb/core/sort.hpp"
#include "lorasb/core/text.hpp"
#include "lorasb/io/json_events.hpp"
#include "lorasb/io/tensor_info.hpp"

namespace lorasb::io {

/// What stands before the data of a safetensors file.
struct SafetensorsHeader {
  std::vector<TensorInfo> tensors;              // in the order of their bytes
  std::map<std::string, std::string> metadata;  // "__metadata__"
  std::size_t data_begin = 0;                   // where in the file the data start
};

inline constexpr std::size_t max_safetensors_header_bytes = 100'000'000;  // the reference's limit
inline constexpr std::size_t max_safetensors_entries = 1'000'000;         // tensors, and keys of the metadata, at most
inline constexpr std::size_t max_foreign_depth = 100;                     // of what is passed over
inline constexpr std::size_t max_tensor_dimensions = 64;                  // more than PyTorch or NumPy can hold

namespace detail {

/// Takes the JSON of a header as it is read, so that nothing is stored but what belongs there: an object of objects,
///     {"__metadata__": {key: string, ...}, name: {"dtype": string, "shape": [...], "data_offsets": [begin, end]}, ...}
/// Keys that come twice are refused. A field of a tensor that the format does not have is passed over, whatever its value, as
/// the reference passes over it; its depth is bounded, all else by that form.
class SafetensorsJson final : public JsonEvents {
 public:
  explicit SafetensorsJson(std::string_view where) : where_(where) {}

  SafetensorsHeader take() { return std::move(header_); }

  bool start_object(std::size_t) override {
    if (passes_over()) return deeper();
    if (place_ == Place::before) {
      place_ = Place::file;
    } else if (place_ == Place::file && key_ == "__metadata__") {
      place_ = Place::metadata;
    } else if (place_ == Place::file) {
      header_.tensors.emplace_back().name = key_;
      seen_ = 0;
      place_ = Place::tensor;
    } else {
      wrong("an object");
    }
    return true;
  }
  bool key(std::string& name) override {
    if (depth_ > 0) return true;
    if (place_ == Place::file && !keys_.insert(name).second) refuse(in_quotes(name), " comes twice");
    if (place_ == Place::metadata && header_.metadata.contains(name)) refuse("__metadata__ has ", in_quotes(name), " twice");
    if (place_ == Place::tensor) {
      const unsigned field = name == "dtype" ? 1 : name == "shape" ? 2 : name == "data_offsets" ? 4 : 0;
      is_foreign_ = field == 0;
      if ((seen_ & field) != 0) refuse("tensor ", tensor_name(), " has its ", name, " twice");
      seen_ |= field;
    }
    if (keys_.size() > max_safetensors_entries || header_.metadata.size() >= max_safetensors_entries)
      refuse("has more than ", max_safetensors_entries, " tensors or keys of metadata");
    key_ = name;
    return true;
  }
  bool string(std::string& value) override {
    if (passes_over()) return true;
    if (place_ == Place::metadata) {
      header_.metadata[key_] = value;
    } else if (place_ == Place::tensor && key_ == "dtype") {
      const std::optional<Dtype> dtype = dtype_named(value);
      if (!dtype) refuse("tensor ", tensor_name(), " has the unknown dtype ", in_quotes(value));
      header_.tensors.back().dtype = *dtype;
    } else {
      wrong("a string");
    }
    return true;
  }
  bool start_array(std::size_t) override {
    if (passes_over()) return deeper();
    if (place_ != Place::tensor || key_ == "dtype") wrong("an array");
    numbers_.clear();
    place_ = Place::array;
    return true;
  }
  bool number_unsigned(std::uint64_t value) override {
    if (passes_over()) return true;
    if (place_ != Place::array) wrong("a number");
    if (value > std::uint64_t(std::numeric_limits<Index>::max()))
      refuse("tensor ", tensor_name(), " has ", value, " in its ", key_, ", above 2^63 - 1");
    if (numbers_.size() >= max_tensor_dimensions)
      refuse("tensor ", tensor_name(), " has more than ", max_tensor_dimensions, " numbers in its ", key_);
    numbers_.push_back(static_cast<Index>(value));
    return true;
  }
  bool end_array() override {
    if (depth_ > 0) return --depth_, true;
    TensorInfo& tensor = header_.tensors.back();
    if (key_ == "shape") {
      tensor.shape = numbers_;
    } else {
      if (numbers_.size() != 2) refuse("tensor ", tensor_name(), " has ", numbers_.size(), " data_offsets, expected 2");
      tensor.begin = static_cast<std::size_t>(numbers_[0]);
      tensor.end = static_cast<std::size_t>(numbers_[1]);
    }
    place_ = Place::tensor;
    return true;
  }
  bool end_object() override {
    if (depth_ > 0) return --depth_, true;
    if (place_ == Place::tensor && seen_ != 7)
      refuse("tensor ", tensor_name(), " lacks its ",
             (seen_ & 1) == 0   ? "dtype"
             : (seen_ & 2) == 0 ? "shape"
                                : "data_offsets");
    place_ = place_ == Place::file ? Place::before : Place::file;
    return true;
  }
  bool null() override {
    if (passes_over()) return true;
    if (place_ == Place::file && key_ == "__metadata__") return true;  // as the reference has it: none
    return wrong("null");
  }
  bool boolean(bool) override { return passes_over() || wrong("a boolean"); }
  bool number_integer(std::int64_t value) override { return passes_over() || wrong(concat("the negative number ", value)); }
  bool number_float(double, const std::string& text) override {
    if (passes_over()) return true;
    return wrong(concat("the number ", std::string_view(text).substr(0, 40), ", not an integer below 2^64,"));
  }
  bool binary(nlohmann::json::binary_t&) override { return wrong("binary data"); }
  bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) override {
    throw Error(ErrorId::safetensors, concat(where_, ": header is not JSON at its byte ", position, ": ",
                                             std::string_view(error.what()).substr(0, 300)));
  }

 private:
  enum class Place { before, file, metadata, tensor, array };

  /// After an `if`, unlike require(): a name in quotes is a text to be made, and made for every key it takes three quarters of the time.
  template <class... Parts>
  [[noreturn]] void refuse(const Parts&... parts) const {
    throw Error(ErrorId::safetensors, concat(where_, ": ", parts...));
  }
  /// Whether what comes is of a field that the format does not have.
  bool passes_over() const { return place_ == Place::tensor && is_foreign_; }
  bool deeper() {
    if (++depth_ > max_foreign_depth)
      refuse("tensor ", tensor_name(), " has a field ", in_quotes(key_), " that is deeper than ", max_foreign_depth);
    return true;
  }
  std::string tensor_name() const { return in_quotes(header_.tensors.back().name); }
  [[noreturn]] bool wrong(std::string_view what) const {
    const std::string place = place_ == Place::before     ? "the top level"
                              : place_ == Place::file     ? in_quotes(key_)
                              : place_ == Place::metadata ? concat("__metadata__ ", in_quotes(key_))
                                                          : concat(key_, " of tensor ", tensor_name());
    const std::string_view expected = place_ == Place::before || place_ == Place::file ? "an object"
                                      : place_ == Place::metadata || key_ == "dtype"   ? "a string"
                                      : place_ == Place::tensor                        ? "an array"
                                                                                       : "a non-negative integer";
    throw Error(ErrorId::safetensors, concat(where_, ": header has ", what, " at ", place, ", expected ", expected));
  }

  std::string_view where_;
  SafetensorsHeader header_;
  std::set<std::string> keys_;  // of the file
  Place place_ = Place::before;
  std::string key_;             // the last one read
  bool is_foreign_ = false;     // key_ is of a tensor and not of the format
  std::size_t depth_ = 0;       // of objects and arrays inside a field that is passed over
  unsigned seen_ = 0;           // fields of the tensor so far: 1 dtype, 2 shape, 4 data_offsets
  std::vector<Index> numbers_;  // of the array being read
};

}  // namespace detail

/// Reads the header of a whole file. Layout: header length N (8 bytes, little-endian), N bytes of JSON that start with '{' and
/// may end in spaces, the data. Lengths are checked first, then the JSON, then each tensor; the tensors must cover the data
/// from the first byte to the last without overlaps and holes (empty tensors lie between others). Throws ErrorId::safetensors
/// with `where` (the path), tensor and numbers. Source: README.md ("Format") and safetensors/src/tensor.rs (Metadata::validate)
/// of the reference implementation.
inline SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file, std::string_view where) {
  static_assert(std::endian::native == std::endian::little, "the bytes of a file are read as they are");
  const auto check = [where](bool good, const auto&... parts) { require(good, ErrorId::safetensors, where, ": ", parts...); };

  check(file.size() >= 8, "the file has ", file.size(), " bytes, too short for the 8 of the header length");
  std::uint64_t length = 0;
  std::memcpy(&length, file.data(), 8);
  check(length <= max_safetensors_header_bytes, "the header length is ", length, ", above the limit of ",
        max_safetensors_header_bytes);
  check(length <= file.size() - 8, "the header length is ", length, ", but only ", file.size() - 8, " bytes follow");
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + 8, length);
  check(text.starts_with('{'), "the header does not start with '{'");
  check(text.find('\0') == text.npos, "the header holds a zero byte");  // the JSON reader would take it for the end

  detail::SafetensorsJson json(where);
  read_events(text, json);
  SafetensorsHeader header = json.take();
  header.data_begin = 8 + length;
  const std::size_t data_bytes = file.size() - header.data_begin;

  sort_stably(header.tensors, [](const TensorInfo& a, const TensorInfo& b) {
    return std::tie(a.begin, a.end, a.name) < std::tie(b.begin, b.end, b.name);
  });
  std::size_t covered = 0;
  for (const TensorInfo& tensor : header.tensors) {
    const auto refuse = [&](std::string_view type, const auto&... parts) {
      check(false, "tensor ", in_quotes(tensor.name), type, parts...);
    };
    const auto type = [&] { return concat(" (", name_of(tensor.dtype), ", ", shape_text(tensor.shape), ")"); };
    if (tensor.begin > tensor.end || tensor.end > data_bytes)
      refuse("", " has bytes ", tensor.begin, " to ", tensor.end, " of ", data_bytes, " bytes of data");
    const std::optional<std::size_t> needed = shape_bytes(tensor.shape, tensor.dtype);
    if (!needed) refuse(type(), " has 2^63 bytes or more, or no whole number of bytes");
    if (tensor.end - tensor.begin != *needed)
      refuse(type(), " has ", tensor.end - tensor.begin, " bytes, expected ", *needed);
    if (tensor.begin != covered)
      refuse("", " starts at byte ", tensor.begin, " of the data, ",
             tensor.begin < covered ? "inside the tensor before it, which ends at " : "leaving a hole after ", covered);
    covered = tensor.end;
  }
  check(covered == data_bytes, "the tensors end at byte ", covered, " of ", data_bytes, " bytes of data");
  return header;
}

}  // namespace lorasb::io
