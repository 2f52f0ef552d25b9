// Fuzzes the reader of journals and of the rounds in them.
#include "lorasb/io/journal.hpp"

#include "fuzz/fuzz.hpp"
#include "fuzz/mutator.hpp"
#include "lorasb/federated/round_journal.hpp"

namespace lorasb::fuzz {
namespace {

const std::map<std::string, std::string> journal_config{{"clients", "3"}, {"seed", "7"}};
constexpr std::string_view journal_line = "lorasb journal 1\n";

std::string text_of(std::span<const std::byte> bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

/// Records with frames that fit.
std::string framed(const std::vector<std::string>& records) {
  std::string file(journal_line);
  Digest before{};
  for (const std::string& record : records) {
    const io::detail::RecordFrame frame(before, record.size());
    before = frame.digest(std::as_bytes(std::span(record)));
    file += text_of(frame.head()) + record + text_of(before);
  }
  return file;
}
/// The contents of the records as far as their lengths fit.
std::vector<std::string> records_of(std::string_view file) {
  std::vector<std::string> records;
  file.remove_prefix(std::min(journal_line.size(), file.size()));
  while (file.size() >= 48) {
    std::uint64_t length = 0;
    std::memcpy(&length, file.data(), 8);
    if (length > file.size() - 48) break;
    records.emplace_back(file.substr(16, length));
    file.remove_prefix(48 + length);
  }
  return records;
}

std::string round_record(std::string line, std::vector<Index> clients, std::string message) {
  const std::span<const std::byte> bytes = std::as_bytes(std::span(message));
  return text_of(federated::encode_record(
      {.line = std::move(line), .clients = std::move(clients), .message = {bytes.begin(), bytes.end()}}));
}

std::vector<Input> journal_seeds() {
  const std::string config = text_of(io::detail::config_bytes(journal_config));
  return {{{{true, framed({config})}}},
          {{{true, framed({config, round_record(R"({"round": 1, "accuracy": 0.5})", {0, 2}, "message"),
                           round_record("{}", {}, "")})}}},
          {{{true, framed({config, "", "abc"})}}}};
}

/// Eight bytes of length, JSON, message: mutated as such.
void mutate_round(std::string& record, Mutator& m) {
  static const std::string whole = round_record(R"({"round": 1})", {1}, "message");
  if (record.size() < 8 || m.one_in(6)) {
    if (m.one_in(2)) record = whole;
    return m.bytes(record);
  }
  std::uint64_t length = 0;
  std::memcpy(&length, record.data(), 8);
  std::string json = record.substr(8, length);
  const std::string message = record.substr(std::min<std::size_t>(8 + json.size(), record.size()));
  m.json(json, R"({"line": {}, "clients": [0]})");
  length = m.one_in(20) ? m.below(100) : json.size();
  record.assign(reinterpret_cast<const char*>(&length), 8);
  record += json + message;
}
void mutate_config(std::string& record, Mutator& m) {
  std::optional<std::map<std::string, std::string>> config = io::detail::config_from(std::as_bytes(std::span(record)));
  if (!config || m.one_in(4)) return m.bytes(record);
  m.metadata(*config);
  record = text_of(io::detail::config_bytes(*config));
}

void mutate_journal(Input& input, Mutator& m) {
  if (m.one_in(20)) return m.bytes(input[0]);
  std::vector<std::string> records = records_of(input[0]);
  static const std::vector<std::string> whole = records_of(journal_seeds()[1][0]);
  if (records.empty() || m.one_in(30)) records = whole;
  const std::size_t i = m.below(records.size());
  switch (m.below(8)) {
    case 0:
      records.push_back(records[i]);
      break;
    case 1:
      std::swap(records[i], records.back());
      break;
    case 2:
      if (i > 0) records.erase(records.begin() + std::ptrdiff_t(i));
      break;
    default:
      i == 0 && m.one_in(3) ? mutate_config(records[0], m)
      : i == 0              ? records.push_back(round_record("{}", {1}, "m"))
                            : mutate_round(records[i], m);
  }
  input[0] = framed(records);
  if (m.one_in(6))
    input[0].resize(input[0].size() - m.below(std::min<std::size_t>(input[0].size(), 60)));  // an append that was cut short
  if (m.one_in(20)) m.bytes(input[0]);
}

void read_journal(const Input&, const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "journal";
  std::vector<std::string> records;
  {
    io::Journal journal(path, journal_config);
    journal.replay([&](std::span<const std::byte> record) {
      records.push_back(text_of(record));
      try {
        const federated::RoundRecord round = federated::decode_record(record);
        must_not_throw("a round that was read cannot be written and read again", [&] {
          const federated::RoundRecord again = federated::decode_record(federated::encode_record(round));
          must(again.line == round.line && again.clients == round.clients && again.message == round.message,
               "a round is not what was read");
        });
      } catch (const Error&) {
      }
    });
    must(journal.size() == records.size(), "a journal's size is not the number of its records");
    const std::string added = "added";
    journal.append(std::as_bytes(std::span(added)));
    records.push_back(added);
  }
  if (!writes_again()) return;
  must_not_throw("a journal that was opened and appended to cannot be opened again", [&] {
    const io::Journal journal(path, journal_config);
    std::size_t place = 0;
    must(journal.dropped_bytes() == 0 && journal.size() == records.size(), "a journal has lost a record");
    journal.replay([&](std::span<const std::byte> record) {
      must(text_of(record) == records[place++], "a record is not what was written");
    });
  });
}

const Registered journal_reader({.name = "journal",
                                 .files = {"journal"},
                                 .seeds = journal_seeds,
                                 .mutate = mutate_journal,
                                 .past_first_check =
                                     [](const Input& input) {  // record 0 is as it was written
                                       const std::vector<std::string> records = records_of(input[0]);
                                       return !records.empty() && input[0].starts_with(framed({records[0]}));
                                     },
                                 .read = read_journal,
                                 .changes_files = true});  // opening cuts and appending adds

}  // namespace
}  // namespace lorasb::fuzz
