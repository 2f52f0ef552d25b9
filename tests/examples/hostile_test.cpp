// What users do that nobody had in mind: options that do nothing, files of other formats, folders that cannot be written to.
#include <nlohmann/json.hpp>

#include "lorasb/formats/peft_reader.hpp"
#include "support.hpp"
#include "tiny_folder.hpp"

#ifdef LORASB_FINETUNE

using namespace lorasb;
using namespace lorasb::test;

namespace {

std::vector<std::string> lines_of(const std::string& words) {
  std::vector<std::string> lines;
  std::istringstream in(words);
  for (std::string line; std::getline(in, line);) lines.push_back(line);
  return lines;
}

}  // namespace

TEST_CASE("an option that does nothing is named with the reason, and one that does is not") {
  const TinyFolder folder;
  const std::string model = folder.model.string();
  const auto said = [&](const std::string& out, std::initializer_list<std::string> more) {
    folder.metrics_of(out, more);
    return folder.said();
  };
  using Catch::Contains;
  CHECK_THAT(said("sb", {"--model", model, "--rank", "2", "--init-examples", "8", "--init-direction", "gradient", "--core-start", "zero",
                         "--rank-allocation", "energy"}),
             !Contains("nothing here"));
  const std::string sb = (folder.path / "sb").string();
  // cores that are there have their bases
  const std::string goes_on = said("more", {"--load", sb, "--rank-allocation", "energy", "--init-direction", "sign", "--core-start", "zero",
                                            "--start-head-epochs", "2"});
  CHECK_THAT(goes_on, Contains("--init-direction does nothing here: the bases and cores are those of --load"));
  CHECK_THAT(goes_on, Contains("--rank-allocation, --core-start do nothing here: the bases and cores are those of --load"));
  CHECK_THAT(goes_on, Contains("--start-head-epochs does nothing here: the head is that of --load"));
  CHECK_THAT(said("lora", {"--model", model, "--method", "lora", "--rank", "2", "--look-ahead", "auto", "--scout", "sign", "--clip", "2",
                           "--header", "--seeds", "2"}),
             Contains("--look-ahead does nothing here: it is of the start of --method lora-sb") &&
                 Contains("--scout does nothing here: there is no --look-ahead") && Contains("--clip does nothing here: there is no --private") &&
                 Contains("--seeds does nothing here: there is no --compare") && !Contains("--header does"));
  CHECK_THAT(said("head", {"--model", model, "--method", "head", "--optimizer", "sgd"}),
             Contains("--epochs, --optimizer, --batch do nothing here: a head alone has --head-epochs and --head-learning-rate"));
  // a classifier that is used as it is, and standard output holds its answers alone
  std::ofstream(folder.path / "lines.txt") << "good a\nbad b\n";
  REQUIRE(folder.run({"--load", sb, "--predict", (folder.path / "lines.txt").string(), "--epochs", "3", "--out", "x", "--header"}) == 0);
  CHECK_THAT(folder.said(), Contains("--epochs, --out do nothing here: the classifier of --load is used as it is, and nothing is trained") &&
                                Contains("--header does nothing here: it is of --test"));
  const std::string command = std::string(LORASB_FINETUNE) + " --load " + sb + " --predict " + (folder.path / "lines.txt").string() +
                              " --epochs 3 2>/dev/null > " + (folder.path / "answers").string();
  REQUIRE(std::system(command.c_str()) == 0);
  CHECK(lines_of(slurp(folder.path / "answers")).size() == 2);
#ifdef LORASB_FEDERATE
  std::vector<std::string> words{"--data", folder.data(), "--model", model, "--out", (folder.path / "fed").string(), "--clients", "2", "--rounds", "1",
                                 "--rank", "2", "--init-data", "8", "--threads", "1", "--top-k", "1", "--liars", "2", "--server-beta2", "0.5",
                                 "--method", "fedit", "--core-start", "zero", "--local-steps", "1", "--local-epochs", "2"};
  REQUIRE(finish(start(LORASB_FEDERATE, words, folder.path / "log")) == 0);
  CHECK_THAT(folder.said(), Contains("--top-k does nothing here: there are no --experts") && Contains("--liars does nothing here") &&
                                Contains("--server-beta2 does nothing here: there is no --server-optimizer") &&
                                Contains("--core-start does nothing here: it is of the start of --method fed-sb") &&
                                Contains("--local-epochs does nothing here: --local-steps takes its place") && !Contains("--rank does"));
#endif
}

TEST_CASE("bounds of numbers are said in words, and nan is no number") {
  const TinyFolder folder;
  folder.refused(folder.words("no", {"--patience", "-1"}), "expected a number of at least 0, not -1");
  folder.refused(folder.words("no", {"--rank", "0"}), "expected a number above 0, not 0");
  folder.refused(folder.words("no", {"--epochs", "0"}), "expected a number from 1 to 1048576, not 0");
  folder.refused(folder.words("no", {"--warmup", "2"}), "expected a number from 0 to 1, not 2");
  folder.refused(folder.words("no", {"--seed", "18446744073709551616"}), "expected a number of at most 18446744073709551615");
  folder.refused(folder.words("no", {"--rank", "9223372036854775808"}), "expected a number of at most 9223372036854775807");
  folder.refused(folder.words("no", {"--head-epochs", "9223372036854775807"}), "expected a number from 1 to 1048576");
  for (const char* flag : {"--learning-rate", "--warmup", "--max-norm", "--clip"}) {
    INFO(flag);
    folder.refused(folder.words("no", {flag, "nan"}), "not nan");
    folder.refused(folder.words("no", {flag, "inf"}), "not inf");
  }
  CHECK_FALSE(Catch::Contains("e+308").match(folder.said()));
}

TEST_CASE("a given --model wins over a whole model, and --pool and --weights over nothing that the folder says") {
  const TinyFolder folder;
  const std::string model = folder.model.string(), lines = (folder.path / "lines.txt").string();
  std::ofstream(lines) << "good a\nbad b\nthe good is bad\n";
  folder.metrics_of("run", {"--model", model, "--pool", "cls", "--method", "lora", "--rank", "2", "--learning-rate", "0.05", "--write-merged",
                            (folder.path / "merged").string()});
  const std::string merged = (folder.path / "merged").string();
  const auto answers = [&](std::initializer_list<std::string> more) {
    REQUIRE(folder.run(with({"--predict", lines, "--json"}, more)) == 0);
    return folder.said();
  };
  const std::string own = answers({"--load", merged});
  CHECK(own == answers({"--load", merged, "--model", merged}));  // the same encoder: nothing to say
  const std::string over_base = answers({"--load", merged, "--model", model});
  CHECK_THAT(over_base, Catch::Contains("holds a whole model; only its head is used, over the encoder of --model " + model));
  CHECK(lines_of(over_base).back() != lines_of(own).back());
  // the head over the plain base is what the run gives without its adapters
  CHECK(lines_of(over_base).size() == 4);
  folder.refused({"--load", (folder.path / "run").string(), "--pool", "mean", "--predict", lines}, "was trained with --pool cls, not mean");
  CHECK(answers({"--load", (folder.path / "run").string(), "--pool", "cls"}) == answers({"--load", (folder.path / "run").string()}));

  // weights in bfloat16 are those of the folder's training, and its answers
  folder.metrics_of("narrow", {"--model", model, "--rank", "2", "--weights", "bf16"});
  const std::string narrow = (folder.path / "narrow").string();
  CHECK(nlohmann::json::parse(slurp(folder.path / "narrow" / "adapter" / "classifier.json"))["weights"] == "bf16");
  const std::string as_trained = answers({"--load", narrow});
  CHECK(as_trained == answers({"--load", narrow, "--weights", "bf16"}));
  CHECK(as_trained != answers({"--load", narrow, "--weights", "f32"}));
  CHECK(folder.metrics_of("narrow-more", {"--load", narrow})["weights"] == "bf16");
  CHECK(folder.metrics_of("wide-more", {"--load", narrow, "--weights", "f32"})["weights"] == "f32");
}

TEST_CASE("a run that goes on knows what its start did to the loss") {
  const TinyFolder folder;
  const nlohmann::json whole =
      folder.metrics_of("run", {"--model", folder.model.string(), "--rank", "2", "--checkpoint-every", "3"})["start_loss"];
  CHECK(whole[0].get<double>() > 0);
  std::filesystem::remove(folder.path / "run" / "metrics.json");
  const nlohmann::json resumed =
      folder.metrics_of("run", {"--model", folder.model.string(), "--rank", "2", "--checkpoint-every", "3", "--resume"});
  CHECK(resumed["start_loss"] == whole);
}

TEST_CASE("files of other formats, labels that are none, and sets that contradict themselves are called what they are") {
  const TinyFolder folder;
  const auto words = [&] { return folder.words("no", {"--model", folder.model.string(), "--rank", "2"}); };
  const auto put = [&](const std::string& bytes) { std::ofstream(folder.path / "train.tsv", std::ios::binary) << bytes; };
  const std::string rows = "good\tgood a\nbad\tbad b\n";
  std::string little = "\xFF\xFE", big;
  for (const char c : rows) {
    little += std::string{c, '\0'};
    big += std::string{'\0', c};
  }
  put(little);
  folder.refused(words(), "byte 0 (counted from 0) is not UTF-8; the file is UTF-16: save it as UTF-8");
  put(big);  // without a mark: all its bytes are UTF-8
  folder.refused(words(), "line 1 has a NUL byte in its label; if the file is UTF-16, save it as UTF-8");
  put("\x1F\x8B\x08 compressed");
  folder.refused(words(), "the file is compressed (gzip): unpack it");
  put("good,good a\nbad,bad b\n");
  folder.refused(words(), "line 1 has no tab, expected label<TAB>text; commas and semicolons do not part them");
  put("\"good\"\tgood a\n\"bad\"\tbad b\n");
  folder.refused(words(), "line 1 has the label \"good\", which \"" + (folder.path / "train.tsv").string() +
                              "\" never shows: it knows \"bad\", \"good\"");
  put(rows + rows + "good\tbad b\n" + std::string(1000, 'x') + "\tthe good\n");
  folder.metrics_of("out", {"--model", folder.model.string(), "--rank", "2"});
  CHECK_THAT(folder.said(), Catch::Contains("1 lines of the training file have a text that stands there with another label too") &&
                                Catch::Contains(std::string(80, 'x') + "… (1)") && !Catch::Contains(std::string(81, 'x')));
  std::ofstream(folder.path / "lines.txt", std::ios::binary) << little;
  folder.refused({"--load", (folder.path / "out").string(), "--predict", (folder.path / "lines.txt").string()}, "the file is UTF-16");
}

TEST_CASE("a set of thousands of classes leaves a picture that grows with the counts, not with their square") {
  const TinyFolder folder;
  std::ofstream train(folder.path / "train.tsv"), test(folder.path / "test.tsv");
  for (int i = 0; i < 3000; ++i) train << "class " << i << "\t" << (i % 2 == 0 ? "good" : "bad") << " a\n";
  test << "class 7\tgood\n";
  train.close();
  test.close();
  folder.metrics_of("out", {"--model", folder.model.string(), "--method", "head", "--head-epochs", "1"});
  CHECK(std::filesystem::file_size(folder.path / "out" / "confusion.svg") < 3000 * 500);
}

TEST_CASE("a place that cannot be written to is refused before anything is trained") {
  const TinyFolder folder;
  std::ofstream(folder.path / "file") << "x";
  const std::string file = (folder.path / "file").string();
  folder.refused(folder.words("file", {"--model", folder.model.string()}), "[lorasb.302] --out: \"" + file + "\" is no folder that can be written to");
  folder.refused(folder.words("file/below", {"--model", folder.model.string()}), "[lorasb.302] --out: ");
}

TEST_CASE("adapters with names of their own are in folders below, which the message names") {
  const TinyFolder folder;
  folder.metrics_of("run", {"--model", folder.model.string(), "--rank", "2"});
  std::filesystem::create_directories(folder.path / "several");
  std::filesystem::rename(folder.path / "run" / "folded", folder.path / "several" / "other");
  folder.refused({"--load", (folder.path / "several").string(), "--predict", (folder.path / "test.tsv").string()},
                 "adapters are in \"" + (folder.path / "several" / "other").string() + "\"");
}

TEST_CASE("a folder whose base is not here, is not named, or lies in several files is told from a wrong --model") {
  const TinyFolder folder;
  folder.metrics_of("run", {"--model", folder.model.string(), "--pool", "pooler", "--method", "lora", "--rank", "2"});
  const std::filesystem::path plain = folder.path / "run" / "adapter";
  std::filesystem::remove(plain / "classifier.json");  // a folder as PEFT leaves it
  const auto predict = [&](const std::string& load) {
    return std::vector<std::string>{"--load", load, "--predict", (folder.path / "test.tsv").string()};
  };
  nlohmann::json config = nlohmann::json::parse(slurp(plain / "adapter_config.json"));
  REQUIRE(folder.run(predict(plain.string())) == 0);
  config["base_model_name_or_path"] = "google-bert/bert-base-uncased";
  std::ofstream(plain / "adapter_config.json") << config;
  folder.refused(predict(plain.string()), "is of the base model \"google-bert/bert-base-uncased\", which is no folder here: give --model FOLDER");
  config["base_model_name_or_path"] = nullptr;
  std::ofstream(plain / "adapter_config.json") << config;
  folder.refused(predict(plain.string()), "names no base model: give --model");
  REQUIRE(folder.run(with(predict(plain.string()), {"--model", folder.model.string()})) == 0);
  folder.refused(predict((plain / "adapter_model.safetensors").string()), "is a file: name the folder that it lies in");
  std::filesystem::rename(plain / "adapter_model.safetensors", plain / "adapter_model-00001-of-00001.safetensors");
  std::ofstream(plain / "adapter_model.safetensors.index.json") << R"({"metadata": {}, "weight_map": {}})";
  folder.refused(predict(plain.string()), "an adapter in several files");
}

#endif
