#include "fuzz/mutator.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "lorasb/core/dtype.hpp"
#include "lorasb/io/safetensors_header.hpp"
#include "lorasb/text/unicode.hpp"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace lorasb::fuzz {
namespace {

/// Every node of the tree, the root first.
void collect(nlohmann::ordered_json& node, std::vector<nlohmann::ordered_json*>& all) {
  all.push_back(&node);
  if (node.is_structured())
    for (auto& child : node) collect(child, all);
}

std::string dumped(const nlohmann::ordered_json& json) {
  return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

}  // namespace

bool is_json(std::string_view text) { return nlohmann::json::accept(text.begin(), text.end()); }
bool is_safetensors(std::string_view file) {
  try {
    io::parse_safetensors_header(std::as_bytes(std::span(file)), "");
    return true;
  } catch (const Error&) {
    return false;
  }
}

std::optional<TensorFile> TensorFile::from_bytes(std::string_view file) {
  try {
    const io::SafetensorsHeader header = io::parse_safetensors_header(std::as_bytes(std::span(file)), "");
    TensorFile out{.tensors = {}, .metadata = header.metadata};
    for (const io::TensorInfo& t : header.tensors)
      out.tensors.push_back({t.name,
                             std::string(name_of(t.dtype)),
                             {t.shape.begin(), t.shape.end()},
                             std::string(file.substr(header.data_begin + t.begin, t.end - t.begin))});
    return out;
  } catch (const Error&) {
    return std::nullopt;
  }
}
std::string TensorFile::header() const {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (!metadata.empty()) json["__metadata__"] = metadata;
  std::size_t begin = 0;
  for (const Tensor& t : tensors) {
    json[t.name] = {{"dtype", t.dtype}, {"shape", t.shape}, {"data_offsets", {begin, begin + t.bytes.size()}}};
    begin += t.bytes.size();
  }
  std::string text = dumped(json);
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}
std::string TensorFile::with_header(std::string_view header) const {
  std::string file(8, '\0');
  const std::uint64_t length = header.size();
  std::memcpy(file.data(), &length, 8);
  file += header;
  for (const Tensor& t : tensors) file += t.bytes;
  return file;
}

void Mutator::bytes(std::string& text) {
  const std::size_t size = text.size(), most = size + 16;
  text.resize(most);
  text.resize(LLVMFuzzerMutate(reinterpret_cast<std::uint8_t*>(text.data()), size, most));
}

std::string Mutator::number_text() {
  static const std::vector<std::string> all{"0",
                                            "1",
                                            "2",
                                            "3",
                                            "7",
                                            "8",
                                            "-1",
                                            "100",
                                            "65536",
                                            "2147483647",
                                            "2147483648",
                                            "4294967295",
                                            "4294967296",
                                            "9223372036854775807",
                                            "9223372036854775808",
                                            "18446744073709551615",
                                            "18446744073709551616",
                                            "-9223372036854775808",
                                            "1e300",
                                            "-1e300",
                                            "1e-300",
                                            "0.5",
                                            "-0.0",
                                            "1.5",
                                            "1e9",
                                            "1e10",
                                            "3e38",
                                            "1e-46"};
  return one_of(all);
}

Mutator::Json Mutator::leaf() {
  switch (below(8)) {
    case 0:
      return nullptr;
    case 1:
      return below(2) == 0;
    case 2:
      return Json::array();
    case 3:
      return Json::object();
    case 4: {
      std::string text = one_in(2) ? "" : "a";
      name(text);
      return text;
    }
    default:
      return Json::parse(number_text());
  }
}

void Mutator::change(Json& node, const std::vector<Json*>& all) {
  const auto any_key = [&](Json& object) {
    return std::next(object.begin(), static_cast<std::ptrdiff_t>(below(object.size()))).key();
  };
  if (node.is_number() && !one_in(3)) {
    if (node.is_number_integer() && one_in(2))
      node = node.get<std::int64_t>() / 2 + static_cast<std::int64_t>(below(3));
    else
      node = Json::parse(number_text());
  } else if (node.is_string() && !one_in(3)) {
    std::string text = node.get<std::string>();
    name(text);
    node = text;
  } else if (node.is_array() && !node.empty() && !one_in(4)) {
    const auto i = static_cast<std::size_t>(below(node.size()));
    switch (below(4)) {
      case 0:
        node.erase(i);
        break;
      case 1:
        node.push_back(Json(node[i]));
        break;
      case 2:
        std::swap(node[i], node[below(node.size())]);
        break;
      default:
        node.push_back(Json(*one_of(all)));
    }
  } else if (node.is_object() && !node.empty() && !one_in(4)) {
    const std::string key = any_key(node);
    switch (below(4)) {
      case 0:
        node.erase(key);
        break;
      case 1: {
        std::string other = key;
        name(other);
        node[other] = Json(node[key]);
        break;
      }
      case 2:
        std::swap(node[key], node[any_key(node)]);
        break;
      default:
        node[key] = Json(*one_of(all));
    }
  } else {
    node = one_in(2) ? leaf() : Json(*one_of(all));
  }
}

void Mutator::json(std::string& text, const std::string& whole) {
  if (one_in(20)) return bytes(text);
  Json tree = Json::parse(text, nullptr, false);
  if (tree.is_discarded()) {
    if (one_in(8)) return bytes(text);
    tree = Json::parse(whole, nullptr, false);
  }
  std::vector<Json*> all;
  collect(tree, all);
  change(*one_of(all), all);
  text = dumped(tree);
  if (one_in(40))  // a key that comes twice is no tree
    if (const std::size_t open = text.find('{'); open != text.npos && open + 1 < text.size() && text[open + 1] == '"') {
      const std::size_t end = text.find(':', open);
      if (end != text.npos) text.insert(open + 1, text.substr(open + 1, end - open) + "1,");
    }
}

void Mutator::name(std::string& text) {
  static const std::vector<std::string> parts{".",      "..",      "/",       ".weight",  "base_model.model.",
                                              "\\",     "\x1b[2J", "\"",      "*",        "(",
                                              ")",      "[",       "^",       "$",        "|",
                                              "+",      "a",       "ab",      "\xc3\xa9", "\xe2\x96\x81",
                                              "##",     " ",       "default", "0",        "9999999999",
                                              "layer.1"};
  switch (below(6)) {
    case 0:
      text = one_of(parts);
      break;
    case 1:
      text += one_of(parts);
      break;
    case 2:
      text.insert(below(text.size() + 1), one_of(parts));
      break;
    case 3:
      text.erase(below(text.size() + 1), 1 + below(4));
      break;
    case 4:
      if (!text.empty() && text.size() < 200) text += text;
      break;
    default:
      bytes(text);
  }
}

void Mutator::numbers(std::string& bytes, std::string_view dtype) {
  const std::optional<Dtype> type = dtype_named(dtype);
  const std::size_t size = type ? size_of(*type) : 1;
  if (bytes.size() < size) return;
  const std::size_t at = below(bytes.size() / size) * size;
  if (dtype == "F32" && !one_in(4)) {
    static const std::vector<float> all{0.f, -0.f, 1.f, -1.f, 1e30f, -1e30f, 3.4e38f, 1e-40f, INFINITY, -INFINITY, NAN, 0.5f};
    const float value = one_of(all);
    std::memcpy(bytes.data() + at, &value, 4);
  } else {
    for (std::size_t i = 0; i < size; ++i) bytes[at + i] = static_cast<char>(below(256));
  }
}

void Mutator::metadata(std::map<std::string, std::string>& fields) {
  if (fields.empty() || one_in(4)) {
    std::string key = "key", value = "value";
    name(key);
    name(value);
    fields[key] = value;
    return;
  }
  const auto at = std::next(fields.begin(), static_cast<std::ptrdiff_t>(below(fields.size())));
  switch (below(5)) {
    case 0:
      fields.erase(at);
      break;
    case 1:
      at->second = number_text();
      break;
    case 2:
      std::swap(at->second, std::next(fields.begin(), static_cast<std::ptrdiff_t>(below(fields.size())))->second);
      break;
    case 3: {
      std::string key = at->first;
      name(key);
      fields[key] = at->second;
      break;
    }
    default:
      name(at->second);
  }
}

void Mutator::tensors(TensorFile& file) {
  constexpr std::size_t most = 4096;  // bytes of a tensor
  if (file.tensors.empty() || one_in(6)) return metadata(file.metadata);
  const std::size_t i = below(file.tensors.size());
  TensorFile::Tensor& t = file.tensors[i];
  const auto fill_shape = [&] {
    const std::optional<Dtype> type = dtype_named(t.dtype);
    std::size_t count = 1;
    for (const std::int64_t size : t.shape)
      count = size < 0 || size > std::int64_t(most) ? most + 1 : std::min(count * std::size_t(size), most + 1);
    if (type && count <= most && bytes_of(*type, Index(count)) <= most) t.bytes.resize(bytes_of(*type, Index(count)), '?');
  };
  switch (below(9)) {
    case 0:
    case 1:
      numbers(t.bytes, t.dtype);
      break;
    case 2:
      name(t.name);
      break;
    case 3:
      t.name = one_of(file.tensors).name;
      break;
    case 4: {
      t.dtype = dtype_table[below(dtype_table.size())].name;
      if (!one_in(3)) fill_shape();
      break;
    }
    case 5:
    case 6: {
      if (t.shape.empty() || one_in(6)) {
        t.shape.insert(t.shape.begin() + static_cast<std::ptrdiff_t>(below(t.shape.size() + 1)), std::int64_t(below(3)));
      } else if (one_in(6)) {
        t.shape.pop_back();
      } else if (one_in(4)) {
        std::reverse(t.shape.begin(), t.shape.end());
      } else {
        static const std::vector<std::int64_t> sizes{
            0, 1, 2, 3, 4, 5, 8, 16, 64, 1 << 20, std::int64_t{1} << 32, std::int64_t{1} << 62};
        t.shape[below(t.shape.size())] = one_of(sizes);
      }
      if (!one_in(4)) fill_shape();
      break;
    }
    case 7: {
      TensorFile::Tensor copy = t;
      name(copy.name);
      file.tensors.push_back(std::move(copy));
      break;
    }
    default:
      file.tensors.erase(file.tensors.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

void Mutator::safetensors(std::string& file, const std::string& whole) {
  if (one_in(25)) return bytes(file);
  std::optional<TensorFile> parts = TensorFile::from_bytes(file);
  if (!parts) {
    if (one_in(8)) return bytes(file);
    parts = TensorFile::from_bytes(whole);
    if (!parts) return;
  }
  if (one_in(10)) {  // the header alone, with its length
    std::string header = parts->header();
    json(header, parts->header());
    file = parts->with_header(header);
    return;
  }
  tensors(*parts);
  file = parts->to_bytes();
}

void Mutator::text(std::string& text) {
  static const std::vector<std::int32_t> letters{
      'a',    'B',    ' ',    '\t',   '\n',   '\r',    0,       '.',     ',',     '\'',    '1',     0xA0,
      0xAD,   0xDF,   0xE9,   0x130,  0x131,  0x1C4,   0x300,   0x301,   0x323,   0x345,   0x345,   0x3A3,
      0x5D0,  0x627,  0x64B,  0x900,  0x940,  0xE01,   0xE33,   0x1100,  0x1161,  0x11A8,  0xAC00,  0xAC01,
      0x2003, 0x200B, 0x200D, 0x2028, 0x2581, 0x3000,  0x3042,  0x3099,  0x4E00,  0xFDFA,  0xFE0F,  0xFEFF,
      0xFF21, 0xFFFD, 0xFFFE, 0xD7FF, 0xE000, 0x1F468, 0x1F600, 0x1D160, 0x20000, 0x2F800, 0xE0001, 0x10FFFF};
  if (one_in(25)) return bytes(text);
  text::CodePoints all;
  text::detail::decode(text, all);  // what is no UTF-8 goes
  const std::size_t at = below(all.size() + 1), rest = all.size() - at;
  const auto place = all.begin() + static_cast<std::ptrdiff_t>(at);
  switch (below(5)) {
    case 0:
      all.erase(place, place + static_cast<std::ptrdiff_t>(std::min(rest, 1 + below(8))));
      break;
    case 1: {
      const text::CodePoints part(place, place + static_cast<std::ptrdiff_t>(std::min(rest, 1 + below(16))));
      all.insert(all.begin() + static_cast<std::ptrdiff_t>(below(all.size() + 1)), part.begin(), part.end());
      break;
    }
    case 2:
      all.insert(place, 1 + below(one_in(10) ? 200 : 3), one_of(letters));
      break;
    case 3:
      all.insert(place, static_cast<std::int32_t>(below(0xD800)));
      break;
    default:
      if (rest > 0) *place = one_of(letters);
  }
  text.clear();
  for (const std::int32_t c : all) text::append_utf8(c, text);
}

void Mutator::lines(std::string& text, const std::vector<std::string>& words) {
  if (one_in(20)) return bytes(text);
  std::vector<std::string> all;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size() - 1);
    all.push_back(text.substr(at, end - at + 1));
    at = end + 1;
  }
  if (all.empty()) all.push_back("\n");
  const std::size_t i = below(all.size());
  switch (below(7)) {
    case 0:
      all.erase(all.begin() + static_cast<std::ptrdiff_t>(i));
      break;
    case 1:
      all.push_back(all[i]);
      break;
    case 2:
      std::swap(all[i], all[below(all.size())]);
      break;
    case 3:
      all[i].insert(below(all[i].size() + 1), one_of(words));
      break;
    case 4:
      all.push_back(one_of(words) + "\n");
      break;
    default: {
      std::string line = all[i].substr(0, all[i].size() - all[i].ends_with('\n'));
      this->text(line);
      all[i] = line + "\n";
    }
  }
  text.clear();
  for (const std::string& line : all) text += line;
}

}  // namespace lorasb::fuzz
