// What a server is asked for, and what it tells of a message and of a round.
#pragma once

#include <array>
#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/federated/rejection.hpp"

namespace lorasb::federated {

enum class Weighting {
  examples,  // an update weighs as many as it has examples
  equal,     // every update weighs 1
};

/// What becomes of an update that is further from the global numbers than max_norm.
enum class NormRule {
  reject,
  clip,  // moved back to that distance: the mean is then exact over what was admitted, not over what was sent
};

struct ServerOptions {
  Index min_clients = 1;     // fewer updates than this, and a round changes nothing; 0: it always does (noise alone, of nobody)
  Index cap = 0;             // most updates that count, by seeded priority of their clients; 0: all
  double participation = 1;  // share of the clients that a round is for
  Weighting weighting = Weighting::examples;
  std::uint32_t max_weight = std::numeric_limits<std::uint32_t>::max();  // larger weights count as this one
  double max_norm = 0;  // of an update minus the global numbers, Euclidean over all; 0: no bound
  NormRule norm_rule = NormRule::reject;
  Index planned_clients = 0;  // 0: divide by what came; else by this many equal weights, see Server
  std::uint64_t seed = 0;     // of selection and priority
  bool keep_updates = false;  // so that admitted() shows them after the round

  /// Throws ErrorId::value.
  void validate() const {
    require(min_clients >= (planned_clients > 0 ? 0 : 1), ErrorId::value, "ServerOptions: min_clients is ", min_clients,
            ", expected at least 1, or 0 with planned_clients");
    require(cap == 0 || cap >= min_clients, ErrorId::value, "ServerOptions: cap is ", cap,
            ", expected 0 or at least min_clients, ", min_clients);
    require(participation > 0 && participation <= 1, ErrorId::value, "ServerOptions: participation is ", participation,
            ", expected above 0, at most 1");
    require(planned_clients >= 0 && planned_clients <= std::numeric_limits<std::uint32_t>::max(), ErrorId::value,
            "ServerOptions: planned_clients is ", planned_clients, ", expected 0 to 2^32 - 1");
    require(planned_clients == 0 || (planned_clients >= min_clients && weighting == Weighting::equal), ErrorId::value,
            "ServerOptions: planned_clients is ", planned_clients, ", expected 0, or at least min_clients and equal weights");
    require(max_weight >= 1, ErrorId::value, "ServerOptions: max_weight is 0, expected at least 1");
    require(is_finite(max_norm) && max_norm >= 0, ErrorId::value, "ServerOptions: max_norm is ", max_norm,
            ", expected a finite number of at least 0");
  }
};

/// The answer to a message.
struct Receipt {
  bool accepted = false;  // also for the same bytes a second time, which count once
  std::optional<Rejection> rejection;
};

/// An update that counted, as the aggregator saw it: capped weight, clipped values, lower ranks filled up.
template <Real S>
struct AdmittedUpdate {
  Index client = 0;
  std::uint32_t weight = 0;
  std::vector<S> values;  // in session.layout
  std::vector<std::uint32_t> experts = {};  // its weight for each expert of a mixture; 0: it did not train that one
};

struct RoundReport {
  std::uint64_t round = 0;
  bool committed = false;                                // or abandoned, with the global numbers as they were
  Index accepted = 0;                                    // updates that count
  std::vector<Index> clients;                            // whose updates they are, ascending
  std::array<Index, reason_table.size()> rejected{};  // by reason, since the round was opened
  std::uint64_t total_weight = 0;
  std::size_t bytes_received = 0;     // of all messages, also refused ones
  Index messages = 0;                 // that came, also refused ones
  std::vector<std::string> failures;  // of clients without an answer, in words; filled by run_round()

  Index rejected_for(Reason reason) const { return rejected[static_cast<std::size_t>(reason)]; }
};

}  // namespace lorasb::federated
