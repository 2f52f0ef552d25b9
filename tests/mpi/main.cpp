// Every rank runs all tests, in the same order; rank 0 writes its results, the others only what failed.
#define CATCH_CONFIG_RUNNER
#include "catch.hpp"

#ifndef OMPI_SKIP_MPICXX
#define OMPI_SKIP_MPICXX 1
#endif
#include <mpi.h>

#include <cstdio>
#include <sstream>

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  std::ostringstream others;
  std::streambuf* const out = std::cout.rdbuf();
  if (rank != 0) std::cout.rdbuf(others.rdbuf());
  const int failed = Catch::Session().run(argc, argv);
  std::cout.rdbuf(out);
  if (rank != 0 && failed != 0) std::fprintf(stderr, "rank %d:\n%s\n", rank, others.str().c_str());
  if (failed != 0) MPI_Abort(MPI_COMM_WORLD, 1);  // the others may wait for this one
  MPI_Finalize();
  return 0;
}
