// The start of every test program. Its exit status is 4, which CTest reports as skipped, when the tests passed but some of them
// did not run for lack of files (test::skipped, see models/model_files.hpp).
#define CATCH_CONFIG_RUNNER
#include "catch.hpp"
#include "skipped.hpp"

int main(int argc, char** argv) {
  const int failed = Catch::Session().run(argc, argv);
  return failed == 0 && lorasb::test::skipped() ? 4 : failed;
}
