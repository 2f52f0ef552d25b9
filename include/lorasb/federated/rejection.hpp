// Why an update does not count.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>

namespace lorasb::federated {

enum class Rejection {
  malformed,           // bytes that are not a message, or lie about their lengths
  version,             // a message of another version
  wrong_session,       // of another session
  wrong_round,         // of a round that is not open: a replay, or one from the future
  late_round,          // of a round that was committed or abandoned already, or after the deadline
  unknown_client,      // a client that is not of the session, or not the peer that sent it
  not_selected,        // a client that does not take part in this round
  duplicate,           // a second, different update of a client; the first one counts
  base_hash_mismatch,  // trained on other frozen numbers
  schema,              // a tensor is missing, too many, or of another type or shape
  non_finite,          // NaN or infinity
  weight,              // a number of examples that is no weight
  no_data,             // no examples
  norm,                // further from the global numbers than the session allows
  over_cap,            // accepted, but others had priority
};

inline constexpr std::array<std::string_view, 15> rejection_names{"malformed",    "version",    "wrong_session",
                                                                  "wrong_round",  "late_round", "unknown_client",
                                                                  "not_selected", "duplicate",  "base_hash_mismatch",
                                                                  "schema",       "non_finite", "weight",
                                                                  "no_data",      "norm",       "over_cap"};
inline std::string_view name_of(Rejection reason) { return rejection_names[static_cast<std::size_t>(reason)]; }

/// The reason, and in words what was found and what was expected.
struct Refusal {
  Rejection reason;
  std::string text;
};

}  // namespace lorasb::federated
