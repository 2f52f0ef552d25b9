// Fuzzes the reader of checkpoints.
#include "lorasb/io/checkpoint.hpp"

#include <bit>

#include "fuzz/fuzz.hpp"
#include "fuzz/mutator.hpp"

namespace lorasb::fuzz {
namespace {

/// The bytes with the checksum that a checkpoint must end with.
std::string with_checksum(std::string file) {
  if (file.size() < 8) return file;
  io::Fnv64 sum;
  sum.add(std::as_bytes(std::span(file)).first(file.size() - 8));
  const std::uint64_t value = sum.value();
  std::memcpy(file.data() + file.size() - 8, &value, 8);
  return file;
}

std::vector<Input> checkpoint_seeds() {
  const TensorFile file{.tensors = {{"parameters", "F32", {3}, std::string(12, '\1')},
                                    {"moment", "F32", {2}, std::string(8, '\2')},
                                    {"none", "F32", {0}, ""},
                                    {"checksum", "U8", {8}, std::string(8, '\0')}},
                        .metadata = {{"lorasb", "checkpoint"},
                                     {"version", "1"},
                                     {"state.step", "12"},
                                     {"state.loss", "3ff0000000000000"},
                                     {"config.rank", "16"}}};
  return {{{{true, with_checksum(file.to_bytes())}}}};
}

void mutate_checkpoint(Input& input, Mutator& m) {
  static const std::string whole = checkpoint_seeds()[0][0];
  std::optional<TensorFile> file = TensorFile::from_bytes(input[0]);
  const bool keeps_checksum = file && !file->tensors.empty() && file->tensors.back().name == "checksum" && !m.one_in(10);
  if (keeps_checksum) {  // the others alone
    const TensorFile::Tensor checksum = file->tensors.back();
    file->tensors.pop_back();
    m.tensors(*file);
    file->tensors.push_back(checksum);
    input[0] = file->to_bytes();
  } else {
    m.safetensors(input[0], whole);
  }
  if (!m.one_in(20)) input[0] = with_checksum(std::move(input[0]));
}

void read_checkpoint(const Input&, const std::filesystem::path& folder) {
  const io::Checkpoint<float> read = io::load_checkpoint<float>(folder / "checkpoint.safetensors");
  for (const auto& [name, text] : read.state) {
    try {
      (void)read.integer(name);
    } catch (const Error&) {
    }
    try {
      (void)read.number(name);
    } catch (const Error&) {
    }
  }
  if (!writes_again()) return;
  must_not_throw("a checkpoint that was read cannot be written and read again", [&] {
    const std::filesystem::path path = second_folder() / "checkpoint.safetensors";
    io::save_checkpoint(path, read);
    const io::Checkpoint<float> again = io::load_checkpoint<float>(path);
    must(again.state == read.state && again.config == read.config && again.tensors.size() == read.tensors.size(),
         "a checkpoint has lost something");
    for (const auto& [name, values] : read.tensors) {
      const std::vector<float>& other = again.tensor(name);
      must(values.size() == other.size() &&
               std::equal(values.begin(), values.end(), other.begin(),
                          [](float a, float b) { return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b); }),
           "a tensor of a checkpoint is not what was read");
    }
  });
}

const Registered checkpoint_reader(
    {.name = "checkpoint",
     .files = {"checkpoint.safetensors"},
     .seeds = checkpoint_seeds,
     .mutate = mutate_checkpoint,
     .past_first_check = [](const Input& input) { return is_safetensors(input[0]) && with_checksum(input[0]) == input[0]; },
     .read = read_checkpoint});

}  // namespace
}  // namespace lorasb::fuzz
