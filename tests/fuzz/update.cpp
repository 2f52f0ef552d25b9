// Fuzzes the messages of a federated session: updates of clients and the server's broadcast.
#include "lorasb/federated/update.hpp"

#include <bit>

#include "fuzz/fuzz.hpp"
#include "fuzz/mutator.hpp"
#include "lorasb/federated/broadcast.hpp"

namespace lorasb::fuzz {
namespace {

constexpr std::uint64_t open_round = 3;

/// Two cores and a head; with experts the session of a mixture.
federated::Session fuzzed_session(Index experts) {
  ParameterLayout layout;
  layout.add("q", Role::core, 3, 3);
  layout.add("v", Role::core, 2, 2);
  layout.add("classifier", Role::head_weight, 2, 4);
  return {.id = "session", .base = {}, .layout = layout, .experts = experts};
}
std::string text_of(const federated::Bytes& bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

std::vector<Input> update_seeds() {
  std::vector<Input> seeds;
  const std::vector<float> values(21, 0.25f);
  for (const Index rank : {0, 2}) {
    federated::Update<float> update{.round = open_round, .client = "alice", .examples = 7, .rank = rank, .values = values};
    update.values.resize(rank == 0 ? 21 : 16);
    seeds.push_back({{{true, text_of(federated::encode_update(fuzzed_session(0), update))}}});
    update.experts = {3, 0};
    seeds.push_back({{{true, text_of(federated::encode_update(fuzzed_session(2), update))}}});
  }
  seeds.push_back({{{true, text_of(federated::encode_broadcast<float>(fuzzed_session(0), open_round, values))}}});
  return seeds;
}

void mutate_update(Input& input, Mutator& m) {
  static const std::vector<Input> seeds = update_seeds();
  m.safetensors(input[0], m.one_of(seeds)[0]);
  if (m.one_in(4)) return;
  std::optional<TensorFile> file = TensorFile::from_bytes(input[0]);  // what every message must say
  if (!file) return;
  static const TensorFile whole = *TensorFile::from_bytes(seeds[0][0]);
  for (const char* field : {"session", "base", "version"}) file->metadata[field] = whole.metadata.at(field);
  if (m.one_in(2))
    for (const char* field : {"lorasb", "round", "client", "rank"}) file->metadata[field] = whole.metadata.at(field);
  input[0] = file->to_bytes();
}

void must_be_same(std::span<const float> a, std::span<const float> b) {
  must(a.size() == b.size() &&
           std::equal(a.begin(), a.end(), b.begin(),
                      [](float x, float y) { return std::bit_cast<std::uint32_t>(x) == std::bit_cast<std::uint32_t>(y); }),
       "values of a message are not what was read");
}

/// Messages are refused by a value and not by an exception: an Error that comes out would be a fault.
void read_update(const Input& input, const std::filesystem::path&) {
  const std::span<const std::byte> bytes = std::as_bytes(std::span(input[0]));
  bool accepted = false;
  must_not_throw("a message was refused by an exception", [&] {
    const bool has_experts = input[0].find("\"experts\"") != input[0].npos;
    for (const Index experts : {0, 2}) {
      if (!writes_again() && (experts > 0) != has_experts) continue;  // the session that can take it; now and then the other one too
      const federated::Session session = fuzzed_session(experts);
      const auto update = federated::validate_update<float>(session, open_round, bytes);
      if (const auto* good = std::get_if<federated::Update<float>>(&update)) {
        accepted = true;
        if (!writes_again()) continue;
        const federated::Bytes again = federated::encode_update(session, *good);
        const auto twice = federated::validate_update<float>(session, open_round, again);
        const auto* same = std::get_if<federated::Update<float>>(&twice);
        must(same != nullptr && same->round == good->round && same->client == good->client &&
                 same->examples == good->examples && same->rank == good->rank && same->experts == good->experts,
             "an update is not what was read");
        must_be_same(same->values, good->values);
      }
      const auto model = federated::validate_broadcast<float>(session, open_round, bytes);
      if (const auto* good = std::get_if<federated::Broadcast<float>>(&model)) {
        accepted = true;
        if (!writes_again()) continue;
        const federated::Bytes again = federated::encode_broadcast<float>(session, good->round, good->values);
        const auto twice = federated::validate_broadcast<float>(session, open_round, again);
        const auto* same = std::get_if<federated::Broadcast<float>>(&twice);
        must(same != nullptr && same->round == good->round, "a broadcast is not what was read");
        must_be_same(same->values, good->values);
      }
    }
  });
  if (!accepted) throw Error(ErrorId::value, "rejected");
}

const Registered update_reader({.name = "update",
                                .files = {"message"},
                                .seeds = update_seeds,
                                .mutate = mutate_update,
                                .past_first_check = [](const Input& input) { return is_safetensors(input[0]); },
                                .read = read_update});

}  // namespace
}  // namespace lorasb::fuzz
