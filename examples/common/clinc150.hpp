// Reads the sentences of CLINC150, labelled with their intents.
#pragma once

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "examples/common/library.hpp"
#include "lorasb/data/corpus.hpp"
#include "lorasb/io/json.hpp"

namespace lorasb::examples {

/// data_full.json of CLINC150 (Larson et al., An Evaluation Dataset for Intent Classification and Out-of-Scope Prediction, 2019):
/// {"train": [[sentence, intent], ...], "val": ..., "test": ..., and "oos_..."}. The set's own splits are kept, and what is out of
/// scope is left out. With a domain (domains.json beside the file: {domain: [intent, ...]}) only its intents are read. The natural
/// client of a sentence is its domain. Throws ErrorId::data for another form and an unknown domain, and what read_json throws.
inline Corpus read_clinc150(const std::filesystem::path& file, std::string_view domain) {
  const nlohmann::json json = io::read_json(file);
  std::map<std::string, std::string> domain_of;  // by intent
  const std::filesystem::path domains_file = file.parent_path() / "domains.json";
  if (!domain.empty() || std::filesystem::exists(domains_file)) {
    const nlohmann::json domains = io::read_json(domains_file);
    require(domains.is_object(), ErrorId::data, "read_clinc150: \"", domains_file.string(), "\" is no object of domains");
    std::string known;
    bool found = domain.empty();
    for (const auto& [name, intents] : domains.items()) {
      known += (known.empty() ? "" : ", ") + name;
      if (!domain.empty() && name != domain) continue;
      found = true;
      for (const nlohmann::json& intent : intents) {
        require(intents.is_array() && intent.is_string(), ErrorId::data, "read_clinc150: \"", domains_file.string(), "\": domain \"", name,
                "\" is no list of intents");
        domain_of[intent.get<std::string>()] = name;
      }
    }
    require(found, ErrorId::data, "read_clinc150: no domain \"", domain, "\" in \"", domains_file.string(), "\", only ", known);
  }
  const auto rows_of = [&](const char* part) {
    std::vector<Row> rows;
    require(json.is_object() && json.contains(part) && json[part].is_array(), ErrorId::data, "read_clinc150: \"", file.string(),
            "\" has no list \"", part, "\"");
    for (const nlohmann::json& pair : json[part]) {
      const bool good = pair.is_array() && pair.size() == 2 && pair[0].is_string() && pair[1].is_string() &&
                        !pair[0].get_ref<const std::string&>().empty();
      require(good, ErrorId::data, "read_clinc150: \"", file.string(), "\", entry ", rows.size() + 1, " of \"", part,
              "\" is no [sentence, intent]");
      const auto its_domain = domain_of.find(pair[1].get<std::string>());
      if (!domain.empty() && its_domain == domain_of.end()) continue;
      rows.push_back({pair[0].get<std::string>(), pair[1].get<std::string>(),
                      its_domain == domain_of.end() ? std::string() : its_domain->second});
    }
    return rows;
  };
  std::vector<Row> train = rows_of("train");
  const std::map<std::string, std::int32_t> numbers = number_labels(train, "read_clinc150");
  Corpus corpus;
  for (const auto& [name, number] : numbers) corpus.label_names.push_back(name);
  const auto add = [&](std::vector<Row> rows, const char* part, std::vector<Example>& to) {
    for (Row& row : rows) {
      const auto label = numbers.find(row.label);
      require(label != numbers.end(), ErrorId::data, "read_clinc150: \"", file.string(), "\": \"", part, "\" has the intent \"",
              row.label, "\", which \"train\" never shows");
      to.push_back({std::move(row.text), label->second, std::move(row.natural_client)});
    }
  };
  add(std::move(train), "train", corpus.examples);
  add(rows_of("val"), "val", corpus.validation);
  add(rows_of("test"), "test", corpus.test);
  return corpus;
}

}  // namespace lorasb::examples
