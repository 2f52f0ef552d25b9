// Reads the noun glosses of WordNet 3.0, labelled with their topics.
#pragma once

#include <array>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "examples/common/library.hpp"
#include "lorasb/data/corpus.hpp"

namespace lorasb::examples {

/// The whole gloss (definition and example sentences) of each of 82,064 noun senses, and as its label the topic by which
/// WordNet's authors sorted it: the lexicographer files 4 to 28, all of the nouns but the 51 roots in file 3. A line of
/// data.noun is `offset file n words and pointers | gloss` (wndb(5WN), lexnames(5WN)); lines that begin with a space are the
/// licence. Throws ErrorId::data when the file is missing, with the package to install, or not what it should be.
inline Corpus read_wordnet(const std::filesystem::path& data_noun = "/usr/share/wordnet/data.noun") {
  constexpr int first_topic = 4;
  constexpr std::array<const char*, 25> topics{
      "act",     "animal",   "artifact", "attribute", "body",   "cognition", "communication", "event", "feeling",
      "food",    "group",    "location", "motive",    "object", "person",    "phenomenon",    "plant", "possession",
      "process", "quantity", "relation", "shape",     "state",  "substance", "time"};
  std::ifstream file(data_noun, std::ios::binary);
  require(file.good(), ErrorId::data, "read_wordnet: cannot open \"", data_noun.string(),
          "\"; install the Debian package wordnet-base");
  std::vector<Row> rows;
  std::string line;
  for (std::size_t number = 1; std::getline(file, line); ++number) {
    if (line.starts_with(' ')) continue;
    const std::size_t bar = line.find(" | ");
    const bool has_file = line.size() > 11 && line[8] == ' ' && std::isdigit(static_cast<unsigned char>(line[9])) &&
                          std::isdigit(static_cast<unsigned char>(line[10]));
    require(has_file && bar != std::string::npos, ErrorId::data, "read_wordnet: \"", data_noun.string(), "\", line ", number,
            " is not a synset of WordNet");
    const int topic = 10 * (line[9] - '0') + (line[10] - '0') - first_topic;
    if (topic < 0 || topic >= static_cast<int>(topics.size())) continue;
    const std::size_t end = line.find_last_not_of(' ') + 1;
    rows.push_back({line.substr(bar + 3, end - bar - 3), topics[static_cast<std::size_t>(topic)]});
  }
  return gather(std::move(rows), "read_wordnet");
}

}  // namespace lorasb::examples
