// Numbers of a regression at a size that every learning rate suits.
#pragma once

#include <cmath>

#include "lorasb/core/check.hpp"
#include "lorasb/core/parameters.hpp"
#include "lorasb/models/head.hpp"

namespace lorasb::train {

/// y = deviation z + mean, for numbers y as the user has them and z as they are trained.
struct OutputScale {
  double deviation = 1, mean = 0;

  OutputScale inverse() const { return {1 / deviation, -mean / deviation}; }
  void apply(MatrixView<float> numbers) const {
    numbers.array() = numbers.array() * static_cast<float>(deviation) + static_cast<float>(mean);
  }
  /// The head among `values` gives y where it gave z.
  void apply(Parameters<float>& values) const {
    for (float& w : values.flat(models::head_module, Role::head_weight)) w *= static_cast<float>(deviation);
    for (float& b : values.flat(models::head_module, Role::head_bias)) b = static_cast<float>(deviation * b + mean);
  }
};

/// Makes numbers z of mean 0 and standard deviation 1 of y, 1 x examples; equal ones become 0. A head that was trained on z gives
/// y again after apply():
///
///     const train::OutputScale scale = train::standardize(texts.values);
///     ...                                                                  // train
///     scale.apply(*model.values);
///
/// Throws ErrorId::no_examples for no numbers.
inline OutputScale standardize(MatrixView<float> numbers) {
  require(numbers.size() > 0, ErrorId::no_examples, "standardize: there are no numbers");
  const double n = double(numbers.size()), mean = numbers.cast<double>().sum() / n;
  const double deviation = std::sqrt((numbers.cast<double>().array() - mean).square().sum() / n);
  const OutputScale scale{deviation > 0 ? deviation : 1, mean};
  for (Index i = 0; i < numbers.cols(); ++i)  // in double: numbers may be much larger than their deviation
    numbers(0, i) = static_cast<float>((double(numbers(0, i)) - mean) / scale.deviation);
  return scale;
}

}  // namespace lorasb::train
