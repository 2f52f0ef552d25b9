// Exact means over the ranks of an MPI job.
#pragma once

#include "lorasb/exact/mean.hpp"
#include "lorasb/mpi/transport.hpp"

namespace lorasb::mpi {

/// Merges the sums of all ranks into that of rank 0, two by two; called by all of them. The other ranks' objects stay as they
/// are, as far as they were merged. The bits do not depend on how the updates were shared out. Throws what ExactMean::merge
/// throws.
template <Real S>
void merge_to_root(ExactMean<S>& mean, MPI_Comm comm) {
  int rank = 0, ranks = 0;
  MPI_Comm_rank(comm, &rank);
  MPI_Comm_size(comm, &ranks);
  std::vector<std::uint64_t> words(mean.word_count());
  const int count = detail::count_of(words.size());
  for (int step = 1; step < ranks; step *= 2) {
    if (rank % (2 * step) == step) {
      mean.save(words);
      MPI_Send(words.data(), count, MPI_UINT64_T, rank - step, 0, comm);
      return;
    }
    if (rank + step < ranks) {
      MPI_Recv(words.data(), count, MPI_UINT64_T, rank + step, 0, comm, MPI_STATUS_IGNORE);
      mean.merge(words);
    }
  }
}

}  // namespace lorasb::mpi
