// What Hugging Face's tokenizers gave (golden/hugging_face.py).
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "lorasb/io/json.hpp"
#include "lorasb/text/tokenizer.hpp"
#include "support.hpp"

namespace lorasb::test {

using Ids = std::vector<std::int32_t>;

inline const std::filesystem::path golden_folder = std::filesystem::path(LORASB_TEST_DIR) / "golden";

/// Every text and pair of the file has its ids and types.
inline void check_golden_tokens(const text::Tokenizer& tokenizer, const std::string& file) {
  const nlohmann::json golden = io::read_json(golden_folder / file);
  REQUIRE(golden["single"].size() > 80);
  for (const nlohmann::json& row : golden["single"]) {
    INFO(row.dump());
    CHECK(tokenizer.encode(row[0].get<std::string>()).ids == row[1].get<Ids>());
  }
  for (const nlohmann::json& row : golden["pairs"]) {
    INFO(row.dump());
    const std::size_t most = row[2].is_null() ? text::Tokenizer::no_limit : row[2].get<std::size_t>();
    const text::Encoding found = tokenizer.encode_pair(row[0].get<std::string>(), row[1].get<std::string>(), most);
    CHECK(found.ids == row[3].get<Ids>());
    CHECK(found.types == row[4].get<Ids>());
  }
}

}  // namespace lorasb::test
