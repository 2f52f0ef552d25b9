// A classification head, linear or with a dense layer before, trained in full beside adapters.
#pragma once

#include <cmath>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "lorasb/core/layer_gradient.hpp"
#include "lorasb/core/parameters.hpp"
#include "lorasb/linalg/product.hpp"
#include "lorasb/nn/activation.hpp"
#include "lorasb/nn/bias.hpp"

namespace lorasb::models {

inline constexpr std::string_view head_module = "classifier";
/// Of the dense layer; transformers' names for it differ by family (encoder_names(family).pooler).
inline constexpr std::string_view dense_module = "classifier.dense";

/// Appends W (classes x features) and b (1 x classes) of a head, "classifier.weight" and "classifier.bias".
inline void append_head(Index classes, Index features, ParameterLayout& layout) {
  layout.add(std::string(head_module), Role::head_weight, classes, features);
  layout.add(std::string(head_module), Role::head_bias, 1, classes);
}
/// Appends W_d (features x features) and b_d (1 x features) of the dense layer before it, "classifier.dense.weight" and
/// ".bias".
inline void append_dense(Index features, ParameterLayout& layout) {
  layout.add(std::string(dense_module), Role::head_weight, features, features);
  layout.add(std::string(dense_module), Role::head_bias, 1, features);
}

/// logits = c W e + b, with e the vector of a text (d numbers) and c = √d for unit vectors, so that the features of the head
/// have size one (TextEncoder::head_scale). Where the values have a dense layer: logits = W f(c W_d e + b_d) + b, with f tanh
/// or relu, as transformers' classifiers of sequences have it. The head views its values in the trainer's buffer, which must
/// outlive it.
template <Real S>
class Head {
 public:
  /// `scale` is c; 0: √d. Throws ErrorId::unknown_name when `values` has no head, ErrorId::shape for a dense layer of other
  /// sizes, and ErrorId::value for another f.
  explicit Head(const Parameters<S>& values LORASB_LIFETIMEBOUND, double scale = 0, nn::Activation f = nn::Activation::tanh)
      : last_(head_module, values), activation_(f) {
    const S c = scale != 0 ? static_cast<S>(scale) : std::sqrt(static_cast<S>(last_.W.cols()));
    if (values.layout().find(dense_module, Role::head_weight) != nullptr) dense_.emplace(dense_module, values);
    (dense_ ? dense_->scale : last_.scale) = c;
    require(!nn::reads_input(f), ErrorId::value, "Head: the activation behind the dense layer is neither tanh nor relu");
    require(!dense_ || dense_->W.rows() == last_.W.cols(), ErrorId::shape, "Head: the dense layer has ",
            dense_ ? dense_->W.rows() : 0, " outputs, expected ", last_.W.cols(), ", the features of the last one");
  }
  explicit Head(const Parameters<S>&&, double = 0, nn::Activation = nn::Activation::tanh) = delete;

  Index classes() const { return last_.W.rows(); }
  Index features() const { return dense_ ? dense_->W.cols() : last_.W.cols(); }
  /// Its trained numbers.
  Index size() const { return last_.size() + (dense_ ? dense_->size() : 0); }

  /// Overwrites `logits` (classes x texts) from vectors E (d x texts).
  void forward(ConstMatrixView<S> E, MatrixView<S> logits) const {
    if (dense_)
      last_.forward(hidden(E), logits);
    else
      last_.forward(E, logits);
  }

  /// dW += c dlogits Eᵀ, db += Σ dlogits, in `gradient`, which has the layout of the values; overwrites dE = c Wᵀ dlogits
  /// unless it is not wanted.
  void backward(ConstMatrixView<S> E, ConstMatrixView<S> dlogits, std::span<S> gradient, const InputGradient<S>& dE) const {
    run_backward(E, dlogits, dE,
                 [&](const Layer& layer, ConstMatrixView<S> X, ConstMatrixView<S> dY) { layer.add_gradient(X, dY, gradient); });
  }
  /// The same with the gradient of each text in its column of `each` (values x texts): dW_i = c dz_i e_iᵀ, db_i = dz_i.
  void backward_per_example(ConstMatrixView<S> E, ConstMatrixView<S> dlogits, MatrixView<S> each,
                            const InputGradient<S>& dE) const {
    run_backward(E, dlogits, dE, [&](const Layer& layer, ConstMatrixView<S> X, ConstMatrixView<S> dY) {
      for (Index i = 0; i < X.cols(); ++i)
        layer.add_gradient(X.col(i), dY.col(i), {each.data() + i * each.outerStride(), static_cast<std::size_t>(each.rows())});
    });
  }

 private:
  /// y = scale W x + b.
  struct Layer {
    ConstWeightView<S> W;
    std::span<const S> b;
    Range weight_range, bias_range;
    S scale = 1;

    Layer(std::string_view module, const Parameters<S>& values)
        : W(values.at(module, Role::head_weight)),
          b(values.flat(module, Role::head_bias)),
          weight_range(values.layout().at(module, Role::head_weight).range()),
          bias_range(values.layout().at(module, Role::head_bias).range()) {}
    Index size() const { return weight_range.count + bias_range.count; }
    void forward(ConstMatrixView<S> X, MatrixView<S> Y) const {
      linalg::multiply(W, X, Y, scale);
      nn::add_bias<S>(Y, b);
    }
    /// dW += scale dY Xᵀ, db += Σ dY.
    void add_gradient(ConstMatrixView<S> X, ConstMatrixView<S> dY, std::span<S> gradient) const {
      linalg::multiply(dY, linalg::transposed(X), WeightView<S>(weight_range.of(gradient).data(), W.rows(), W.cols()), scale,
                       1);
      nn::add_bias_backward_parameters<S>(dY, bias_range.of(gradient));
    }
    /// dX = scale Wᵀ dY.
    void input_gradient(ConstMatrixView<S> dY, const InputGradient<S>& dX) const {
      if (dX.wanted()) linalg::multiply(linalg::transposed(W), dY, dX.view(), scale);
    }
  };

  /// f(c W_d e + b_d), features x texts.
  Matrix<S> hidden(ConstMatrixView<S> E) const {
    Matrix<S> H(dense_->W.rows(), E.cols());
    dense_->forward(E, H);
    nn::activate<S>(activation_, H, H);
    return H;
  }
  /// add(layer, its input, the gradient of its output) for each layer.
  template <class Add>
  void run_backward(ConstMatrixView<S> E, ConstMatrixView<S> dlogits, const InputGradient<S>& dE, const Add& add) const {
    if (!dense_) {
      add(last_, E, dlogits);
      return last_.input_gradient(dlogits, dE);
    }
    const Matrix<S> H = hidden(E);  // cheap beside the encoder: it is not kept
    Matrix<S> dH(H.rows(), H.cols());
    add(last_, H, dlogits);
    last_.input_gradient(dlogits, MatrixView<S>(dH));
    nn::activate_backward<S>(activation_, dH, H, dH);
    add(*dense_, E, dH);
    dense_->input_gradient(dH, dE);
  }

  Layer last_;
  std::optional<Layer> dense_;
  nn::Activation activation_;
};

}  // namespace lorasb::models
