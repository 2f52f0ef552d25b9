// The same readers and mutations without libFuzzer: nothing is measured but the counts, so that an input costs little.
//
//     mutate_readers --reader=safetensors --inputs=300000 --seed=1 [folder of inputs that libFuzzer kept]
//
// What an input was made from is decided by the seed and the kept inputs. An input that ends the program is written to
// failure-READER-SEED, which `fuzz_readers --reader=READER failure-READER-SEED` reads again. SIGTERM ends the loop with its counts.
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <optional>

#include "fuzz/mutator.hpp"
#include "fuzz/session.hpp"

namespace {

using namespace lorasb::fuzz;

std::optional<lorasb::Random> bytes_random;  // of LLVMFuzzerMutate
volatile std::sig_atomic_t stopped = 0;
std::string failure_path;

extern "C" void stop(int) { stopped = 1; }

/// Keeps the input that the reader has ended with. What it calls is not safe in a handler; there is nothing more to lose.
extern "C" void keep_failure(int signal_number) {
  std::signal(signal_number, SIG_DFL);
  const std::string bytes = encode(session().last);
  const int file = ::open(failure_path.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0666);
  if (file < 0 || ::write(file, bytes.data(), bytes.size()) != ssize_t(bytes.size())) std::perror(failure_path.c_str());
  std::fprintf(stderr, "fuzz: signal %d at input %llu; it is kept in %s\n", signal_number,
               static_cast<unsigned long long>(session().inputs), failure_path.c_str());
  std::raise(signal_number);
}

std::size_t size_of(const Input& input) {
  std::size_t size = 0;
  for (const Input::File& file : input.files) size += file.text.size();
  return size;
}

/// A pool of inputs, most of them accepted ones: what is made from them reaches the code behind the checks.
void loop(std::uint64_t inputs, std::uint64_t seed, std::vector<Input> pool) {
  const Session& s = session();
  constexpr std::size_t most_pool = 1024;
  std::size_t most_bytes = 1024;
  for (const Input& one : s.seeds) most_bytes = std::max(most_bytes, 2 * size_of(one));
  std::erase_if(pool, [&](const Input& one) { return size_of(one) > most_bytes; });
  pool.insert(pool.end(), s.seeds.begin(), s.seeds.end());
  Input from, input;
  for (std::uint64_t i = 0; i < inputs && stopped == 0; ++i) {
    Mutator m(lorasb::derive_seed(seed, i));
    bytes_random.emplace(seed, i);
    if (i % 8 == 0) from = m.one_in(5) ? m.one_of(s.seeds) : m.one_of(pool);  // files that stay as they are need not be written
    input = from;
    for (std::uint64_t changes = m.one_in(2) ? 1 : 1 + m.below(3); changes > 0; --changes) s.reader->mutate(input, m);
    if (size_of(input) > most_bytes) input = from;
    if (i % 1000 == 0) ::alarm(120);  // a reader that hangs
    const Outcome outcome = run_one(input, m.one_in(32));
    if (!outcome.accepted && !(outcome.past_first_check && m.one_in(30))) continue;
    if (pool.size() < most_pool)
      pool.push_back(input);
    else
      pool[m.below(pool.size())] = input;
  }
}

}  // namespace

/// Changes some bytes, in the place of libFuzzer's own mutations.
extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size) {
  lorasb::Random& random = *bytes_random;
  for (std::uint64_t changes = 1 + random.below(3); changes > 0; --changes) {
    const std::size_t at = random.below(size + 1);
    switch (random.below(5)) {
      case 0:  // a byte more
        if (size < max_size) {
          std::copy_backward(data + at, data + size, data + size + 1);
          data[at] = static_cast<std::uint8_t>(random.below(256));
          ++size;
        }
        break;
      case 1: {  // some fewer
        const std::size_t count = std::min<std::size_t>(1 + random.below(8), size - at);
        std::copy(data + at + count, data + size, data + at);
        size -= count;
        break;
      }
      case 2:  // a bit
        if (at < size) data[at] ^= static_cast<std::uint8_t>(1u << random.below(8));
        break;
      case 3:  // a part over another
        if (at < size) {
          const std::size_t from = random.below(size), count = std::min({size - at, size - from, std::size_t(1 + random.below(16))});
          std::copy_n(std::vector<std::uint8_t>(data + from, data + from + count).begin(), count, data + at);
        }
        break;
      default:
        if (at < size) data[at] = random.below(2) == 0 ? static_cast<std::uint8_t>(random.below(256)) : std::uint8_t(255 * random.below(2));
    }
  }
  return size;
}

int main(int argc, char** argv) {
  std::string reader;
  std::uint64_t inputs = 100'000, seed = 1;
  std::vector<std::filesystem::path> folders;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word.starts_with("--reader="))
      reader = word.substr(9);
    else if (word.starts_with("--inputs="))
      inputs = std::strtoull(word.c_str() + 9, nullptr, 10);
    else if (word.starts_with("--seed="))
      seed = std::strtoull(word.c_str() + 7, nullptr, 10);
    else
      folders.emplace_back(word);
  }
  bytes_random.emplace(seed);
  failure_path = "failure-" + reader + "-" + std::to_string(seed);
  const rlimit memory{std::uint64_t{4} << 30, std::uint64_t{4} << 30};  // a small file that asks for more is a fault
  ::setrlimit(RLIMIT_AS, &memory);
  set_up(reader);
  std::vector<Input> kept;
  for (const std::filesystem::path& folder : folders)
    for (const auto& entry : std::filesystem::directory_iterator(folder))
      kept.push_back(decode(read_file(entry.path()), session().reader->files.size()));
  for (const int signal_number : {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGALRM}) std::signal(signal_number, keep_failure);
  std::signal(SIGTERM, stop);
  std::fprintf(stderr, "fuzz %s: seed %llu, %zu kept inputs\n", reader.c_str(), static_cast<unsigned long long>(seed), kept.size());
  loop(inputs, seed, std::move(kept));
  ::alarm(0);
  return 0;
}
