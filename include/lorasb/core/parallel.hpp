// A parallel loop over a fixed number of parts.
#pragma once

#include <atomic>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "lorasb/core/check.hpp"

namespace lorasb {

/// Calls body(part) for part = 0, ..., parts - 1 on up to `threads` threads, the calling one included, and returns when all are
/// done. Which thread takes which part is not fixed; results do not depend on the number of threads as long as the caller fixes
/// the parts, lets each write to memory of its own, and adds these up in order afterwards. The first exception of a body
/// reaches the caller; parts that have not started by then are skipped.
template <class Body>
void parallel_for(Index parts, int threads, const Body& body) {
  require(threads >= 1, ErrorId::value, "parallel_for: threads is ", threads, ", expected at least 1");
  std::atomic<Index> next{0};
  std::exception_ptr first;
  std::mutex first_mutex;
  const auto work = [&]() noexcept {
    for (Index part = next++; part < parts; part = next++) {
      try {
        body(part);
      } catch (...) {
        const std::lock_guard lock(first_mutex);
        if (!first) first = std::current_exception();
        next = parts;
      }
    }
  };
  {
    std::vector<std::jthread> helpers;
    for (Index t = 1; t < threads && t < parts; ++t) helpers.emplace_back(work);
    work();
  }
  if (first) std::rethrow_exception(first);
}

}  // namespace lorasb
