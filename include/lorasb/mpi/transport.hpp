// The engine for several processes and machines: clients live on the ranks of an MPI job, the server on rank 0.
#pragma once

#ifndef OMPI_SKIP_MPICXX
#define OMPI_SKIP_MPICXX 1  // MPI's own C++ binding, removed in MPI 3
#endif
#include <mpi.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <initializer_list>
#include <limits>
#include <list>
#include <thread>
#include <utility>
#include <vector>

#include "lorasb/federated/transport.hpp"

namespace lorasb::mpi {

/// Client c lives on rank 1 + c mod (size - 1). The job has 2 ranks at least; everything else about it, threads included, is
/// MPI's. A rank that is lost ends the job, as MPI has it: it is started again from its journal.
struct Placement {
  int ranks = 0;
  int rank_of(Index client) const { return 1 + static_cast<int>(client % (ranks - 1)); }
};

namespace detail {

enum Tag { ask_tag = 1, answer_tag, failure_tag, stop_tag };

/// Before every message of ours: which ask() it belongs to; how many clients are named, or which one answers; and of an ask()
/// how many bytes an answer may have.
using Head = std::array<std::uint64_t, 3>;
inline constexpr std::size_t max_failure_bytes = 4096;  // of the words of a client that has failed

inline int count_of(std::size_t elements) {
  require(elements <= static_cast<std::size_t>(std::numeric_limits<int>::max()), ErrorId::value, "mpi: a message has ",
          elements, " elements, expected fewer than 2^31");
  return static_cast<int>(elements);
}

inline federated::Bytes joined(std::initializer_list<std::span<const std::byte>> parts) {
  std::size_t size = 0;
  for (const std::span<const std::byte> part : parts) size += part.size();
  federated::Bytes bytes(size);
  auto to = bytes.begin();
  for (const std::span<const std::byte> part : parts) to = std::ranges::copy(part, to).out;
  return bytes;
}

/// A message that lies ready, from any rank or from one; nothing when there is none. Throws ErrorId::value, before any memory
/// is taken for it, for one of more than `most` bytes.
struct Arrived {
  int rank = 0;
  int tag = 0;
  federated::Bytes bytes;
};
inline std::optional<Arrived> receive_ready(MPI_Comm comm, int from,
                                            std::size_t most = std::numeric_limits<std::size_t>::max()) {
  int ready = 0;
  MPI_Message message;
  MPI_Status status;
  MPI_Improbe(from, MPI_ANY_TAG, comm, &ready, &message, &status);
  if (ready == 0) return std::nullopt;
  int size = 0;
  MPI_Get_count(&status, MPI_BYTE, &size);
  const auto bytes = static_cast<std::size_t>(size);
  require(bytes <= most, ErrorId::value, "mpi: rank ", status.MPI_SOURCE, " sends a message of ", bytes,
          " bytes, expected at most ", most);
  Arrived arrived{.rank = status.MPI_SOURCE, .tag = status.MPI_TAG, .bytes = federated::Bytes(bytes)};
  MPI_Mrecv(arrived.bytes.data(), size, MPI_BYTE, &message, MPI_STATUS_IGNORE);
  return arrived;
}

/// Between two looks: a rank that waits leaves its core to others.
inline void pause() { std::this_thread::sleep_for(std::chrono::microseconds(200)); }

}  // namespace detail

/// The server's end, on rank 0: a federated::Transport. Made while all other ranks enter serve() with the same communicator.
/// Nothing in it blocks on a rank that is slow: messages are sent without waiting, and answers are looked for until the
/// deadline.
///
///     if (rank == 0) {
///       MpiTransport transport(MPI_COMM_WORLD);
///       federated::run_round(server, transport, message, 60);
///     } else {
///       serve(MPI_COMM_WORLD, host);   // until the transport is gone
///     }
class MpiTransport {
 public:
  /// Throws ErrorId::value on another rank than 0, and for fewer than 2 ranks.
  explicit MpiTransport(MPI_Comm comm) {
    int rank = 0;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &placement_.ranks);
    require(rank == 0 && placement_.ranks >= 2, ErrorId::value, "mpi::MpiTransport: on rank ", rank, " of ", placement_.ranks,
            ", expected rank 0 of at least 2");
    MPI_Comm_dup(comm, &comm_);  // messages of the program's own are not ours
  }
  MpiTransport(const MpiTransport&) = delete;
  MpiTransport& operator=(const MpiTransport&) = delete;
  /// Lets the other ranks return from serve() and waits for them without a limit; call close() before, to wait no longer than that.
  ~MpiTransport() {
    if (!closed_) close(std::numeric_limits<double>::max());
    if (!silent_.empty()) {
      new std::list<Sending>(std::move(sending_));  // MPI may still read these bytes: they stay until the job is aborted
      return;
    }
    for (Sending& s : sending_) MPI_Wait(&s.request, MPI_STATUS_IGNORE);
    MPI_Comm_free(&comm_);
  }

  /// Lets the other ranks return from serve() and waits `seconds` for their farewell; answers that come late are thrown away. Returns the
  /// ranks that have not answered, ascending: they hang or still compute, and MPI_Finalize would wait for them, so that MPI_Abort is what
  /// is left when the results are safe. May be called again, to wait longer for these.
  std::vector<int> close(double seconds) {
    if (!closed_) {
      for (int rank = 1; rank < placement_.ranks; ++rank) {
        send(rank, detail::stop_tag, std::make_shared<federated::Bytes>());
        silent_.push_back(rank);
      }
      closed_ = true;
    }
    for (const double began = now(); !silent_.empty() && now() - began < seconds;) {
      const std::optional<detail::Arrived> arrived = detail::receive_ready(comm_, MPI_ANY_SOURCE, largest());
      if (!arrived)
        detail::pause();
      else if (arrived->tag == detail::stop_tag)
        std::erase(silent_, arrived->rank);
    }
    return silent_;
  }

  double now() const { return MPI_Wtime(); }

  /// From the next ask() on a rank that has a larger answer of a client says that this client has failed, and sends no more;
  /// memory is never taken for more.
  void bound_answers(std::size_t bytes) {
    before_ = asked_ > 0 ? most_bytes_ : 0;
    most_bytes_ = bytes;
  }

  /// Throws ErrorId::value for a message of 2 GiB and more.
  void ask(std::span<const Index> clients, const std::shared_ptr<const federated::Bytes>& message) {
    ++asked_;
    unanswered_ = std::ssize(clients);
    std::vector<std::vector<std::uint64_t>> on_rank(static_cast<std::size_t>(placement_.ranks));
    for (const Index c : clients)
      on_rank[static_cast<std::size_t>(placement_.rank_of(c))].push_back(static_cast<std::uint64_t>(c));
    for (int rank = 1; rank < placement_.ranks; ++rank) {
      const std::vector<std::uint64_t>& names = on_rank[static_cast<std::size_t>(rank)];
      const detail::Head head{asked_, names.size(), most_bytes_};
      send(rank, detail::ask_tag,
           std::make_shared<federated::Bytes>(
               detail::joined({std::as_bytes(std::span(head)), std::as_bytes(std::span(names)), *message})));
    }
  }

  std::optional<federated::Delivery> next(double deadline_seconds) {
    for (;;) {
      forget_sent();
      if (std::optional<detail::Arrived> arrived = detail::receive_ready(comm_, MPI_ANY_SOURCE, largest())) {
        detail::Head head;
        std::memcpy(head.data(), arrived->bytes.data(), sizeof head);
        if (head[0] == asked_) --unanswered_;
        const std::span<const std::byte> rest = std::span(arrived->bytes).subspan(sizeof head);
        federated::Delivery delivery{.client = static_cast<Index>(head[1]), .message = {}, .failure = {}};
        if (arrived->tag == detail::failure_tag)
          delivery.failure.assign(reinterpret_cast<const char*>(rest.data()), rest.size());
        else
          delivery.message.assign(rest.begin(), rest.end());
        return delivery;
      }
      if (unanswered_ == 0 || now() >= deadline_seconds) return std::nullopt;
      detail::pause();
    }
  }

 private:
  /// Of what a rank may send, with its head. A rank that has not seen a new bound yet obeys the one before.
  std::size_t largest() const { return std::max({most_bytes_, before_, detail::max_failure_bytes}) + sizeof(detail::Head); }
  struct Sending {
    std::shared_ptr<const federated::Bytes> bytes;  // until MPI has taken them
    MPI_Request request;
  };
  void send(int rank, detail::Tag tag, std::shared_ptr<const federated::Bytes> bytes) {
    const int count = detail::count_of(bytes->size());
    sending_.push_back({std::move(bytes), MPI_REQUEST_NULL});
    MPI_Isend(sending_.back().bytes->data(), count, MPI_BYTE, rank, tag, comm_, &sending_.back().request);
  }
  void forget_sent() {
    std::erase_if(sending_, [](Sending& s) {
      int sent = 0;
      MPI_Test(&s.request, &sent, MPI_STATUS_IGNORE);
      return sent != 0;
    });
  }

  MPI_Comm comm_ = MPI_COMM_NULL;
  Placement placement_;
  std::uint64_t asked_ = 0;  // calls of ask()
  Index unanswered_ = 0;     // clients of the last one
  std::size_t most_bytes_ = std::numeric_limits<int>::max();  // of an answer: more than MPI sends
  std::size_t before_ = 0;                                    // of answers to earlier questions
  std::list<Sending> sending_;
  bool closed_ = false;
  std::vector<int> silent_;  // ranks without a farewell, after close()
};

static_assert(federated::BoundedTransport<MpiTransport>);

namespace detail {

/// Whether the server has said something that nobody has read.
inline bool waiting(MPI_Comm comm) {
  int waits = 0;
  MPI_Iprobe(0, MPI_ANY_TAG, comm, &waits, MPI_STATUS_IGNORE);
  return waits != 0;
}

/// Takes one message of the server and answers it. When the host refuses it with an exception, all its clients fail. Clients
/// that have not begun when the next message is there are left out: their round is over.
inline void answer(MPI_Comm comm, federated::ClientHost& host, std::span<const std::byte> bytes) {
  Head head;
  std::memcpy(head.data(), bytes.data(), sizeof head);
  std::vector<std::uint64_t> clients(head[1]);
  std::ranges::copy(bytes.subspan(sizeof head, 8 * clients.size()), std::as_writable_bytes(std::span(clients)).begin());
  const std::span<const std::byte> message = bytes.subspan(sizeof head + 8 * clients.size());
  const std::string refused = federated::detail::failure_of([&] { host.begin(message); });
  for (const std::uint64_t client : clients) {
    if (waiting(comm)) return;
    federated::Bytes update;
    std::string failure = refused;
    if (refused.empty()) failure = federated::detail::failure_of([&] { update = host.answer(static_cast<Index>(client), 0); });
    if (update.size() > head[2]) failure = concat("its answer has ", update.size(), " bytes, expected at most ", head[2]);
    failure.resize(std::min(failure.size(), max_failure_bytes));
    const Head answer_head{head[0], client, 0};
    const federated::Bytes whole =
        joined({std::as_bytes(std::span(answer_head)),
                failure.empty() ? std::span<const std::byte>(update) : std::as_bytes(std::span(failure))});
    MPI_Send(whole.data(), count_of(whole.size()), MPI_BYTE, 0, failure.empty() ? answer_tag : failure_tag, comm);
  }
}

}  // namespace detail

/// The clients' end, on every other rank: works off what the server asks, one client after another, until it stops.
inline void serve(MPI_Comm comm, federated::ClientHost& host) {
  MPI_Comm own;
  MPI_Comm_dup(comm, &own);
  for (bool stopped = false; !stopped;) {
    const std::optional<detail::Arrived> arrived = detail::receive_ready(own, 0);
    if (!arrived) {
      detail::pause();
      continue;
    }
    stopped = arrived->tag == detail::stop_tag;
    if (!stopped) detail::answer(own, host, arrived->bytes);
  }
  MPI_Send(nullptr, 0, MPI_BYTE, 0, detail::stop_tag, own);
  MPI_Comm_free(&own);
}

}  // namespace lorasb::mpi
