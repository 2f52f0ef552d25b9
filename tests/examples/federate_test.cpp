// lorasb-federate as a user runs it: what it writes, on every engine, killed and started again, and what it says to bad input.
#include <nlohmann/json.hpp>
#include <thread>

#include "lorasb/adapter/merge.hpp"
#include "lorasb/federated/communication.hpp"
#include "lorasb/formats/peft_reader.hpp"
#include "models/model_files.hpp"
#include "program.hpp"
#include "support.hpp"

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
};

}  // namespace

TEST_CASE("every method leaves the metrics that were promised, with the exactness that it promises") {
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
      const std::optional<federated::Method> named = federated::method_named(method);
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

TEST_CASE("Row 39: the number of threads, the engine and its ranks change no bit of a session") {
  if (!model_files_present()) return;
  const Folder folder;
  const std::string expected = folder.session("one", {"--threads", "1"})["global_sha256"];
  CHECK(folder.session("two", {"--threads", "2"})["global_sha256"] == expected);
  CHECK(folder.session("other", {"--seed", "6"})["global_sha256"] != expected);
#ifdef LORASB_MPIEXEC
  setenv("ASAN_OPTIONS", "detect_leaks=0", 1);  // what MPI itself never frees
  for (const char* ranks : {"1", "2", "4"}) {
    INFO(ranks);
    Words words{"--allow-run-as-root", "--oversubscribe", "-n", ranks, LORASB_FEDERATE};
    const Words session = folder.arguments("mpi", {"--engine", "mpi"});
    words.insert(words.end(), session.begin(), session.end());
    const int status = finish(start(LORASB_MPIEXEC, words, folder.path / "log"));
    INFO(folder.said());
    REQUIRE(status == 0);
    CHECK(folder.metrics("mpi")["global_sha256"] == expected);
    fs::remove_all(folder.path / "mpi");
  }
  unsetenv("ASAN_OPTIONS");
#endif
}

TEST_CASE("Rows 21 and 24: a session that was killed goes on from its journal to the same numbers and the same report") {
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
    while (folder.said().find("round   2/") == std::string::npos && waitpid(child, nullptr, WNOHANG) == 0)
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
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

TEST_CASE("Row 1: a session whose rounds have too few clients changes nothing, and says so") {
  if (!model_files_present()) return;
  const Folder folder;
  const nlohmann::json m = folder.session("few", {"--clients", "120", "--min-clients", "120", "--local-steps", "1"});
  REQUIRE(m["rounds"].size() == 2);
  CHECK(m["rounds"][0]["committed"] == false);
  CHECK(m["rounds"][0]["exactness_error"].is_null());
  CHECK(m["rounds"][0]["accuracy"] == m["rounds"][1]["accuracy"]);
  CHECK(folder.said().find("too few") != std::string::npos);
}

TEST_CASE("Row 34: clients whose training breaks down are left out by name, with what may help") {
  if (!model_files_present()) return;
  const Folder folder;
  const nlohmann::json m = folder.session("broken", {"--learning-rate", "1e30"});
  CHECK(m["rounds"][1]["committed"] == false);
  CHECK(m["rounds"][1]["failed"] == 4);
  CHECK(folder.said().find("client-3: ") != std::string::npos);
  CHECK(folder.said().find("a lower --learning-rate") != std::string::npos);
}

TEST_CASE("Row 36: clients of mixed ranks send their leading blocks alone, and the mean stays exact") {
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

TEST_CASE("Row 35: a client without texts is rejected for that reason, and the round goes on") {
  if (!model_files_present()) return;
  const Folder folder;
  const nlohmann::json m = folder.session("empty", {"--clients", "120", "--rounds", "1", "--local-steps", "1"});
  const nlohmann::json& round = m["rounds"][0];
  CHECK(round["rejected"]["no_data"].get<int>() > 0);
  CHECK(round["accepted"].get<int>() + round["rejected"]["no_data"].get<int>() == 120);
}

TEST_CASE("bytes of a client do not grow when clients go from 3 to 100") {
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

TEST_CASE("lorasb-federate names bad input and leaves nothing behind") {
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

#endif
