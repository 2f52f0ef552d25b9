// The C++ side of check_adapters.py, on a small model of two linear layers:
//   interop_folders write DIR          model.safetensors (weights, inputs X, and the outputs Y that every folder must give),
//   and the
//                                      folders native, folded, lora (ranks and scales differ from module to module)
//   interop_folders read FOLDER        prints the largest difference between the outputs of a folder that PEFT wrote and the
//   tensor Y
//                                      in FOLDER/expected.safetensors, over the largest entry of Y
//   interop_folders check FOLDER       fails, with the reason, when the folder is refused
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <string>

#include "lorasb/formats/peft_reader.hpp"
#include "lorasb/formats/peft_writer.hpp"
#include "lorasb/io/safetensors.hpp"
#include "lorasb/linalg/product.hpp"
#include "support.hpp"

using namespace lorasb;
namespace fs = std::filesystem;

namespace {

struct Model {
  Weight<float> first = test::random_matrix<Weight<float>>(12, 8, 1), second = test::random_matrix<Weight<float>>(5, 12, 2);
  Matrix<float> X = test::random_matrix<Matrix<float>>(8, 20, 3);

  /// second'(tanh(first'(X))), where a layer' has its adapter added to it.
  Matrix<double> outputs(const NamedSet<LoraAdapter<float>>& adapters) const {
    const auto with = [&](const char* name, const Weight<float>& W) {
      Matrix<double> sum = W.cast<double>();
      if (const LoraAdapter<float>* a = adapters.find(name))
        sum += double(a->scale) * a->B.cast<double>() * a->A.cast<double>();
      return sum;
    };
    return with("second", second) * (with("first", first) * X.cast<double>()).array().tanh().matrix();
  }
};

template <class M>
formats::NamedTensor<float> tensor(const std::string& name, const M& m) {
  formats::NamedTensor<float> t{.name = name, .shape = {m.rows(), m.cols()}, .values = {}};
  for (Index i = 0; i < m.rows(); ++i)
    for (Index j = 0; j < m.cols(); ++j) t.values.push_back(float(m(i, j)));
  return t;
}

void write(const fs::path& folder) {
  const Model model;
  AdapterSet<float> adapters;
  NamedSet<LoraAdapter<float>> folded;
  for (const auto& [name, out, in, rank, scale] : {std::tuple{"first", 12, 8, 3, 0.5f}, std::tuple{"second", 5, 12, 2, 1.25f}}) {
    adapters.add(name, {.B = test::random_matrix<Weight<float>>(out, rank, 11),
                        .R = test::random_matrix<Weight<float>>(rank, rank, 12),
                        .A = test::random_matrix<Weight<float>>(rank, in, 13),
                        .scale = scale});
    folded.add(name, fold(adapters.at(name)));
  }
  fs::create_directories(folder);
  formats::write_tensors<float>(folder / "model.safetensors",
                                {tensor("first.weight", model.first), tensor("second.weight", model.second),
                                 tensor("X", Matrix<float>(model.X.transpose())), tensor("Y", Matrix<double>(model.outputs(folded).transpose()))});
  formats::write_native<float>(folder / "native", adapters);
  formats::write_folded<float>(folder / "folded", adapters);
  formats::write_lora<float>(folder / "lora", folded);
}

double difference(const fs::path& folder) {
  const auto read = formats::read_adapter_folder<float>(folder, {.plain_lora = true});
  NamedSet<LoraAdapter<float>> adapters;
  for (const auto& [name, a] : read.adapters) adapters.add(name, fold(a));
  const Matrix<double> Y = Model().outputs(adapters);
  const io::SafetensorsFile file(folder / "expected.safetensors");
  const ConstWeightView<float> rows(file.view<float>("Y").data(), Y.cols(), Y.rows());
  const Matrix<double> expected = rows.transpose().cast<double>();
  return (Y - expected).cwiseAbs().maxCoeff() / expected.cwiseAbs().maxCoeff();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 2 ? argv[1] : "";
  try {
    if (what == "write" && argc == 3) return write(argv[2]), 0;
    if (what == "check" && argc == 3) return formats::read_adapter_folder<float>(argv[2], {.plain_lora = true}), 0;
    if (what == "read" && argc == 3) return std::printf("%.3e\n", difference(argv[2])), 0;
    std::fputs("interop_folders write DIR | read FOLDER | check FOLDER\n", stderr);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "interop_folders: %s\n", error.what());
  }
  return 1;
}
