// Why an update does not count.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include "lorasb/core/enum_table.hpp"

namespace lorasb::federated {

enum class Reason {
  malformed,           // bytes that are not a message, or lie about their lengths
  version,             // a message of another version
  wrong_session,       // of another session
  wrong_round,         // of a round that is not open: a replay, or one from the future
  late_round,          // of a round that was committed or abandoned already, or after the deadline
  unknown_client,      // a client that is not of the session, or not the peer that sent it
  not_selected,        // a client that does not take part in this round
  duplicate,           // a second, different update of a client; the first one counts
  base_hash_mismatch,  // trained on other frozen weights or bases
  schema,              // a tensor is missing, too many, or of another type or shape
  non_finite,          // NaN or infinity
  weight,              // a number of examples that is no weight
  no_data,             // no examples
  norm,                // further from the global values than the session allows
  over_cap,            // accepted, but others had priority
};

/// Each reason with its name in reports; entry i is the reason with the value i.
inline constexpr std::array<std::pair<Reason, std::string_view>, 15> reason_table{{
    {Reason::malformed, "malformed"},
    {Reason::version, "version"},
    {Reason::wrong_session, "wrong_session"},
    {Reason::wrong_round, "wrong_round"},
    {Reason::late_round, "late_round"},
    {Reason::unknown_client, "unknown_client"},
    {Reason::not_selected, "not_selected"},
    {Reason::duplicate, "duplicate"},
    {Reason::base_hash_mismatch, "base_hash_mismatch"},
    {Reason::schema, "schema"},
    {Reason::non_finite, "non_finite"},
    {Reason::weight, "weight"},
    {Reason::no_data, "no_data"},
    {Reason::norm, "norm"},
    {Reason::over_cap, "over_cap"},
}};
static_assert(lorasb::detail::rows_are_in_order(reason_table, &decltype(reason_table)::value_type::first));

constexpr std::string_view name_of(Reason reason) { return reason_table[static_cast<std::size_t>(reason)].second; }

/// The reason, and in words what was found and what was expected.
struct Rejection {
  Reason reason;
  std::string text;
};

}  // namespace lorasb::federated
