// Fuzzes the reader of safetensors files.
#include "lorasb/io/safetensors.hpp"

#include <algorithm>

#include "fuzz/fuzz.hpp"
#include "fuzz/mutator.hpp"
#include "lorasb/io/safetensors_writer.hpp"

namespace lorasb::fuzz {
namespace {

std::vector<Input> safetensors_seeds() {
  TensorFile all{.tensors = {}, .metadata = {{"format", "pt"}, {"note", "seed"}}};
  for (const DtypeRow& row : dtype_table)
    all.tensors.push_back(
        {"t." + std::string(row.name), std::string(row.name), {2, 4}, std::string(bytes_of(row.dtype, 8), '\x3c')});
  const TensorFile few{.tensors = {{"w", "F32", {2, 2}, std::string(16, '\1')},
                                   {"b", "F16", {2}, "abcd"},
                                   {"e", "F64", {0, 3}, ""},
                                   {"s", "BF16", {}, "xy"}},
                       .metadata = {}};
  std::vector<Input> seeds;
  for (const TensorFile& file : {all, few, TensorFile{}}) seeds.push_back({{{true, file.to_bytes()}}});
  return seeds;
}

void read_numbers(const io::SafetensorsFile& file, const io::TensorInfo& t) {
  std::vector<double> numbers(static_cast<std::size_t>(t.elements()));
  const bool readable = decoder<double>(t.dtype) != nullptr;
  try {
    file.read<double>(t.name, numbers);
    must(readable, "numbers of a type that cannot be decoded were read");
  } catch (const Error&) {
    must(!readable, "numbers of a type that can be decoded were refused");
  }
  try {
    (void)file.view<float>(t.name);
    if (t.shape.size() == 2) must(file.view_weight<float>(t.name).size() == t.elements(), "a view has another size");
  } catch (const Error&) {
  }
}

void read_safetensors(const Input&, const std::filesystem::path& folder) {
  const io::SafetensorsFile file(folder / "model.safetensors");
  std::vector<io::TensorBytes> tensors;
  for (const io::TensorInfo& t : file.tensors()) {
    read_numbers(file, t);
    tensors.push_back({t.name, t.dtype, t.shape, file.bytes(t.name)});
  }
  if (!writes_again()) return;
  must_not_throw("a file that was read cannot be written", [&] {
    const io::SafetensorsPlan plan = io::plan_safetensors(tensors, file.metadata());
    std::string bytes = plan.header;
    for (const io::TensorBytes& t : plan.tensors) bytes.append(reinterpret_cast<const char*>(t.bytes.data()), t.bytes.size());
    const io::SafetensorsHeader again = io::parse_safetensors_header(std::as_bytes(std::span(bytes)), "again");
    must(again.metadata == file.metadata() && again.tensors.size() == file.tensors().size(), "metadata or tensors were lost");
    for (const io::TensorInfo& t : again.tensors) {
      const std::span<const std::byte> before = file.bytes(t.name);
      must(t.dtype == file.at(t.name).dtype && t.shape == file.at(t.name).shape && t.end - t.begin == before.size() &&
               std::equal(before.begin(), before.end(),
                          std::as_bytes(std::span(bytes)).begin() + std::ptrdiff_t(again.data_begin + t.begin)),
           "a tensor is not what was read");
    }
  });
}

const Registered safetensors_reader({.name = "safetensors",
                                     .files = {"model.safetensors"},
                                     .seeds = safetensors_seeds,
                                     .mutate = [](Input& input,
                                                  Mutator& m) {
                                       static const std::string whole = safetensors_seeds()[1][0];
                                       m.safetensors(input[0], whole);
                                     },
                                     .past_first_check =
                                         [](const Input& input) {  // lengths are right and the header is JSON
                                           const std::string& file = input[0];
                                           std::uint64_t length = 0;
                                           if (file.size() < 8) return false;
                                           std::memcpy(&length, file.data(), 8);
                                           return length <= file.size() - 8 &&
                                                  is_json(std::string_view(file).substr(8, length));
                                         },
                                     .read = read_safetensors});

}  // namespace
}  // namespace lorasb::fuzz
