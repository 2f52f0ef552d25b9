#include "lorasb/data/class_weights.hpp"

#include "io/files.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::data;
using lorasb::test::TemporaryFolder;

TEST_CASE("Balanced weights are scikit-learn's, and a class without texts has the weight 1") {
  // compute_class_weight("balanced", classes=[0, 1, 2], y=[0, 0, 0, 1, 2, 2]) = [2/3, 2, 1]
  CHECK(balanced_weights(3, std::vector<std::int32_t>{0, 0, 0, 1, 2, 2}) == std::vector<double>{2.0 / 3, 2, 1});
  CHECK(balanced_weights(3, std::vector<std::int32_t>{0, 0, 2}) == std::vector<double>{0.75, 1, 1.5});
}

TEST_CASE("Weights of a file are in the order of the classes; one that is missing, twice, unknown or no number is refused") {
  const TemporaryFolder folder;
  const auto read = [&](const char* lines) { return read_class_weights(folder.write("weights", lines), {"ham", "spam"}); };
  CHECK(read("spam\t2.5\nham\t0.5\n") == std::vector<double>{0.5, 2.5});
  CHECK_ERROR(read("spam\t2\n"), ErrorId::data, "has no weight for the class \"ham\"");
  CHECK_ERROR(read("spam\t2\nspam\t3\nham\t1\n"), ErrorId::data, "the label \"spam\" comes twice");
  CHECK_ERROR(read("eggs\t2\n"), ErrorId::data, "the label \"eggs\" is none of the classes");
  for (const char* bad : {"ham\t0\n", "ham\t-1\n", "ham\tnan\n", "ham\tinf\n", "ham\t1x\n"})
    CHECK_ERROR(read(bad), ErrorId::data, "expected a number above 0");
}
