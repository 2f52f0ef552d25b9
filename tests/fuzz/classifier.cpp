// Fuzzes the reader of trained classifiers: classifier.json with what was trained, an adapter or tensors.
#include "fuzz/fuzz.hpp"
#include "fuzz/mutator.hpp"
#include "fuzz/tiny_bert.hpp"
#include "lorasb/classify/loaded_classifier.hpp"
#include "lorasb/formats/peft_writer.hpp"
#include "lorasb/io/atomic_file.hpp"

namespace lorasb::fuzz {
namespace {

/// The folder of the base model, which stays as it is.
const std::filesystem::path& classifier_base() {
  static const std::filesystem::path folder = [] {
    const std::filesystem::path made = folder_beside("base");
    io::write_file(made / "config.json", bert_config);
    io::write_file(made / "model.safetensors", encoder_tensors(bert_config).to_bytes());
    io::write_file(made / "vocab.txt", encoder_vocabulary);
    return made;
  }();
  return folder;
}

const std::string classifier_json = R"({"labels": ["bad", "good"], "method": "head", "model": "base", "pool": "mean"})";

/// A head alone, a regression with another tensor beside its head, and a classifier of pairs with an adapter.
std::vector<Input> classifier_seeds() {
  const Input::File none{false, ""};
  const TensorFile head{.tensors = {{"classifier.weight", "F32", {2, 4}, std::string(32, '\x3d')}, {"classifier.bias", "F32", {2}, std::string(8, '\x3d')}},
                        .metadata = {}};
  TensorFile full{.tensors = {{"classifier.weight", "F32", {1, 4}, std::string(16, '\x3d')}}, .metadata = {{"format", "pt"}}};
  full.tensors.push_back(encoder_tensors(bert_config).tensors.back());
  const std::filesystem::path folder = second_folder();
  NamedSet<LoraAdapter<float>> adapters;
  adapters.add("encoder.layer.0.attention.self.query",
               {.B = Weight<float>::Constant(4, 1, 0.5f), .A = Weight<float>::Constant(1, 4, 0.25f), .scale = 2});
  formats::write_lora<float>(folder, adapters, {{"classifier.weight", {2, 4}, std::vector<float>(8, 0.5f)}}, "base");
  return {
      {{{true, classifier_json}, {true, head.to_bytes()}, none, none}},
      {{{true,
         R"({"labels": ["LABEL_0"], "method": "full", "model": "base", "pool": "cls", "problem_type": "regression", "weights": "f32"})"},
        {true, full.to_bytes()},
        none,
        none}},
      {{{true,
         R"({"labels": ["a", "b"], "method": "lora", "model": "base", "pool": "cls", "pairs": true, "max_tokens": 6, "weights": "bf16",
 "problem_type": "multi_label_classification"})"},
        none,
        {true, read_file(folder / "adapter_config.json")},
        {true, read_file(folder / "adapter_model.safetensors")}}}};
}

bool classifier_past_first_check(const Input& input) {
  const auto is_there = [&](std::size_t i) { return input.files[i].there; };
  return (is_there(0) || is_there(2)) && (!is_there(0) || is_json(input[0])) &&
         (is_there(2) ? is_json(input[2]) && is_safetensors(input[3]) : is_safetensors(input[1]));
}

void mutate_classifier(Input& input, Mutator& m) {
  static const std::vector<Input> seeds = classifier_seeds();
  if (m.one_in(60)) input.files[m.below(4)].there ^= true;
  if (!m.one_in(3)) return m.json(input[0], m.one_of(seeds)[0]);
  if (!input.files[2].there) return m.safetensors(input[1], seeds[0][1]);
  m.one_in(2) ? m.json(input[2], seeds[2][2]) : m.safetensors(input[3], seeds[2][3]);
}

/// Labels a text with what was read, which may still not fit its base.
void predict(const std::filesystem::path& folder) {
  try {
    const classify::LoadedClassifier classifier = classify::open_classifier(folder, {.base = classifier_base()});
    const std::vector<std::string> texts{classifier.pairs() ? "hello\tworld!" : "hello world!"};
    const classify::Prediction found = classifier.predict(texts).at(0);
    must(found.values.empty() || found.values.size() == classifier.labels().size(), "a prediction has not a number for each label");
    for (const Index label : found.given)
      must(label >= 0 && label < std::ssize(classifier.labels()), "a prediction has a label that is none");
  } catch (const Error&) {
  }
}

void read_classifier(const Input&, const std::filesystem::path& folder) {
  classify::TrainedFolder read = classify::read_trained_folder(folder);
  classify::settle_outputs(read, classifier_base());
  must(std::ssize(read.labels) == read.classes(), "a classifier has not a label for each class");
  if (!writes_again()) return;
  predict(folder);
  if (!read.own) return;
  must_not_throw("a classifier.json that was read cannot be written and read again", [&] {
    const std::filesystem::path again = second_folder();
    classify::write_classifier_file(again, *read.own);
    const std::optional<classify::ClassifierFile> other = classify::read_classifier_file(again);
    const classify::ClassifierForm &a = read.own->form, &b = other.value().form;
    must(other->method == read.own->method && other->labels == read.own->labels && other->model == read.own->model && a.pool == b.pool &&
             a.problem == b.problem && a.pairs == b.pairs && a.max_tokens == b.max_tokens && a.weights == b.weights,
         "a classifier.json is not what was read");
  });
}

const Registered classifier_reader({.name = "classifier",
                                    .files = {"classifier.json", "model.safetensors", "adapter_config.json", "adapter_model.safetensors"},
                                    .seeds = classifier_seeds,
                                    .mutate = mutate_classifier,
                                    .past_first_check = classifier_past_first_check,
                                    .read = read_classifier});

}  // namespace
}  // namespace lorasb::fuzz
