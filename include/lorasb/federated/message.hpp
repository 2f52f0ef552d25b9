// What members send each other, as bytes: a safetensors file in memory, whose metadata say what it is.
#pragma once

#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "lorasb/federated/rejection.hpp"
#include "lorasb/federated/session.hpp"
#include "lorasb/io/safetensors_header.hpp"
#include "lorasb/io/safetensors_writer.hpp"

namespace lorasb::federated {

using Bytes = std::vector<std::byte>;

inline constexpr std::string_view message_version = "1";

/// Room for the fields of a message: names of session and client, and a few numbers.
inline constexpr std::size_t max_field_bytes = std::size_t{1} << 16;

/// The bytes of the largest message that can have this layout, with numbers of type S: the numbers, each tensor's entry of the
/// header (its name with every byte escaped as \u00xx, type, shape and offsets of up to 20 digits), and the fields. More is
/// refused unread.
template <Real S>
std::size_t largest_message(const ParameterLayout& layout, Index experts = 0) {
  constexpr std::size_t of_entry = sizeof R"("":{"dtype":"F32","shape":[,],"data_offsets":[,]},)" + 4 * 20, of_expert = 21;
  std::size_t bytes =
      8 + static_cast<std::size_t>(layout.size()) * sizeof(S) + max_field_bytes + of_expert * static_cast<std::size_t>(experts);
  for (const ParameterLayout::Tensor& t : layout.tensors()) bytes += 6 * t.name.size() + of_entry;
  return bytes;
}

/// The bytes of a message: its kind, fields by name, and one tensor for each of the layout's, in its order. Throws
/// ErrorId::shape when `values` do not fill the layout, and ErrorId::value for names that are not UTF-8.
template <Real S>
Bytes write_message(std::string_view kind, std::map<std::string, std::string> fields, const ParameterLayout& layout,
                    std::span<const S> values) {
  require(std::ssize(values) == layout.size(), ErrorId::shape, "federated::write_message: values has ", values.size(),
          " numbers, expected ", layout.size());
  fields["lorasb"] = kind;
  fields["version"] = message_version;
  std::vector<io::TensorBytes> tensors;
  for (const ParameterLayout::Tensor& t : layout.tensors())
    tensors.push_back({t.name,
                       dtype_of<S>,
                       {t.rows, t.cols},
                       std::as_bytes(values.subspan(static_cast<std::size_t>(t.offset), static_cast<std::size_t>(t.size())))});
  const io::SafetensorsPlan plan = io::plan_safetensors(std::move(tensors), fields);
  Bytes bytes;
  const auto append = [&](std::span<const std::byte> part) { bytes.insert(bytes.end(), part.begin(), part.end()); };
  append(std::as_bytes(std::span(plan.header)));
  for (const io::TensorBytes& tensor : plan.tensors) append(tensor.bytes);
  return bytes;
}

/// A message whose container was checked and whose fields are still only words.
struct RawMessage {
  std::span<const std::byte> bytes;
  io::SafetensorsHeader header;

  /// Empty when it is not there.
  std::string_view field(const std::string& name) const {
    const auto it = header.metadata.find(name);
    return it == header.metadata.end() ? std::string_view() : std::string_view(it->second);
  }
};

/// Either what was read, or why it is refused.
template <class T>
using Checked = std::variant<T, Rejection>;

/// The container and the kind of a message, checked; `most_bytes` is its largest_message(). Rejects with `malformed` or
/// `version`. Allocates in proportion to the header's bytes only.
inline Checked<RawMessage> read_message(std::span<const std::byte> bytes, std::string_view kind, std::size_t most_bytes) {
  if (bytes.size() > most_bytes)
    return Rejection{Reason::malformed, concat("the message has ", bytes.size(), " bytes, expected at most ", most_bytes)};
  RawMessage message{bytes, {}};
  try {
    message.header = io::parse_safetensors_header(bytes, "the message");
  } catch (const Error& error) {
    return Rejection{Reason::malformed, error.what()};
  }
  if (message.field("lorasb") != kind)
    return Rejection{Reason::malformed, concat("the message says that it is \"", message.field("lorasb").substr(0, 40),
                                               "\", expected \"", kind, "\"")};
  if (message.field("version") != message_version)
    return Rejection{Reason::version, concat("the message has version \"", message.field("version").substr(0, 40),
                                             "\", expected \"", message_version, "\"")};
  return message;
}

/// A message of another session, or of members with other frozen weights or bases: `wrong_session` and `base_hash_mismatch`;
/// nothing when it is of this one.
inline std::optional<Rejection> check_session_id(const Session& session, const RawMessage& message) {
  if (message.field("session") == session.id) return std::nullopt;
  return Rejection{Reason::wrong_session, concat("the message is of session ", in_quotes(message.field("session")),
                                                 ", this is ", in_quotes(session.id))};
}
inline std::optional<Rejection> check_base(const Session& session, const RawMessage& message) {
  if (message.field("base") == hex(session.base)) return std::nullopt;
  return Rejection{Reason::base_hash_mismatch,
                   concat("the message is about the frozen numbers ", in_quotes(message.field("base")), ", this session has \"",
                          hex(session.base), "\"")};
}

/// A decimal number without sign, spaces or leading zeros; nothing for anything else.
inline std::optional<std::uint64_t> natural(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || (text.size() > 1 && text[0] == '0')) return std::nullopt;
  return value;
}

/// The values of the layout, when the message has just its tensors. Rejects with `schema` or `non_finite`.
template <Real S>
Checked<std::vector<S>> read_values(const RawMessage& message, const ParameterLayout& layout) {
  if (message.header.tensors.size() != layout.tensors().size())
    return Rejection{Reason::schema,
                     concat("the message has ", message.header.tensors.size(), " tensors, expected ", layout.tensors().size())};
  std::vector<S> values(static_cast<std::size_t>(layout.size()));
  for (const io::TensorInfo& tensor : message.header.tensors) {
    const ParameterLayout::Tensor* expected = layout.find(tensor.name);
    if (expected == nullptr)
      return Rejection{Reason::schema, concat("the message has a tensor ", in_quotes(tensor.name), " that is not expected")};
    if (tensor.dtype != dtype_of<S> || tensor.shape != std::vector<Index>{expected->rows, expected->cols})
      return Rejection{Reason::schema, concat("tensor ", in_quotes(tensor.name), " is ", name_of(tensor.dtype), " ",
                                              io::shape_text(tensor.shape), ", expected ", name_of(dtype_of<S>), " ",
                                              expected->rows, " x ", expected->cols)};
    S* const to = values.data() + expected->offset;
    std::memcpy(to, message.bytes.data() + message.header.data_begin + tensor.begin, tensor.end - tensor.begin);
    if (!all_finite(to, expected->size()))
      return Rejection{Reason::non_finite, concat("tensor ", in_quotes(tensor.name), " holds NaN or infinity")};
  }
  return values;
}

}  // namespace lorasb::federated
