// The mean gradient of a weight as a random sketch, for weights whose out x in gradient does not fit in memory.
#pragma once

#include <string>

#include "lorasb/core/check.hpp"
#include "lorasb/core/config.hpp"
#include "lorasb/core/random.hpp"
#include "lorasb/core/sums.hpp"
#include "lorasb/linalg/least_squares.hpp"
#include "lorasb/linalg/orthonormalize.hpp"
#include "lorasb/linalg/product.hpp"

namespace lorasb {

struct SketchOptions {
  Index rank = 16;          // r that initialize() will be asked for; sets the default widths
  Index range_columns = 0;  // k, columns of the range sketch; 0 means 2 r + 16
  Index corange_rows = 0;   // l ≥ 2 k + 1, rows of the co-range sketch; 0 means 2 k + 1
  Index test_vectors = 32;  // independent vectors that measure what was captured
  std::uint64_t seed = 0;   // of all random signs; equal seeds and shapes make sketches that add up

  /// Throws ErrorId::value. The widths are checked against the weight by GradientSketch.
  void validate() const {
    require(range_columns >= 0 && corange_rows >= 0, ErrorId::value, "SketchOptions: range_columns is ", range_columns,
            " and corange_rows is ", corange_rows, ", expected at least 0");
    require(test_vectors >= 2, ErrorId::value, "SketchOptions: test_vectors is ", test_vectors, ", expected at least 2");
  }
};

/// G = Σ_i dL_i/dW0 (out x in) seen through random signs Ω (in x k), Ψ (l x out) and T (in x q):
///     Y = G Ω (out x k),    C = Ψ G (l x in),    E = G T (out x q)
/// (Tropp, Yurtsever, Udell, Cevher: Practical sketching algorithms for low-rank matrix approximation, SIMAX 38 (2017),
/// algorithms 1 and 4.) Each is linear in G: batches are added as they come, sketches of the same options add up over clients,
/// and no out x in matrix exists: out (k + q) + l in numbers. The signs are generated again for every batch and
/// take as much again while add() runs. Only for SGD's rule, since sign(G) is not linear in G, and for spectra that decay.
template <Real S>
class LORASB_OWNS_MEMORY GradientSketch {
 public:
  /// Throws ErrorId::value for l < 2 k + 1, fewer than two test vectors, or k below the rank; ErrorId::rank for a bad rank.
  GradientSketch(Index out_features, Index in_features, SketchOptions options, std::string name = "layer")
      : options_(with_defaults(options, out_features, in_features)), name_(std::move(name)) {
    range_ = Matrix<S>::Zero(out_features, options_.range_columns);
    corange_ = Matrix<S>::Zero(options_.corange_rows, in_features);
    tests_ = Matrix<S>::Zero(out_features, options_.test_vectors);
  }

  /// As GradientEstimate::add: dY (out x tokens) of the summed loss of `examples` examples, X (in x tokens).
  void add(ConstMatrixView<S> dY, ConstMatrixView<S> X, Index examples) {
    check(dY, X);
    count(examples);
    accumulate(dY, X);
  }

  /// As GradientEstimate::add_uncounted and count.
  void add_uncounted(ConstMatrixView<S> dY, ConstMatrixView<S> X) {
    check(dY, X);
    accumulate(dY, X);
  }
  void count(Index examples) {
    require(examples >= 1, ErrorId::value, "GradientSketch: examples is ", examples, ", expected at least 1 (\"", name_, "\")");
    examples_ += examples;
  }

  /// Adds all examples of a sketch with the same options. Throws ErrorId::value when they differ.
  void add(const GradientSketch& other) {
    const SketchOptions& o = other.options_;
    require(o.range_columns == options_.range_columns && o.corange_rows == options_.corange_rows &&
                o.test_vectors == options_.test_vectors && o.seed == options_.seed && other.out_features() == out_features() &&
                other.in_features() == in_features(),
            ErrorId::value, "GradientSketch::add: the other sketch of \"", name_, "\" has another shape, width or seed");
    examples_ += other.examples_;
    range_ += other.range_;
    corange_ += other.corange_;
    tests_ += other.tests_;
  }

  Index out_features() const { return range_.rows(); }
  Index in_features() const { return corange_.cols(); }
  Index examples() const { return examples_; }
  const std::string& name() const { return name_; }
  const SketchOptions& options() const { return options_; }

  /// G ≈ Q M with Q (out x k) orthonormal and M = (Ψ Q)⁺ C (k x in), algorithm 4.
  struct Factors {
    Matrix<S> Q;
    Matrix<S> M;
  };
  Factors factors() const {
    Factors f{.Q = range_, .M = {}};
    linalg::orthonormalize<S>(f.Q, derive_seed(options_.seed, 3));
    const Matrix<S> Psi_t = signs(out_features(), options_.corange_rows, 1);
    const Matrix<S> PsiQ = linalg::product(linalg::transposed(Psi_t), f.Q);  // l x k
    f.M = linalg::least_squares<S>(PsiQ, corange_);
    return f;
  }
  /// ‖G t‖² and ‖(G - U D Vᵀ) t‖² for each test vector t, both over the square of what is returned, a power of two of the size
  /// of G, so that squares stay in the range of double; U: out x r, D: r numbers, V: in x r.
  double measure(const Matrix<S>& U, const Vector<S>& D, const Matrix<S>& V, Vector<double>& energy,
                 Vector<double>& residual) const {
    Matrix<S> DVtT = linalg::product(linalg::transposed(V), signs(in_features(), options_.test_vectors, 2));  // r x q
    for (Index j = 0; j < DVtT.cols(); ++j) DVtT.col(j).array() *= D.array();
    Matrix<S> missed = tests_;
    linalg::multiply(U, DVtT, missed, -1, 1);
    const double scale = in_range_scale(double(tests_.cwiseAbs().maxCoeff()));
    energy = (scale * tests_.template cast<double>()).colwise().squaredNorm().transpose();
    residual = (scale * missed.template cast<double>()).colwise().squaredNorm().transpose();
    return 1 / scale;
  }

 private:
  static SketchOptions with_defaults(SketchOptions o, Index out_features, Index in_features) {
    o.validate();
    const Index smaller = std::min(out_features, in_features);
    require(o.rank >= 1 && o.rank <= smaller, ErrorId::rank, "GradientSketch: rank is ", o.rank,
            ", expected 1 to min(out, in) = ", smaller);
    if (o.range_columns == 0) o.range_columns = std::min(2 * o.rank + 16, smaller);
    if (o.corange_rows == 0) o.corange_rows = 2 * o.range_columns + 1;
    require(o.range_columns >= o.rank && o.range_columns <= smaller, ErrorId::value, "GradientSketch: range_columns is ",
            o.range_columns, ", expected rank = ", o.rank, " to min(out, in) = ", smaller);
    require(o.corange_rows >= 2 * o.range_columns + 1, ErrorId::value, "GradientSketch: corange_rows is ", o.corange_rows,
            ", expected at least 2 range_columns + 1 = ", 2 * o.range_columns + 1);
    return o;
  }

  void check(ConstMatrixView<S> dY, ConstMatrixView<S> X) const {
    require_shape(X, in_features(), dY.cols(), "GradientSketch::add", "X", "in_features of \"", name_, "\" x columns of dY");
    require_rows(dY, out_features(), "GradientSketch::add", "dY", "out_features of \"", name_, "\"");
    require_finite(dY, "GradientSketch::add", "dY of \"", name_, "\"");
    require_finite(X, "GradientSketch::add", "X of \"", name_, "\"");
  }

  void accumulate(ConstMatrixView<S> dY, ConstMatrixView<S> X) {
    using linalg::product, linalg::multiply, linalg::transposed;
    const ConstWeightView<S> Xt = transposed(X);
    multiply(dY, product(Xt, signs(in_features(), options_.range_columns, 0)), range_, 1, 1);  // dY (Xᵀ Ω)
    const Matrix<S> Psi_t = signs(out_features(), options_.corange_rows, 1);
    multiply(product(transposed(Psi_t), dY), Xt, corange_, 1, 1);                             // (Ψ dY) Xᵀ
    multiply(dY, product(Xt, signs(in_features(), options_.test_vectors, 2)), tests_, 1, 1);  // dY (Xᵀ T)
  }

  /// Random signs, rows x cols; 64 of them from each draw, row i from position i ⌈cols / 64⌉ of the stream.
  Matrix<S> signs(Index rows, Index cols, std::uint64_t stream) const {
    Matrix<S> result(rows, cols);
    Random random(options_.seed, stream);
    for (Index i = 0; i < rows; ++i) {
      std::uint64_t bits = 0;
      for (Index j = 0; j < cols; ++j) {
        if (j % 64 == 0) bits = random.bits();
        result(i, j) = bits >> (j % 64) & 1 ? S(1) : S(-1);
      }
    }
    return result;
  }

  SketchOptions options_;
  std::string name_;
  Index examples_ = 0;
  Matrix<S> range_;    // Y
  Matrix<S> corange_;  // C
  Matrix<S> tests_;    // E
};

}  // namespace lorasb
