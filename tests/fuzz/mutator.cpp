#include "fuzz/mutator.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "lorasb/core/dtype.hpp"
#include "lorasb/io/safetensors_header.hpp"
#include "lorasb/text/unicode.hpp"

extern "C" std::size_t LLVMFuzzerMutate(std::uint8_t* data, std::size_t size, std::size_t max_size);

namespace lorasb::fuzz {
namespace {

/// Reads the values of a text, see json_values().
class JsonScan {
 public:
  explicit JsonScan(std::string_view text) : text_(text) {}

  std::vector<JsonValue> all() {
    skip_space();
    if (!value(at_, 0)) return {};
    skip_space();
    if (at_ != text_.size()) return {};
    return std::move(all_);
  }

 private:
  bool ends() const { return at_ == text_.size(); }
  void skip_space() {
    while (!ends() && (text_[at_] == ' ' || text_[at_] == '\n' || text_[at_] == '\t' || text_[at_] == '\r')) ++at_;
  }
  bool take(char c) {
    skip_space();
    if (ends() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  bool string() {
    for (++at_; !ends() && text_[at_] != '"'; ++at_) {
      if (static_cast<unsigned char>(text_[at_]) < 0x20) return false;
      if (text_[at_] == '\\') ++at_;
      if (ends()) return false;
    }
    return take('"');
  }
  bool value(std::size_t member, int depth) {
    if (ends() || depth > 200) return false;
    const std::size_t place = all_.size(), begin = at_;
    all_.push_back({.begin = begin, .end = 0, .member = member, .next = 0});
    const char first = text_[at_];
    if (first == '{' || first == '[') {
      if (!items(first == '{', depth)) return false;
    } else if (first == '"') {
      if (!string()) return false;
    } else {
      const std::size_t size = std::min(text_.find_first_of(" \n\t\r,]}:", at_), text_.size()) - at_;
      const std::string_view word = text_.substr(at_, size);
      at_ += size;
      if (word.find_first_not_of("+-.eE0123456789") != word.npos && word != "true" && word != "false" && word != "null") return false;
      if (word.empty()) return false;
    }
    all_[place].end = at_;
    all_[place].next = all_.size();
    return true;
  }
  bool items(bool is_object, int depth) {
    const char close = is_object ? '}' : ']';
    ++at_;
    if (take(close)) return true;
    do {
      skip_space();
      const std::size_t member = at_;
      if (is_object) {
        if (ends() || text_[at_] != '"' || !string() || !take(':')) return false;
        skip_space();
      }
      if (!value(is_object ? member : at_, depth + 1)) return false;
    } while (take(','));
    return take(close);
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::vector<JsonValue> all_;
};

/// A text as JSON; bytes that are no UTF-8 become U+FFFD.
std::string json_string(const std::string& text) {
  const auto is_plain = [](char c) { return c >= 0x20 && c != '"' && c != '\\' && c != 0x7F; };
  if (std::ranges::all_of(text, is_plain)) return '"' + text + '"';
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}
std::string text_of_json(std::string_view json) {
  const std::string_view inside = json.substr(1, json.size() - 2);
  if (inside.find('\\') == inside.npos) return std::string(inside);
  const nlohmann::json text = nlohmann::json::parse(json.begin(), json.end(), nullptr, false);
  return text.is_string() ? text.get<std::string>() : std::string(inside);
}
template <class Items>
std::string joined(char open, const Items& items, char close) {
  std::string text(1, open);
  for (const auto& item : items) (text += item) += ',';
  if (text.size() > 1) text.pop_back();
  return text += close;
}

}  // namespace

std::vector<JsonValue> json_values(std::string_view text) { return JsonScan(text).all(); }

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
  std::vector<std::string> entries, fields;
  for (const auto& [key, value] : metadata) fields.push_back(json_string(key) + ':' + json_string(value));
  if (!metadata.empty()) entries.push_back("\"__metadata__\":" + joined('{', fields, '}'));
  std::size_t begin = 0;
  for (const Tensor& t : tensors) {
    std::string shape;
    for (const std::int64_t size : t.shape) shape += (shape.empty() ? "" : ",") + std::to_string(size);
    const std::size_t end = begin + t.bytes.size();
    entries.push_back(json_string(t.name) + ":{\"dtype\":" + json_string(t.dtype) + ",\"shape\":[" + shape + "],\"data_offsets\":[" +
                      std::to_string(begin) + ',' + std::to_string(end) + "]}");
    begin = end;
  }
  std::string text = joined('{', entries, '}');
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

std::string Mutator::leaf() {
  switch (below(8)) {
    case 0:
      return "null";
    case 1:
      return below(2) == 0 ? "true" : "false";
    case 2:
      return "[]";
    case 3:
      return "{}";
    case 4: {
      std::string text = one_in(2) ? "" : "a";
      name(text);
      return json_string(text);
    }
    default:
      return number_text();
  }
}

void Mutator::change(std::string& text, const std::vector<JsonValue>& all) {
  const auto part = [&](std::size_t begin, std::size_t end) { return std::string_view(text).substr(begin, end - begin); };
  const auto any = [&] {
    const JsonValue& value = one_of(all);
    return std::string(part(value.begin, value.end));
  };
  const std::size_t place = below(all.size());
  const JsonValue changed = all[place];
  const std::string_view old = part(changed.begin, changed.end);
  std::vector<JsonValue> inside;
  for (std::size_t i = place + 1; i < changed.next; i = all[i].next) inside.push_back(all[i]);
  std::string fresh;
  if ((old[0] == '-' || (old[0] >= '0' && old[0] <= '9')) && !one_in(3)) {
    std::int64_t value = 0;
    const bool is_integer = std::from_chars(old.data(), old.data() + old.size(), value).ptr == old.data() + old.size();
    fresh = is_integer && one_in(2) ? std::to_string(value / 2 + static_cast<std::int64_t>(below(3))) : number_text();
  } else if (old[0] == '"' && !one_in(3)) {
    std::string word = text_of_json(old);
    name(word);
    fresh = json_string(word);
  } else if (!inside.empty() && !one_in(4)) {
    const bool is_object = old[0] == '{';
    const std::size_t i = below(inside.size()), other = below(inside.size());
    std::vector<std::string> keys, values;  // a key with its colon
    for (const JsonValue& item : inside) {
      keys.emplace_back(part(item.member, item.begin));
      values.emplace_back(part(item.begin, item.end));
    }
    switch (below(4)) {
      case 0:
        keys.erase(keys.begin() + static_cast<std::ptrdiff_t>(i));
        values.erase(values.begin() + static_cast<std::ptrdiff_t>(i));
        break;
      case 1: {
        std::string key = keys[i];
        if (is_object) {
          std::string word = text_of_json(std::string_view(key).substr(0, key.rfind('"') + 1));
          name(word);
          key = json_string(word) + ':';
        }
        keys.push_back(std::move(key));
        values.push_back(std::string(values[i]));
        break;
      }
      case 2:
        std::swap(values[i], values[other]);
        break;
      default:
        if (is_object) {
          values[i] = any();
        } else {
          keys.emplace_back();
          values.push_back(any());
        }
    }
    for (std::size_t item = 0; item < values.size(); ++item) values[item].insert(0, keys[item]);
    fresh = joined(old[0], values, is_object ? '}' : ']');
  } else {
    fresh = one_in(2) ? leaf() : any();
  }
  text.replace(changed.begin, changed.end - changed.begin, fresh);
}

void Mutator::json(std::string& text, const std::string& whole) {
  if (one_in(20)) return bytes(text);
  std::vector<JsonValue> all = json_values(text);
  if (all.empty()) {
    if (one_in(8)) return bytes(text);
    text = whole;
    all = json_values(text);
  }
  change(text, all);
  if (one_in(40))  // a key that comes twice
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
    const std::string whole_header = parts->header();
    std::string header = whole_header;
    json(header, whole_header);
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
