// A tiny BERT with a vocabulary, texts in which one word decides, and classifiers trained on them.
#pragma once

#include "io/files.hpp"
#include "lorasb/classify/encode_texts.hpp"
#include "lorasb/classify/start_adapters.hpp"
#include "lorasb/classify/write_trained.hpp"
#include "lorasb/optim/adamw.hpp"

namespace lorasb::test {

inline const std::filesystem::path stored_models = std::filesystem::path(LORASB_TEST_DIR) / ".." / "models" / "golden";

/// Copies of stored models, each with a vocabulary of 13 words.
struct TinyModels {
  TemporaryFolder folder;

  std::filesystem::path add(const char* stored, const std::string& name) const {
    const std::filesystem::path model = folder / name;
    std::filesystem::copy(stored_models / stored, model);
    write_all(model / "vocab.txt", "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\n##a\n##b\nthe\ngood\nbad\n.\nis\n");
    return model;
  }
  /// config.json with another value for a key.
  static void set(const std::filesystem::path& model, const char* key, nlohmann::json value) {
    nlohmann::json config = io::read_json(model / "config.json");
    config[key] = std::move(value);
    io::write_json(model / "config.json", config);
  }
};

/// `count` texts of each of the labels 0, "bad", and 1, "good".
inline std::vector<data::Example> good_and_bad(int count) {
  std::vector<data::Example> examples;
  for (int i = 0; i < count; ++i)
    for (const char* word : {"bad", "good"})
      examples.push_back({.text = concat(word, i % 2 == 0 ? " a" : " the b"), .label = std::int32_t(word[0] == 'g')});
  return examples;
}

inline train::TunedModel<float> tune(Method method, const classify::BaseModel& base, const Parameters<float>& head) {
  const bool cores = method == Method::lora_xs || method == Method::lora_sb;
  return classify::start_model(method, base, cores ? classify::xs_adapters(base, 2, 1) : AdapterSet<float>(),
                               {.rank = 2, .alpha = 4, .seed = 1}, head);
}

/// Some steps of AdamW over all texts.
inline void take_steps(const classify::BaseModel& base, train::TunedModel<float>& model, const models::TokenizedTexts& texts,
                       int steps, double rate) {
  classify::Classifier classifier = classify::make_classifier(base, model.weights, model.layers, *model.values, 1);
  const std::vector<Index> all = classify::all_of(texts);
  optim::AdamW<float> optimizer(model.values->layout().size());
  std::vector<float> gradient(model.values->flat().size());
  for (int step = 0; step < steps; ++step) {
    std::ranges::fill(gradient, 0.0f);
    classifier.pass(texts, all, 0, gradient);
    for (float& g : gradient) g /= float(all.size());
    optimizer.step(model.values->flat(), gradient, rate);
  }
}

}  // namespace lorasb::test
