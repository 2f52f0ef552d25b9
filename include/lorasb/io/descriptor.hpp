// A file descriptor that is closed exactly once.
#pragma once

#include "lorasb/core/requirements.hpp"  // first

#include <unistd.h>

#include <string>
#include <system_error>
#include <utility>

namespace lorasb::io::detail {

/// The system's words for an error number of errno, without strerror's shared buffer.
inline std::string reason(int error_number) { return std::error_code(error_number, std::generic_category()).message(); }

/// Not valid (negative) when open() failed, and after close().
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(int number) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor() { close(); }

  bool valid() const { return number_ >= 0; }
  int get() const { return number_; }
  /// 0, or -1 with errno: the last chance to hear of a failed write.
  int close() { return valid() ? ::close(std::exchange(number_, -1)) : 0; }

 private:
  int number_ = -1;
};

}  // namespace lorasb::io::detail
