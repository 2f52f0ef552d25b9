// The C++ side of check_tokens.py: the ids of texts.
//   interop_tokens MODEL TEXTS.json OUT.json     TEXTS.json is a list of [text] or [text, second, most tokens or null, side]; OUT.json is a
//                                                list of [ids, types]
#include <cstdio>
#include <fstream>
#include <string>

#include "lorasb/io/json.hpp"
#include "lorasb/text/open_tokenizer.hpp"

using namespace lorasb;

int main(int argc, char** argv) {
  if (argc != 4) return std::fprintf(stderr, "usage: interop_tokens MODEL TEXTS.json OUT.json\n"), 2;
  try {
    const text::OpenedTokenizer opened = text::open_tokenizer(argv[1]);
    std::ofstream out(argv[3]);
    char before = '[';
    for (const nlohmann::json& row : io::read_json(argv[2])) {
      const std::string first = row[0].get<std::string>();
      const text::Encoding found =
          row.size() == 1 ? opened.tokenizer->encode(first)
                          : opened.tokenizer->encode_pair(first, row[1].get<std::string>(),
                                                          row[2].is_null() ? text::Tokenizer::no_limit : row[2].get<std::size_t>(),
                                                          row[3] == "left" ? text::CutSide::left : text::CutSide::right);
      out << before << nlohmann::json({found.ids, found.types}) << '\n';
      before = ',';
    }
    out << "]\n";
    return out.flush() ? 0 : 1;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 1;
  }
}
