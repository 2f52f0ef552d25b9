// Whether tests did not run for lack of files or packages.
#pragma once

namespace lorasb::test {

inline bool& skipped() {
  static bool value = false;
  return value;
}

}  // namespace lorasb::test
