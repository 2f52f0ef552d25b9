#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>

#include "lorasb/onednn/backend.hpp"

int main(int argc, char** argv) {
  lorasb::linalg::use_backend(&lorasb::onednn::backend());
  return Catch::Session().run(argc, argv);
}
