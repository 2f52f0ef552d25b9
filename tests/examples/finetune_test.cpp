// lorasb-finetune as a user runs it: what it writes, that it goes on where it was stopped, and what it says to bad input.
#include <nlohmann/json.hpp>
#include <thread>

#include "lorasb/adapter/merge.hpp"
#include "lorasb/formats/peft_reader.hpp"
#include "lorasb/io/checkpoint.hpp"
#include "models/model_files.hpp"
#include "program.hpp"
#include "support.hpp"

#ifdef LORASB_FINETUNE

using namespace lorasb;
using namespace lorasb::test;
namespace fs = std::filesystem;

namespace {

struct Folder : TextFolder {
  std::vector<std::string> arguments(const std::string& out) const {
    return {"--data",          data(),
            "--model",         model_folder().string(),
            "--out",           (path / out).string(),
            "--rank",          "4",
            "--batch",         "8",
            "--epochs",        "2",
            "--threads",       "2",
            "--init-examples", "16",
            "--head-epochs",   "3",
            "--seed",          "5"};
  }
};

int run(const Folder& folder, std::vector<std::string> arguments) {
  return finish(start(LORASB_FINETUNE, std::move(arguments), folder.path / "log"));
}

std::vector<std::string> with(std::vector<std::string> arguments, std::initializer_list<std::string> more) {
  arguments.insert(arguments.end(), more);
  return arguments;
}

nlohmann::json metrics(const Folder& folder, const std::string& out) {
  return nlohmann::json::parse(slurp(folder.path / out / "metrics.json"));
}

}  // namespace

TEST_CASE("a Hugging Face folder is trained by every method, and the adapters have the names of its modules") {
  const Folder folder;
  const fs::path model = folder.path / "model";
  fs::copy(fs::path(LORASB_TEST_DIR) / ".." / "models" / "golden" / "tiny_bert", model);  // 13 ids
  const std::string vocabulary = "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\n##a\n##b\nthe\ngood\nbad\n.\n";
  std::ofstream(model / "vocab.txt") << vocabulary << "is\n";
  const auto arguments = [&](const std::string& out, std::initializer_list<std::string> more) {
    return with(folder.arguments(out), more);  // the last --model counts
  };
  for (const char* method : {"lora-sb", "lora-xs", "lora", "full", "head"}) {
    INFO(method);
    REQUIRE(run(folder, arguments(method, {"--model", model.string(), "--method", method})) == 0);
  }
  const formats::AdapterFolder<float> native = formats::read_adapter_folder<float>(folder.path / "lora-sb" / "adapter");
  REQUIRE(native.adapters.size() == 12);
  CHECK(native.adapters.contains("bert.encoder.layer.1.attention.self.value"));
  CHECK(metrics(folder, "lora-sb")["trainable"] == 12 * 16);
  REQUIRE(run(folder, arguments("cls", {"--model", model.string(), "--pool", "cls"})) == 0);
  CHECK(metrics(folder, "cls")["history"] != metrics(folder, "lora-sb")["history"]);

  const auto refused = [&](std::initializer_list<std::string> more, const std::string& words) {
    CHECK(run(folder, arguments("refused", more)) != 0);
    const std::string said = slurp(folder.path / "log");
    INFO(said);
    CHECK(said.find(words) != std::string::npos);
  };
  refused({"--model", model.string(), "--pool", "max"}, "--pool");
  std::ofstream(model / "vocab.txt", std::ios::app) << "one more\n";
  refused({"--model", model.string()}, "the tokenizer has 14 ids, expected at most those of the model, 13");
  fs::remove(model / "vocab.txt");
  refused({"--model", model.string()}, "no tokenizer.json");
}

TEST_CASE("a LoRA-SB run leaves metrics, a plot's data and two adapter folders that agree", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  REQUIRE(run(folder, folder.arguments("out")) == 0);
  const nlohmann::json m = metrics(folder, "out");
  CHECK(m["method"] == "lora-sb");
  CHECK(m["rank"] == 4);
  CHECK(m["trainable"] == 10 * 16);
  CHECK(m["trainable_head"] == 2 * 513);
  CHECK(m["test_accuracy"].get<double>() > 0.6);
  CHECK(m["train_seconds"].get<double>() > 0);
  CHECK(m["init_seconds"].get<double>() > 0);
  CHECK(m["peak_rss_bytes"].get<double>() > 2e7);
  CHECK(m["captured_energy"].size() == 10);
  CHECK(m["history"].size() == 2 * std::size_t(m["train_examples"].get<int>() + 7) / 8);

  const formats::AdapterFolder<float> native = formats::read_adapter_folder<float>(folder.path / "out" / "adapter");
  const formats::AdapterFolder<float> folded =
      formats::read_adapter_folder<float>(folder.path / "out" / "folded", {.plain_lora = true});
  REQUIRE(native.adapters.size() == 10);
  CHECK(native.full_tensors.size() == 2);
  for (const auto& [name, adapter] : native.adapters) {
    INFO(name);
    const Eigen::MatrixXd B = adapter.B.cast<double>();
    const Eigen::MatrixXd A = adapter.A.cast<double>();
    CHECK((B.transpose() * B - Eigen::MatrixXd::Identity(4, 4)).cwiseAbs().maxCoeff() < 5e-7);
    CHECK((A * A.transpose() - Eigen::MatrixXd::Identity(4, 4)).cwiseAbs().maxCoeff() < 5e-7);
    CHECK(relative_error(folded.adapters.at(name).B, B * adapter.R.cast<double>()) < 1e-6);
    CHECK(folded.adapters.at(name).A == adapter.A);
    CHECK(folded.adapters.at(name).scale == adapter.scale);
  }
}

TEST_CASE("every method runs with both optimizers where it can", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  const std::map<std::string, int> trainable{
      {"lora-sb", 160}, {"lora-xs", 160}, {"lora", 4 * 14848}, {"full", 6975744}, {"head", 0}};
  for (const auto& [method, numbers] : trainable) {
    INFO(method);
    CHECK(run(folder, with(folder.arguments(method), {"--method", method, "--epochs", "1"})) == 0);
    const nlohmann::json m = metrics(folder, method);
    CHECK(m["method"] == method);
    CHECK(m["trainable"] == numbers);
    CHECK(fs::exists(folder.path / method /
                     (numbers > 0 && method != "full" ? "folded/adapter_model.safetensors" : "model.safetensors")));
  }
  CHECK(run(folder, with(folder.arguments("sgd"), {"--optimizer", "sgd", "--init-sketch", "--epochs", "1"})) == 0);
  CHECK(metrics(folder, "sgd").contains("captured_energy_standard_error"));
}

TEST_CASE("frozen weights in bfloat16, and another library of products, change the numbers a little and the result hardly", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  REQUIRE(run(folder, with(folder.arguments("wide"), {"--backend", "eigen"})) == 0);
  REQUIRE(run(folder, with(folder.arguments("narrow"), {"--backend", "eigen", "--weights", "bf16"})) == 0);
  REQUIRE(run(folder, folder.arguments("auto")) == 0);
  const nlohmann::json wide = metrics(folder, "wide"), narrow = metrics(folder, "narrow"), fastest = metrics(folder, "auto");
  CHECK(wide["backend"] == "eigen");
  CHECK(wide["weights"] == "f32");
  CHECK(narrow["weights"] == "bf16");
  const auto first_epoch = [](const nlohmann::json& m) {
    double sum = 0;
    for (std::size_t i = 0; i < 10; ++i) sum += m["history"][i]["loss"].get<double>();
    return sum;
  };
  CHECK(first_epoch(fastest) == Approx(first_epoch(wide)).epsilon(0.01));
  CHECK(first_epoch(narrow) == Approx(first_epoch(wide)).epsilon(0.5));  // 8 bits, and few texts, some of them close
  for (const nlohmann::json* other : {&narrow, &fastest})
    CHECK((*other)["test_accuracy"].get<double>() == Approx(wide["test_accuracy"].get<double>()).margin(0.15));
  CHECK(narrow["history"].front()["loss"] != wide["history"].front()["loss"]);
}

TEST_CASE("a run that was killed goes on to the same bits, and the number of threads changes none", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  const auto arguments = [&](const std::string& out) { return with(folder.arguments(out), {"--checkpoint-every", "1"}); };
  REQUIRE(run(folder, with(arguments("whole"), {"--threads", "1"})) == 0);

  const pid_t child = start(LORASB_FINETUNE, with(arguments("killed"), {"--epochs", "2"}), folder.path / "log");
  const fs::path checkpoint = folder.path / "killed" / "checkpoint.safetensors";
  while (!fs::exists(checkpoint) && waitpid(child, nullptr, WNOHANG) == 0) std::this_thread::yield();
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  REQUIRE(fs::exists(checkpoint));
  CHECK_FALSE(fs::exists(folder.path / "killed" / "metrics.json"));
  REQUIRE(run(folder, with(arguments("killed"), {"--resume"})) == 0);
  for (const char* file : {"adapter/adapter_model.safetensors", "folded/adapter_model.safetensors"})
    CHECK(slurp(folder.path / "whole" / file) == slurp(folder.path / "killed" / file));
  for (const char* key : {"history", "evaluations", "test_accuracy", "captured_energy"})
    CHECK(metrics(folder, "whole")[key] == metrics(folder, "killed")[key]);

  CHECK(run(folder, with(arguments("killed"), {"--resume", "--learning-rate", "0.01001"})) == 1);
  CHECK(slurp(folder.path / "log").find("learning_rate") != std::string::npos);
}

TEST_CASE("a look-ahead's steps are steps of the run, and it goes on to the same bits", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  for (const std::string scout : {"full", "sign", "lora"}) {
    INFO(scout);
    const auto arguments = [&](const std::string& out) {
      return with(folder.arguments(out), {"--look-ahead", "4", "--scout", scout.c_str(), "--rank-allocation", "energy"});
    };
    REQUIRE(run(folder, with(arguments(scout), {"--threads", "1", "--checkpoint-every", "7"})) == 0);
    const nlohmann::json m = metrics(folder, scout);
    const std::size_t steps = 2 * ((m["train_examples"].get<std::size_t>() + 7) / 8);
    REQUIRE(m["history"].size() == steps);
    for (std::size_t t = 0; t < steps; ++t) CHECK(m["history"][t]["step"] == t + 1);
    const nlohmann::json ahead = m["look_ahead"];
    CHECK(ahead["steps"] == 4);
    CHECK(ahead["scout"] == scout);
    CHECK(ahead["loss_after_scout"] < ahead["loss_before"]);
    CHECK(ahead["extra_bytes"] > 0);
    CHECK(m["trainable"] <= 10 * 4 * 4);
    CHECK(m["trainable"] > 10 * 4 * 4 - 2 * 8);
    // the last checkpoint but one is of step 21 at most: the end is trained again
    REQUIRE(run(folder, with(arguments(scout), {"--resume", "--checkpoint-every", "7"})) == 0);
    const nlohmann::json again = metrics(folder, scout);
    for (const char* key : {"history", "evaluations", "test_accuracy", "captured_energy", "trainable"}) CHECK(again[key] == m[key]);
    CHECK(again["look_ahead"]["loss_after_truncation"] == ahead["loss_after_truncation"]);
  }
  REQUIRE(run(folder, with(folder.arguments("auto"), {"--look-ahead", "auto", "--look-ahead-extra"})) == 0);
  const nlohmann::json automatic = metrics(folder, "auto");
  CHECK(automatic["look_ahead"]["steps"] == 28 / 6);  // of 2 epochs of 14 steps
  CHECK(automatic["history"].size() == 28 + 28 / 6);
  REQUIRE(run(folder, with(folder.arguments("lora"), {"--look-ahead", "auto", "--method", "lora"})) == 0);
  CHECK_FALSE(metrics(folder, "lora").contains("look_ahead"));  // only lora-sb looks ahead
  for (const std::string direction : {"gradient", "moments"}) {  // these are of a first step
    REQUIRE(run(folder, with(folder.arguments(direction), {"--look-ahead", "auto", "--init-direction", direction.c_str(),
                                                           "--core-start", "zero"})) == 0);
    CHECK_FALSE(metrics(folder, direction).contains("look_ahead"));
  }
}

TEST_CASE("bad input is named and leaves nothing behind", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  const auto refused = [&](std::vector<std::string> more, const std::string& words) {
    std::vector<std::string> arguments = folder.arguments("out");
    arguments.insert(arguments.end(), more.begin(), more.end());
    const int status = run(folder, arguments);
    const std::string said = slurp(folder.path / "log");
    INFO(said);
    CHECK(status > 0);
    CHECK(status < 128);
    CHECK(said.find(words) != std::string::npos);
    CHECK_FALSE(fs::exists(folder.path / "out" / "metrics.json"));
  };
  const auto tsv = [&](const std::string& train, const std::string& test) {
    std::ofstream(folder.path / "a.tsv") << train;
    std::ofstream(folder.path / "b.tsv") << test;
    return "tsv:" + (folder.path / "a.tsv").string() + ":" + (folder.path / "b.tsv").string();
  };
  refused({"--data", tsv("a\tone\nno tab here\n", "a\tone\n")}, "a.tsv");
  refused({"--data", tsv("a\tone\nb\ttwo\n", "c\tthree\n")}, "\"c\"");
  refused({"--data", tsv("a\tone\nb\t\n", "a\tone\n")}, "a.tsv");
  refused({"--data", "nowhere"}, "\"nowhere\"");
  refused({"--data", "tsv:/no/such/file:/no/such/file"}, "/no/such/file");
  refused({"--model", (folder.path / "nothing").string()}, "model.json");
  refused({"--rank", "0"}, "--rank");
  refused({"--rank", "300"}, "rank is 300, expected 1 to min(out, in) = 256");
  refused({"--method", "magic"}, "--method");
  refused({"--weights", "bf16", "--method", "full"}, "--weights");
  refused({"--backend", "magic"}, "--backend");
  refused({"--init-sketch"}, "--optimizer sgd");
  refused({"--learning-rate", "1e30"}, "lower --learning-rate");
  refused({"--look-ahead", "1000"}, "--look-ahead");
  refused({"--look-ahead", "3x"}, "auto");
  refused({"--look-ahead", "3", "--init-direction", "moments"}, "--look-ahead");
  refused({"--look-ahead", "-2"}, "--look-ahead");
  refused({"--look-ahead", "3", "--method", "lora"}, "--look-ahead");
  refused({"--look-ahead", "3", "--scout", "magic"}, "--scout");
  refused({"--look-ahead", "3", "--scout-learning-rate", "1e30"}, "lower --scout-learning-rate");
  refused({"--init-direction", "moments", "--optimizer", "sgd"}, "--optimizer adamw");
  refused({"--rank-allocation", "energy", "--init-sketch", "--optimizer", "sgd"}, "--rank-allocation");

  const pid_t child = start(LORASB_FINETUNE, folder.arguments("full-disk"), folder.path / "log", 10000);
  CHECK(finish(child) == 1);
  CHECK(slurp(folder.path / "log").find("[lorasb.302]") != std::string::npos);
  for (const fs::directory_entry& entry : fs::recursive_directory_iterator(folder.path / "full-disk"))
    CHECK(entry.is_directory());  // nothing half-written
}

TEST_CASE("a text that is too long is cut, and the program says so", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  std::ofstream train(folder.path / "train.tsv", std::ios::app);
  train << "animal\t";
  for (int i = 0; i < 200; ++i) train << "fish ";
  train << "\n";
  train.close();
  REQUIRE(run(folder, with(folder.arguments("out"), {"--method", "head"})) == 0);
  CHECK(slurp(folder.path / "log").find("1 texts cut to the 128 tokens") != std::string::npos);
}

TEST_CASE("a private run says what it spent, and a seeded one that it is not private", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  const auto arguments = [&](const std::string& out, std::initializer_list<std::string> more) {
    return with(with(folder.arguments(out), {"--private", "--delta", "1e-4", "--clip", "0.5"}), more);
  };
  REQUIRE(run(folder, arguments("os", {"--epsilon", "8"})) == 0);
  const nlohmann::json m = metrics(folder, "os");
  CHECK(m["epsilon"].get<double>() <= 8);
  CHECK(m["epsilon"].get<double>() > 7.9);
  CHECK(m["delta"] == 1e-4);
  CHECK(m["sigma"].get<double>() > 0.3);
  CHECK(m["q"].get<double>() == Approx(8 / m["train_examples"].get<double>()));
  CHECK(m["unit"] == "example");
  CHECK(m["relation"] == "add-remove");
  CHECK(m["bases"] == "w0");
  CHECK(m["history"].empty());  // the loss of private batches is not published
  REQUIRE(run(folder, arguments("one", {"--sigma", "1", "--noise", "seeded:3", "--bases", "random"})) == 0);
  REQUIRE(run(folder, arguments("two", {"--sigma", "1", "--noise", "seeded:3", "--bases", "random", "--threads", "1"})) == 0);
  CHECK(metrics(folder, "one")["epsilon"].is_null());
  CHECK(slurp(folder.path / "one" / "adapter" / "adapter_model.safetensors") ==
        slurp(folder.path / "two" / "adapter" / "adapter_model.safetensors"));
  for (const std::string method : {"lora", "lora-xs", "head"}) {
    INFO(method);
    CHECK(run(folder, arguments(method, {"--sigma", "1", "--method", method})) == 0);
  }
  REQUIRE(run(folder, arguments("noised", {"--epsilon", "8", "--bases", "noised"})) == 0);
  const nlohmann::json noised = metrics(folder, "noised");
  CHECK(noised["bases"] == "noised");
  CHECK(noised["epsilon"].get<double>() <= 8);
  CHECK(noised["sigma"].get<double>() > m["sigma"].get<double>());  // the bases have spent some
  REQUIRE(run(folder, arguments("discrete", {"--epsilon", "8", "--noise-kind", "discrete"})) == 0);
  const nlohmann::json discrete = metrics(folder, "discrete");
  CHECK(discrete["noise_kind"] == "discrete");
  CHECK(discrete["accountant"] == "rdp-whole");
  CHECK(discrete["epsilon"].get<double>() <= 8);
  CHECK(discrete["epsilon"].get<double>() > 7.99);
  CHECK(discrete["epsilon_continuous"].get<double>() < discrete["epsilon"].get<double>());
  CHECK(discrete["sensitivity"].get<double>() > 0.5);
  CHECK(discrete["sensitivity"].get<double>() < 0.5001);
  CHECK(discrete["noise_deviation"].get<double>() == Approx(discrete["sigma"].get<double>() * discrete["sensitivity"].get<double>()));
  // refused before any data is touched
  CHECK(run(folder, arguments("bad", {"--epsilon", "0.01", "--bases", "noised"})) != 0);
  CHECK(run(folder, arguments("bad", {"--epsilon", "1", "--sigma", "1"})) != 0);
  CHECK(run(folder, arguments("bad", {"--epsilon", "1", "--delta", "0.5"})) != 0);
  CHECK(slurp(folder.path / "log").find("delta is 0.5") != std::string::npos);
  CHECK(run(folder, arguments("bad", {"--sigma", "1", "--look-ahead", "3"})) != 0);
  CHECK(run(folder, arguments("bad", {"--sigma", "1", "--method", "full"})) != 0);
  CHECK(run(folder, with(folder.arguments("bad"), {"--epsilon", "1"})) != 0);
  CHECK(run(folder, with(folder.arguments("bad"), {"--private", "--epsilon", "1"})) != 0);
}

TEST_CASE("Rows 21, 26 and 29: a private run that goes on pays again for the steps that it has lost", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  const auto arguments = [&](const std::string& out, std::initializer_list<std::string> more) {
    return with(with(folder.arguments(out), {"--private", "--delta", "1e-4", "--checkpoint-every", "5"}), more);
  };
  const auto said = [&] { return slurp(folder.path / "log"); };
  // a disk that is full when the first checkpoint is written: five steps are taken, and lost
  const auto lose_five = [&](const std::string& out, std::initializer_list<std::string> more) {
    CHECK(finish(start(LORASB_FINETUNE, arguments(out, more), folder.path / "log", 10000)) == 1);
    CHECK_FALSE(fs::exists(folder.path / out / "checkpoint.safetensors"));
    CHECK(fs::exists(folder.path / out / "ledger.txt"));
  };
  REQUIRE(run(folder, arguments("whole", {"--sigma", "1"})) == 0);
  const nlohmann::json whole = metrics(folder, "whole");
  const auto steps = whole["steps"].get<std::size_t>();
  CHECK_FALSE(whole.contains("steps_lost"));
  lose_five("lost", {"--sigma", "1"});
  REQUIRE(run(folder, arguments("lost", {"--sigma", "1", "--resume"})) == 0);
  CHECK(metrics(folder, "lost")["steps"] == steps + 5);
  CHECK(metrics(folder, "lost")["steps_lost"] == 5);
  CHECK(metrics(folder, "lost")["epsilon"] > whole["epsilon"]);
  // Row 27: with a budget these steps are missing at the end
  lose_five("budget", {"--epsilon", "2"});
  REQUIRE(run(folder, arguments("budget", {"--epsilon", "2", "--resume"})) == 0);
  CHECK(said().find("the budget has room for") != std::string::npos);
  const nlohmann::json budget = metrics(folder, "budget");
  CHECK(budget["steps"] == steps);
  CHECK(budget["steps_lost"] == 5);
  CHECK(budget["epsilon"].get<double>() <= 2);
  CHECK(budget["epsilon"].get<double>() > 1.99);
  // what is finished stays so: no step is taken, none is charged
  REQUIRE(run(folder, arguments("budget", {"--epsilon", "2", "--resume"})) == 0);
  CHECK(metrics(folder, "budget")["epsilon"] == budget["epsilon"]);
  CHECK(metrics(folder, "budget")["probe"] == budget["probe"]);

  // without what was spent there is no epsilon, and no step
  fs::rename(folder.path / "budget" / "ledger.txt", folder.path / "kept");
  CHECK(run(folder, arguments("budget", {"--epsilon", "2", "--resume"})) == 1);
  CHECK(said().find("what was spent after it is unknown") != std::string::npos);
  fs::rename(folder.path / "whole" / "ledger.txt", folder.path / "budget" / "ledger.txt");
  CHECK(run(folder, arguments("whole", {"--epsilon", "2", "--resume"})) == 1);
  CHECK(said().find("epsilon") != std::string::npos);  // Row 23: other settings of privacy
  CHECK(run(folder, with(folder.arguments("whole"), {"--resume"})) == 1);
  CHECK(said().find("delta") != std::string::npos);
  io::Checkpoint<float> without = io::load_checkpoint<float>(folder.path / "whole" / "checkpoint.safetensors");
  without.state.erase("ledger");
  io::save_checkpoint(folder.path / "whole" / "checkpoint.safetensors", without);
  CHECK(run(folder, arguments("whole", {"--sigma", "1", "--resume"})) == 1);
  CHECK(said().find("the checkpoint has no ledger") != std::string::npos);
}

TEST_CASE("Row 24: a seeded private run that was cut goes on to the same bits, its ledger too", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  const auto arguments = [&](const std::string& out, std::initializer_list<std::string> more) {
    return with(with(folder.arguments(out), {"--private", "--delta", "1e-4", "--noise", "seeded:3", "--checkpoint-every", "1"}), more);
  };
  for (const std::string bases : {"w0", "noised"}) {
    INFO(bases);
    const auto of = [&](const std::string& out, std::initializer_list<std::string> more) {
      return with(arguments(out + bases, {"--bases", bases.c_str(), "--epsilon", "6"}), more);
    };
    REQUIRE(run(folder, of("whole", {})) == 0);
    const pid_t child = start(LORASB_FINETUNE, of("killed", {}), folder.path / "log");
    const fs::path checkpoint = folder.path / ("killed" + bases) / "checkpoint.safetensors";
    while (!fs::exists(checkpoint) && waitpid(child, nullptr, WNOHANG) == 0) std::this_thread::yield();
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    REQUIRE(fs::exists(checkpoint));
    REQUIRE(run(folder, of("killed", {"--resume"})) == 0);
    CHECK(slurp(folder.path / ("whole" + bases) / "adapter/adapter_model.safetensors") ==
          slurp(folder.path / ("killed" + bases) / "adapter/adapter_model.safetensors"));
    for (const char* key : {"steps", "sigma", "q", "probe", "epsilon"})
      CHECK(metrics(folder, "whole" + bases)[key] == metrics(folder, "killed" + bases)[key]);
    const auto ledger = [&](const std::string& out) {
      return io::load_checkpoint<float>(folder.path / (out + bases) / "checkpoint.safetensors").state.at("ledger");
    };
    CHECK(ledger("whole") == ledger("killed"));
  }
}

TEST_CASE("FFA-LoRA trains B over an A that stays as it was drawn, privately too", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  const auto factor = [&](const std::string& out, bool B) {
    const auto read = formats::read_adapter_folder<float>(folder.path / out / "adapter", {.plain_lora = true});
    Matrix<float> found = B ? Matrix<float>(read.adapters.begin()->second.B) : Matrix<float>(read.adapters.begin()->second.A);
    return found;
  };
  for (const bool is_private : {false, true}) {
    const std::string name = is_private ? "private" : "plain";
    const auto arguments = [&](const std::string& out, const std::string& epochs) {
      std::vector<std::string> all = with(folder.arguments(name + out), {"--method", "ffa-lora", "--epochs", epochs.c_str()});
      return is_private ? with(all, {"--private", "--sigma", "1", "--delta", "1e-4"}) : all;
    };
    REQUIRE(run(folder, arguments("1", "1")) == 0);
    REQUIRE(run(folder, arguments("2", "2")) == 0);
    CHECK(metrics(folder, name + "1")["trainable"] == 4 * 8448);  // B alone: all outputs
    CHECK(factor(name + "1", false) == factor(name + "2", false));
    CHECK(factor(name + "1", true) != factor(name + "2", true));
    CHECK(factor(name + "1", true).cwiseAbs().maxCoeff() > 0);
  }
}

TEST_CASE("a classifier that was trained labels new lines, as often and in the order as they come", "[model]") {
  if (!model_files_present()) return;
  const Folder folder;
  std::ofstream(folder.path / "lines.txt") << "\xEF\xBB\xBFstocks fell\r\n\nthe match was won\nstocks fell\n";
  const auto lines_of = [&](const std::string& words) {
    std::vector<std::string> lines;
    std::istringstream in(words);
    for (std::string line; std::getline(in, line);) lines.push_back(line);
    return lines;
  };
  const auto said = [&](const std::string& load, std::initializer_list<std::string> more) {
    std::vector<std::string> words{"--load", (folder.path / load).string()};
    words.insert(words.end(), more.begin(), more.end());
    REQUIRE(run(folder, words) == 0);
    return slurp(folder.path / "log");
  };
  const std::string file = (folder.path / "lines.txt").string(), test = (folder.path / "test.tsv").string();
  for (const std::string method : {"lora-sb", "lora", "head", "full"}) {
    INFO(method);
    REQUIRE(run(folder, with(folder.arguments(method), {"--method", method})) == 0);
    const std::vector<std::string> lines = lines_of(said(method, {"--predict", file}));
    REQUIRE(lines.size() == 4);
    CHECK(lines[0] == lines[3]);
    CHECK(lines[1] == "\t0.000000");  // no token in it
    const nlohmann::json labels = metrics(folder, method)["labels"];
    CHECK(std::find(labels.begin(), labels.end(), lines[0].substr(0, lines[0].find('\t'))) != labels.end());
    const double probability = std::stod(lines[0].substr(lines[0].find('\t') + 1));
    CHECK((probability > 1 / double(labels.size()) && probability <= 1));
    // the accuracy of the whole test file is that of the run
    const nlohmann::json found = nlohmann::json::parse(said(method, {"--test", test, "--json"}));
    CHECK(found["test_examples"] == metrics(folder, method)["test_examples"]);
    CHECK(found["test_accuracy"].get<double>() == Approx(metrics(folder, method)["test_accuracy"].get<double>()));
    const nlohmann::json line = nlohmann::json::parse(lines_of(said(method, {"--predict", file, "--json"})).at(0));
    CHECK(line["label"] == lines[0].substr(0, lines[0].find('\t')));
    double sum = 0;
    for (const auto& [label, p] : line["probabilities"].items()) sum += p.get<double>();
    CHECK(sum == Approx(1).epsilon(1e-5));
  }
  CHECK(said("lora-sb/folded", {"--predict", file}) == said("lora-sb/folded", {"--predict", file}));
  const auto refused = [&](std::initializer_list<std::string> words, const std::string& why) {
    CHECK(run(folder, words) != 0);
    CHECK_THAT(slurp(folder.path / "log"), Catch::Contains(why));
  };
  refused({"--predict", file}, "needs --load");
  refused({"--load", (folder.path / "lora-sb").string()}, "needs --predict or --test");
  refused({"--load", folder.path.string(), "--predict", file}, "holds neither");
  refused({"--load", (folder.path / "lora-sb").string(), "--predict", (folder.path / "none").string()}, "cannot open");
}

#endif
