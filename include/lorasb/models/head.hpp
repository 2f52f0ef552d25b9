// A linear classification head, trained in full beside adapters.
#pragma once

#include <cmath>
#include <span>
#include <string>
#include <string_view>

#include "lorasb/core/layer_gradient.hpp"
#include "lorasb/core/parameters.hpp"
#include "lorasb/linalg/product.hpp"
#include "lorasb/nn/bias.hpp"

namespace lorasb::models {

inline constexpr std::string_view head_module = "classifier";

/// Appends W (classes x features) and b (1 x classes) of a head, "classifier.weight" and "classifier.bias".
inline void append_head(Index classes, Index features, ParameterLayout& layout) {
  layout.add(std::string(head_module), Role::head_weight, classes, features);
  layout.add(std::string(head_module), Role::head_bias, 1, classes);
}

/// logits = c W e + b, with e the vector of a text (d numbers) and c = √d for unit vectors, so that the features of the head have size
/// one (TextEncoder::head_scale). The head views its values in the trainer's buffer, which must outlive it.
template <Real S>
class Head {
 public:
  /// `scale` is c; 0: √d. Throws ErrorId::unknown_name when `values` has no head.
  explicit Head(const Parameters<S>& values LORASB_LIFETIMEBOUND, double scale = 0)
      : W_(values.at(head_module, Role::head_weight)),
        b_(values.flat(head_module, Role::head_bias)),
        weight_range_(values.layout().at(head_module, Role::head_weight).range()),
        bias_range_(values.layout().at(head_module, Role::head_bias).range()),
        scale_(scale != 0 ? static_cast<S>(scale) : std::sqrt(static_cast<S>(W_.cols()))) {}
  explicit Head(const Parameters<S>&&, double = 0) = delete;

  Index classes() const { return W_.rows(); }
  Index features() const { return W_.cols(); }
  /// Its trained numbers.
  Index size() const { return weight_range_.count + bias_range_.count; }

  /// Overwrites `logits` (classes x texts) from vectors E (d x texts).
  void forward(ConstMatrixView<S> E, MatrixView<S> logits) const {
    linalg::multiply(W_, E, logits, scale_);
    nn::add_bias<S>(logits, b_);
  }

  /// dW += c dlogits Eᵀ, db += Σ dlogits, in `gradient`, which has the layout of the values; overwrites dE = c Wᵀ dlogits
  /// unless it is not wanted.
  void backward(ConstMatrixView<S> E, ConstMatrixView<S> dlogits, std::span<S> gradient, const InputGradient<S>& dE) const {
    linalg::multiply(dlogits, linalg::transposed(E),
                     WeightView<S>(weight_range_.of(gradient).data(), W_.rows(), W_.cols()), scale_, 1);
    nn::add_bias_backward_parameters<S>(dlogits, bias_range_.of(gradient));
    if (dE.wanted()) linalg::multiply(linalg::transposed(W_), dlogits, dE.view(), scale_);
  }
  /// The same with the gradient of each text in its column of `each` (values x texts): dW_i = c dz_i e_iᵀ, db_i = dz_i.
  void backward_per_example(ConstMatrixView<S> E, ConstMatrixView<S> dlogits, MatrixView<S> each,
                            const InputGradient<S>& dE) const {
    for (Index i = 0; i < E.cols(); ++i) {
      S* const column = each.data() + i * each.outerStride();
      WeightView<S> dW(column + weight_range_.first, W_.rows(), W_.cols());
      Eigen::Map<Vector<S>> db(column + bias_range_.first, bias_range_.count);
      for (Index c = 0; c < classes(); ++c) dW.row(c) += scale_ * dlogits(c, i) * E.col(i).transpose();
      db += dlogits.col(i);
    }
    if (dE.wanted()) linalg::multiply(linalg::transposed(W_), dlogits, dE.view(), scale_);
  }

 private:
  ConstWeightView<S> W_;
  std::span<const S> b_;
  Range weight_range_, bias_range_;
  S scale_;
};

}  // namespace lorasb::models
