// Opens the tokenizer of a Hugging Face folder, whatever its kind.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>

#include "lorasb/io/mapped_file.hpp"
#include "lorasb/text/byte_bpe_tokenizer.hpp"
#include "lorasb/text/unigram_tokenizer.hpp"
#include "lorasb/text/wordpiece_tokenizer.hpp"

namespace lorasb::text {

struct OpenedTokenizer {
  std::unique_ptr<const Tokenizer> tokenizer;
  std::size_t max_tokens = Tokenizer::no_limit;  // model_max_length of tokenizer_config.json
  CutSide cut_side = CutSide::right;             // its truncation_side, else the direction that tokenizer.json has
};

/// Reads tokenizer.json, else vocab.txt, else vocab.json and merges.txt; beside them tokenizer_config.json, if it is there, for
/// model_max_length, truncation_side and, without a tokenizer.json, case, accents and spaces. Throws ErrorId::file_open when there is no tokenizer, and
/// what the tokenizers throw.
inline OpenedTokenizer open_tokenizer(const std::filesystem::path& folder) {
  const auto is_there = [&](const char* name) { return io::is_there(folder / name); };
  OpenedTokenizer opened;
  nlohmann::json config;
  if (is_there("tokenizer_config.json")) config = io::read_json(folder / "tokenizer_config.json");
  const std::optional<Index> longest = io::json_integer(detail::JsonSource::get(config, "model_max_length"));  // 1e30: no limit
  if (longest && *longest > 0) opened.max_tokens = static_cast<std::size_t>(*longest);
  const auto is_left = [](const nlohmann::json& side) { return side == "left" || side == "Left"; };
  const nlohmann::json& side = detail::JsonSource::get(config, "truncation_side");
  if (is_left(side)) opened.cut_side = CutSide::left;
  if (is_there("tokenizer.json")) {
    const std::filesystem::path path = folder / "tokenizer.json";
    const nlohmann::json json = io::read_json(path);
    if (side.is_null() && is_left(detail::JsonSource::get(detail::JsonSource::get(json, "truncation"), "direction")))
      opened.cut_side = CutSide::left;
    const nlohmann::json& type = detail::JsonSource::get(detail::JsonSource::get(json, "model"), "type");
    if (type == "BPE")
      opened.tokenizer.reset(new auto(ByteBpeTokenizer::from_json(json, path.string())));
    else if (type == "Unigram")
      opened.tokenizer.reset(new auto(UnigramTokenizer::from_json(json, path.string())));
    else
      opened.tokenizer.reset(new auto(WordPieceTokenizer::from_json(json, path.string())));
  } else if (is_there("vocab.txt")) {
    opened.tokenizer.reset(new auto(WordPieceTokenizer::from_vocabulary(folder / "vocab.txt", config)));
  } else {
    require(is_there("vocab.json") && is_there("merges.txt"), ErrorId::file_open, folder.string(),
            ": there is no tokenizer.json, no vocab.txt, and no vocab.json with a merges.txt");
    opened.tokenizer.reset(new auto(ByteBpeTokenizer::from_vocabulary(folder / "vocab.json", folder / "merges.txt", config)));
  }
  return opened;
}

}  // namespace lorasb::text
