// What all members of a federated session agree on before its first round.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "lorasb/adapter/adapter_set.hpp"
#include "lorasb/adapter/bind.hpp"
#include "lorasb/core/digest.hpp"
#include "lorasb/core/frozen_weight.hpp"
#include "lorasb/core/little_endian.hpp"
#include "lorasb/core/parameters.hpp"

namespace lorasb::federated {

/// The numbers that are trained and averaged, by name and shape, and the digest of all that is frozen and must be equal
/// everywhere, or else averages of cores mean nothing: Σ w_k B R_k A = B (Σ w_k R_k) A holds for one pair B, A only.
struct Session {
  std::string id;          // UTF-8; a new one for every session
  Digest base{};           // base_digest() of all that is frozen
  ParameterLayout layout;  // cores, named "<module>.R", and what is trained in full beside them, such as a head
};

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
    constexpr std::uint64_t narrow = std::uint64_t{1} << 63;
    number(static_cast<std::uint64_t>(m.rows()) | (m.is_bfloat16() ? narrow : 0));
    number(static_cast<std::uint64_t>(m.cols()));
    if (m.is_bfloat16())
      rows(m.narrow(), m);
    else
      rows(m.wide().data(), m);
  }
  Digest digest() { return sha_.digest(); }

 private:
  template <class T, Real S>
  void rows(const T* numbers, const FrozenWeight<S>& m) {  // there may be gaps between them
    static_assert(std::endian::native == std::endian::little, "numbers are hashed as they lie in memory");
    for (Index i = 0; i < m.rows(); ++i)
      bytes(std::as_bytes(std::span(numbers + i * m.outer_stride(), static_cast<std::size_t>(m.cols()))));
  }

  Sha256 sha_;
};

}  // namespace detail

/// SHA-256 of what adapters hold frozen: the scalar, and of each adapter, in the order of the set, its module's name, s, B and
/// A with their shapes. R does not enter. The weights under them do not either: use it where these are the same by other means.
template <Real S>
Digest base_digest(const AdapterSet<S>& adapters) {
  detail::DigestWriter writer;
  writer.text(sizeof(S) == 4 ? "lorasb base 1 F32" : "lorasb base 1 F64");
  writer.number(adapters.size());
  for (const auto& [module, adapter] : adapters) {
    writer.text(module);
    writer.number(std::bit_cast<std::uint64_t>(static_cast<double>(adapter.scale)));
    writer.matrix<S>(adapter.B);
    writer.matrix<S>(adapter.A);
  }
  return writer.digest();
}

/// The same with the frozen weights of the model: of each its name, shape, type and numbers, in this order. With it members
/// whose base models differ do not take each other's messages. Tensors outside the adapted modules, such as embeddings, belong
/// there too.
template <Real S>
Digest base_digest(const AdapterSet<S>& adapters, const std::vector<Module<S>>& frozen) {
  detail::DigestWriter writer;
  writer.text("lorasb base with weights 1");
  writer.bytes(base_digest(adapters));
  writer.number(frozen.size());
  for (const Module<S>& module : frozen) {
    writer.text(module.name);
    writer.matrix<S>(module.W0);
  }
  return writer.digest();
}

/// Whether a tensor is the core of an adapter.
inline bool is_core(const ParameterLayout::Tensor& tensor) { return tensor.name.ends_with(".R") && tensor.rows == tensor.cols; }

namespace detail {

/// What a client of this rank trains of a tensor: of a core its leading rank x rank block, everything else whole.
struct LeadingShape {
  Index rows, cols;
};
inline LeadingShape leading_shape(const ParameterLayout::Tensor& t, Index rank) {
  if (is_core(t) && rank > 0 && rank < t.rows) return {rank, rank};
  return {t.rows, t.cols};
}

/// copy(place among the whole numbers, place among the leading ones, count) for each row of what is trained.
template <class Copy>
void for_leading_rows(const ParameterLayout& layout, Index rank, const Copy& copy) {
  Index place = 0;
  for (const ParameterLayout::Tensor& t : layout.tensors()) {
    const auto [rows, cols] = leading_shape(t, rank);
    for (Index i = 0; i < rows; ++i, place += cols) copy(t.offset + i * t.cols, place, cols);
  }
}

}  // namespace detail

/// The part of the layout that a client of a lower rank trains: of each core its leading rank x rank block (columns of B and
/// rows of A are ordered by singular value), everything else whole. Rank 0 stands for all.
inline ParameterLayout leading_layout(const ParameterLayout& layout, Index rank) {
  ParameterLayout leading;
  for (const ParameterLayout::Tensor& t : layout.tensors()) {
    const auto [rows, cols] = detail::leading_shape(t, rank);
    leading.add(t.name, rows, cols);
  }
  return leading;
}

/// Copies numbers in leading_layout(layout, rank) into those of the whole layout, which keep the rest as it is; and back.
template <Real S>
void store_leading(const ParameterLayout& layout, Index rank, std::span<const S> leading, std::span<S> whole) {
  detail::for_leading_rows(layout, rank, [&](Index in_whole, Index in_leading, Index count) {
    std::copy_n(leading.begin() + in_leading, count, whole.begin() + in_whole);
  });
}
template <Real S>
void load_leading(const ParameterLayout& layout, Index rank, std::span<const S> whole, std::span<S> leading) {
  detail::for_leading_rows(layout, rank, [&](Index in_whole, Index in_leading, Index count) {
    std::copy_n(whole.begin() + in_whole, count, leading.begin() + in_leading);
  });
}

}  // namespace lorasb::federated
