// How much memory this process has needed.
#pragma once

#include <sys/resource.h>

namespace lorasb::examples {

/// The largest resident set so far.
inline double peak_rss_bytes() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return double(usage.ru_maxrss) * 1024;
}

}  // namespace lorasb::examples
