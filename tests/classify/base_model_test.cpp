#include "lorasb/classify/base_model.hpp"

#include "classify/tiny_model.hpp"
#include "lorasb/classify/module_choice.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::classify;
using namespace lorasb::test;

TEST_CASE("The family's dense layer is a module of BERT, and a part of the head of others until they are only read") {
  const TinyModels models;
  const std::filesystem::path bert = models.add("tiny_bert", "bert"), other = models.add("tiny_distilbert", "distilbert");
  const OpenBaseModelOptions pooler{.pooling = models::Pooling::pooler};
  const BaseModel one = open_base_model(bert, pooler);
  CHECK_FALSE(one.dense.has_value());
  CHECK(one.modules.back().name == "bert.pooler.dense");
  CHECK(start_head(one, 2).layout().size() == 2 * 8 + 2);

  const BaseModel two = open_base_model(other, pooler);
  REQUIRE(two.dense.has_value());
  CHECK(two.dense->module == "pre_classifier");
  CHECK(two.dense->start.size() == 8 * 8 + 8);
  const Parameters<float> head = start_head(two, 2);
  CHECK(head.layout().size() == 8 * 8 + 8 + 2 * 8 + 2);
  CHECK(std::ranges::equal(head.flat().first(72), two.dense->start));
  CHECK(two.head_name(head.layout().tensors().front()) == "pre_classifier.weight");
  CHECK(names_of(open_base_model(other, {.pooling = models::Pooling::pooler, .use = ModelUse::load}).modules).back() == "pre_classifier");
}

TEST_CASE("Texts are cut to what was asked for, and a pair needs a tab") {
  const TinyModels models;
  const std::filesystem::path folder = models.add("tiny_bert", "model");
  const BaseModel single = open_base_model(folder, {.max_tokens = 4}), pair = open_base_model(folder, {.pairs = true});
  CHECK(single.max_tokens == 4);
  CHECK(single.encode("good a is the bad").ids.size() == 4);
  CHECK(single.encode("good a is the bad").cut);
  CHECK(pair.max_tokens == 12);
  CHECK(pair.encode("good\tbad").types == std::vector<std::int32_t>{0, 0, 0, 1, 1});
  CHECK_ERROR(pair.encode("good bad"), ErrorId::data, "no tab");
  CHECK(single.name == folder.string());
}

TEST_CASE("A folder that is no model is refused by name") {
  const TemporaryFolder folder;
  CHECK_ERROR(open_base_model(folder.path()), ErrorId::model, "holds neither config.json");
  folder.write("dist/model.json", "{}");
  CHECK_ERROR(open_base_model(folder.path(), {.pairs = true}), ErrorId::value, "use-lite reads single texts");
}

TEST_CASE("Modules are named whole, by their last parts, by an expression, or all") {
  const std::vector<std::string> modules{"a.0.query", "a.0.value", "a.1.query", "a.1.dense"};
  CHECK(chosen_modules("all-linear", modules) == modules);
  CHECK(chosen_modules("query", modules) == std::vector<std::string>{"a.0.query", "a.1.query"});
  CHECK(chosen_modules(" a.1.dense , value", modules) == std::vector<std::string>{"a.0.value", "a.1.dense"});
  CHECK(chosen_modules("a\\.0\\..*", modules) == std::vector<std::string>{"a.0.query", "a.0.value"});
  CHECK_ERROR(chosen_modules("query, key", modules, "--modules"), ErrorId::value,
              "--modules: \"key\" matches none of the linear modules, which are: a.0.query, a.0.value");
  CHECK_ERROR(chosen_modules("b.*", modules), ErrorId::value, "matches none");
  CHECK_ERROR(chosen_modules("", modules), ErrorId::value, "matches none");
}

TEST_CASE("With fewer modules the encoder gives the same vectors, and layers are given for those alone") {
  const TinyModels models;
  BaseModel base = open_base_model(models.add("tiny_bert", "model"));
  TextCounts counts;
  const TokenizedTexts texts = encode_examples(good_and_bad(3), base, counts);
  const Matrix<float> before = frozen_features(base, texts, 2, 1);
  keep_modules(base, chosen_modules("query", names_of(base.modules)));
  CHECK(base.modules.size() == 2);
  CHECK(frozen_features(base, texts, 2, 1) == before);
  train::TunedModel<float> model = tune(Method::lora, base, start_head(base, 2));
  take_steps(base, model, texts, 5, 3e-2);
  CHECK(model.layers.size() == 2);
  CHECK(model.values->layout().size() == 2 * (2 * 8 + 8 * 2) + 2 * 8 + 2);
}

TEST_CASE("Notes and checksums tell what was cut, what is unknown, and that texts have changed") {
  const TinyModels models;
  const BaseModel base = open_base_model(models.add("tiny_bert", "model"), {.max_tokens = 4});
  TextCounts counts;
  const std::vector<data::Example> examples{{"good a is the bad", 1}, {"zzz", 0}, {"good", 1}};
  const TokenizedTexts one = encode_examples(examples, base, counts);
  const TokenizedTexts four = encode_examples(examples, base, counts, ProblemType::single_label, 4);
  CHECK(counts.cut == 2);
  CHECK(counts.unknown == 2);
  std::vector<std::string> notes;
  counts.add_notes(base, notes);
  CHECK(notes == std::vector<std::string>{"2 texts cut to the 4 tokens that the encoder reads",
                                          "2 texts in which the vocabulary of " + base.name + " finds nothing"});
  CHECK(checksum({&one}) == checksum({&four}));
  TokenizedTexts changed = one;
  changed.labels[2] = 0;
  CHECK(checksum({&changed}) != checksum({&one}));
  const std::vector<data::Example> sets{{"good", 0, {}, {1, 0}}, {"bad", 0, {}, {0, 1}}};
  const TokenizedTexts numbers = encode_examples(sets, base, counts, ProblemType::multi_label);
  CHECK(numbers.values == Matrix<float>::Identity(2, 2));
}
