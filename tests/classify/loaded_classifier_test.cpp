#include "lorasb/classify/loaded_classifier.hpp"

#include <fstream>

#include "classify/tiny_model.hpp"
#include "lorasb/data/tsv.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::classify;
using namespace lorasb::test;

TEST_CASE("A whole classifier of transformers gives the logits that transformers gives") {
  const TinyModels models;
  for (const char* name : {"tiny_bert", "tiny_distilbert"}) {
    INFO(name);
    const LoadedClassifier classifier = open_classifier(models.add(name, name));
    CHECK(classifier.labels().front() == "LABEL_0");
    CHECK(classifier.problem() == ProblemType::single_label);
    TokenizedTexts texts;
    std::vector<float> logits;
    const nlohmann::json stored = io::read_json(stored_models / "encoders.json");
    for (const nlohmann::json& text : stored[name]["texts"]) {
      texts.ids.push_back(text["ids"]);
      texts.types.push_back(text["types"]);
      for (const float x : text["logits"].get<std::vector<float>>()) logits.push_back(x);
    }
    const ConstMatrixView<float> expected(logits.data(), std::ssize(classifier.labels()), texts.size());
    REQUIRE(std::ssize(logits) == expected.size());
    // float32 through two blocks, as in the tests of the encoders
    CHECK((classifier.outputs(texts) - expected).cwiseAbs().maxCoeff() < 1e-5f * expected.cwiseAbs().maxCoeff());
  }
}

TEST_CASE("What every method trained is opened as it was written, with labels, answers and scores") {
  const TinyModels models;
  const std::filesystem::path folder = models.add("tiny_bert", "model");
  const std::vector<data::Example> examples = good_and_bad(4);
  std::vector<std::string> lines;
  for (const data::Example& example : examples) lines.push_back(example.text);
  for (const models::Pooling pool : {models::Pooling::mean, models::Pooling::pooler})
    for (const Method method : {Method::lora_sb, Method::lora_xs, Method::lora, Method::ffa_lora, Method::full, Method::head}) {
      INFO(name_of(method) << " " << pool_names[std::size_t(pool)]);
      const BaseModel base = open_base_model(folder, {.pooling = pool});
      TextCounts counts;
      const TokenizedTexts texts = encode_examples(examples, base, counts);
      train::TunedModel<float> model = tune(method, base, start_head(base, 2));
      take_steps(base, model, texts, 30, method == Method::full ? 3e-3 : 3e-2);
      const std::filesystem::path out = models.folder / "out";
      write_trained(out, base, model, {.method = {}, .labels = {"bad", "good"}, .model = folder.string(), .form = {.pool = pool}});

      const LoadedClassifier classifier = open_classifier(out);
      CHECK(classifier.labels() == std::vector<std::string>{"bad", "good"});
      Classifier trained = make_classifier(base, model.weights, model.layers, *model.values, 1);
      const Matrix<float> expected = models::outputs(trained, texts, 4, 1), found = classifier.outputs(texts);
      CHECK(expected.cwiseAbs().maxCoeff() > 0.1f);
      CHECK((found - expected).cwiseAbs().maxCoeff() < 1e-5f * expected.cwiseAbs().maxCoeff());
      CHECK(classifier.scores(examples)[0].value == 1);
      const std::vector<Prediction> predictions = classifier.predict(lines);
      REQUIRE(predictions.size() == examples.size());
      for (std::size_t i = 0; i < predictions.size(); ++i) {
        const std::vector<float>& p = predictions[i].values;
        CHECK(predictions[i].given == std::vector<Index>{examples[i].label});
        CHECK(p[0] + p[1] == Approx(1));
        CHECK(std::log(p[1] / p[0]) == Approx(found(1, Index(i)) - found(0, Index(i))).margin(1e-4));
      }
      std::filesystem::remove_all(out);
    }
}

TEST_CASE("Labels above one half are given, a regression has its number, and the base says which of them it is") {
  const TinyModels models;
  const std::filesystem::path model = models.add("tiny_bert", "model");
  const std::vector<std::string> text{"the good a"};
  TinyModels::set(model, "problem_type", "multi_label_classification");
  TinyModels::set(model, "id2label", {{"0", "x"}, {"1", " y "}, {"2", "z"}});
  const LoadedClassifier labels = open_classifier(model);
  CHECK(labels.labels() == std::vector<std::string>{"x", "y", "z"});
  TextCounts counts;
  const Matrix<float> logits = labels.outputs(encode_examples({{text[0]}}, labels.base(), counts));
  const Prediction found = labels.predict(text)[0];
  for (Index c = 0; c < 3; ++c) {
    CHECK(found.values[std::size_t(c)] == Approx(1 / (1 + std::exp(-logits(c, 0)))));
    CHECK(std::ranges::count(found.given, c) == (logits(c, 0) > 0));
  }
  CHECK_ERROR(open_classifier(model, {.problem = ProblemType::single_label}), ErrorId::adapter_folder,
              "is of the problem multi_label_classification, not single_label_classification");
  TinyModels::set(model, "problem_type", "regression");
  CHECK_ERROR(open_classifier(model), ErrorId::adapter_folder, "is a regression of 3 numbers, which is not read; only one is");
  TinyModels::set(model, "problem_type", "ranking");
  CHECK_ERROR(open_classifier(model), ErrorId::model, "\"problem_type\" is \"ranking\"");

  const BaseModel base = open_base_model(model);
  const train::TunedModel<float> tuned = tune(Method::head, base, start_head(base, 1));
  const std::filesystem::path out = models.folder / "numbers";
  write_trained(out, base, tuned,
                {.method = {}, .labels = {"LABEL_0"}, .model = model.string(), .form = {.problem = ProblemType::regression}});
  const Prediction number = open_classifier(out).predict(text)[0];
  CHECK(number.values == std::vector<float>{0});
  CHECK(number.given.empty());
  CHECK(read_trained_folder(out, "test").written_by == "head");
  write_trained(out, base, tuned,
                {.method = "fed-sb", .labels = {"LABEL_0"}, .model = model.string(), .form = {.problem = ProblemType::regression}});
  CHECK(read_trained_folder(out, "test").written_by == "fed-sb");  // what trained it is the caller's to say
}

TEST_CASE("Equal texts have equal answers, cut ones are counted, and a labelled file is scored") {
  const TinyModels models;
  const LoadedClassifier classifier = open_classifier(models.add("tiny_bert", "model"), {.max_tokens = 4});
  std::vector<std::string> lines{"good a", "bad b", "good a", "good a is the bad", "zzz"};
  for (int i = 0; i < 20; ++i) lines.push_back(concat("a", i % 2 == 0 ? " bad" : " good"));
  lines.push_back("good a");
  TextCounts counts;
  const std::vector<Prediction> found = classifier.predict(lines, {.parts = 3, .threads = 2}, &counts);
  CHECK(found[0].values == found[2].values);
  CHECK(found[0].values == found.back().values);
  CHECK(found[0].values == found[3].values);  // the same two words are left of it
  CHECK(counts.cut == 1);
  CHECK(counts.unknown == 1);
  CHECK(classifier.predict({}).empty());

  const std::filesystem::path file = models.folder.write("test.tsv", "LABEL_0\tgood a\nLABEL_1\tgood a\nLABEL_2\tgood a\n");
  const std::vector<data::Example> rows = data::read_labelled_file(file, classifier.labels());
  CHECK(classifier.scores(rows)[0].value == Approx(1.0 / 3));
}

TEST_CASE("A folder whose base is not here or not its own, or that is no classifier, is refused with what to do") {
  const TinyModels models;
  const std::filesystem::path model = models.add("tiny_bert", "model");
  const BaseModel base = open_base_model(model);
  const std::filesystem::path out = models.folder / "out";
  const auto write = [&](Method method, const std::string& name) {
    write_trained(out, base, tune(method, base, start_head(base, 2)), {.method = {}, .labels = {"a", "b"}, .model = name});
  };
  write(Method::lora, "use-lite");
  CHECK_ERROR(open_classifier(out), ErrorId::adapter_folder,
              "is of the base model \"use-lite\", which is no folder of a model here: give OpenClassifierOptions::base");
  CHECK(open_classifier(out, {.base = model}).labels().size() == 2);
  CHECK_ERROR(open_classifier(out, {.base = models.add("tiny_distilbert", "other")}), ErrorId::adapter_folder, "which ");
  CHECK_ERROR(open_classifier(out / "adapter" / "adapter_model.safetensors"), ErrorId::adapter_folder, "is a file");
  CHECK_ERROR(open_classifier(models.folder.path()), ErrorId::adapter_folder, "holds neither");
  CHECK_ERROR(open_classifier(models.folder / "none"), ErrorId::adapter_folder, "holds neither");
  std::filesystem::remove(out / "adapter" / "classifier.json");  // as PEFT leaves it
  nlohmann::json config = io::read_json(out / "adapter" / "adapter_config.json");
  config["base_model_name_or_path"] = nullptr;
  io::write_json(out / "adapter" / "adapter_config.json", config);
  CHECK_ERROR(open_classifier(out), ErrorId::adapter_folder, "names no base model: give OpenClassifierOptions::base");
  const LoadedClassifier others = open_classifier(out, {.base = model, .pool = models::Pooling::mean});
  CHECK(others.labels() == std::vector<std::string>{"LABEL_0", "LABEL_1"});
}

TEST_CASE("Numbers that are not finite give no answer, no score and no start") {
  const TinyModels models;
  const std::filesystem::path model = models.add("tiny_bert", "model");
  const std::vector<std::string> lines{"good a", "bad b"};
  const std::vector<data::Example> rows = good_and_bad(3);
  REQUIRE(open_classifier(model).predict(lines).size() == 2);
  {
    BaseModel base = open_base_model(model);
    Matrix<float> nan = Matrix<float>::Constant(1, base.features, std::numeric_limits<float>::quiet_NaN());
    const std::string norm = base.layout.tensors().back().name;
    REQUIRE(base.layout.tensors().back().size() == base.features);
    base.weights.replace(norm, FrozenWeight<float>(nan.data(), 1, base.features));
    const Parameters<float> head = start_head(base, 2);
    TextCounts counts;
    const TokenizedTexts texts = encode_examples(rows, base, counts);
    train::TunedModel<float> tuned = tune(Method::head, base, head);
    Classifier classifier = make_classifier(base, tuned.weights, tuned.layers, *tuned.values, 1);
    CHECK_ERROR(models::outputs(classifier, texts, 1, 1), ErrorId::not_finite, "the outputs of text 1 are not finite");
    CHECK_ERROR(models::accuracy(classifier, texts, 1, 1), ErrorId::not_finite, "the loss of texts 1 to 6 is");
    CHECK_ERROR(sb_adapters(base, head, texts, all_of(texts), 1, 1, {.adapter = {.rank = 2}}), ErrorId::not_finite, "the first step, from 6 texts, is not finite: the base model");
  }
  const BaseModel base = open_base_model(model);
  Parameters<float> head = start_head(base, 2);
  for (std::size_t i = 0; i < head.flat().size(); ++i) head.flat()[i] = i % 3 == 0 ? 3e38f : -3e38f;  // finite, and too large
  write_trained(models.folder / "out", base, tune(Method::head, base, head), {.method = {}, .labels = {"a", "b"}, .model = model.string()});
  const LoadedClassifier huge = open_classifier(models.folder / "out");
  CHECK_ERROR(huge.predict(lines), ErrorId::not_finite, "the outputs of text 1 are not finite");
  CHECK_ERROR(huge.scores(rows), ErrorId::not_finite, "are not finite");
}

TEST_CASE("An adapter of another task, a mixture and a folder with a file too few are refused by what they are") {
  const TinyModels models;
  const std::filesystem::path model = models.add("tiny_bert", "model"), out = models.folder / "out";
  const BaseModel base = open_base_model(model);
  write_trained(out, base, tune(Method::lora_sb, base, start_head(base, 2)), {.method = {}, .labels = {"a", "b"}, .model = model.string()});
  const auto file = [&](const char* folder, const char* name) { return out / folder / name; };
  REQUIRE(open_classifier(out).labels().size() == 2);
  std::filesystem::rename(file("adapter", "classifier.json"), file("adapter", "kept"));
  CHECK_ERROR(open_classifier(out, {.base = model}), ErrorId::adapter_folder, "is an adapter of lorasb without its classifier.json");
  std::filesystem::remove(file("folded", "classifier.json"));  // then it is as PEFT writes it
  REQUIRE(open_classifier(out / "folded", {.base = model}).labels().front() == "LABEL_0");
  const auto set = [&](const char* key, nlohmann::json value) {
    nlohmann::json config = io::read_json(file("folded", "adapter_config.json"));
    config[key] = std::move(value);
    io::write_json(file("folded", "adapter_config.json"), config);
  };
  const auto refused = [&](const std::string& words) { CHECK_ERROR(open_classifier(out / "folded", {.base = model}), ErrorId::adapter_folder, words); };
  for (const char* task : {"TOKEN_CLS", "QUESTION_ANS", "CAUSAL_LM"}) {
    set("task_type", task);
    refused(concat("is of the task_type \"", task, "\", expected SEQ_CLS"));
  }
  for (const char* task : {"SEQ_CLS", "FEATURE_EXTRACTION"}) {
    set("task_type", task);
    CHECK(open_classifier(out / "folded", {.base = model}).labels().size() == 2);
  }
  set("task_type", nullptr);
  set("auto_mapping", {{"base_model_class", "BertForMultipleChoice"}, {"parent_library", "transformers"}});
  refused("is of a \"BertForMultipleChoice\"");
  set("auto_mapping", {{"base_model_class", "BertForSequenceClassification"}});
  CHECK(open_classifier(out / "folded", {.base = model}).labels().size() == 2);
  std::filesystem::remove(file("folded", "adapter_config.json"));
  refused("holds adapter_model.safetensors without its adapter_config.json");

  TinyModels::set(model, "architectures", {"BertForTokenClassification"});
  CHECK_ERROR(open_classifier(model), ErrorId::adapter_folder, "is of a \"BertForTokenClassification\"");
  std::filesystem::create_directories(models.folder / "mixed" / "mixture");
  write_all(models.folder / "mixed" / "mixture" / "mixture.json", "{}");
  CHECK_ERROR(open_classifier(models.folder / "mixed"), ErrorId::adapter_folder, "holds a mixture of experts");
  CHECK_ERROR(open_classifier(models.folder / "mixed" / "mixture"), ErrorId::adapter_folder, "holds a mixture of experts");
}

TEST_CASE("An adapter without a head has that of its base, with what it adapts of it") {
  const TinyModels models;
  const std::filesystem::path model = models.add("tiny_bert", "model"), out = models.folder / "adapter";
  const BaseModel base = open_base_model(model, {.use = ModelUse::load});
  const std::vector<std::string> lines{"good a", "bad b", "the good is a"};
  const LoadedClassifier whole = open_classifier(model);
  const auto values = [&](const LoadedClassifier& c) {
    std::vector<std::vector<float>> all;
    for (const Prediction& p : c.predict(lines)) all.push_back(p.values);
    return all;
  };
  NamedSet<LoraAdapter<float>> adapters;
  const Module<float>& first = base.modules.front();
  adapters.add(first.name, {.B = Weight<float>::Zero(first.W0.rows(), 2), .A = random_matrix<Weight<float>>(2, first.W0.cols(), 1), .scale = 1});
  formats::write_lora<float>(out, adapters, {}, model.string());
  CHECK(values(open_classifier(out)) == values(whole));
  adapters.add("classifier", {.B = Weight<float>::Ones(std::ssize(whole.labels()), 1), .A = random_matrix<Weight<float>>(1, base.features, 2), .scale = 1});
  formats::write_lora<float>(out, adapters, {}, model.string());
  const LoadedClassifier adapted = open_classifier(out);
  const std::vector<std::vector<float>> found = values(adapted), expected = values(whole);  // all logits grow alike
  for (std::size_t i = 0; i < found.size(); ++i)
    for (std::size_t c = 0; c < found[i].size(); ++c) CHECK(found[i][c] == Approx(expected[i][c]).margin(1e-5));
  TokenizedTexts texts;
  texts.ids = {{2, 9, 4, 3}};
  texts.types = {{0, 0, 0, 0}};
  CHECK((adapted.outputs(texts) - whole.outputs(texts)).cwiseAbs().minCoeff() > 1e-3f);
  CHECK_ERROR(open_classifier(out, {.base = models.add("tiny_roberta", "other")}), ErrorId::adapter_folder, "");
  std::filesystem::remove(model / "config.json");
  CHECK_ERROR(open_classifier(out), ErrorId::adapter_folder, "no folder of a model");
}

TEST_CASE("A merged folder answers as the adapters do, over its own weights") {
  const TinyModels models;
  const std::filesystem::path folder = models.add("tiny_bert", "model");
  for (const models::Pooling pool : {models::Pooling::mean, models::Pooling::first_token, models::Pooling::pooler}) {
    const BaseModel base = open_base_model(folder, {.pooling = pool});
    const std::vector<data::Example> examples = good_and_bad(2);
    TextCounts counts;
    const TokenizedTexts texts = encode_examples(examples, base, counts);
    train::TunedModel<float> model = tune(Method::lora_sb, base, start_head(base, 2));
    take_steps(base, model, texts, 20, 3e-2);
    const std::filesystem::path out = models.folder / "out", merged = models.folder / "merged";
    write_trained(out, base, model, {.method = {}, .labels = {"bad", "good"}, .model = folder.string(), .form = {.pool = pool}});
    const LoadedClassifier adapted = open_classifier(out);
    adapted.write_merged(merged);
    std::filesystem::rename(merged, models.folder / "moved");
    const LoadedClassifier whole = open_classifier(models.folder / "moved");
    CHECK(whole.labels() == adapted.labels());
    CHECK(whole.form().pool == pool);
    const Matrix<float> expected = adapted.outputs(texts);
    CHECK((whole.outputs(texts) - expected).cwiseAbs().maxCoeff() < 1e-4f * expected.cwiseAbs().maxCoeff());
    std::filesystem::remove_all(models.folder / "moved");
    std::filesystem::remove_all(out);
  }
}

TEST_CASE("A head of 2^62 classes without a number is refused, not given as many labels") {
  const TemporaryFolder folder;
  std::ofstream(folder.path() / "adapter_config.json") << R"({"peft_type": "LORA", "r": 1, "lora_alpha": 1, "target_modules": ["query"]})";
  const std::string header =
      R"({"base_model.model.classifier.weight":{"dtype":"F32","shape":[4611686018427387904,0],"data_offsets":[0,0]},)"
      R"("base_model.model.query.lora_A.weight":{"dtype":"F32","shape":[1,1],"data_offsets":[0,4]},)"
      R"("base_model.model.query.lora_B.weight":{"dtype":"F32","shape":[1,1],"data_offsets":[4,8]}})";
  std::ofstream file(folder.path() / "adapter_model.safetensors", std::ios::binary);
  const std::uint64_t length = header.size();
  file.write(reinterpret_cast<const char*>(&length), 8) << header << std::string(8, '\0');
  file.close();
  CHECK_ERROR(classify::read_trained_folder(folder.path()), ErrorId::adapter_folder, "holds no numbers");
}
