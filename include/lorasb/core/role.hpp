// What a tensor is to the model that it belongs to.
#pragma once

#include <array>
#include <cstddef>
#include <string_view>

#include "lorasb/core/enum_table.hpp"

namespace lorasb {

enum class Role {
  core,         // R of a LoRA-SB adapter, rank x rank
  factor_B,     // B of a LoRA adapter, out x rank
  factor_A,     // A of a LoRA adapter, rank x in
  router,       // G of a mixture of adapters, experts x inputs of the router
  weight,       // of a linear module, out x in
  bias,         // of a linear module, 1 x out
  norm_scale,   // of a normalisation, 1 x features
  norm_bias,    // of a normalisation, 1 x features
  embedding,    // table, vocabulary x features
  head_weight,  // of a classifier that is trained in full, classes x features
  head_bias,    // of the same, 1 x classes
  delta_B,      // left factor of what a federated round adds to a weight, out x rank
  delta_A,      // right factor of the same, rank x in
  other,        // anything else, such as the state of an optimizer
};

struct RoleRow {
  Role role;
  std::string_view suffix;  // of the tensor's name, behind that of its module
};

/// Row i describes the role with the value i. The suffixes are those of the tensors in files and messages.
inline constexpr std::array<RoleRow, 14> role_table{{
    {Role::core, ".R"},
    {Role::factor_B, ".B"},
    {Role::factor_A, ".A"},
    {Role::router, ".router"},
    {Role::weight, ".weight"},
    {Role::bias, ".bias"},
    {Role::norm_scale, ".weight"},
    {Role::norm_bias, ".bias"},
    {Role::embedding, ".weight"},
    {Role::head_weight, ".weight"},
    {Role::head_bias, ".bias"},
    {Role::delta_B, ".delta.B"},
    {Role::delta_A, ".delta.A"},
    {Role::other, ""},
}};
static_assert(detail::rows_are_in_order(role_table, &RoleRow::role));

constexpr std::string_view suffix_of(Role role) { return role_table[static_cast<std::size_t>(role)].suffix; }

/// Whether its tensors have one dimension in files, and one row here. A weight of one row is none.
constexpr bool is_vector(Role role) {
  return role == Role::bias || role == Role::norm_scale || role == Role::norm_bias || role == Role::head_bias;
}
/// Part of a classification head: trained in full beside adapters, at a rate of its own.
constexpr bool is_head(Role role) { return role == Role::head_weight || role == Role::head_bias; }
/// Part of an adapter.
constexpr bool is_adapter(Role role) { return role == Role::core || role == Role::factor_B || role == Role::factor_A; }
/// Trained by the linear layer that stands in the module's place: its gradient is the layer's.
constexpr bool is_of_layer(Role role) { return is_adapter(role) || role == Role::router || role == Role::weight; }

}  // namespace lorasb
