// Opening a large safetensors file, beside reading all of it into memory.
#include "lorasb/io/safetensors.hpp"

#include <benchmark/benchmark.h>
#include <stdlib.h>
#include <unistd.h>

#include <fstream>

#include "benchmarks/interleave.hpp"

namespace {

using namespace lorasb;

constexpr Index rows = 10'000, cols = 12'500;  // 500 MB of float32

/// A file with one weight of zeros but for its last number.
struct LargeFile {
  std::filesystem::path path;
  LargeFile() {
    std::string name = (std::filesystem::temp_directory_path() / "lorasb-benchmark-XXXXXX").string();
    close(mkstemp(name.data()));
    path = name;
    std::string header = R"({"W":{"dtype":"F32","shape":[10000,12500],"data_offsets":[0,500000000]}})";
    header.resize((header.size() + 7) / 8 * 8, ' ');
    const std::uint64_t size = header.size();
    std::ofstream file(path, std::ios::binary);
    file.write(reinterpret_cast<const char*>(&size), 8).write(header.data(), std::streamsize(size));
    file.seekp(std::streamoff(8 + size + sizeof(float) * rows * cols - sizeof last));
    file.write(reinterpret_cast<const char*>(&last), sizeof last);
  }
  ~LargeFile() { std::filesystem::remove(path); }
  static constexpr float last = 3;
};

void open_file(benchmark::State& state) {
  const LargeFile large;
  float seen = 0;
  bench::interleave(
      state,
      [&] {
        const io::SafetensorsFile file(large.path);
        seen = file.view_weight<float>("W")(rows - 1, cols - 1);
      },
      [&] {
        std::ifstream file(large.path, std::ios::binary);
        std::vector<char> bytes(std::filesystem::file_size(large.path));
        file.read(bytes.data(), std::streamsize(bytes.size()));
        benchmark::DoNotOptimize(bytes.data());
      });
  if (seen != LargeFile::last) state.SkipWithError("the last number is not the file's");
  state.SetLabel("reading the file from the system's cache");
}

const bool registered = [] {
  benchmark::RegisterBenchmark("open/500_MB_safetensors/threads:1/-", open_file)
      ->Unit(benchmark::kMillisecond)
      ->UseManualTime()
      ->Iterations(5);
  return true;
}();

}  // namespace
