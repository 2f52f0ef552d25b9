#include "lorasb/classify/classifier_file.hpp"

#include "io/files.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::classify;
using lorasb::test::TemporaryFolder;

TEST_CASE("classifier.json gives back what was written, and a folder without one gives nothing") {
  const TemporaryFolder folder;
  CHECK_FALSE(read_classifier_file(folder.path()).has_value());
  write_classifier_file(folder.path(), {.method = "lora-sb", .labels = {"a", "b"}, .model = "minilm"});
  CHECK(io::read_json(folder / "classifier.json") ==
        nlohmann::json{{"labels", {"a", "b"}}, {"method", "lora-sb"}, {"model", "minilm"}, {"pool", "mean"}});
  const ClassifierFile all{.method = "lora",
                           .labels = {"x"},
                           .model = "/models/bert",
                           .form = {.pool = models::Pooling::pooler,
                                    .problem = ProblemType::regression,
                                    .pairs = true,
                                    .max_tokens = 7,
                                    .weights = Dtype::bf16}};
  write_classifier_file(folder.path(), all);
  const ClassifierFile found = read_classifier_file(folder.path()).value();
  CHECK(found.method == all.method);
  CHECK(found.labels == all.labels);
  CHECK(found.model == all.model);
  CHECK(found.form.pool == all.form.pool);
  CHECK(found.form.problem == all.form.problem);
  CHECK(found.form.pairs);
  CHECK(found.form.max_tokens == 7);
  CHECK(found.form.weights == Dtype::bf16);
}

TEST_CASE("A classifier.json with a key that is missing or of another type is refused by name") {
  const TemporaryFolder folder;
  const nlohmann::json good{{"labels", {"a", "b"}}, {"method", "lora"}, {"model", "minilm"}, {"pool", "mean"}};
  const auto refused = [&](const char* key, nlohmann::json value, ErrorId id, const char* words) {
    nlohmann::json changed = good;
    changed[key] = std::move(value);
    folder.write("classifier.json", changed.dump());
    CHECK_ERROR(read_classifier_file(folder.path()), id, words);
  };
  refused("labels", "a", ErrorId::adapter_folder, "has no list of texts \"labels\" in classifier.json");
  refused("labels", {"a", 3}, ErrorId::adapter_folder, "has no list of texts \"labels\"");
  refused("method", nullptr, ErrorId::adapter_folder, "has no text \"method\"");
  refused("model", 3, ErrorId::adapter_folder, "has no text \"model\"");
  refused("pool", "max", ErrorId::adapter_folder, "has the pooling \"max\" in classifier.json, which is not known");
  refused("pairs", 1, ErrorId::adapter_folder, "\"pairs\"");
  refused("max_tokens", -1, ErrorId::adapter_folder, "\"max_tokens\"");
  refused("max_tokens", 1.5, ErrorId::adapter_folder, "\"max_tokens\"");
  refused("weights", "f16", ErrorId::adapter_folder, "\"weights\"");
  refused("problem_type", "ranking", ErrorId::model, "\"problem_type\" is \"ranking\"");
  folder.write("classifier.json", "[]");
  CHECK_ERROR(read_classifier_file(folder.path(), "--load"), ErrorId::adapter_folder,
              "--load: \"" + folder.path().string() + "\" has no object in classifier.json");
  folder.write("classifier.json", "{");
  CHECK_ERROR(read_classifier_file(folder.path()), ErrorId::json, "classifier.json");
}
