// Every allocation of a server fails once, in turn: it must be as if nothing had been asked. Not under the address sanitizer,
// which has an operator new of its own.
#include <atomic>
#include <cstdlib>
#include <new>

#include "lorasb/federated/server.hpp"
#include "small_session.hpp"

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define LORASB_ADDRESS_SANITIZER
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define LORASB_ADDRESS_SANITIZER
#endif

#ifndef LORASB_ADDRESS_SANITIZER

namespace {

std::atomic<long> allocations_left = -1;  // until one fails; negative: none does

void* allocate(std::size_t size) {
  if (allocations_left >= 0 && allocations_left-- == 0) throw std::bad_alloc();
  if (void* memory = std::malloc(size == 0 ? 1 : size)) return memory;
  throw std::bad_alloc();
}

}  // namespace

// not inlined: g++ would take the pairs of new and free that it then sees for mistakes
[[gnu::noinline]] void* operator new(std::size_t size) { return allocate(size); }
[[gnu::noinline]] void* operator new[](std::size_t size) { return allocate(size); }
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }

using namespace lorasb;
using namespace lorasb::federated;
using test::message_of, test::numbers, test::small_session;

namespace {

/// Calls `work` with its first, second, ... allocation failing, until it gets through; how often it failed.
int failures_of(const auto& work) {
  for (int failures = 0;; ++failures) {
    allocations_left = failures;
    try {
      work();
      allocations_left = -1;
      return failures;
    } catch (const std::bad_alloc&) {
      allocations_left = -1;
    }
  }
}

}  // namespace

TEST_CASE("Row 34: a server that runs out of memory anywhere is as before, and goes on to the same bits") {
  const std::vector<std::string> clients{"a", "b", "c"};
  for (const ServerOptions& options : {ServerOptions{}, ServerOptions{.cap = 2}, ServerOptions{.keep_updates = true},
                                       ServerOptions{.weighting = Weighting::equal, .planned_clients = 9}}) {
    Server<float> plain(small_session(), numbers(99), clients, options),
        starved(small_session(), numbers(99), clients, options);
    for (std::uint64_t round = 1; round <= 2; ++round) {
      plain.open(0, 60);
      CHECK(failures_of([&] { starved.open(0, 60); }) > 0);
      for (std::uint64_t c = 0; c < 3; ++c) {
        const std::vector<std::byte> message = message_of(clients[c], c + 10 * round, 5 + c, round);
        plain.receive(message, clients[c], 1);
        CHECK(failures_of([&] { starved.receive(message, clients[c], 1); }) > 0);
      }
      const RoundReport expected = plain.close();
      RoundReport report;
      CHECK(failures_of([&] { report = starved.close(); }) > 0);
      CHECK(report.committed);
      CHECK(report.accepted == expected.accepted);
      CHECK(report.total_weight == expected.total_weight);
      CHECK(report.rejected == expected.rejected);
      CHECK(starved.admitted().size() == plain.admitted().size());
      CHECK(std::ranges::equal(starved.global(), plain.global()));
      CHECK(starved.round() == plain.round());
    }
  }
}

#endif
