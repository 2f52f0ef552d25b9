// The macros of the library: what a compiler is told about lifetimes and about the layout of memory.
#pragma once

#include "lorasb/core/requirements.hpp"  // first

#include <Eigen/Core>

/// On a parameter of a constructor: the object that is made must not outlive the argument. clang warns where it does.
#if defined(__clang__) && __has_cpp_attribute(clang::lifetimebound)
#define LORASB_LIFETIMEBOUND [[clang::lifetimebound]]
#else
#define LORASB_LIFETIMEBOUND
#endif

/// On every type that owns memory allocated by Eigen. How Eigen aligns that memory depends on the flags of the file
/// (`-march=native`), and freeing it under other flags corrupts the heap. The alignment is therefore part of the type's mangled
/// name: two files with different flags that hand such a type to each other do not link.
#if EIGEN_MAX_ALIGN_BYTES == 0
#define LORASB_OWNS_MEMORY [[gnu::abi_tag("align0")]]
#elif EIGEN_MAX_ALIGN_BYTES == 16
#define LORASB_OWNS_MEMORY [[gnu::abi_tag("align16")]]
#elif EIGEN_MAX_ALIGN_BYTES == 32
#define LORASB_OWNS_MEMORY [[gnu::abi_tag("align32")]]
#elif EIGEN_MAX_ALIGN_BYTES == 64
#define LORASB_OWNS_MEMORY [[gnu::abi_tag("align64")]]
#else
#define LORASB_OWNS_MEMORY [[gnu::abi_tag("align_other")]]
#endif
