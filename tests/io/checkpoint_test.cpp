#include "lorasb/io/checkpoint.hpp"

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "io/files.hpp"
#include "support.hpp"

using lorasb::Error;
using lorasb::ErrorId;
using lorasb::Random;
using lorasb::Real;
using lorasb::io::Checkpoint;
using lorasb::io::load_checkpoint;
using lorasb::io::require_same_config;
using lorasb::io::save_checkpoint;
namespace test = lorasb::test;

namespace {

/// A quiet NaN that carries a number in its spare bits.
template <Real S>
S nan_with_payload() {
  if constexpr (std::same_as<S, float>)
    return std::bit_cast<float>(std::uint32_t{0x7fc0beef});
  else
    return std::bit_cast<double>(std::uint64_t{0x7ff80000deadbeef});
}

template <Real S>
Checkpoint<S> example() {
  using limits = std::numeric_limits<S>;
  Checkpoint<S> checkpoint;
  checkpoint.tensors["parameters"] = {S(1) / 3, S(-0.0), limits::denorm_min(), -limits::infinity(), limits::max()};
  checkpoint.tensors["adamw.v"] = {nan_with_payload<S>(), S(0), limits::epsilon(), limits::min(), S(-7)};
  checkpoint.tensors["empty"] = {};
  checkpoint.put_integer("step", 18446744073709551615ULL);
  checkpoint.put_integer("epoch", 0);
  checkpoint.put_number("best", -0.0);
  checkpoint.put_number("loss", std::bit_cast<double>(std::uint64_t{0x7ff4000000000123}));
  checkpoint.state["note"] = "Grüße \"\\\n\t\x01";
  checkpoint.config = {{"rank", "16"}, {"data", "wordnet"}, {"empty", ""}};
  return checkpoint;
}

template <Real S>
bool same_bits(const std::vector<S>& a, const std::vector<S>& b) {
  return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(S)) == 0);
}

template <Real S>
bool same(const Checkpoint<S>& a, const Checkpoint<S>& b) {
  return a.state == b.state && a.config == b.config &&
         std::equal(a.tensors.begin(), a.tensors.end(), b.tensors.begin(), b.tensors.end(),
                    [](const auto& x, const auto& y) { return x.first == y.first && same_bits(x.second, y.second); });
}

/// True when loading throws one of the errors that a damaged file may cause, and no other exception.
bool refused(const std::filesystem::path& path) {
  try {
    load_checkpoint<float>(path);
    return false;
  } catch (const Error& error) {
    return error.id() == ErrorId::safetensors || error.id() == ErrorId::checkpoint;
  }
}

}  // namespace

TEMPLATE_TEST_CASE("a checkpoint comes back bit for bit: -0, denormals, infinities and NaN with its payload", "", float,
                   double) {
  const test::TemporaryFolder folder;
  const Checkpoint<TestType> saved = example<TestType>();
  save_checkpoint(folder / "checkpoint", saved);
  const Checkpoint<TestType> loaded = load_checkpoint<TestType>(folder / "checkpoint");
  CHECK(same(saved, loaded));
  CHECK(loaded.integer("step") == 18446744073709551615ULL);
  CHECK(loaded.integer("epoch") == 0);
  CHECK(loaded.number("best") == 0);
  CHECK(std::signbit(loaded.number("best")));
  CHECK(std::bit_cast<std::uint64_t>(loaded.number("loss")) == 0x7ff4000000000123);
  CHECK(loaded.tensor("parameters").size() == 5);
  CHECK(test::names_in(folder.path()) == std::set<std::string>{"checkpoint"});
}

TEST_CASE("an empty checkpoint is a checkpoint") {
  const test::TemporaryFolder folder;
  save_checkpoint(folder / "checkpoint", Checkpoint<float>());
  CHECK(same(load_checkpoint<float>(folder / "checkpoint"), Checkpoint<float>()));
}

TEST_CASE("every beginning of a checkpoint is refused, and so is a longer file") {
  const test::TemporaryFolder folder;
  save_checkpoint(folder / "checkpoint", example<float>());
  const std::string text = test::read_all(folder / "checkpoint");
  for (std::size_t size = 0; size < text.size(); ++size) {
    test::write_all(folder / "damaged", std::string_view(text).substr(0, size));
    INFO(size << " of " << text.size() << " bytes");
    CHECK(refused(folder / "damaged"));
  }
  test::write_all(folder / "damaged", text + '\0');
  CHECK(refused(folder / "damaged"));
}

TEST_CASE("a byte with any bit flipped is refused, wherever it is") {
  const test::TemporaryFolder folder;
  save_checkpoint(folder / "checkpoint", example<float>());
  const std::string text = test::read_all(folder / "checkpoint");
  int missed = 0;
  for (std::size_t i = 0; i < 8 * text.size(); ++i) {
    std::string flipped = text;
    flipped[i / 8] = static_cast<char>(flipped[i / 8] ^ (1 << (i % 8)));
    test::write_all(folder / "damaged", flipped);
    if (!refused(folder / "damaged")) ++missed;
  }
  for (std::size_t i = 0; i < text.size(); ++i)  // a space of the padding can become another white space
    if (text[i] == ' ') {
      std::string changed = text;
      changed[i] = '\n';
      test::write_all(folder / "damaged", changed);
      if (!refused(folder / "damaged")) ++missed;
    }
  CHECK(missed == 0);
}

TEST_CASE("a full disk leaves the old checkpoint as it was and nothing beside it") {
  const test::TemporaryFolder folder;
  const Checkpoint<double> old = example<double>();
  save_checkpoint(folder / "checkpoint", old);
  Checkpoint<double> large = old;
  large.tensors["parameters"].assign(100'000, 1.5);
  ErrorId id{};
  {
    const test::FileSizeLimit limit(500'000);
    try {
      save_checkpoint(folder / "checkpoint", large);
    } catch (const Error& error) {
      id = error.id();
    }
  }
  CHECK(id == ErrorId::file_write);
  CHECK(same(load_checkpoint<double>(folder / "checkpoint"), old));
  CHECK(test::names_in(folder.path()) == std::set<std::string>{"checkpoint"});
}

TEST_CASE("files that are no checkpoint of this kind are refused with the reason") {
  const test::TemporaryFolder folder;
  const auto write = [&](const std::map<std::string, std::string>& metadata) {
    lorasb::io::write_safetensors(folder / "file", {}, metadata);
  };
  CHECK_ERROR(load_checkpoint<float>(folder / "none"), ErrorId::file_open, "none");
  write({});
  CHECK_ERROR(load_checkpoint<float>(folder / "file"), ErrorId::checkpoint, "is not a checkpoint");
  write({{"lorasb", "native"}});
  CHECK_ERROR(load_checkpoint<float>(folder / "file"), ErrorId::checkpoint, "is not a checkpoint");
  write({{"lorasb", "checkpoint"}, {"version", "2"}});
  CHECK_ERROR(load_checkpoint<float>(folder / "file"), ErrorId::checkpoint, "version \"2\", expected version 1");
  write({{"lorasb", "checkpoint"}, {"version", "1"}});
  CHECK_ERROR(load_checkpoint<float>(folder / "file"), ErrorId::checkpoint, "has no checksum");
  save_checkpoint(folder / "file", example<double>());
  CHECK_ERROR(load_checkpoint<float>(folder / "file"), ErrorId::tensor_mismatch, "is F64, expected F32");
  Checkpoint<float> reserved;
  reserved.tensors["checksum"] = {1};
  CHECK_ERROR(save_checkpoint(folder / "file", reserved), ErrorId::duplicate_name, "checksum");
  Checkpoint<float> binary;
  binary.state["x"] = "\xff";
  CHECK_ERROR(save_checkpoint(folder / "file", binary), ErrorId::value, "not UTF-8");
}

TEST_CASE("a name that is not in the checkpoint, and a text that is no number, are refused by name") {
  Checkpoint<float> checkpoint = example<float>();
  CHECK_ERROR(checkpoint.integer("stepp"), ErrorId::checkpoint, "no state \"stepp\"");
  CHECK_ERROR(checkpoint.tensor("none"), ErrorId::checkpoint, "no tensor \"none\"");
  for (const char* bad : {"", "1x", "-1", "18446744073709551616", " 1", "1.5"}) {
    checkpoint.state["bad"] = bad;
    CHECK_ERROR(checkpoint.integer("bad"), ErrorId::checkpoint,
                "state \"bad\" is \"" + std::string(bad) + "\", expected an integer");
  }
  for (const char* bad : {"", "3ff", "3ff000000000000g", "3ff00000000000000"}) {
    checkpoint.state["bad"] = bad;
    CHECK_ERROR(checkpoint.number("bad"), ErrorId::checkpoint, "16 hexadecimal digits");
  }
}

TEST_CASE("another configuration is refused with all differences") {
  const std::map<std::string, std::string> saved{{"data", "wordnet"}, {"rank", "16"}, {"seed", "1"}};
  CHECK_NOTHROW(require_same_config(saved, saved));
  CHECK_ERROR(require_same_config(saved, {{"data", "wordnet"}, {"rank", "8"}, {"seed", "2"}}), ErrorId::checkpoint,
              "\"rank\" was \"16\" and is now \"8\", \"seed\" was \"1\" and is now \"2\"");
  CHECK_ERROR(require_same_config(saved, {{"data", "wordnet"}, {"rank", "16"}}), ErrorId::checkpoint,
              "\"seed\" was \"1\" and is now absent");
  CHECK_ERROR(require_same_config({}, saved), ErrorId::checkpoint, "\"data\" was absent and is now \"wordnet\"");
  const std::string long_text(300, 'x');
  CHECK_ERROR(require_same_config({{"files", long_text + "a"}}, {{"files", long_text + "b"}}), ErrorId::checkpoint, "files");
  CHECK_ERROR(require_same_config({{"x", "absent"}}, {}), ErrorId::checkpoint, "was \"absent\" and is now absent");
}
