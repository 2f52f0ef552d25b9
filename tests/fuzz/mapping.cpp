// Maps small files without the system, for mutate_readers: it takes longer to map and unmap a page than most readers take to read it.
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstring>

#ifndef LORASB_FUZZ_SANITIZED  // sanitizers have an mmap of their own
namespace {

constexpr std::size_t page = 4096, slot_bytes = 8 * page, slot_count = 32;

void* map_by_system(void* where, std::size_t length, int protection, int flags, int file, off_t offset) {
  return reinterpret_cast<void*>(::syscall(SYS_mmap, where, length, protection, flags, file, offset));
}

/// Memory for files. A file lies at the end of its slot and is followed by zeros up to the page's end and by a page that cannot be
/// touched, so that reading on behind it ends the program, as it does behind a mapped file.
struct Slots {
  std::byte* memory = nullptr;
  std::array<bool, slot_count> taken{};

  Slots() {
    void* const all = map_by_system(nullptr, slot_count * (slot_bytes + page), PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED) return;
    memory = static_cast<std::byte*>(all);
    for (std::size_t i = 0; i < slot_count; ++i) ::mprotect(memory + i * (slot_bytes + page), slot_bytes, PROT_READ | PROT_WRITE);
  }
  /// Null when the file is none of its length, or all slots are taken.
  void* put(int file, std::size_t length) {
    for (std::size_t i = 0; memory != nullptr && i < slot_count; ++i) {
      if (taken[i]) continue;
      const std::size_t whole = (length + page - 1) / page * page;
      std::byte* const start = memory + i * (slot_bytes + page) + slot_bytes - whole;
      if (::pread(file, start, length, 0) != ssize_t(length)) return nullptr;
      std::memset(start + length, 0, whole - length);
      taken[i] = true;
      return start;
    }
    return nullptr;
  }
  /// Whether it was one of these.
  bool give_back(const void* start) {
    const auto* const at = static_cast<const std::byte*>(start);
    if (memory == nullptr || at < memory || at >= memory + slot_count * (slot_bytes + page)) return false;
    taken[std::size_t(at - memory) / (slot_bytes + page)] = false;
    return true;
  }
};
Slots& slots() {
  static Slots the_ones;
  return the_ones;
}

}  // namespace

/// In the place of the C library's, for all files that this program maps.
extern "C" void* mmap(void* where, std::size_t length, int protection, int flags, int file, off_t offset) noexcept {
  if (where == nullptr && length > 0 && length <= slot_bytes && protection == PROT_READ && flags == MAP_PRIVATE && file >= 0 && offset == 0)
    if (void* const start = slots().put(file, length); start != nullptr) return start;
  return map_by_system(where, length, protection, flags, file, offset);
}
extern "C" int munmap(void* start, std::size_t length) noexcept {
  if (slots().give_back(start)) return 0;
  return int(::syscall(SYS_munmap, start, length));
}
#endif
