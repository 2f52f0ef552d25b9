// A digest of all that is frozen in a session and must be equal at every member.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "lorasb/adapter/basis.hpp"
#include "lorasb/core/digest.hpp"
#include "lorasb/core/frozen_weight.hpp"
#include "lorasb/core/little_endian.hpp"
#include "lorasb/core/module.hpp"

namespace lorasb::federated {
namespace detail {

/// Feeds a hash with lengths and numbers in a fixed form: eight bytes, the lowest first.
class DigestWriter {
 public:
  void number(std::uint64_t x) { sha_.update(little_endian(x)); }
  void text(std::string_view text) {
    number(text.size());
    sha_.update(std::as_bytes(std::span(text)));
  }
  void bytes(std::span<const std::byte> bytes) { sha_.update(bytes); }
  template <Real S>
  void matrix(const FrozenWeight<S>& m) {
    // the type of narrow numbers is in the upper bits; bfloat16 has the bit that it had before there were others
    const std::uint64_t narrow = m.dtype() == dtype_of<S>     ? 0
                                 : m.dtype() == Dtype::bf16 ? std::uint64_t{1} << 63
                                                            : std::uint64_t{static_cast<std::uint8_t>(m.dtype())} << 56;
    number(static_cast<std::uint64_t>(m.rows()) | narrow);
    number(static_cast<std::uint64_t>(m.cols()));
    for (Index i = 0; i < m.rows(); ++i)  // there may be gaps between them
      bytes({m.bytes() + static_cast<std::size_t>(i) * m.row_bytes(), bytes_of(m.dtype(), m.cols())});
  }
  Digest digest() { return sha_.digest(); }

 private:
  static_assert(std::endian::native == std::endian::little, "numbers are hashed as they lie in memory");
  Sha256 sha_;
};

}  // namespace detail

/// SHA-256 of what adapters hold frozen: the scalar, and of each adapter, in the order of the set, its module's name, s, B and
/// A with their shapes. R does not enter. The weights under them do not either: use it where these are the same by other means.
template <Real S>
Digest base_digest(const AdapterBases<S>& bases) {
  detail::DigestWriter writer;
  writer.text(sizeof(S) == 4 ? "lorasb base 1 F32" : "lorasb base 1 F64");
  writer.number(bases.size());
  for (const auto& [module, basis] : bases) {
    writer.text(module);
    writer.number(std::bit_cast<std::uint64_t>(static_cast<double>(basis.scale)));
    writer.matrix<S>(basis.B);
    writer.matrix<S>(basis.A);
  }
  return writer.digest();
}

/// The same with the frozen weights of the model: of each its name, shape, type and numbers, in this order. With it members
/// whose base models differ do not take each other's messages. Tensors outside the adapted modules, such as embeddings, belong
/// there too.
template <Real S>
Digest base_digest(const AdapterBases<S>& bases, const std::vector<Module<S>>& frozen) {
  detail::DigestWriter writer;
  writer.text("lorasb base with weights 1");
  writer.bytes(base_digest(bases));
  writer.number(frozen.size());
  for (const Module<S>& module : frozen) {
    writer.text(module.name);
    writer.matrix<S>(module.W0);
  }
  return writer.digest();
}

}  // namespace lorasb::federated
