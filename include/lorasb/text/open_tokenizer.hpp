// Opens the tokenizer of a Hugging Face folder, whatever its kind.
#pragma once

#include <algorithm>
#include <filesystem>
#include <memory>

#include "lorasb/text/wordpiece_tokenizer.hpp"

namespace lorasb::text {

struct OpenedTokenizer {
  std::unique_ptr<const Tokenizer> tokenizer;
  std::size_t max_tokens = Tokenizer::no_limit;  // model_max_length of tokenizer_config.json
};

/// Reads tokenizer.json, else vocab.txt; beside them tokenizer_config.json, if it is there, for model_max_length and, with vocab.txt,
/// case and accents. Throws ErrorId::file_open when there is no tokenizer, and what the tokenizers throw.
inline OpenedTokenizer open_tokenizer(const std::filesystem::path& folder) {
  const auto is_there = [&](const char* name) { return std::filesystem::exists(folder / name); };
  OpenedTokenizer opened;
  nlohmann::json config;
  if (is_there("tokenizer_config.json")) config = io::read_json(folder / "tokenizer_config.json");
  const nlohmann::json longest = detail::JsonSource::get(config, "model_max_length");  // 1e30 where there is no limit
  if (longest.is_number_integer() && longest.get<std::int64_t>() > 0) opened.max_tokens = longest.get<std::size_t>();
  if (is_there("tokenizer.json")) {
    opened.tokenizer.reset(new auto(WordPieceTokenizer::from_json(folder / "tokenizer.json")));
  } else {
    require(is_there("vocab.txt"), ErrorId::file_open, folder.string(), ": there is no tokenizer.json and no vocab.txt");
    opened.tokenizer.reset(new auto(WordPieceTokenizer::from_vocabulary(folder / "vocab.txt", config)));
  }
  return opened;
}

}  // namespace lorasb::text
