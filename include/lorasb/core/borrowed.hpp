// An argument that the receiver keeps looking at, and which must therefore not be a temporary.
#pragma once

#include "lorasb/core/config.hpp"

namespace lorasb {

/// A reference to a T that outlives the receiver. Made from an object with a name; a temporary does not compile.
template <class T>
class Borrowed {
 public:
  Borrowed(const T& object LORASB_LIFETIMEBOUND) : object_(&object) {}
  Borrowed(const T&&) = delete;  // the receiver would outlive it

  const T& operator*() const { return *object_; }
  const T* operator->() const { return object_; }

 private:
  const T* object_;
};

}  // namespace lorasb
