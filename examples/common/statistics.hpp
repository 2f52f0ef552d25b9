// Mean and spread over seeds.
#pragma once

#include <cmath>
#include <vector>

namespace lorasb::examples {

inline double mean(const std::vector<double>& x) {
  double sum = 0;
  for (const double v : x) sum += v;
  return sum / double(x.size());
}
/// Sample standard deviation; 0 for a single number.
inline double deviation(const std::vector<double>& x) {
  double squares = 0;
  for (const double v : x) squares += (v - mean(x)) * (v - mean(x));
  return x.size() > 1 ? std::sqrt(squares / double(x.size() - 1)) : 0;
}

}  // namespace lorasb::examples
