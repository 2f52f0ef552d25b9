// Writes what benchmarks/rival/finetune.py trains on: the encoder's numbers, and WordNet's texts as lorasb-finetune reads them.
#include <cstdio>
#include <fstream>

#include "examples/finetune/parse_options.hpp"
#include "examples/finetune/task.hpp"

namespace {

using namespace lorasb;
using namespace lorasb::examples;

template <class T>
void write(const std::filesystem::path& path, std::span<const T> numbers) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(numbers.data()), std::streamsize(numbers.size_bytes()));
  require(file.good(), ErrorId::data, "cannot write \"", path.string(), "\"");
}

/// NAME.ids: all tokens in a row, NAME.lengths: tokens of each text, NAME.labels; int32.
void write_texts(const std::filesystem::path& folder, const std::string& name, const TokenizedTexts& texts) {
  std::vector<std::int32_t> ids, lengths;
  for (const std::vector<std::int32_t>& text : texts.ids) {
    ids.insert(ids.end(), text.begin(), text.end());
    lengths.push_back(std::int32_t(text.size()));
  }
  write<std::int32_t>(folder / (name + ".ids"), ids);
  write<std::int32_t>(folder / (name + ".lengths"), lengths);
  write<std::int32_t>(folder / (name + ".labels"), texts.labels);
}

}  // namespace

/// The options are lorasb-finetune's; --out names the folder, which must exist.
int main(int argc, char** argv) {
  FinetuneOptions options;
  if (const int status = parse_options(argc, argv, options); status >= 0) return status;
  try {
    const Task task = read_task(options);
    write_texts(options.out, "train", task.train);
    write_texts(options.out, "validation", task.validation);
    write_texts(options.out, "test", task.test);
    std::vector<float> numbers;
    const ParameterLayout layout_of_base = task.base.layout;
    for (const ParameterLayout::Tensor& t : layout_of_base.tensors()) {
      numbers.resize(std::size_t(t.offset + t.size()));
      task.base.weights.at(t.name).widen(0, t.rows, numbers.data() + t.offset);
    }
    write<float>(options.out / "weights", numbers);
    write<float>(options.out / "inverse_timescales",
                 models::read_use_lite(model_folder(options)).inverse_timescales);
    std::ofstream layout(options.out / "layout.tsv");
    for (const ParameterLayout::Tensor& t : layout_of_base.tensors())
      layout << t.name << '\t' << t.rows << '\t' << t.cols << '\n';
    std::ofstream(options.out / "classes") << task.classes() << '\n';
  } catch (const std::exception& error) {
    std::fprintf(stderr, "dump_finetune: %s\n", error.what());
    return 1;
  }
}
