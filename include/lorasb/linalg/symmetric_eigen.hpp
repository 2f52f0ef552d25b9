// The largest eigenvalues of a symmetric matrix of up to about a thousand columns, with eigenvectors when wanted.
#pragma once

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "lorasb/core/check.hpp"
#include "lorasb/core/config.hpp"
#include "lorasb/core/random.hpp"
#include "lorasb/core/sums.hpp"
#include "lorasb/core/view.hpp"

namespace lorasb::linalg {
namespace detail {

/// A = H T Hᵀ with T tridiagonal and H = H_0 ... H_{n-3}, H_k = I - factor_k v_k v_kᵀ.
struct LORASB_OWNS_MEMORY Tridiagonal {
  Vector<double> diagonal;      // of T, n
  Vector<double> off_diagonal;  // n, of which the last is 0
  Matrix<double> reflectors;    // n x n: v_k in rows k + 1 to n - 1 of column k, its first entry 1
  Vector<double> factors;       // n
};

/// Column k of A below its diagonal becomes (off_diagonal_k, 0, ..., 0) by a reflection, whose vector takes its place.
inline void make_reflector(Tridiagonal& t, Index k) {
  const Index n = t.diagonal.size() - k - 1;
  double* const v = &t.reflectors(k + 1, k);
  const double below = dot(v + 1, v + 1, n - 1);
  const double length = std::sqrt(v[0] * v[0] + below);
  t.off_diagonal(k) = below == 0 ? v[0] : -std::copysign(length, v[0]);
  t.factors(k) = below == 0 ? 0 : (t.off_diagonal(k) - v[0]) / t.off_diagonal(k);
  const double first = v[0] - t.off_diagonal(k);
  for (Index i = 1; i < n && below != 0; ++i) v[i] /= first;
  v[0] = 1;
}

/// Householder's reduction of the lower triangle of A (Golub, Van Loan, Matrix Computations, section 8.3.1). The update
/// A -= v wᵀ + w vᵀ of one reflection and the product A v' for the next one share a pass over A.
inline Tridiagonal tridiagonalize(ConstMatrixView<double> A) {
  const Index n = A.rows();
  Tridiagonal t{Vector<double>::Zero(n), Vector<double>::Zero(n), Matrix<double>(n, n), Vector<double>::Zero(n)};
  Matrix<double>& M = t.reflectors;
  for (Index j = 0; j < n; ++j) std::copy_n(A.data() + j * (A.outerStride() + 1), n - j, &M(j, j));
  Vector<double> w(n), p(n);
  for (Index k = 0; k < n; ++k) {
    const double* const v = k > 0 ? &M(0, k - 1) : nullptr;  // of the reflection before; its rows from k on
    const auto update = [&](Index j) {                       // column j of A -= v wᵀ + w vᵀ, from the diagonal on
      if (k == 0) return;
      double* const a = &M(0, j);
      const double vj = v[j], wj = w(j);
      for (Index i = j; i < n; ++i) a[i] -= v[i] * wj + w(i) * vj;
    };
    update(k);
    t.diagonal(k) = M(k, k);
    if (k + 1 == n) break;
    make_reflector(t, k);
    const double* const next = &M(0, k);
    std::fill_n(p.data(), n, 0.0);
    for (Index j = k + 1; j < n; ++j) {
      update(j);
      const double* const a = &M(0, j);
      p(j) += a[j] * next[j] + dot(a + j + 1, next + j + 1, n - j - 1);
      add_multiple(next[j], a + j + 1, &p(0) + j + 1, n - j - 1);
    }
    // w = factor p - ½ factor² (pᵀv) v
    const Index length = n - k - 1;
    const double half = 0.5 * t.factors(k) * t.factors(k) * dot(&p(k + 1), next + k + 1, length);
    for (Index i = k + 1; i < n; ++i) w(i) = t.factors(k) * p(i) - half * next[i];
  }
  return t;
}

/// The largest size of an eigenvalue of T, or up to three times as much (the row sums), for scaling.
inline double size_of(const Tridiagonal& t) {
  double size = 0;
  for (Index i = 0; i < t.diagonal.size(); ++i) size = std::max({size, std::abs(t.diagonal(i)), std::abs(t.off_diagonal(i))});
  return 3 * size;
}

// Functions marked cold run once for each layer: compiled for size, they take a tenth off what a user waits for the compiler.

/// All eigenvalues of T, descending; false when 50 steps did not do for one of them. The QL algorithm with implicit shifts
/// (Golub, Van Loan, Matrix Computations, section 8.3.5): a step on rows l to m turns the plane of each pair of neighbours
/// from the bottom up, by cosine c and sine s, and pushes the bulge that the shift made out at the top.
[[gnu::cold]] inline bool tridiagonal_eigenvalues(const Tridiagonal& t, Vector<double>& values) {
  const Index n = t.diagonal.size();
  const double size = size_of(t);
  values = Vector<double>::Zero(n);
  if (size == 0) return true;
  Vector<double> e(n);  // scaled, so that squares stay in range
  for (Index i = 0; i < n; ++i) values(i) = t.diagonal(i) / size, e(i) = t.off_diagonal(i) / size;
  bool converged = true;
  const double negligible = 0.1 * std::numeric_limits<double>::epsilon();  // size counts up to three times the largest value
  for (Index l = 0; l < n; ++l) {
    for (int step = 0;; ++step) {
      Index m = l;
      while (std::abs(e(m)) > negligible) ++m;  // the last is 0
      if (m == l) break;
      if (step == 50) {
        converged = false;
        break;
      }
      const double ratio = (values(l + 1) - values(l)) / (2 * e(l));
      double g = values(m) - values(l) + e(l) / (ratio + std::copysign(std::hypot(ratio, 1.0), ratio));
      double s = 1, c = 1, p = 0;
      Index i = m - 1;
      for (; i >= l; --i) {
        const double f = s * e(i), b = c * e(i);
        const double r = std::sqrt(f * f + g * g);
        e(i + 1) = r;
        if (r == 0) break;  // the block has come apart here
        s = f / r;
        c = g / r;
        g = values(i + 1) - p;
        const double turned = (values(i) - g) * s + 2 * c * b;
        p = s * turned;
        values(i + 1) = g + p;
        g = c * turned - b;
      }
      if (i >= l)
        values(i + 1) -= p;
      else
        values(l) -= p, e(l) = g;
      e(m) = 0;
    }
  }
  for (double& value : values) value *= size;
  for (Index i = 1; i < n; ++i) {  // descending, by insertion: little beside the n² steps above
    const double value = values(i);
    Index place = i;
    for (; place > 0 && values(place - 1) < value; --place) values(place) = values(place - 1);
    values(place) = value;
  }
  return converged;
}

/// x := (T - λ I)⁻¹ x up to scale, for x: n numbers, by elimination with row exchanges. A pivot of zero counts as `tiny`.
[[gnu::cold]] inline void solve_shifted(const Tridiagonal& t, double lambda, double tiny, Vector<double>& x,
                                        Matrix<double>& upper) {
  const Index n = t.diagonal.size();
  upper.resize(3, n);  // row i of the factor: its entries in columns i, i + 1 and i + 2
  double a = t.diagonal(0) - lambda, b = t.off_diagonal(0);
  for (Index i = 0; i + 1 < n; ++i) {
    const double below = t.off_diagonal(i), next = t.diagonal(i + 1) - lambda, after = t.off_diagonal(i + 1);
    if (std::abs(a) >= std::abs(below)) {
      if (a == 0) a = tiny;
      const double factor = below / a;
      upper(0, i) = a, upper(1, i) = b, upper(2, i) = 0;
      a = next - factor * b, b = after;
      x(i + 1) -= factor * x(i);
    } else {
      const double factor = a / below;
      upper(0, i) = below, upper(1, i) = next, upper(2, i) = after;
      a = b - factor * next, b = -factor * after;
      std::swap(x(i), x(i + 1));
      x(i + 1) -= factor * x(i);
    }
  }
  upper(0, n - 1) = a == 0 ? tiny : a;
  for (Index i = n - 1; i >= 0; --i) {
    if (i + 1 < n) x(i) -= upper(1, i) * x(i + 1);
    if (i + 2 < n) x(i) -= upper(2, i) * x(i + 2);
    const double pivot = std::abs(upper(0, i)) < tiny ? std::copysign(tiny, upper(0, i)) : upper(0, i);
    x(i) /= pivot;
    if (std::abs(x(i)) > 1e100) x *= 1e-100;
  }
}

/// Orthonormal eigenvectors of T for the eigenvalues given, by inverse iteration from random starts, each kept orthogonal to
/// those before it: that many vectors of one eigenvalue, or of a cluster, span its space.
[[gnu::cold]] inline Matrix<double> tridiagonal_eigenvectors(const Tridiagonal& t, const Vector<double>& values, Index count) {
  const Index n = t.diagonal.size();
  Matrix<double> X(n, count), upper;
  Vector<double> x(n);
  const double tiny = std::max(std::numeric_limits<double>::epsilon() * size_of(t), 1e-200);
  for (Index j = 0; j < count; ++j) {
    Random random(0, static_cast<std::uint64_t>(j));
    for (double& entry : x) entry = random.normal();
    for (int step = 0; step < 4; ++step) {  // the last one only removes what rounding left
      if (step < 3) solve_shifted(t, values(j), tiny, x, upper);
      const auto normalize = [&] {
        const double length = norm<double>(std::span<const double>(x.data(), static_cast<std::size_t>(n)));
        for (double& entry : x) entry /= length;
      };
      normalize();
      for (Index k = 0; k < j; ++k) add_multiple(-dot(&X(0, k), x.data(), n), &X(0, k), x.data(), n);
      normalize();
    }
    std::copy(x.begin(), x.end(), &X(0, j));
  }
  return X;
}

}  // namespace detail

/// The eigenvalues of A (n x n, symmetric; its lower triangle is read), and eigenvectors of the largest when asked for. Values
/// are accurate to a few epsilon of the largest one in size. Where eigenvalues lie as close as that, vectors of one may stand
/// for the other; together they span the space of both. A must be finite, and its largest entry zero or between 1e-140 and
/// 1e140. Time: 4/3 n³ operations for the values, 2 n² count + 8 n count² for the vectors.
class LORASB_OWNS_MEMORY SymmetricEigen {
 public:
  explicit SymmetricEigen(ConstMatrixView<double> A) {
    require(A.rows() == A.cols(), ErrorId::shape, "linalg::SymmetricEigen: A is ", A.rows(), " x ", A.cols(),
            ", expected a square matrix");
    reduced_ = detail::tridiagonalize(A);
    converged_ = detail::tridiagonal_eigenvalues(reduced_, values_);
  }

  const Vector<double>& values() const { return values_; }  // n, descending
  bool converged() const { return converged_; }

  /// Orthonormal X (n x count) with A X = X diag(values) for the `count` largest. Throws ErrorId::shape for more than n.
  Matrix<double> vectors(Index count) const {
    const Index n = values_.size();
    require(count >= 0 && count <= n, ErrorId::shape, "linalg::SymmetricEigen::vectors: count is ", count, ", expected 0 to ",
            n);
    Matrix<double> X = detail::tridiagonal_eigenvectors(reduced_, values_, count);
    for (Index k = n - 3; k >= 0; --k) {  // H_0 ... H_{n-3} times those of T
      const double* const v = &reduced_.reflectors(0, k) + k + 1;
      for (Index j = 0; j < count; ++j) {
        double* const x = &X(0, j) + k + 1;
        add_multiple(-reduced_.factors(k) * dot(v, x, n - k - 1), v, x, n - k - 1);
      }
    }
    return X;
  }

 private:
  detail::Tridiagonal reduced_;
  Vector<double> values_;
  bool converged_ = true;
};

}  // namespace lorasb::linalg
