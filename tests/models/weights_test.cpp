#include "lorasb/models/sentence_encoder/weights.hpp"

#include <limits>

#include "support.hpp"
#include "io/files.hpp"

using namespace lorasb;
using namespace lorasb::models;

TEST_CASE("The encoder's tensors are checked one by one") {
  const test::TemporaryFolder folder;
  const auto check = [&](std::string_view weights, const std::vector<float>& numbers, const std::string& message) {
    folder.write("dist/one", {reinterpret_cast<const char*>(numbers.data()), 4 * numbers.size()});
    folder.write("dist/model.json", concat(R"({"weightsManifest": [{"paths": ["one"], "weights": [)", weights, "]}]}"));
    CHECK_ERROR(read_use_lite(folder.path()), ErrorId::model, message);
  };
  const std::string bias = "module/Encoder_en/hidden_layers/tanh_layer_0/bias";
  check(concat(R"({"name": ")", bias, R"(", "shape": [3], "dtype": "float32"})"), std::vector<float>(3),
        "1 x 3 float32, expected 1 x 512");
  check(concat(R"({"name": ")", bias, R"(", "shape": [512], "dtype": "int32"})"), std::vector<float>(512), "1 x 512 int32");
  std::vector<float> numbers(512);
  const std::string named = concat(R"({"name": ")", bias, R"(", "shape": [512], "dtype": "float32"})");
  check(named, numbers, "lists no tensor \"module");
  numbers[100] = std::numeric_limits<float>::quiet_NaN();
  check(named, numbers, concat("\"", bias, "\" holds NaN"));
  CHECK_ERROR(read_use_lite(folder.path() / "none"), ErrorId::model, "none");
}
