// lorasb-federate: trains adapters of a pretrained sentence encoder over many clients. `--help` lists what it can do.
#include <csignal>

#include "examples/federated/compare.hpp"
#include "examples/federated/parse_options.hpp"
#include "examples/federated/unused.hpp"
#ifdef LORASB_HAS_MPI
#include "lorasb/mpi/transport.hpp"
#endif

namespace {

using namespace lorasb;
using namespace lorasb::examples;

/// Prints what the session is about, runs it and writes what it leaves.
void run(const FederatedTask& task, const FederateOptions& options) {
  print_task(task, options);
  print_result(run_and_report(task, options), options);
}

#ifdef LORASB_HAS_MPI
/// MPI from here to the end of the scope.
class MpiJob {
 public:
  MpiJob() {
    int given = 0;  // only the first thread of a rank talks to the others
    MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &given);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
  }
  MpiJob(const MpiJob&) = delete;
  MpiJob& operator=(const MpiJob&) = delete;
  ~MpiJob() {
    if (std::uncaught_exceptions() > 0) MPI_Abort(MPI_COMM_WORLD, 1);  // the others would wait for ever
    MPI_Finalize();
  }

  int rank = 0;
  int ranks = 0;
};

/// The same start on every rank: bases from the server's texts are computed everywhere, those from clients' sums on rank 0, which
/// sends them.
SessionStart start_over_ranks(int rank, const FederatedTask& task, const FederateOptions& options,
                              const federated::Shares& shares) {
  const Parameters<float> head = start_head(task, options);
  if (estimate_of(options) == Estimate::server) return server_start(task, options, head);
  federated::BasesRound<float> round = client_bases(task, options, head, shares);
  SessionStart start{.head = head};
  if (rank == 0) {
    mpi::MpiTransport transport(MPI_COMM_WORLD);
    start = collect_bases(round, transport, options);
  } else {
    mpi::serve(MPI_COMM_WORLD, round.host());
    for (const Module<float>& m : task.base.modules) {
      const Index rank_of_all = adapter_rank(options);
      start.adapters.add(m.name, {.B = Weight<float>(m.W0.rows(), rank_of_all),
                                  .R = Weight<float>(rank_of_all, rank_of_all),
                                  .A = Weight<float>(rank_of_all, m.W0.cols())});
    }
  }
  const auto send = [](std::span<float> numbers) {
    MPI_Bcast(numbers.data(), static_cast<int>(numbers.size()), MPI_FLOAT, 0, MPI_COMM_WORLD);
  };
  send(start.head.flat());
  for (auto& [name, adapter] : start.adapters) {
    send(flat(adapter.B));
    send(flat(adapter.R));
    send(flat(adapter.A));
  }
  return start;
}

/// The server and its results on rank 0, clients on the others; with one rank all in its process.
void run_mpi(FederateOptions& options) {
  const MpiJob job;
  try {
    const FederatedTask task = read_task(options);
    options.data_checksum = task.checksum;
    if (job.rank == 0) {
      say_unused(options);
      print_task(task, options);
    }
    if (options.setting != Setting::federated || job.ranks == 1) {
      if (job.rank == 0) print_result(run_and_report(task, options), options);
      return;
    }
    const federated::Shares shares = shares_of(task, options);
    std::optional<PrivacyAccounts> accounts = open_accounts(options, shares);
    std::optional<io::Journal> journal;
    if (job.rank == 0) {  // before any work that they may forbid
      make_folder(options.out, "--out");
      journal = open_journal(options);
    }
    SessionStart start = start_over_ranks(job.rank, task, options, shares);
    const StartResult found = start_result(start);
    const std::unique_ptr<FederatedMixture> mixed = start_mixture(task, options, start);
    SharedModel shared = make_shared_model(task, options, std::move(start), mixed.get());
    if (job.rank > 0) {
      TrainingClients clients(task, options, shared, shares, 1, client_accounts(options, accounts), mixed.get());
      mpi::serve(MPI_COMM_WORLD, clients.host());
      return;
    }
    mpi::MpiTransport transport(MPI_COMM_WORLD);
    ReportedSession session(task, options, shared, transport, journal, found, accounts ? &*accounts : nullptr, mixed.get());
    const SessionResult result = report(session.finish(), task, options, shared, shares, mixed.get());
    const std::vector<int> silent = transport.close(std::max(10.0, 2 * options.round_seconds));  // the results are safe by now
    if (!silent.empty()) {
      for (const int rank : silent) std::fprintf(stderr, "lorasb-federate: rank %d does not answer at the end of the session\n", rank);
      std::fprintf(stderr, "lorasb-federate: the results are in %s; the job is aborted with status 1\n", options.out.c_str());
      std::fflush(nullptr);
      MPI_Abort(MPI_COMM_WORLD, 1);
    }
    print_result(result, options);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "lorasb-federate: rank %d: %s\n", job.rank, error.what());
    throw;
  }
}
#else
void run_mpi(FederateOptions&) {
  std::fputs("lorasb-federate: --engine mpi: built without MPI; install libopenmpi-dev and build again\n", stderr);
  throw Error(ErrorId::value, "no MPI");
}
#endif

}  // namespace

int main(int argc, char** argv) {
  FederateOptions options;
  if (const int status = parse_options(argc, argv, options); status >= 0) return status;
  choose_backend(options.backend);
  std::signal(SIGXFSZ, SIG_IGN);  // a full quota is an error that a write reports
  std::signal(SIGPIPE, SIG_IGN);  // and so is a gnuplot that is not there
  try {
    if (options.engine == Engine::mpi) {
      run_mpi(options);
      return 0;
    }
    const FederatedTask task = read_task(options);
    options.data_checksum = task.checksum;
    say_unused(options);
    if (options.compare)
      compare(task, options);
    else
      run(task, options);
    return 0;
  } catch (const std::exception& error) {
    if (options.engine != Engine::mpi) std::fprintf(stderr, "lorasb-federate: %s\n", error.what());
    return 1;
  }
}
