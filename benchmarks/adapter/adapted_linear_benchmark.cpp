// An adapted layer's forward and backward pass, beside LibTorch's and beside raw products of as many operations.
#include "lorasb/adapter/adapted_linear.hpp"

#include <benchmark/benchmark.h>

#include "benchmarks/backends.hpp"
#include "benchmarks/interleave.hpp"
#include "benchmarks/rival/products.hpp"
#include "lorasb/core/random.hpp"
#ifdef LORASB_HAS_TORCH
#include "benchmarks/rival/torch.hpp"
#endif

namespace {

using namespace lorasb;

template <class M>
M random_matrix(Index rows, Index cols, std::uint64_t stream, float size = 1) {
  Random random(1, stream);
  return M::NullaryExpr(rows, cols, [&] { return size * float(random.normal()); });
}

struct Size {
  Index in, out, rank;
};
constexpr Size sizes[] = {{576, 1536, 64}, {4096, 4096, 96}};
constexpr Size small_sizes[] = {{64, 64, 8}, {384, 384, 24}, {1024, 1024, 16}};
constexpr Index many_tokens = 512;
constexpr int pairs = 15;

struct Problem {
  Index in, out, rank;
  Weight<float> W0, X_rows, dY_rows;  // X and dY: a row for each token, the bytes of a column for each token
  Eigen::Matrix<Bfloat16, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> narrow;  // W0 then holds the same numbers
  LowRankAdapter<float> adapter;
  Matrix<float> Y, dX;
  Weight<float> dR = Weight<float>::Zero(rank, rank);
  LinearCache<float> cache;
  AdaptedLinear<float> layer;

  Problem(const Size& s, bool narrow_weight, Index tokens = many_tokens)
      : in(s.in),
        out(s.out),
        rank(s.rank),
        W0(random_matrix<Weight<float>>(out, in, 1, 1 / std::sqrt(float(in)))),
        X_rows(random_matrix<Weight<float>>(tokens, in, 5)),
        dY_rows(random_matrix<Weight<float>>(tokens, out, 6)),
        adapter{.B = random_matrix<Weight<float>>(out, rank, 2, 1 / std::sqrt(float(out))),
                .R = random_matrix<Weight<float>>(rank, rank, 3),
                .A = random_matrix<Weight<float>>(rank, in, 4, 1 / std::sqrt(float(in)))},
        Y(out, tokens),
        dX(in, tokens),
        layer(narrow_weight ? narrowed() : FrozenWeight<float>(W0), adapter) {}

  FrozenWeight<float> narrowed() {
    narrow = W0.cast<Bfloat16>();
    W0 = narrow.cast<float>();
    return narrow;
  }
  FrozenWeight<float> weight() const { return narrow.size() > 0 ? FrozenWeight<float>(narrow) : FrozenWeight<float>(W0); }
  /// How far products may be off: inputs of narrow weights are rounded to 8 bits.
  float tolerance() const { return narrow.size() > 0 ? 1e-2f : 1e-4f; }

  Index tokens() const { return Y.cols(); }
  ConstMatrixView<float> X() const { return {X_rows.data(), in, tokens()}; }
  ConstMatrixView<float> dY() const { return {dY_rows.data(), out, tokens()}; }

  void run() {
    dR.setZero();
    const ForwardPass<float> pass = layer.forward(X(), Y, cache);
    layer.backward(pass, dY(), cache, dR, dX);
  }

  double frozen_operations() const { return 4.0 * double(in) * double(out) * double(tokens()); }
  double operations() const {
    const double r = double(rank), t = double(tokens());
    return frozen_operations() + 4 * t * r * double(in + out) + 6 * t * r * r;
  }
};

template <class D>
bool agree(const Eigen::MatrixBase<D>& found, std::span<const float> expected, float tolerance) {
  const Eigen::Map<const typename D::PlainObject> e(expected.data(), found.rows(), found.cols());
  return (found - e).norm() <= tolerance * e.norm();
}

void against_product(benchmark::State& state, const bench::Backend& backend, const Size& size, const rival::Product* product) {
  backend.select();
  Problem p(size, backend.narrow);
  p.run();
  const Weight<float> W = p.W0 + p.adapter.B * p.adapter.R * p.adapter.A;
  const Matrix<float> Y = W * p.X(), dX = W.transpose() * p.dY();
  if (!agree(p.Y, flat(Y), p.tolerance()) || !agree(p.dX, flat(dX), p.tolerance()))
    return state.SkipWithError("the layer is not (W0 + s B R A) X");
  const auto raw = [&] {
    if (product == nullptr) {  // the backend's own
      linalg::multiply(p.weight(), p.X(), p.Y);
      linalg::multiply_transposed(p.weight(), p.dY(), p.dX);
    } else {
      product->multiply(false, p.out, p.tokens(), p.in, p.W0.data(), p.X_rows.data(), p.Y.data());
      product->multiply(true, p.in, p.tokens(), p.out, p.W0.data(), p.dY_rows.data(), p.dX.data());
    }
  };
  raw();
  const Matrix<float> W0X = p.W0 * p.X(), W0tdY = p.W0.transpose() * p.dY();
  if (!agree(p.Y, flat(W0X), p.tolerance()) || !agree(p.dX, flat(W0tdY), p.tolerance()))
    return state.SkipWithError("the raw products are wrong");
  bench::interleave(
      state, [&] { p.run(); }, raw, p.operations(), p.operations() / p.frozen_operations());
  state.SetLabel((product == nullptr ? backend.name + "'s product" : product->name) + ", as many operations");
}

/// What an author would write: Y = W0 X + B (R (A X)) and its gradients in plain Eigen, for as many tokens as a decoder or a small
/// batch has. One token is a vector there.
template <int Tokens>
void against_plain_eigen(benchmark::State& state, const Size& size) {
  linalg::use_backend(nullptr);
  Problem p(size, false, Tokens);
  using Columns = Eigen::Matrix<float, Eigen::Dynamic, Tokens>;
  const Columns X = p.X(), dY = p.dY();
  Columns Z(p.rank, Tokens), RZ(p.rank, Tokens), Y(p.out, Tokens), P(p.rank, Tokens), RtP(p.rank, Tokens), dX(p.in, Tokens);
  Weight<float> dR = Weight<float>::Zero(p.rank, p.rank);
  const LowRankAdapter<float>& a = p.adapter;
  const auto plain = [&] {
    dR.setZero();
    Z.noalias() = a.A * X;
    RZ.noalias() = a.R * Z;
    Y.noalias() = p.W0 * X;
    Y.noalias() += a.B * RZ;
    P.noalias() = a.B.transpose() * dY;
    dR.noalias() += P * Z.transpose();
    RtP.noalias() = a.R.transpose() * P;
    dX.noalias() = p.W0.transpose() * dY;
    dX.noalias() += a.A.transpose() * RtP;
  };
  p.run();
  plain();
  if (!agree(p.Y, flat(Y), p.tolerance()) || !agree(p.dX, flat(dX), p.tolerance()) || !agree(p.dR, flat(dR), p.tolerance()))
    return state.SkipWithError("layer and plain Eigen differ");
  const int calls = int(1 + 2'000'000 / p.operations());  // a pair takes long enough to be timed
  bench::interleave(
      state,
      [&] {
        for (int i = 0; i < calls; ++i) p.run();
      },
      [&] {
        for (int i = 0; i < calls; ++i) plain();
      },
      calls * p.operations());
  state.SetLabel("plain Eigen");
}

#ifdef LORASB_HAS_TORCH

rival::MatrixOf matrix_of(const Weight<float>& W) { return {W.data(), W.rows(), W.cols()}; }

void against_torch(benchmark::State& state, const bench::Backend& backend, const Size& size) {
  backend.select();
  rival::set_threads(1);
  Problem p(size, backend.narrow);
  rival::TorchLayer theirs(matrix_of(p.W0), matrix_of(p.adapter.B), matrix_of(p.adapter.R), matrix_of(p.adapter.A), 1);
  const auto run_theirs = [&] { theirs.run(matrix_of(p.X_rows), matrix_of(p.dY_rows)); };
  p.run();
  run_theirs();
  if (!agree(p.Y, theirs.Y(), p.tolerance()) || !agree(p.dX, theirs.dX(), p.tolerance()) ||
      !agree(p.dR, theirs.dR(), p.tolerance()))
    return state.SkipWithError("layer and LibTorch differ");
  bench::interleave(
      state, [&] { p.run(); }, run_theirs, p.operations());
  state.SetLabel("LibTorch");
}

#endif

template <int Tokens>
void register_few_tokens() {
  for (const Size& size : small_sizes)
    benchmark::RegisterBenchmark(("few_tokens/" + std::to_string(Tokens) + "/" + std::to_string(size.in) + "_to_" +
                                  std::to_string(size.out) + "_r" + std::to_string(size.rank) + "/threads:1/Eigen")
                                     .c_str(),
                                 against_plain_eigen<Tokens>, size)
        ->Unit(benchmark::kMillisecond)
        ->UseManualTime()
        ->Iterations(101);
}

const bool registered = [] {
  register_few_tokens<1>();
  register_few_tokens<2>();
  register_few_tokens<8>();
  bench::for_each_backend([](const bench::Backend& backend) {
    for (const Size& size : sizes) {
      const std::string what = "layer/" + std::to_string(size.in) + "_to_" + std::to_string(size.out) + "_r" +
                               std::to_string(size.rank) + "/threads:1/" + backend.name;
      const auto add = [&](auto... arguments) {
        benchmark::RegisterBenchmark(what.c_str(), arguments...)
            ->Unit(benchmark::kMillisecond)
            ->UseManualTime()
            ->Iterations(pairs);
      };
#ifdef LORASB_HAS_TORCH
      add(against_torch, backend, size);
#endif
      add(against_product, backend, size, static_cast<const rival::Product*>(nullptr));
      if (backend.narrow) continue;  // the other products know float32 alone
      static const std::vector<rival::Product> products = rival::products();
      for (const rival::Product& product : products) add(against_product, backend, size, &product);
    }
  });
  return true;
}();

}  // namespace
