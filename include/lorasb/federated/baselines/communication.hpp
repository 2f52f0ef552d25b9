// How many numbers a client sends and receives in a round, for Fed-SB and the methods that it is compared with.
#pragma once

#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string_view>
#include <utility>

#include "lorasb/core/check.hpp"
#include "lorasb/core/enum_table.hpp"

namespace lorasb::federated {

/// Ways to train adapters over many clients; the last four train plain LoRA.
enum class FederatedMethod {
  fed_sb,      // R over one shared pair B, A; mean of R, exact (arXiv 2502.15436)
  fedit,       // means of B and of A, inexact (arXiv 2305.05644)
  ffa_lora,    // mean of B over one frozen A, exact (arXiv 2403.12313)
  fedex_lora,  // means of B and of A, and what they miss is added to the base, exact (arXiv 2410.09432)
  flora,       // all B and A side by side are added to the base, exact; B and A start anew in each round (arXiv 2409.05976)
};

/// Each method with its name on command lines and in reports; entry i is the method with the value i.
inline constexpr std::array<std::pair<FederatedMethod, std::string_view>, 5> method_table{{
    {FederatedMethod::fed_sb, "fed-sb"},
    {FederatedMethod::fedit, "fedit"},
    {FederatedMethod::ffa_lora, "ffa-lora"},
    {FederatedMethod::fedex_lora, "fedex-lora"},
    {FederatedMethod::flora, "flora"},
}};
static_assert(lorasb::detail::rows_are_in_order(method_table, &decltype(method_table)::value_type::first));

constexpr std::string_view name_of(FederatedMethod method) { return method_table[static_cast<std::size_t>(method)].second; }
/// The method of that name; nothing for any other word.
constexpr std::optional<FederatedMethod> method_named(std::string_view name) {
  for (const auto& [method, its_name] : method_table)
    if (its_name == name) return method;
  return std::nullopt;
}

/// A weight, m x n, with an adapter of rank r.
struct AdaptedShape {
  Index out = 0;   // m
  Index in = 0;    // n
  Index rank = 0;  // r
};

/// Numbers, not bytes: messages add names and fields (Receipt and RoundReport count the bytes that were sent).
struct RoundNumbers {
  Index up = 0;    // that a client sends
  Index down = 0;  // that a client receives
};

/// With K clients that take part, for each module, and what is trained in full beside the adapters (`head` numbers) once each
/// way, whatever the method:
///
///                   up           down
///     fed-sb        r²           r²
///     fedit         r (m + n)    r (m + n)
///     ffa-lora      r m          r m
///     fedex-lora    r (m + n)    r (m + n) + (K - 1) r (m + n)    the means, and the residue as factors
///     flora         r (m + n)    K r (m + n)                      the stack
///
/// All clients have the same ranks. FedEx-LoRA's residue may also be sent dense, as m n numbers: fewer where
/// (K - 1) r (m + n) > m n. Throws ErrorId::value for a negative head, no clients or more numbers than can be counted, and
/// ErrorId::rank for a rank outside 1 to min(m, n).
inline RoundNumbers numbers_per_round(FederatedMethod method, std::span<const AdaptedShape> modules, Index head, Index clients) {
  require(head >= 0, ErrorId::value, "federated::numbers_per_round: head has ", head, " numbers, expected at least 0");
  require(clients >= 1, ErrorId::value, "federated::numbers_per_round: there are ", clients, " clients, expected at least 1");
  const auto checked = [](bool overflows) {
    require(!overflows, ErrorId::value, "federated::numbers_per_round: more numbers than can be counted");
  };
  const auto times = [&](Index a, Index b) {
    Index product = 0;
    checked(__builtin_mul_overflow(a, b, &product));
    return product;
  };
  const auto plus = [&](Index a, Index b) {
    Index sum = 0;
    checked(__builtin_add_overflow(a, b, &sum));
    return sum;
  };
  Index up = 0;
  for (const auto& [out, in, rank] : modules) {
    require(rank >= 1 && rank <= out && rank <= in, ErrorId::rank, "federated::numbers_per_round: rank is ", rank,
            " for a weight of ", out, " x ", in, ", expected 1 to min(out, in)");
    switch (method) {
      case FederatedMethod::fed_sb:
        up = plus(up, times(rank, rank));
        break;
      case FederatedMethod::ffa_lora:
        up = plus(up, times(rank, out));
        break;
      case FederatedMethod::fedit:
      case FederatedMethod::fedex_lora:
      case FederatedMethod::flora:
        up = plus(up, times(rank, plus(out, in)));
    }
  }
  const bool of_every_client = method == FederatedMethod::fedex_lora || method == FederatedMethod::flora;
  return {.up = plus(up, head), .down = plus(of_every_client ? times(clients, up) : up, head)};
}

}  // namespace lorasb::federated
