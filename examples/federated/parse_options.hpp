// The command line of lorasb-federate, and which options go together.
#pragma once

#include "examples/federated/options.hpp"

namespace lorasb::examples {
namespace detail {

/// Throws CLI::ValidationError for what a private session cannot do.
inline void check_private_session(FederateOptions& o) {
  check_private(o.privacy);
  if (!o.privacy.enabled) return;
  using federated::FederatedMethod;
  const bool of_clients = o.privacy.unit == privacy::PrivacyUnit::client;
  if (o.setting != Setting::federated) throw CLI::ValidationError("--private", "local and central are not for private sessions");
  if (o.compare) throw CLI::ValidationError("--private", "runs one session: no --compare");
  if (o.look_ahead > 0) throw CLI::ValidationError("--look-ahead", "would take bases from private texts; see --bases");
  if (o.estimate == Estimate::clients) throw CLI::ValidationError("--estimate", "clients would take bases from private texts; see --bases");
  o.look_ahead = 0;
  if (of_clients && (o.method == FederatedMethod::fedex_lora || o.method == FederatedMethod::flora))
    throw CLI::ValidationError("--unit", concat(federated::name_of(o.method), " sends on what single clients have trained: no client is private"));
  if (of_clients && o.privacy.bases == PrivateBases::noised)
    throw CLI::ValidationError("--bases", "noised is for --unit example: clients add the noise themselves");
  if (o.privacy.bases == PrivateBases::noised && !o.privacy.noise_seed && !o.journal.empty())
    throw CLI::ValidationError("--bases", "noised cannot be drawn again when a session goes on from a journal");
  if (of_clients && o.privacy.kind == train::NoiseKind::discrete)
    throw CLI::ValidationError("--noise-kind", "discrete is for --unit example: the server's noise is continuous");
  if (of_clients && std::ssize(federated::select_clients(o.clients, o.participation, 0, 1)) < 2)
    throw CLI::ValidationError("--clients", "a round is for at least 2 with --unit client: one client has nobody to hide among");
  if (of_clients && o.poisson_rate > 0 && o.min_clients > 1)
    throw CLI::ValidationError("--min-clients",
                               "is not for Poisson samples with --unit client: whether a round counts would tell who was drawn");
  if (of_clients && o.cap > 0) throw CLI::ValidationError("--cap", "is not for --unit client: the divisor is fixed");
  if (o.privacy.bases == PrivateBases::public_file) o.init_data = o.privacy.public_file;
}

/// Throws CLI::ValidationError for options that contradict each other.
inline void check(FederateOptions& o) {
  check_common(o);
  check_private_session(o);
  const bool fed_sb = trains_fed_sb(o);
  if (o.aggregate != Aggregate::mean) {
    using federated::FederatedMethod;
    if (o.privacy.enabled) throw CLI::ValidationError("--aggregate", "is mean with --private: noise is calibrated for a sum");
    if (o.compare || o.setting != Setting::federated) throw CLI::ValidationError("--aggregate", "is for one federated session");
    if (o.method == FederatedMethod::fedex_lora || o.method == FederatedMethod::flora)
      throw CLI::ValidationError("--aggregate", concat(federated::name_of(o.method), " adds what every client has trained to the weights"));
    if (o.aggregate == Aggregate::krum && o.min_clients < 2 * o.liars + 3)
      throw CLI::ValidationError("--aggregate", concat("krum with ", o.liars, " liars (--liars) needs --min-clients ", 2 * o.liars + 3));
  }
  if (o.poisson_rate > 0 && (o.participation < 1 || o.setting != Setting::federated || o.compare))
    throw CLI::ValidationError("--client-sampling", "poisson is for one federated session, without --participation");
  using federated::FederatedMethod;
  if (o.server.enabled()) {
    if (o.compare || o.setting != Setting::federated) throw CLI::ValidationError("--server-optimizer", "is for one federated session");
    if (o.method == FederatedMethod::fedex_lora || o.method == FederatedMethod::flora)
      throw CLI::ValidationError("--server-optimizer", concat(federated::name_of(o.method), " adds what every client has trained to the weights"));
    if (o.experts > 0) throw CLI::ValidationError("--server-optimizer", "is not for --experts, which have a mean for each by its tokens");
  }
  if (o.proximal > 0) {
    if (o.compare || o.setting != Setting::federated) throw CLI::ValidationError("--proximal", "is for one federated session");
    if (o.method == FederatedMethod::flora) throw CLI::ValidationError("--proximal", "flora starts every round with new factors: there are none to stay near");
    if (o.privacy.enabled) throw CLI::ValidationError("--proximal", "is not there for DP-SGD: clip and noise are of the texts' gradients alone");
  }
  if (!o.ranks.empty() && !fed_sb) throw CLI::ValidationError("--ranks", "only the cores of fed-sb have leading blocks");
  if (!o.ranks.empty() && o.rank > 0) throw CLI::ValidationError("--ranks", "says all that --rank could");
  if ((o.estimate == Estimate::clients || o.look_ahead > 0) && !fed_sb && !o.compare)
    throw CLI::ValidationError(o.look_ahead > 0 ? "--look-ahead" : "--estimate", "gives the bases of --method fed-sb alone");
  if (estimate_of(o) == Estimate::clients && o.look_ahead != 0 && o.scout == train::ScoutKind::lora)
    throw CLI::ValidationError("--scout", "of clients trains full weights: factors of different clients have no exact mean");
  if (o.experts > 0 && (!fed_sb || o.compare))
    throw CLI::ValidationError("--experts", "are cores over shared bases: for --method fed-sb alone, without --compare");
  if (o.experts > 0 && o.aggregate != Aggregate::mean)
    throw CLI::ValidationError("--experts", "have weights of their own: for --aggregate mean alone");
  if (o.experts > 0 && o.given.contains("--top-k") && o.top_k > o.experts) throw CLI::ValidationError("--top-k", "is above the number of experts");
  if (std::ssize(o.ranks) > o.clients) throw CLI::ValidationError("--ranks", "are more than there are clients");
  if (o.experts > 0 && !o.ranks.empty()) throw CLI::ValidationError("--experts", "have the rank of their bases: no --ranks");
  if (o.experts > 0 && o.privacy.enabled)
    throw CLI::ValidationError("--experts", "are not for --private: their loss and their weights depend on other texts of a batch");
  if (o.setting != Setting::federated && !o.journal.empty())
    throw CLI::ValidationError("--journal", "local and central have no rounds to go on from");
  if (!o.load.empty()) {
    if (o.compare || o.privacy.enabled || o.experts > 0)
      throw CLI::ValidationError(
          "--load",
          "is for one session over adapters: no --compare, --experts, or --private (what it has learnt from is in no account)");
    if (o.look_ahead > 0 || o.estimate == Estimate::clients)
      throw CLI::ValidationError(o.look_ahead > 0 ? "--look-ahead" : "--estimate", "gives bases, which --load has");
    o.look_ahead = 0;
    if (!o.modules.empty()) throw CLI::ValidationError("--modules", "are those of the folder that --load names");
  }
  if (o.compare && !o.modules.empty()) throw CLI::ValidationError("--modules", "is for one session, not for --compare");
  if (o.compare && !o.journal.empty()) throw CLI::ValidationError("--journal", "is for one session, not for --compare");
  for (const char* variable : {"OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MPI_LOCALNRANKS"})
    if (const char* ranks = std::getenv(variable); ranks != nullptr && std::atoi(ranks) > 1 && o.engine != Engine::mpi)
      throw CLI::ValidationError("--engine", concat("is not mpi, but this is one of ", ranks, " processes of an MPI job: each would run the whole "
                                                    "session and write over the others; add --engine mpi"));
  if (o.compare && o.engine == Engine::mpi) throw CLI::ValidationError("--compare", "runs in one process");
  if (o.cap > 0 && o.cap < o.min_clients) throw CLI::ValidationError("--cap", "is below --min-clients: no round could count");
  const Index asked = std::ssize(federated::select_clients(o.clients, o.participation, 0, 1));
  if (o.min_clients > asked)
    throw CLI::ValidationError("--min-clients", concat("is above the ", asked, " of a round (--clients, --participation)"));
}

}  // namespace detail

/// Fills `o` and returns -1, or returns the exit status after a message or --help.
inline int parse_options(int argc, char** argv, FederateOptions& o) {
  CLI::App app{"Trains adapters of a pretrained sentence encoder over many clients, by Fed-SB and by the methods it replaces."};
  OptionTable table(&app);
  detail::describe(o, table);
  try {
    app.parse(argc, argv);
    lift_limits(app, o, o.train_size, o.test_size);
    o.given = given_flags(app);
    if (!o.load.empty() && app.count("--init-data") == 0) o.init_data = "0";  // the folder's head is the start
    detail::check(o);
  } catch (const CLI::ParseError& error) {
    return app.exit(error);
  }
  return -1;
}

}  // namespace lorasb::examples
