// Reads the descriptions of Debian's packages, labelled with their archive sections.
#pragma once

#include <algorithm>
#include <array>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "examples/common/library.hpp"
#include "lorasb/data/corpus.hpp"

namespace lorasb::examples {

/// The sections that name a subject; the others name a programming language, a desktop, a kind of file (libs, doc, debug) or
/// nothing clear (misc, utils).
constexpr std::array<std::string_view, 12> clear_sections{"database", "fonts", "games",   "graphics", "hamradio", "mail",
                                                          "math",     "net",   "science", "sound",    "text",     "web"};

/// From stanzas of `Field: value` lines, with blank lines between (deb-control(5); a line that begins with a space goes on with
/// the field above): the Description of each package in a clear section, of one package for each source package and section,
/// since packages of one source are described alike. The natural client is the Maintainer without the address.
template <class NextLine>
Corpus parse_debian(const NextLine& next_line) {
  std::vector<Row> rows;
  std::set<std::pair<std::string, std::string>> seen;  // source, section
  std::map<std::string, std::string, std::less<>> fields{
      {"Package", ""}, {"Source", ""}, {"Section", ""}, {"Maintainer", ""}, {"Description", ""}};
  std::string* field = nullptr;  // that the next line may go on with
  const auto finish = [&] {
    const std::string& named = fields["Source"].empty() ? fields["Package"] : fields["Source"];
    const std::string source = named.substr(0, named.find(' '));                             // without its version
    const std::string section = fields["Section"].substr(fields["Section"].rfind('/') + 1);  // contrib/games is games
    const bool clear = std::find(clear_sections.begin(), clear_sections.end(), section) != clear_sections.end();
    if (clear && !fields["Description"].empty() && seen.emplace(source, section).second)
      rows.push_back({fields["Description"], section, fields["Maintainer"].substr(0, fields["Maintainer"].find(" <"))});
    for (auto& [name, value] : fields) value.clear();
    field = nullptr;
  };
  std::string line;
  while (next_line(line)) {
    if (line.empty()) {
      finish();
    } else if (line[0] == ' ') {
      if (field && line != " .") *field += line;
    } else {
      const std::size_t colon = std::min(line.find(':'), line.size());
      const auto known = fields.find(std::string_view(line).substr(0, colon));
      field = known == fields.end() ? nullptr : &known->second;
      if (field) *field = line.substr(std::min(colon + 2, line.size()));
    }
  }
  finish();
  require(!rows.empty(), ErrorId::data, "read_debian: no package descriptions; run `apt-get update` first");
  return gather(std::move(rows), "read_debian");
}

/// The packages that this machine's apt knows of (`apt-cache dumpavail`). Their descriptions are one line each: the archive
/// keeps the long ones elsewhere. Throws ErrorId::data when there are none.
inline Corpus read_debian() {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(popen("apt-cache dumpavail 2>/dev/null", "r"), pclose);
  require(pipe != nullptr, ErrorId::data, "read_debian: cannot run apt-cache; this data set needs a Debian system");
  return parse_debian([&](std::string& line) {
    std::array<char, 4096> part;
    line.clear();
    while (std::fgets(part.data(), part.size(), pipe.get())) {
      line += part.data();
      if (!line.ends_with('\n')) continue;
      line.pop_back();
      return true;
    }
    return !line.empty();
  });
}

}  // namespace lorasb::examples
