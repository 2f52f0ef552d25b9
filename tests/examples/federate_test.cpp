// lorasb-federate as a user runs it: what it writes, on every engine, killed and started again, and what it says to bad input.
#include <cstring>
#include <nlohmann/json.hpp>
#include <thread>

#include "lorasb/adapter/merge.hpp"
#include "lorasb/federated/baselines/communication.hpp"
#include "lorasb/formats/peft_reader.hpp"
#include "models/model_files.hpp"
#include "program.hpp"
#include "support.hpp"

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define LORASB_SANITIZER
#endif
#elif defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define LORASB_SANITIZER
#endif

#ifdef LORASB_FEDERATE

using namespace lorasb;
using namespace lorasb::test;
namespace fs = std::filesystem;

namespace {

using Words = std::vector<std::string>;

struct Folder : TextFolder {
  /// A session of 4 clients and 2 rounds.
  Words arguments(const std::string& out, const Words& more = {}) const {
    Words words{"--data",        data(),
                "--model",       model_folder().string(),
                "--out",         (path / out).string(),
                "--clients",     "4",
                "--rounds",      "2",
                "--rank",        "4",
                "--batch",       "4",
                "--local-steps", "2",
                "--init-data",   "16",
                "--test-size",   "40",
                "--threads",     "2",
                "--seed",        "5"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  }
  int run(const Words& words) const { return finish(start(LORASB_FEDERATE, words, path / "log")); }
  /// Runs a session that must end well, and reads its metrics.
  nlohmann::json session(const std::string& out, const Words& more = {}) const {
    const int status = run(arguments(out, more));
    INFO(said());
    REQUIRE(status == 0);
    return metrics(out);
  }
  nlohmann::json metrics(const std::string& out) const { return nlohmann::json::parse(slurp(path / out / "metrics.json")); }
  std::string said() const { return slurp(path / "log"); }
  /// Until the program has said these words, or has ended.
  void await(pid_t child, const std::string& words) const {
    siginfo_t ended{};
    while (said().find(words) == std::string::npos && ended.si_pid == 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
      waitid(P_PID, static_cast<id_t>(child), &ended, WEXITED | WNOHANG | WNOWAIT);
    }
  }
};

/// Where the records of a journal end, the configuration's first: 17 bytes, then a length, 40 bytes of sums and the content
/// each.
std::vector<std::size_t> record_ends(const std::string& journal) {
  std::vector<std::size_t> ends;
  for (std::size_t place = 17; place < journal.size(); ends.push_back(place)) {
    std::uint64_t length = 0;
    std::memcpy(&length, journal.data() + place, sizeof length);
    place += 48 + length;
  }
  return ends;
}

#ifdef LORASB_MPIEXEC
Words mpi_words(const char* ranks, const Words& session) {
  setenv("ASAN_OPTIONS", "detect_leaks=0", 1);  // what MPI itself never frees
  Words words{"--allow-run-as-root", "--oversubscribe", "-n", ranks, LORASB_FEDERATE};
  words.insert(words.end(), session.begin(), session.end());
  return words;
}

/// The process of a rank of a running job; 0 when there is none.
pid_t process_of_rank(pid_t job, int rank) {
  std::error_code gone;
  for (const auto& thread : fs::directory_iterator("/proc/" + std::to_string(job) + "/task", gone)) {
    std::istringstream children(slurp(thread.path() / "children"));
    for (pid_t child = 0; children >> child;)
      if (slurp("/proc/" + std::to_string(child) + "/environ").find("OMPI_COMM_WORLD_RANK=" + std::to_string(rank) + '\0') !=
          std::string::npos)
        return child;
  }
  return 0;
}
#endif

}  // namespace

TEST_CASE("experts federate exactly, each with weights of its own; one expert of one client is the plain session", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  const nlohmann::json mixed = folder.session("mixed", {"--experts", "3"});
  CHECK(mixed["experts"] == 3);
  for (const nlohmann::json& round : mixed["rounds"]) {
    CHECK(round["exactness_error"].get<double>() < 1e-6);
    REQUIRE(round["expert_weights"].size() == 3);
    Index all = 0;
    for (const nlohmann::json& weight : round["expert_weights"]) all += weight.get<Index>();
    CHECK(all > 0);
    CHECK(all % 2 == 0);  // every token goes to two of them
  }
  CHECK(fs::exists(folder.path / "mixed" / "mixture" / "mixture.json"));
  CHECK(fs::exists(folder.path / "mixed" / "head.safetensors"));
  const nlohmann::json one = folder.session("one", {"--experts", "1", "--clients", "1"});
  const nlohmann::json plain = folder.session("plain", {"--clients", "1"});
  for (std::size_t i = 0; i < 2; ++i) CHECK(one["rounds"][i]["accuracy"] == plain["rounds"][i]["accuracy"]);
  CHECK(folder.run(folder.arguments("bad", {"--experts", "2", "--method", "fedit"})) != 0);
  CHECK(folder.run(folder.arguments("bad", {"--experts", "2", "--ranks", "2,4"})) != 0);
  CHECK(folder.run(folder.arguments("bad", {"--experts", "2", "--private", "--epsilon", "3", "--delta", "1e-3"})) != 0);
}

TEST_CASE("every method leaves the metrics that were promised, with the exactness that it promises", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  for (const std::string method : {"fed-sb", "fedit", "ffa-lora", "fedex-lora", "flora", "local", "central"}) {
    INFO(method);
    const nlohmann::json m = folder.session(method, {"--method", method});
    CHECK(m["method"] == method);
    CHECK(m["clients"] == 4);
    CHECK(m["rank"] == 4);
    CHECK(m["global_sha256"].get<std::string>().size() == 64);
    CHECK(m["final_accuracy"].get<double>() > 0.5);
    const bool exchanges = method != "local" && method != "central";
    REQUIRE(m["rounds"].size() == (method == "local" ? 1 : 2));
    for (std::size_t i = 0; i < m["rounds"].size(); ++i) {
      const nlohmann::json& round = m["rounds"][i];
      CHECK(round["round"] == (method == "local" ? 2 : i + 1));
      CHECK(round["accuracy"].get<double>() >= 0);
      CHECK(round["accepted"] == (exchanges ? 4 : 0));
      CHECK(round["rejected"] == nlohmann::json::object());
      if (!exchanges) {
        CHECK(round["exactness_error"].is_null());
        CHECK(round["bytes_total"] == 0);
        continue;
      }
      // numbers as the library counts them, in messages with some words around them
      const std::optional<federated::FederatedMethod> named = federated::method_named(method);
      std::vector<federated::AdaptedShape> modules;
      for (const auto& [out, in] : std::vector<std::pair<Index, Index>>{{512, 256},
                                                                        {768, 256},
                                                                        {512, 256},
                                                                        {1536, 512},
                                                                        {512, 1536},
                                                                        {1536, 512},
                                                                        {512, 512},
                                                                        {1536, 512},
                                                                        {512, 1536},
                                                                        {512, 512}})
        modules.push_back({.out = out, .in = in, .rank = 4});
      const Index head = 2 * 513;
      const federated::RoundNumbers numbers = federated::numbers_per_round(*named, modules, head, 4);
      CHECK(round["adapter_bytes_up_per_client"] == 4 * (numbers.up - head));
      CHECK(round["bytes_up_per_client"].get<double>() > double(4 * numbers.up));
      CHECK(round["bytes_up_per_client"].get<double>() < double(4 * numbers.up + 4000));
      if (i == 1) CHECK(round["adapter_bytes_down_per_client"] == 4 * (numbers.down - head));
      const double error = round["exactness_error"];
      if (method != "fedit") CHECK(error < 1e-6);
      if (method == "fedit" && i == 1) CHECK(error > 1e-3);
    }
    const double one_way = m["rounds"][0]["bytes_up_per_client"].get<double>();
    if (exchanges) CHECK(m["rounds"][1]["bytes_total"].get<double>() > 2 * 4 * one_way);
    const bool adds = method == "fedex-lora" || method == "flora";
    CHECK(fs::exists(folder.path / method / "folded" / "adapter_model.safetensors") == (exchanges && !adds));
    CHECK(fs::exists(folder.path / method / "model.safetensors") == adds);
  }
  const formats::AdapterFolder<float> native = formats::read_adapter_folder<float>(folder.path / "fed-sb" / "adapter");
  const formats::AdapterFolder<float> folded =
      formats::read_adapter_folder<float>(folder.path / "fed-sb" / "folded", {.plain_lora = true});
  REQUIRE(native.adapters.size() == 10);
  for (const auto& [name, adapter] : native.adapters)
    CHECK(relative_error(folded.adapters.at(name).B, Eigen::MatrixXd(adapter.B.cast<double>() * adapter.R.cast<double>())) <
          1e-6);
}

TEST_CASE("Row 39: the number of threads, the engine and its ranks change no bit of a session", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  const std::string expected = folder.session("one", {"--threads", "1"})["global_sha256"];
  CHECK(folder.session("two", {"--threads", "2"})["global_sha256"] == expected);
  CHECK(folder.session("other", {"--seed", "6"})["global_sha256"] != expected);
#ifdef LORASB_MPIEXEC
  for (const char* ranks : {"1", "2", "4"}) {
    INFO(ranks);
    const Words words = mpi_words(ranks, folder.arguments("mpi", {"--engine", "mpi"}));
    const int status = finish(start(LORASB_MPIEXEC, words, folder.path / "log"));
    INFO(folder.said());
    REQUIRE(status == 0);
    CHECK(folder.metrics("mpi")["global_sha256"] == expected);
    fs::remove_all(folder.path / "mpi");
  }
  unsetenv("ASAN_OPTIONS");
#endif
}

TEST_CASE("bases from all clients' sums have the same bits on every engine, and their bytes are in every total", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  const nlohmann::json server = folder.session("server");
  CHECK(server["start"]["bytes_total"] == 0);
  for (const Words& more : {Words{"--estimate", "clients"}, Words{"--estimate", "clients", "--init-direction", "moments"},
                           Words{"--estimate", "clients", "--look-ahead", "2"}, Words{"--look-ahead", "auto"}}) {
    INFO(more.back());
    const nlohmann::json one = folder.session("one", more);
    const nlohmann::json of_start = one["start"];
    CHECK(one["global_sha256"] != server["global_sha256"]);
    const std::size_t up = of_start["bytes_up_per_client"], down = of_start["bytes_down_per_client"], total = of_start["bytes_total"];
    CHECK(up > 4 * 4'900'000);  // every weight of the ten modules
    CHECK(total == 4 * (up + down));
    const std::size_t first_round = server["rounds"][0]["bytes_total"];
    CHECK(one["rounds"][0]["bytes_total"].get<std::size_t>() == total + first_round);
    CHECK(one["rounds"][1]["bytes_total"].get<std::size_t>() - total == server["rounds"][1]["bytes_total"].get<std::size_t>());
    for (const nlohmann::json& round : one["rounds"]) CHECK(round["exactness_error"] < 1e-6);
    Words threaded = more;
    threaded.insert(threaded.end(), {"--threads", "1"});
    CHECK(folder.session("threads", threaded)["global_sha256"] == one["global_sha256"]);
    // a journal goes on with the same bases, which are made again
    Words journal = more;
    journal.insert(journal.end(), {"--journal", (folder.path / (more.back() + ".journal")).string()});
    CHECK(folder.session("journal", journal)["global_sha256"] == one["global_sha256"]);
    CHECK(folder.session("journal", journal)["rounds"] == one["rounds"]);
#ifdef LORASB_MPIEXEC
    Words mpi = more;
    mpi.insert(mpi.end(), {"--engine", "mpi"});
    const int status = finish(lorasb::test::start(LORASB_MPIEXEC, mpi_words("3", folder.arguments("mpi", mpi)), folder.path / "log"));
    INFO(folder.said());
    REQUIRE(status == 0);
    CHECK(folder.metrics("mpi")["global_sha256"] == one["global_sha256"]);
    CHECK(folder.metrics("mpi")["rounds"].back()["bytes_total"] == one["rounds"].back()["bytes_total"]);
    unsetenv("ASAN_OPTIONS");
#endif
  }
  CHECK(folder.session("ahead", {"--look-ahead", "3", "--estimate", "server"})["start"]["bytes_total"] == 0);  // the server's own scout
}

#ifdef LORASB_MPIEXEC
TEST_CASE("Row 21: an MPI job whose rank is killed ends, and started again goes on from its journal to the same numbers", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  const nlohmann::json whole = folder.session("whole", {"--rounds", "4"});
  const Words words = mpi_words(
      "3", folder.arguments("killed", {"--rounds", "4", "--engine", "mpi", "--journal", (folder.path / "journal").string()}));
  fs::remove(folder.path / "log");
  const pid_t job = start(LORASB_MPIEXEC, words, folder.path / "log");
  folder.await(job, "round   1/");
  const pid_t rank = process_of_rank(job, 1);
  CHECK(rank > 0);
  kill(rank > 0 ? rank : job, SIGKILL);
  CHECK(finish(job) != 0);
  CHECK_FALSE(fs::exists(folder.path / "killed" / "metrics.json"));

  const int status = finish(start(LORASB_MPIEXEC, words, folder.path / "log"));
  INFO(folder.said());
  REQUIRE(status == 0);
  CHECK(folder.said().find("The journal holds") != std::string::npos);
  CHECK(folder.metrics("killed")["rounds"] == whole["rounds"]);
  CHECK(folder.metrics("killed")["global_sha256"] == whole["global_sha256"]);
  unsetenv("ASAN_OPTIONS");
}
#endif

TEST_CASE("Rows 1 and 24: a session goes on over abandoned rounds of its journal to the same numbers and the same report", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  for (const std::string method : {"fed-sb", "fedex-lora"}) {
    INFO(method);
    // 104 texts for 120 clients: a round that draws one without texts has too few
    const Words more{"--method",      method, "--rounds",      "7", "--clients", "120", "--participation", "0.04",
                     "--min-clients", "5",    "--local-steps", "1", "--batch",   "1"};
    const auto with_journal = [&](const std::string& name) {
      Words words = more;
      words.insert(words.end(), {"--journal", (folder.path / (name + ".journal")).string()});
      return folder.session(name, words);
    };
    const nlohmann::json whole = with_journal(method);
    const auto abandoned =
        std::ranges::count_if(whole["rounds"], [](const nlohmann::json& round) { return round["committed"] == false; });
    CHECK(folder.said().find(concat(abandoned, " of 7 rounds were abandoned and changed nothing")) != std::string::npos);
    const std::string journal = slurp(folder.path / (method + ".journal"));
    const std::vector<std::size_t> ends = record_ends(journal);
    REQUIRE(ends.size() == 8);
    std::vector<std::size_t> cuts;  // rounds after which the session is taken up again: abandoned ones and the next committed
    for (std::size_t i = 1; i < 7; ++i)
      if (whole["rounds"][i - 1]["committed"] == false && cuts.size() < 3) {
        cuts.push_back(i);
        if (whole["rounds"][i]["committed"] == true && i < 6) cuts.push_back(i + 1);
      }
    REQUIRE(cuts.size() >= 2);
    for (const std::size_t rounds : cuts) {
      INFO(rounds);
      std::ofstream(folder.path / "cut.journal", std::ios::binary) << journal.substr(0, ends[rounds]);
      const nlohmann::json again = with_journal("cut");
      CHECK(folder.said().find("The journal holds " + std::to_string(rounds) + " rounds") != std::string::npos);
      CHECK(again["rounds"] == whole["rounds"]);
      CHECK(again["global_sha256"] == whole["global_sha256"]);
    }
  }
}

TEST_CASE("Rows 21 and 24: a session that was killed goes on from its journal to the same numbers and the same report", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  for (const std::string method : {"fed-sb", "fedex-lora"}) {
    INFO(method);
    const Words more{"--method", method, "--rounds", "4", "--participation", "0.5"};
    const nlohmann::json whole = folder.session(method + "-whole", more);
    const fs::path journal = folder.path / (method + ".journal");
    Words words = folder.arguments(method + "-killed", more);
    words.insert(words.end(), {"--journal", journal.string()});
    fs::remove(folder.path / "log");
    const pid_t child = start(LORASB_FEDERATE, words, folder.path / "log");
    folder.await(child, "round   2/");
    kill(child, SIGKILL);
    finish(child);
    REQUIRE(fs::file_size(journal) > 0);
    // a crash in the middle of writing a record leaves a part of it
    std::ofstream(journal, std::ios::app | std::ios::binary) << "\x13";
    REQUIRE(folder.run(words) == 0);
    CHECK(folder.said().find("The journal holds") != std::string::npos);
    const nlohmann::json again = folder.metrics(method + "-killed");
    CHECK(again["rounds"] == whole["rounds"]);
    CHECK(again["global_sha256"] == whole["global_sha256"]);
    // once more: nothing is left to do
    REQUIRE(folder.run(words) == 0);
    CHECK(folder.metrics(method + "-killed")["global_sha256"] == whole["global_sha256"]);

    // Row 23: another configuration is refused with the difference
    words.insert(words.end(), {"--learning-rate", "0.0123"});
    CHECK(folder.run(words) == 1);
    CHECK(folder.said().find("learning_rate") != std::string::npos);
  }
}

TEST_CASE("Row 1: a session whose rounds have too few clients changes nothing, and says so", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  CHECK(folder.run(folder.arguments("few", {"--clients", "120", "--min-clients", "120", "--local-steps", "1"})) == 1);
  const nlohmann::json m = folder.metrics("few");
  CHECK(folder.said().find("no round was committed: in none of 2") != std::string::npos);
  CHECK_FALSE(fs::exists(folder.path / "few" / "adapter"));
  REQUIRE(m["rounds"].size() == 2);
  CHECK(m["rounds"][0]["committed"] == false);
  CHECK(m["rounds"][0]["exactness_error"].is_null());
  CHECK(m["rounds"][0]["accuracy"] == m["rounds"][1]["accuracy"]);
  CHECK(folder.said().find("too few") != std::string::npos);
}

TEST_CASE("Row 34: clients whose training breaks down are left out by name, with what may help", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  CHECK(folder.run(folder.arguments("broken", {"--learning-rate", "1e30"})) == 1);  // flower 1244: it was 0, with an adapter
  CHECK_FALSE(fs::exists(folder.path / "broken" / "adapter"));
  const nlohmann::json m = folder.metrics("broken");
  CHECK(m["rounds"][1]["committed"] == false);
  CHECK(m["rounds"][1]["failed"] == 4);
  CHECK(folder.said().find("client-3: ") != std::string::npos);
  CHECK(folder.said().find("a lower --learning-rate") != std::string::npos);
}

TEST_CASE("a global model that is not finite at the end is an error, and leaves no adapter", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  CHECK(folder.run(folder.arguments("huge", {"--rounds", "1", "--server-optimizer", "momentum", "--server-learning-rate", "1e25"})) == 1);
  CHECK_THAT(folder.said(), Catch::Contains("the outputs of the global model are not finite after the last round"));
  CHECK(folder.metrics("huge")["rounds"][0]["committed"] == true);
  CHECK_FALSE(fs::exists(folder.path / "huge" / "adapter" / "adapter_config.json"));
}

TEST_CASE("Rows 18 and 20: robust means are options of a session, and refused where they cannot hold", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  const nlohmann::json mean = folder.session("mean"), median = folder.session("median", {"--aggregate", "median"});
  CHECK(median["rounds"][1]["committed"] == true);
  CHECK(median["rounds"][1]["exactness_error"].is_null());
  CHECK(median["global_sha256"] != mean["global_sha256"]);
  const auto refused = [&](const Words& words, const std::string& why) {
    CHECK(folder.run(folder.arguments("refused", words)) != 0);
    INFO(folder.said());
    CHECK(folder.said().find(why) != std::string::npos);
  };
  refused({"--aggregate", "krum"}, "needs --min-clients 5");
  refused({"--aggregate", "median", "--private", "--unit", "client", "--epsilon", "8", "--delta", "1e-5", "--bases", "random"}, "--aggregate");
  refused({"--aggregate", "trimmed", "--method", "fedex-lora"}, "fedex-lora adds");
  refused({"--seed", "-1"}, "at least 0, not -1");
  refused({"--pool", "pooler", "--model", "minilm"}, "pooler is for lorasb-finetune");
}

TEST_CASE("the server's optimizer and the clients' proximal term are options of a session, whose journal keeps the optimizer", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  const fs::path kept = folder.path / "kept";
  const Words adam{"--server-optimizer", "adam", "--journal", kept.string()};
  const nlohmann::json mean = folder.session("mean"), whole = folder.session("whole", adam);
  CHECK(whole["rounds"][1]["exactness_error"].is_null());
  CHECK(whole["global_sha256"] != mean["global_sha256"]);
  CHECK(folder.session("near", {"--proximal", "10"})["global_sha256"] != mean["global_sha256"]);
  fs::resize_file(kept, record_ends(slurp(kept))[1]);  // the second round is done again, from the optimizer's state after the first
  CHECK(folder.session("resumed", adam)["global_sha256"] == whole["global_sha256"]);

  const auto refused = [&](const Words& words, const std::string& why) {
    CHECK(folder.run(folder.arguments("refused", words)) != 0);
    INFO(folder.said());
    CHECK(folder.said().find(why) != std::string::npos);
  };
  refused({"--server-optimizer", "momentum", "--method", "fedex-lora"}, "fedex-lora adds");
  refused({"--server-optimizer", "momentum", "--method", "local"}, "one federated session");
  refused({"--server-optimizer", "adam", "--experts", "2"}, "not for --experts");
  refused({"--server-momentum", "1"}, "--server-momentum");
  refused({"--proximal", "-1"}, "--proximal");
  refused({"--proximal", "1", "--method", "flora"}, "flora starts every round");
  refused({"--proximal", "1", "--private", "--unit", "client", "--epsilon", "8", "--delta", "1e-5", "--bases", "random"}, "--proximal");
}

TEST_CASE("several processes of an MPI job without --engine mpi are refused", "[model]") {
  const Folder folder;
  setenv("OMPI_COMM_WORLD_SIZE", "3", 1);
  const int status = folder.run(folder.arguments("many"));
  unsetenv("OMPI_COMM_WORLD_SIZE");
  CHECK(status != 0);
  CHECK(folder.said().find("one of 3 processes") != std::string::npos);
}

TEST_CASE("Row 33: a session goes on for more rounds from a finished adapter, first of all with its numbers") {
  const Folder folder;
  const fs::path model = folder.path / "model";
  fs::copy(fs::path(LORASB_TEST_DIR) / ".." / "models" / "golden" / "tiny_bert", model);
  std::ofstream(model / "vocab.txt") << "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\n##a\n##b\nthe\nof\nsea\n.\nis\n";
  const auto words = [&](const std::string& out, const Words& more) {
    Words all{"--data",      folder.data(), "--out",         (folder.path / out).string(),
              "--clients",   "3",           "--rounds",      "1",
              "--batch",     "4",           "--local-steps", "2",
              "--init-data", "16",          "--test-size",   "40",
              "--threads",   "1",           "--seed",        "5"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  };
  const auto session = [&](const std::string& out, const Words& more) {
    const int status = folder.run(words(out, more));
    INFO(folder.said());
    REQUIRE(status == 0);
    return folder.metrics(out);
  };
  const auto tensors = [&](const std::string& out) {
    return slurp(folder.path / out / "adapter" / "adapter_model.safetensors");
  };
  const auto refused = [&](const Words& more, const std::string& why) {
    const int status = folder.run(words("no", more));
    INFO(folder.said());
    CHECK((status > 0 && status < 128));
    CHECK(folder.said().find(why) != std::string::npos);
  };
  for (const std::string method : {"fed-sb", "fedit", "ffa-lora"}) {
    INFO(method);
    const std::string load = (folder.path / method).string();
    const nlohmann::json first =
        session(method, {"--model", model.string(), "--method", method, "--rank", "3", "--modules", "query,value"});
    CHECK(first["modules"].size() == 4);
    const Words to_go_on{"--load", load, "--init-data", "0"};
    Words still = to_go_on, more = to_go_on;
    still.insert(still.end(), {"--learning-rate", "1e-30", "--head-learning-rate", "1e-30"});
    if (method == "ffa-lora") {
      still.insert(still.end(), {"--method", method});
      more = still;
      more.resize(4);
      more.insert(more.end(), {"--method", method});
    }
    CHECK(session("still", still)["loaded_from"] == load);
    CHECK(tensors("still") == tensors(method));
    const nlohmann::json gone_on = session("more", more);
    CHECK(gone_on["method"] == (method == "ffa-lora" ? method : method == "fedit" ? "fedit" : "fed-sb"));
    CHECK(gone_on["rank"] == 3);
    CHECK(gone_on["start"]["accuracy"].get<double>() == Approx(session("still", still)["final_accuracy"].get<double>()));
    CHECK(tensors("more") != tensors(method));
    if (method == "ffa-lora") {  // A stays that of the folder
      const auto before = formats::read_adapter_folder<float>(folder.path / method / "adapter", {.plain_lora = true});
      const auto after = formats::read_adapter_folder<float>(folder.path / "more" / "adapter", {.plain_lora = true});
      for (const auto& [name, adapter] : before.adapters) CHECK(after.adapters.at(name).A == adapter.A);
    }
    session("twice", {"--load", (folder.path / "more").string(), "--method", method, "--journal",
                      (folder.path / (method + ".journal")).string()});
  }
  // label names travel in the folder, so that lorasb-finetune reads it
  const nlohmann::json classifier = nlohmann::json::parse(slurp(folder.path / "fed-sb" / "adapter" / "classifier.json"));
  CHECK(classifier["labels"] == nlohmann::json{"animal", "number"});
  CHECK(classifier["pool"] == "mean");
  const std::string cores = (folder.path / "fed-sb").string(), factors = (folder.path / "fedit").string();
  refused({"--load", cores, "--method", "fedit"}, "holds cores");
  refused({"--load", factors, "--method", "fed-sb"}, "holds plain LoRA");
  refused({"--load", factors, "--method", "flora"}, "cannot start --method flora");
  refused({"--load", cores, "--rank", "2"}, "has adapters of rank 3, not 2");
  refused({"--load", cores, "--experts", "2"}, "no --compare, --experts");
  refused({"--load", cores, "--modules", "query"}, "--modules");
  refused({"--load", folder.path.string()}, "holds neither");
}

TEST_CASE("Row 36: clients of mixed ranks send their leading blocks alone, and the mean stays exact", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  Words words = folder.arguments("mixed", {"--ranks", "2,4"});
  words.erase(std::ranges::find(words, "--rank"), std::ranges::find(words, "--rank") + 2);
  const int status = folder.run(words);
  INFO(folder.said());
  REQUIRE(status == 0);
  const nlohmann::json m = folder.metrics("mixed");
  CHECK(m["rank"] == 4);
  CHECK(m["rounds"][1]["adapter_bytes_up_per_client"] == 4 * 10 * (4 + 16) / 2);
  CHECK(m["rounds"][1]["exactness_error"].get<double>() < 1e-6);
}

TEST_CASE("Row 35: a client without texts is rejected for that reason, and the round goes on", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  const nlohmann::json m = folder.session("empty", {"--clients", "120", "--rounds", "1", "--local-steps", "1"});
  const nlohmann::json& round = m["rounds"][0];
  CHECK(round["rejected"]["no_data"].get<int>() > 0);
  CHECK(round["accepted"].get<int>() + round["rejected"]["no_data"].get<int>() == 120);
}

TEST_CASE("bytes of a client do not grow when clients go from 3 to 100", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  const auto bytes = [&](const char* clients, const char* key) {
    return folder.session(clients, {"--clients", clients, "--local-steps", "1"})["rounds"][1][key].get<double>();
  };
  for (const char* key : {"adapter_bytes_up_per_client", "adapter_bytes_down_per_client"})
    CHECK(bytes("3", key) == bytes("100", key));
  // client-10 and more have one digit more in their message, and with 100 clients some have texts of one digit fewer
  CHECK(bytes("100", "bytes_up_per_client") == Approx(bytes("3", "bytes_up_per_client")).margin(16));
}

#ifndef LORASB_SANITIZER  // which needs memory of its own
TEST_CASE("A session of a thousand clients, half of them in each of three rounds, fits in 1 GiB", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  std::ofstream train(folder.path / "many.tsv");
  for (int i = 0; i < 1100; ++i) train << (i % 2 == 0 ? "animal\ta bird that sings " : "number\tseven and ") << i << "\n";
  train.close();
  const std::string data = "tsv:" + (folder.path / "many.tsv").string() + ":" + (folder.path / "test.tsv").string();
  Words words = folder.arguments("many", {"--data", data, "--clients", "1000", "--rounds", "3", "--participation", "0.5",
                                          "--local-steps", "1", "--batch", "1", "--test-size", "8", "--rank", "24"});
  rusage usage{};
  const int status = finish(start(LORASB_FEDERATE, words, folder.path / "log"), &usage);
  INFO(folder.said());
  REQUIRE(status == 0);
  CHECK(folder.metrics("many")["rounds"][2]["accepted"] == 500);
  CHECK(usage.ru_maxrss < 1024 * 1024);  // KiB
}
#endif

TEST_CASE("lorasb-federate names bad input and leaves nothing behind", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  const auto refused = [&](const Words& more, const std::string& words) {
    const int status = folder.run(folder.arguments("out", more));
    INFO(folder.said());
    CHECK(status > 0);
    CHECK(status < 128);
    CHECK(folder.said().find(words) != std::string::npos);
    CHECK_FALSE(fs::exists(folder.path / "out" / "metrics.json"));
  };
  refused({"--method", "magic"}, "fed-sb, fedit");
  refused({"--partition", "dirichlet:0"}, "--partition");
  refused({"--partition", "natural"}, "origin");
  refused({"--participation", "0"}, "--participation");
  refused({"--min-clients", "5"}, "--clients");
  refused({"--min-clients", "3", "--participation", "0.5"}, "--min-clients");
  refused({"--out", "/dev/null/x"}, "/dev/null/x");
  refused({"--cap", "1", "--min-clients", "2"}, "--min-clients");
  refused({"--ranks", "2,4"}, "--rank");
  refused({"--method", "local", "--journal", "x"}, "--journal");
  refused({"--init-data", "120"}, "--init-data");
  refused({"--init-data", "/no/such/file"}, "/no/such/file");
  refused({"--rank", "300"}, "rank is 300");
  std::ofstream(folder.path / "journal") << "not a journal";
  refused({"--journal", (folder.path / "journal").string()}, "journal");
  CHECK(slurp(folder.path / "journal") == "not a journal");
}

TEST_CASE("a private session says what every client has spent, and a seeded one that it is not private", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  const auto arguments = [](const Words& more) {
    Words words{"--private", "--delta", "0.01", "--clip", "0.5"};
    words.insert(words.end(), more.begin(), more.end());
    return words;
  };
  const nlohmann::json m = folder.session("os", arguments({"--epsilon", "8"}));
  REQUIRE(m["epsilon"].size() == 4);
  for (const nlohmann::json& e : m["epsilon"]) CHECK((e.get<double>() > 7 && e.get<double>() <= 8));
  CHECK(m["steps"] == 4);  // two a round
  CHECK(m["unit"] == "example");
  CHECK(m["relation"] == "add-remove");
  CHECK(m["bases"] == "w0");
  CHECK(m["delta"] == 0.01);
  for (std::size_t c = 0; c < 4; ++c) {
    const nlohmann::json& of_client = m["privacy_by_client"][c];
    CHECK(of_client["population"] == m["examples_per_client"][c]);
    CHECK(of_client["q"].get<double>() == Approx(4 / m["examples_per_client"][c].get<double>()));
    CHECK(of_client["steps"] == 4);
  }
  CHECK(m["rounds"][1]["epsilon_so_far"].get<double>() > m["rounds"][0]["epsilon_so_far"].get<double>());
  CHECK_FALSE(m["rounds"][0].contains("ledgers"));
  CHECK(m["probe"].contains("before"));
  // system noise is drawn anew
  CHECK(folder.session("os", arguments({"--epsilon", "8"}))["global_sha256"] != m["global_sha256"]);

  for (const std::string unit : {"example", "client"}) {
    INFO(unit);
    const Words seeded = arguments({"--sigma", "1.5", "--noise", "seeded:3", "--unit", unit, "--bases", "random"});
    const nlohmann::json whole = folder.session("seeded-" + unit, seeded);
    for (const nlohmann::json& e : whole["epsilon"]) CHECK(e.is_null());
    CHECK(folder.said().find("no epsilon: the noise is seeded") != std::string::npos);
    Words again = seeded;
    again.insert(again.end(), {"--journal", (folder.path / (unit + ".journal")).string(), "--threads", "1"});
    CHECK(folder.session("again", again)["global_sha256"] == whole["global_sha256"]);
    // cut after its first round, the journal brings the ledgers back: the second run has spent no less
    const std::string journal = slurp(folder.path / (unit + ".journal"));
    std::ofstream(folder.path / (unit + ".journal"), std::ios::binary) << journal.substr(0, record_ends(journal)[1]);
    const nlohmann::json resumed = folder.session("resumed", again);
    CHECK(resumed["global_sha256"] == whole["global_sha256"]);
    CHECK(resumed["steps"] == whole["steps"]);
    CHECK(resumed["rounds"] == whole["rounds"]);
  }
  const nlohmann::json of_clients = folder.session("client", arguments({"--epsilon", "8", "--unit", "client"}));
  CHECK(of_clients["epsilon"].get<double>() <= 8);
  CHECK(of_clients["epsilon"].get<double>() > 7.9);
  CHECK(of_clients["q"] == 1);
  CHECK(of_clients["steps"] == 2);
  for (const std::string method : {"fedit", "ffa-lora", "fedex-lora", "flora"}) {
    INFO(method);
    CHECK(folder.session(method, arguments({"--sigma", "1", "--method", method, "--learning-rate", "1e-3"}))["steps"] == 4);
  }
  // the bases' cost is in epsilon, and both together are no more than was allowed
  const nlohmann::json noised = folder.session("noised", arguments({"--epsilon", "8", "--bases", "noised"}));
  CHECK(noised["bases"] == "noised");
  CHECK(noised["steps"] == 4);
  CHECK(noised["bases_sigma"] == 10);
  for (const nlohmann::json& e : noised["epsilon"]) CHECK((e.get<double>() > 7 && e.get<double>() <= 8));
  CHECK(noised["sigma"].get<double>() > m["sigma"].get<double>());
  const auto refused = [&](const Words& more, const std::string& why) {
    CHECK(folder.run(folder.arguments("bad", arguments(more))) != 0);
    CHECK_THAT(folder.said(), Catch::Contains(why));
  };
  refused({"--sigma", "1", "--look-ahead", "3"}, "private texts");
  refused({"--sigma", "1", "--estimate", "clients"}, "private texts");
  refused({"--sigma", "1", "--method", "flora", "--unit", "client"}, "sends on what single clients have trained");
  refused({"--sigma", "1", "--delta", "0.2"}, "delta is 0.2");
  refused({"--sigma", "1", "--epsilon", "1"}, "either --epsilon or --sigma");
  refused({"--sigma", "1", "--bases", "noised", "--unit", "client"}, "clients add the noise themselves");
  refused({"--epsilon", "0.01", "--bases", "noised"}, "budget");
  refused({"--sigma", "1", "--method", "local"}, "not for private sessions");
  refused({"--sigma", "1", "--unit", "client", "--client-sampling", "poisson:0.5", "--min-clients", "2"}, "--min-clients");
  refused({"--sigma", "1", "--client-sampling", "poisson:0.5", "--participation", "0.5"}, "--client-sampling");
  refused({"--sigma", "1", "--unit", "client", "--noise-kind", "discrete"}, "--noise-kind");
  refused({"--sigma", "1", "--unit", "client", "--clients", "1"}, "nobody to hide among");  // Row 17
  refused({"--sigma", "1", "--unit", "client", "--clients", "4", "--participation", "0.25"}, "nobody to hide among");
  CHECK(folder.session("discrete", arguments({"--epsilon", "8", "--noise-kind", "discrete"}))["accountant"] == "pld");
  refused({"--sigma", "1", "--client-sampling", "poisson:0"}, "poisson:RATE");
  const nlohmann::json drawn =
      folder.session("drawn", arguments({"--epsilon", "8", "--unit", "client", "--client-sampling", "poisson:0.5"}));
  CHECK(drawn["q"] == 0.5);
  CHECK(drawn["epsilon"].get<double>() <= 8);
  CHECK(drawn["sigma"].get<double>() < of_clients["sigma"].get<double>());
}

#endif
