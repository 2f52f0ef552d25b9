// Mutations that keep the structure of an input: trees of JSON, tensors with right offsets, texts of whole letters.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "lorasb/core/random.hpp"

namespace lorasb::fuzz {

/// A safetensors file taken apart. to_bytes() puts the tensors one after another and repairs offsets and header length.
struct TensorFile {
  struct Tensor {
    std::string name, dtype;
    std::vector<std::int64_t> shape;
    std::string bytes;
  };
  std::vector<Tensor> tensors;
  std::map<std::string, std::string> metadata;

  /// Nothing for bytes that are no safetensors file.
  static std::optional<TensorFile> from_bytes(std::string_view file);
  std::string header() const;
  std::string to_bytes() const { return with_header(header()); }
  std::string with_header(std::string_view header) const;
};

/// A value of a JSON text as a place in it. A tree would cost more to build and to write again than most readers take to read one.
struct JsonValue {
  std::size_t begin = 0, end = 0;
  std::size_t member = 0;  // where its key begins; `begin` where it has none
  std::size_t next = 0;    // among all values: the first one that is not inside this one
};
/// All values, each before those inside it; nothing for what is not built as JSON is (numbers and escapes are not looked into).
std::vector<JsonValue> json_values(std::string_view text);

/// Random choices of one mutation, from libFuzzer's seed. `seeds` are whole inputs of the file that is mutated, from which
/// broken ones are made whole again now and then.
class Mutator {
 public:
  explicit Mutator(std::uint64_t seed) : random_(seed) {}

  std::uint64_t below(std::uint64_t n) { return random_.below(n); }
  bool one_in(std::uint64_t n) { return below(n) == 0; }
  template <class T>
  const T& one_of(const std::vector<T>& all) {
    return all[below(all.size())];
  }

  /// libFuzzer's own mutations: bits, bytes, words from comparisons.
  void bytes(std::string& text);
  /// Changes a value; a rare one changes bytes. `whole` is JSON that takes the place of a text that is none.
  void json(std::string& text, const std::string& whole);
  /// Changes a tensor, a name, a shape, numbers, metadata, or the header's JSON; a rare one changes bytes.
  void safetensors(std::string& file, const std::string& whole);
  void tensors(TensorFile& file);
  /// Changes letters: marks, scripts, white space, doubled parts. Stays UTF-8 but for a rare one.
  void text(std::string& text);
  /// A short text of letters.
  void name(std::string& text);
  /// Changes, doubles, drops or swaps lines; `words` are put in now and then.
  void lines(std::string& text, const std::vector<std::string>& words);
  void metadata(std::map<std::string, std::string>& fields);
  void numbers(std::string& bytes, std::string_view dtype);
  std::string number_text();

 private:
  std::string leaf();
  void change(std::string& text, const std::vector<JsonValue>& all);

  Random random_;
};

bool is_json(std::string_view text);
bool is_safetensors(std::string_view file);

}  // namespace lorasb::fuzz
