// lorasb-finetune as a user runs it: what it writes, that it goes on where it was stopped, and what it says to bad input.
#include <nlohmann/json.hpp>
#include <thread>

#include "lorasb/adapter/merge.hpp"
#include "lorasb/formats/peft_reader.hpp"
#include "lorasb/io/checkpoint.hpp"
#include "lorasb/io/safetensors_writer.hpp"
#include "models/model_files.hpp"
#include "program.hpp"
#include "support.hpp"
#include "tiny_folder.hpp"

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

nlohmann::json metrics(const Folder& folder, const std::string& out) {
  return nlohmann::json::parse(slurp(folder.path / out / "metrics.json"));
}

/// A copy of a golden folder with a vocabulary of 13 tokens.
std::string tiny_model(const Folder& folder, const std::string& name) {
  const fs::path model = folder.path / "model";
  fs::remove_all(model);
  fs::copy(fs::path(LORASB_TEST_DIR) / ".." / "models" / "golden" / name, model);
  std::ofstream(model / "vocab.txt") << "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\nb\n##a\n##b\nthe\ngood\nbad\n.\nis\n";
  return model.string();
}

/// Puts a tensor into a file, in the place of one that has its name. Returns the path of a copy of the old file.
fs::path rewrite(const fs::path& path, const std::string& name, const Weight<float>& tensor) {
  const std::string bytes = slurp(path);
  const fs::path copy = path.string() + ".old";
  std::ofstream(copy, std::ios::binary) << bytes;
  const io::SafetensorsFile file(copy);
  std::vector<io::TensorBytes> tensors;
  for (const io::TensorInfo& t : file.tensors())
    if (t.name != name) tensors.push_back({t.name, t.dtype, t.shape, file.bytes(t.name)});
  tensors.push_back(io::tensor_bytes(name, tensor));
  io::write_safetensors(path, std::move(tensors), file.metadata());
  return copy;
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

TEST_CASE("Row 33: training goes on from a folder by every method, first of all from the numbers that it holds") {
  const TinyFolder folder;
  for (const std::string method : {"lora-sb", "lora-xs", "lora", "full", "head"}) {
    INFO(method);
    const std::string first = (folder.path / method).string();
    folder.metrics_of(method, {"--model", folder.model.string(), "--method", method, "--rank", "3", "--modules",
                               method == "full" || method == "head" ? "" : "query,value"});
    // at a rate of nothing what is written is what was read; model, method, rank and modules are the folder's
    const std::string tensors =
        method == "full" || method == "head" ? "model.safetensors" : "adapter/adapter_model.safetensors";
    const nlohmann::json still =
        folder.metrics_of("still", {"--load", first, "--learning-rate", "1e-30", "--head-learning-rate", "1e-30"});
    CHECK(still["loaded_from"] == first);
    CHECK(still["method"] == method);
    CHECK(slurp(folder.path / "still" / tensors) == slurp(folder.path / method / tensors));
    const nlohmann::json more = folder.metrics_of("more", {"--load", first});
    CHECK(slurp(folder.path / "more" / tensors) != slurp(folder.path / method / tensors));
    if (method != "full" && method != "head") {
      CHECK(more["modules"].size() == 4);
      CHECK(more["rank"] == 3);
      folder.refused(folder.words("no", {"--load", first, "--method", "full"}), "goes on by --method " + method + ", not full");
      folder.refused(folder.words("no", {"--load", first, "--rank", "2"}), "has adapters of rank 3, not 2");
      folder.refused(folder.words("no", {"--load", first, "--modules", "all-linear"}), "no --modules");
    }
    // what goes on is stopped and started again to the same bytes
    const std::string bytes = slurp(folder.path / "more" / tensors);
    if (method != "head") {
      folder.metrics_of("more", {"--load", first, "--checkpoint-every", "3"});
      folder.metrics_of("more", {"--load", first, "--checkpoint-every", "3", "--resume"});
    }
    CHECK(slurp(folder.path / "more" / tensors) == bytes);
    folder.metrics_of("twice", {"--load", (folder.path / "more").string()});
    fs::remove_all(folder.path / "more");
  }
  // a folded folder goes on as plain LoRA, and from a head every method starts
  CHECK(folder.metrics_of("folded", {"--load", (folder.path / "lora-sb" / "folded").string()})["method"] == "lora");
  CHECK(folder.metrics_of("from-head", {"--load", (folder.path / "head").string(), "--method", "lora-sb", "--rank",
                                        "2"})["trainable"] == 12 * 4);
  folder.refused({"--load", (folder.path / "lora-sb").string()}, "or --data to go on training with");
  folder.refused(folder.words("no", {"--load", (folder.path / "lora-sb").string(), "--compare"}), "no --compare");
  folder.refused(folder.words("no", {"--load", folder.path.string()}), "holds neither");
}

TEST_CASE("labels of new data are those that the classifier knows, in its order, or new rows that start at 0") {
  const TinyFolder folder;
  folder.metrics_of("first", {"--model", folder.model.string(), "--method", "lora", "--rank", "2"});
  folder.write("train.tsv", {"good", "a"}, 20);  // "bad" stands in the test file alone, and "a" sorts first
  const std::string load = (folder.path / "first").string();
  const nlohmann::json m =
      folder.metrics_of("second", {"--load", load, "--learning-rate", "1e-30", "--head-learning-rate", "1e-30"});
  CHECK(m["labels"] == nlohmann::json{"bad", "good", "a"});
  CHECK_THAT(folder.said(),
             Catch::Contains("1 labels that the classifier does not know yet; their rows of the head start at 0: a"));
  const auto head = [&](const std::string& out) {
    const formats::AdapterFolder<float> read =
        formats::read_adapter_folder<float>(folder.path / out / "adapter", {.plain_lora = true});
    return std::ranges::find_if(read.full_tensors, [](const auto& t) { return t.name == "classifier.weight"; })->values;
  };
  std::vector<float> expected = head("first");
  expected.resize(expected.size() * 3 / 2);
  const std::vector<float> found = head("second");
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i)
    CHECK(std::abs(found[i] - expected[i]) < 1e-25);  // the row of zeros has moved by the rate
  folder.write("test.tsv", {"the"}, 3);
  folder.refused(folder.words("no", {"--load", load}), "which");
}

TEST_CASE("--modules chooses by names, last parts, an expression or all-linear, and lists the modules when nothing matches") {
  const TinyFolder folder;
  const std::string model = folder.model.string();
  const auto chosen = [&](const std::string& wanted) {
    return folder.metrics_of("out", {"--model", model, "--rank", "2", "--modules", wanted})["modules"];
  };
  const std::string zero = "bert.encoder.layer.0.attention.self.", one = "bert.encoder.layer.1.attention.self.";
  CHECK(chosen("query, value") == nlohmann::json{zero + "query", zero + "value", one + "query", one + "value"});
  CHECK_THAT(folder.said(), Catch::Contains("adapters on 4 of 12 linear modules: " + zero + "query, "));
  CHECK(formats::read_adapter_folder<float>(folder.path / "out" / "adapter").adapters.size() == 4);
  CHECK(chosen("1.attention.self.key") == nlohmann::json{one + "key"});
  CHECK(chosen(R"(.*\.1\..*(query|key))") == nlohmann::json{one + "query", one + "key"});
  CHECK(chosen("all-linear").size() == 12);
  CHECK(folder.metrics_of("scout", {"--model", model, "--rank", "2", "--modules", "dense", "--look-ahead", "3"})["modules"]
            .size() == 6);
  folder.refused(folder.words("no", {"--model", model, "--modules", "query,q_proj"}),
                 "\"q_proj\" matches none of the linear modules, which are: " + zero + "query, ");
  folder.refused(folder.words("no", {"--model", model, "--modules", "uery"}), "matches none");
  folder.refused(folder.words("no", {"--model", model, "--modules", "query(?!x)"}), "cannot be evaluated");
  folder.refused(folder.words("no", {"--model", model, "--modules", "query", "--method", "full"}), "--modules");
}

TEST_CASE("class weights change what is learnt, and weights that do not fit are refused") {
  const TinyFolder folder;
  const std::string model = folder.model.string();
  std::ofstream train(folder.path / "train.tsv"), test(folder.path / "test.tsv");
  for (int i = 0; i < 50; ++i) train << (i % 5 == 0 ? "rare" : "often") << "\ta b\n";  // the text says nothing
  for (int i = 0; i < 20; ++i) test << (i % 2 == 0 ? "rare" : "often") << "\ta b\n";
  train.close();
  test.close();
  const fs::path weights = folder.path / "weights.tsv";
  std::ofstream(weights) << "rare\t50\noften\t0.5\n";
  for (const std::string method : {"head", "lora-sb"}) {
    INFO(method);
    const auto run = [&](const std::string& wanted) {
      return folder.metrics_of(
          "out", {"--model", model, "--method", method, "--rank", "2", "--epochs", "4", "--start-head-epochs", "60",
                  "--head-learning-rate", "0.03", "--validation-size", "0", "--class-weights", wanted});
    };
    const nlohmann::json none = run("none");
    CHECK(none["test_accuracy"] == 0.5);
    CHECK(none["macro_f1"].get<double>() == Approx(1.0 / 3));  // all "often": (2/3 + 0) / 2
    CHECK_FALSE(none.contains("class_weights"));
    CHECK_THAT(slurp(folder.path / "out" / "confusion.svg"),
               Catch::Contains(">often<") && Catch::Contains(">rare<") && Catch::Contains(">10<"));
    const auto label = [&] {
      std::ofstream(folder.path / "lines") << "a b\n";
      REQUIRE(folder.run({"--load", (folder.path / "out").string(), "--predict", (folder.path / "lines").string()}) == 0);
      const std::string line = folder.said();
      return std::pair(line.substr(0, line.find('\t')), std::stod(line.substr(line.find('\t'))));
    };
    CHECK(label().first == "often");
    CHECK(label().second == Approx(0.8).margin(0.08));
    const nlohmann::json balanced = run("balanced");
    CHECK(balanced["class_weights"] == nlohmann::json{{"often", 50 / (2 * 40.0)}, {"rare", 50 / (2 * 10.0)}});
    CHECK(label().second == Approx(0.5).margin(0.08));
    run(weights.string());
    CHECK(label().first == "rare");
    CHECK(label().second > 0.9);
  }
  const auto refused = [&](const std::string& lines, const std::string& why) {
    std::ofstream(weights) << lines;
    folder.refused(folder.words("no", {"--model", model, "--class-weights", weights.string()}), why);
  };
  refused("rare\t1\n", "has no weight for the class \"often\"");
  refused("rare\t1\noften\t0\n", "expected a number above 0");
  refused("rare\t1\noften\tnan\n", "expected a number above 0");
  refused("rare\t1\nrare\t2\n", "comes twice");
  refused("rare\t1\nseldom\t2\n", "is none of the classes");
}

TEST_CASE("--keep best writes the numbers of the best epoch, and its test accuracy is that of what is written") {
  const TinyFolder folder;
  const auto run = [&](const std::string& out, std::initializer_list<std::string> more) {
    // rates that rise to the end and destroy what was learnt
    std::vector<std::string> words =
        folder.words(out, {"--model", folder.model.string(), "--rank", "2", "--epochs", "6", "--warmup", "1", "--learning-rate",
                           "3", "--core-start", "zero", "--head-learning-rate", "0.03", "--checkpoint-every", "5"});
    const int status = folder.run(with(words, more));
    INFO(folder.said());
    REQUIRE(status == 0);
    return nlohmann::json::parse(slurp(folder.path / out / "metrics.json"));
  };
  const nlohmann::json last = run("last", {}), best = run("best", {"--keep", "best"});
  CHECK(last["evaluations"] == best["evaluations"]);
  CHECK(last["keep"] == "last");
  double highest = -1;
  nlohmann::json first;
  for (const nlohmann::json& e : best["evaluations"])
    if (e["validation_accuracy"] > highest) {
      highest = e["validation_accuracy"];
      first = e["step"];
    }
  REQUIRE(first < best["evaluations"].back()["step"]);
  CHECK(best["kept_step"] == first);
  CHECK(best["validation_accuracy"] == highest);
  const std::string file = "adapter/adapter_model.safetensors";
  CHECK(slurp(folder.path / "last" / file) != slurp(folder.path / "best" / file));
  REQUIRE(folder.run({"--load", (folder.path / "best").string(), "--test", (folder.path / "test.tsv").string(), "--json"}) ==
          0);
  const nlohmann::json tested = nlohmann::json::parse(folder.said());
  CHECK(tested["test_accuracy"] == best["test_accuracy"]);
  CHECK(tested["macro_f1"] == best["macro_f1"]);
  CHECK(best["test_accuracy"] > last["test_accuracy"]);
  const std::string bytes = slurp(folder.path / "best" / file);
  CHECK(run("best", {"--keep", "best", "--resume"})["kept_step"] ==
        first);  // from the last checkpoint, which holds the best numbers
  CHECK(slurp(folder.path / "best" / file) == bytes);
  folder.refused(folder.words("no", {"--model", folder.model.string(), "--keep", "best", "--validation-size", "0"}), "--keep");
}

TEST_CASE("texts in which the vocabulary finds nothing are counted, and refused when nearly all are") {
  const TinyFolder folder;
  const std::string model = folder.model.string();
  std::ofstream(folder.path / "train.tsv", std::ios::app) << "good\tпривет мир\nbad\tzzz\n";
  folder.metrics_of("out", {"--model", model, "--method", "head"});
  CHECK_THAT(folder.said(), Catch::Contains("2 texts in which the vocabulary of " + model + " finds nothing"));
  std::ofstream train(folder.path / "train.tsv");
  for (int i = 0; i < 40; ++i) train << (i % 2 == 0 ? "good" : "bad") << "\tпривет " << i << "\n";
  train << "good\tthe b\nbad\ta\n";
  train.close();
  folder.refused(folder.words("no", {"--model", model}), "their language or script needs another model (--model)");
}

TEST_CASE("own files are read whole unless a limit is given, and --resume without a checkpoint says so (pycaret 202)") {
  const TinyFolder folder;
  folder.write("train.tsv", {"good", "bad"}, 5200);  // more than the 10,000 that other sets are cut to
  const std::string model = folder.model.string();
  const nlohmann::json all = folder.metrics_of(
      "all", {"--model", model, "--method", "head", "--head-epochs", "1", "--validation-size", "7", "--resume"});
  CHECK(all["train_examples"] == 10400 - 7);
  CHECK_THAT(folder.said(), Catch::Contains("--resume: there is no checkpoint") && !Catch::Contains("left out, the limit is"));
  const nlohmann::json few =
      folder.metrics_of("few", {"--model", model, "--method", "head", "--head-epochs", "1", "--train-size", "100"});
  CHECK(few["train_examples"] == 100);
  CHECK_THAT(folder.said(), Catch::Contains("texts left out, the limit is 100"));
  CHECK_FALSE(Catch::Contains("there is no checkpoint").match(folder.said()));
  folder.refused(folder.words("no", {"--model", model, "--seed", "-1"}), "at least 0, not -1");
  folder.refused(folder.words("no", {"--model", model, "--train-size", "-1"}), "-1");
}

TEST_CASE("--help shows the words of every choice, in all programs") {
  const TinyFolder folder;
  const auto help = [&](const std::string& program) {
    REQUIRE(finish(start(program, {"--help"}, folder.path / "log")) == 0);
    const std::string said = folder.said();
    INFO(said);
    CHECK(said.find("->") == std::string::npos);  // as {full->3,...}
    CHECK(said.find('{') == std::string::npos);
    return said;
  };
  CHECK_THAT(help(LORASB_FINETUNE), Catch::Contains("--method lora-sb|lora|lora-xs|full|head") &&
                                        Catch::Contains("--keep last|best") && Catch::Contains("--optimizer adamw|sgd"));
  CHECK_THAT(help(LORASB_FEDERATE), Catch::Contains("--aggregate mean|median|trimmed|krum"));
  CHECK_THAT(help(LORASB_MIX), Catch::Contains("--over-layers sum|mean"));
  CHECK_THAT(help(LORASB_EPSILON), Catch::Contains("--relation add-remove|replace-one"));
}

TEST_CASE("the family's own head is trained with --pool pooler, and a merged folder classifies as the adapters do") {
  const Folder folder;
  std::ofstream(folder.path / "lines.txt") << "a good b\nthe bad is .\nab ba\n";
  const std::string lines = (folder.path / "lines.txt").string();
  const auto probabilities = [&](std::initializer_list<std::string> words) {
    REQUIRE(run(folder, with({"--predict", lines, "--json"}, words)) == 0);
    std::vector<double> all;
    std::istringstream in(slurp(folder.path / "log"));
    for (std::string line; std::getline(in, line);) {
      const nlohmann::json found = nlohmann::json::parse(line);
      for (const auto& [label, p] : found.at("probabilities").items()) all.push_back(p.get<double>());
    }
    REQUIRE(all.size() == 6);
    return all;
  };
  const auto same = [](const std::vector<double>& a, const std::vector<double>& b) {
    double most = 0;
    for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(a[i] - b[i]));
    return most;
  };
  struct Case {
    const char *model, *method, *pool, *dense, *head, *architecture;  // dense: a layer that is trained in full
  };
  for (const Case& c : std::vector<Case>{
           {"tiny_bert", "lora-sb", "pooler", "", "classifier", "BertForSequenceClassification"},
           {"tiny_bert_sharded", "lora", "pooler", "bert.pooler.dense", "classifier", "BertForSequenceClassification"},
           {"tiny_roberta", "lora-sb", "pooler", "classifier.dense", "classifier.out_proj", "RobertaForSequenceClassification"},
           {"tiny_distilbert", "lora-xs", "pooler", "pre_classifier", "classifier", "DistilBertForSequenceClassification"},
           {"tiny_distilbert", "head", "pooler", "pre_classifier", "classifier", "DistilBertForSequenceClassification"},
           {"tiny_roberta", "ffa-lora", "pooler", "classifier.dense", "classifier.out_proj", "RobertaForSequenceClassification"},
           {"tiny_roberta", "full", "pooler", "classifier.dense", "classifier.out_proj", "RobertaForSequenceClassification"},
           {"tiny_bert", "lora-sb", "mean", "", "classifier", "BertModel"}}) {
    INFO(c.model << " " << c.method);
    const fs::path model = folder.path / "model", out = folder.path / "out", merged = folder.path / "merged";
    for (const fs::path& old : {out, merged}) fs::remove_all(old);
    tiny_model(folder, c.model);
    REQUIRE(run(folder, with(folder.arguments("out"), {"--model", model.string(), "--pool", c.pool, "--method", c.method,
                                                       "--write-merged", merged.string()})) == 0);
    const bool has_adapter = fs::exists(out / "adapter");
    const io::SafetensorsFile tensors(out / (has_adapter ? "folded/adapter_model.safetensors" : "model.safetensors"));
    const std::string prefix = has_adapter ? "base_model.model." : "";
    CHECK(tensors.contains(prefix + c.head + ".weight"));
    CHECK(metrics(folder, "out")["trainable_head"] == 18 + (*c.dense != 0 ? 72 : 0));
    if (*c.dense != 0) {
      REQUIRE(tensors.contains(prefix + c.dense + ".weight"));
      Weight<float> start = Weight<float>::Zero(8, 8);
      if (std::string(c.model) != "tiny_bert_sharded")  // what the folder has is where training starts
        start = io::SafetensorsFile(model / "model.safetensors").read_weight<float>(concat(c.dense, ".weight"));
      const Weight<float> trained = tensors.read_weight<float>(concat(prefix, c.dense, ".weight"));
      CHECK(trained != start);
      CHECK((trained - start).cwiseAbs().maxCoeff() < 0.2f);  // some steps at a rate of 3e-3, or of a start of deviation 0.02
    }
    const std::vector<double> expected = probabilities({"--load", out.string()});
    CHECK(same(probabilities({"--load", merged.string()}), expected) < 1e-6);
    const nlohmann::json config = io::read_json(merged / "config.json"), before = io::read_json(model / "config.json");
    CHECK(config["architectures"] == nlohmann::json{c.architecture});
    CHECK(config["id2label"] == nlohmann::json{{"0", "animal"}, {"1", "number"}});
    CHECK(config["label2id"] == nlohmann::json{{"animal", 0}, {"number", 1}});
    CHECK(config["num_labels"] == 2);
    CHECK(config["vocab_size"] == before["vocab_size"]);
    CHECK(slurp(merged / "vocab.txt") == slurp(model / "vocab.txt"));
    fs::rename(merged, folder.path / "moved");  // it needs neither its place nor its base
    fs::rename(model, folder.path / "gone");
    CHECK(same(probabilities({"--load", (folder.path / "moved").string()}), expected) < 1e-6);
    fs::rename(folder.path / "gone", model);
    fs::remove_all(folder.path / "moved");
    REQUIRE(run(folder, {"--load", out.string(), "--write-merged", merged.string()}) == 0);
    CHECK(same(probabilities({"--load", merged.string()}), expected) < 1e-6);
    CHECK(run(folder, {"--load", out.string(), "--write-merged", merged.string()}) != 0);
    CHECK_THAT(slurp(folder.path / "log"), Catch::Contains("is not empty"));
  }
  const auto refused = [&](std::initializer_list<std::string> more, const std::string& words) {
    CHECK(run(folder, with(folder.arguments("refused"), more)) != 0);
    CHECK_THAT(slurp(folder.path / "log"), Catch::Contains(words));
    CHECK_FALSE(fs::exists(folder.path / "refused"));
  };
  const std::string merged = (folder.path / "new").string(), model = (folder.path / "model").string();
  refused({"--model", "use-lite", "--write-merged", merged}, "use-lite is none");
  refused({"--model", model, "--write-merged", merged, "--compare"}, "--compare trains many");
  refused({"--model", model, "--write-merged", lines}, "is no folder");
}

TEST_CASE("numbers and any number of labels are trained, written, read and gone on from, as config.json of transformers names them") {
  const Folder folder;
  const std::string model = tiny_model(folder, "tiny_bert"), lines = (folder.path / "lines.txt").string(),
                    out = (folder.path / "out").string(), merged = (folder.path / "merged").string();
  const std::vector<std::string> words{"a", "b", "the", "good", "bad", ".", "is"};
  std::ofstream numbers(folder.path / "regression.tsv"), sets(folder.path / "multilabel.tsv"), plain(lines);
  Random random(3);
  for (int i = 0; i < 160; ++i) {  // 1000 and some tens for a good word, less for a bad one; the labels are words of the text
    std::string text, labels;
    int worth = 0;
    for (std::size_t length = 1 + random.below(5); length > 0; --length) {
      const std::string& word = words[random.below(words.size())];
      text += word + " ";
      worth += word == "good" ? 1 : word == "bad" ? -1 : 0;
    }
    for (const char* label : {"good", "bad"})
      if (text.find(label) != text.npos) labels += (labels.empty() ? "" : ", ") + std::string(label);
    numbers << 1000 + 20 * worth << "\t" << text << "\n";
    sets << labels << "\t" << text << "\n";
    if (i < 5) plain << text << "\n";
  }
  for (std::ofstream* file : {&numbers, &sets, &plain}) file->close();
  /// What --predict and --test print, as JSON.
  const auto said = [&](std::vector<std::string> more) {
    more.push_back("--json");
    REQUIRE(run(folder, more) == 0);
    std::vector<nlohmann::json> all;
    std::istringstream in(slurp(folder.path / "log"));
    for (std::string line; std::getline(in, line);) all.push_back(nlohmann::json::parse(line));
    return all;
  };
  const auto numbers_of = [&](const std::string& load) {
    std::vector<double> all;
    for (const nlohmann::json& line : said({"--load", load, "--predict", lines})) {
      if (line.contains("value")) all.push_back(line["value"]);
      const nlohmann::json probabilities = line.value("probabilities", nlohmann::json::object());
      for (const auto& [label, p] : probabilities.items()) {
        all.push_back(p);
        CHECK((p > 0.5) == (std::ranges::count(line["labels"], nlohmann::json(label)) == 1));
      }
    }
    return all;
  };
  struct Case {
    const char *task, *method, *problem, *validation;
    std::vector<const char*> scores;
    std::size_t outputs;
    double least;  // of the first score; the words lie open, so that it is learnt
  };
  for (const Case& c : std::vector<Case>{
           {"regression", "lora-sb", "regression", "validation_pearson", {"pearson", "spearman", "mean_squared_error"}, 1, 0.8},
           {"regression", "full", "regression", "validation_pearson", {"pearson", "spearman", "mean_squared_error"}, 1, 0.8},
           {"regression", "head", "regression", "validation_pearson", {"pearson", "spearman", "mean_squared_error"}, 1, 0.3},
           {"multilabel", "lora", "multi_label_classification", "validation_micro_f1", {"micro_f1", "macro_f1", "test_accuracy"}, 2, 0.65}}) {
    INFO(c.task << " " << c.method);
    for (const std::string& old : {out, merged}) fs::remove_all(old);
    const std::string file = (folder.path / (std::string(c.task) + ".tsv")).string(), data = "tsv:" + file + ":" + file;
    const bool is_head = std::string(c.method) == "head";
    REQUIRE(run(folder, with(folder.arguments("out"),
                             {"--model", model, "--pool", "pooler", "--task", c.task, "--data", data, "--method", c.method, "--epochs", "20",
                              "--head-epochs", "60", "--keep", is_head ? "last" : "best", "--learning-rate", "3e-3", "--write-merged", merged})) == 0);
    const nlohmann::json m = metrics(folder, "out");
    CHECK(m["task"] == c.task);
    CHECK(m[c.scores[0]].get<double>() > c.least);
    CHECK(m.contains(c.validation));
    CHECK(m.contains("test_accuracy") == (c.outputs == 2));
    CHECK_FALSE(m.contains("matthews"));
    CHECK_FALSE(fs::exists(out + "/confusion.svg"));
    CHECK(io::read_json(merged + "/config.json")["problem_type"] == c.problem);
    if (!is_head) {
      double best = -2;
      for (const nlohmann::json& e : m["evaluations"]) best = std::max(best, e.at(c.validation).get<double>());
      CHECK(m[c.validation] == best);
      CHECK(m["history"][0].contains("accuracy") == (c.outputs == 2));
    }
    if (fs::exists(out + "/folded"))
      CHECK(io::SafetensorsFile(out + "/folded/adapter_model.safetensors").at("base_model.model.classifier.weight").shape ==
            std::vector<Index>{Index(c.outputs), 8});
    const nlohmann::json tested = said({"--load", out, "--test", file})[0];
    for (const char* score : c.scores) CHECK(tested[score].get<double>() == Approx(m[score].get<double>()).epsilon(1e-4));
    const std::vector<double> expected = numbers_of(out);
    REQUIRE(expected.size() == 5 * c.outputs);
    const auto same = [&](const std::vector<double>& found) {
      for (std::size_t i = 0; i < expected.size(); ++i)
        if (!(std::abs(found.at(i) - expected[i]) <= 1e-5 * std::max(1.0, std::abs(expected[i])))) return false;
      return found.size() == expected.size();
    };
    CHECK(same(numbers_of(merged)));
    // going on at a rate of nothing, without --task: numbers of size 1000 are trained at size 1, and come back
    REQUIRE(run(folder, with(folder.arguments("on"), {"--load", out, "--model", model, "--data", data, "--epochs", "1", "--learning-rate", "1e-30",
                                                      "--head-learning-rate", "1e-30"})) == 0);
    CHECK(same(numbers_of((folder.path / "on").string())));
    CHECK(metrics(folder, "on")["task"] == c.task);
    fs::remove_all(folder.path / "on");
    const auto refused = [&](std::initializer_list<std::string> more, const std::string& message) {
      CHECK(run(folder, with(folder.arguments("refused"), more)) != 0);
      CHECK_THAT(slurp(folder.path / "log"), Catch::Contains(message));
      CHECK_FALSE(fs::exists(folder.path / "refused"));
    };
    refused({"--load", out, "--task", "classification", "--data", data}, concat("is of --task ", c.task, ", not classification"));
    refused({"--model", merged, "--data", "wordnet"}, concat("--data of that name has one label for each text: give tsv:TRAIN:TEST (--task ",
                                                            c.task, ", as the model's folder says)"));
    if (fs::exists(out + "/adapter")) {
      CHECK(finish(start(LORASB_FEDERATE, {"--load", out, "--data", folder.data(), "--out", (folder.path / "refused").string()},
                         folder.path / "log")) != 0);
      CHECK_THAT(slurp(folder.path / "log"), Catch::Contains(concat("is of --task ", c.task, ": a session trains classifiers")));
    }
    refused({"--model", model, "--task", c.task, "--data", data, "--compare"}, "--compare compares accuracies");
    refused({"--model", model, "--task", c.task, "--data", data, "--class-weights", "balanced"}, "--class-weights are for classifiers");
    refused({"--model", model, "--task", c.task, "--data", data, "--private", "--epsilon", "3", "--delta", "1e-5"}, "--private is for classifiers");
  }
  // lines as they are printed without --json
  REQUIRE(run(folder, {"--load", merged, "--predict", lines}) == 0);
  std::istringstream printed(slurp(folder.path / "log"));
  for (const nlohmann::json& line : said({"--load", merged, "--predict", lines})) {
    std::string names, text;
    for (const std::string label : line["labels"]) names += (names.empty() ? "" : ",") + label;
    std::getline(printed, text);
    CHECK(text.substr(0, text.find('\t')) == names);
    CHECK(std::ranges::count(text, ',') == std::max<std::ptrdiff_t>(0, 2 * (std::ssize(line["labels"]) - 1)));
  }
  // a folder that does not say what its outputs are is told, and says it no other way than transformers would take it
  nlohmann::json config = io::read_json(merged + "/config.json");
  fs::remove(merged + "/classifier.json");
  const auto with_problem = [&](const nlohmann::json& problem, const std::string& task) {
    config["problem_type"] = problem;
    std::ofstream(merged + "/config.json") << config.dump();
    std::vector<std::string> arguments{"--load", merged, "--predict", lines, "--json"};
    if (!task.empty()) arguments.insert(arguments.end(), {"--task", task});
    run(folder, arguments);
    return slurp(folder.path / "log");
  };
  CHECK_THAT(with_problem("multi_label_classification", ""), Catch::Contains("\"labels\""));
  CHECK_THAT(with_problem(nullptr, ""), Catch::Contains("\"label\":"));
  CHECK_THAT(with_problem(nullptr, "multilabel"), Catch::Contains("\"labels\""));
  CHECK_THAT(with_problem("regression", ""), Catch::Contains("is a regression of 2 numbers, which is not read"));
  CHECK_THAT(with_problem("single_label_classification", "multilabel"), Catch::Contains("is of --task classification, not multilabel"));
  CHECK_THAT(with_problem("ranking", ""), Catch::Contains("\"problem_type\" is \"ranking\", expected single_label_classification"));
}

TEST_CASE("--dropout changes training and no answer, stands in the folder, and has the same bits with another number of threads") {
  const Folder folder;
  const std::string model = tiny_model(folder, "tiny_bert");
  const auto trained = [&](const std::string& out, std::initializer_list<std::string> more) {
    std::vector<std::string> arguments = with(folder.arguments(out), {"--model", model, "--pool", "pooler", "--dropout", "0.3"});
    REQUIRE(run(folder, with(arguments, more)) == 0);
    return metrics(folder, out);
  };
  for (const char* method : {"lora-sb", "lora"}) {
    INFO(method);
    const nlohmann::json dropped = trained("a", {"--method", method}), again = trained("b", {"--method", method, "--threads", "1"});
    CHECK(dropped["history"] == again["history"]);
    CHECK(dropped["config"]["dropout"] == "0.3");
    const nlohmann::json kept = trained("c", {"--method", method, "--dropout", "0"});
    CHECK(kept["history"] != dropped["history"]);
    CHECK_FALSE(kept["config"].contains("dropout"));
    for (const char* sub : {"adapter", "folded"}) {
      CHECK(io::read_json(folder.path / "a" / sub / "adapter_config.json")["lora_dropout"] == 0.3);
      CHECK(io::read_json(folder.path / "c" / sub / "adapter_config.json")["lora_dropout"] == 0.0);
    }
  }
  const auto refused = [&](std::initializer_list<std::string> more, const std::string& message) {
    CHECK(run(folder, with(with(folder.arguments("refused"), {"--model", model, "--dropout", "0.1"}), more)) != 0);
    CHECK_THAT(slurp(folder.path / "log"), Catch::Contains(message));
  };
  refused({"--method", "full"}, "is of the inputs of adapters");
  refused({"--method", "head"}, "is of the inputs of adapters");
  refused({"--compare"}, "is of the inputs of adapters");
  refused({"--dropout", "1"}, "--dropout");
}

TEST_CASE("tensors of the base that a folder of PEFT brings stand in the place of the base's, or are refused by name") {
  const Folder folder;
  const fs::path model = folder.path / "model", adapter = folder.path / "out" / "folded";
  tiny_model(folder, "tiny_bert");
  std::ofstream(folder.path / "lines.txt") << "a good b\nthe bad is .\nab ba\n";
  REQUIRE(run(folder, with(folder.arguments("out"), {"--model", model.string(), "--pool", "pooler"})) == 0);
  fs::remove(adapter / "classifier.json");  // as PEFT leaves it
  const auto said = [&](const fs::path& base) {
    CHECK(run(folder,
              {"--model", base.string(), "--load", adapter.string(), "--predict", (folder.path / "lines.txt").string()}) >= 0);
    return slurp(folder.path / "log");
  };
  const std::string before = said(model);
  CHECK_THAT(before, Catch::Contains("LABEL_"));

  const std::string words = "bert.embeddings.word_embeddings.weight";
  const Weight<float> new_words = random_matrix<Weight<float>>(13, 8, 6);
  const fs::path changed = folder.path / "changed", file = adapter / "adapter_model.safetensors";
  fs::copy(model, changed);
  rewrite(changed / "model.safetensors", words, new_words);
  const std::string expected = said(changed);
  REQUIRE(expected != before);
  for (const std::string& name : {words, std::string("embeddings.word_embeddings.weight")}) {
    const fs::path old = rewrite(file, "base_model.model." + name, new_words);
    CHECK(said(model) == expected);
    CHECK(run(folder, with(folder.arguments("more"), {"--load", adapter.string(), "--model", model.string()})) != 0);
    CHECK_THAT(slurp(folder.path / "log"), Catch::Contains("trained in full beside the adapters"));
    fs::rename(old, file);
  }
  REQUIRE(said(model) == before);
  fs::path old = rewrite(file, "base_model.model." + words, random_matrix<Weight<float>>(14, 8, 6));
  CHECK_THAT(said(model), Catch::Contains("holds \"bert.embeddings.word_embeddings.weight\" as 14 x 8, but in"));
  fs::rename(old, file);
  old = rewrite(file, "base_model.model.bert.embeddings.other.weight", new_words);
  CHECK_THAT(said(model), Catch::Contains("holds the tensor \"bert.embeddings.other.weight\", which"));
  fs::rename(old, file);
  old = rewrite(file, "base_model.model.query.weight", new_words);
  CHECK_THAT(said(model), Catch::Contains("which can be"));
}

TEST_CASE("a folder holds one classifier, no model is overwritten, and what cannot be printed is an error") {
  const Folder folder;
  const fs::path model = tiny_model(folder, "tiny_bert"), out = folder.path / "out";
  std::ofstream(folder.path / "lines.txt") << "a good b\nthe bad is .\nab ba\n";
  const std::string lines = (folder.path / "lines.txt").string();
  const auto said = [&](const Folder& f) { return slurp(f.path / "log"); };
  REQUIRE(run(folder, with(folder.arguments("out"), {"--model", model.string(), "--method", "lora"})) == 0);
  REQUIRE(run(folder, with(folder.arguments("out"), {"--model", model.string(), "--method", "full", "--learning-rate", "0.01"})) == 0);
  REQUIRE(run(folder, {"--load", out.string(), "--predict", lines}) == 0);
  const std::string labels = said(folder);
  fs::remove_all(out / "adapter");
  REQUIRE(run(folder, {"--load", out.string(), "--predict", lines}) == 0);
  CHECK(said(folder) == labels);

  const std::string before = slurp(model / "model.safetensors");
  CHECK(run(folder, with(folder.arguments("model"), {"--model", model.string(), "--method", "head"})) != 0);
  CHECK_THAT(said(folder), Catch::Contains("holds a model (config.json)"));
  CHECK(slurp(model / "model.safetensors") == before);
  REQUIRE(run(folder, with(folder.arguments("cores"), {"--model", model.string()})) == 0);
  const std::string adapter = slurp(folder.path / "cores" / "adapter" / "adapter_config.json");
  CHECK(run(folder, with(folder.arguments("cores/adapter"), {"--model", model.string()})) != 0);
  CHECK_THAT(said(folder), Catch::Contains("holds an adapter (adapter_config.json)"));
  CHECK(slurp(folder.path / "cores" / "adapter" / "adapter_config.json") == adapter);
  CHECK(fs::exists(folder.path / "cores" / "adapter" / "classifier.json"));
  CHECK(run(folder, with(folder.arguments("one"), {"--model", model.string(), "--write-merged", (folder.path / "one").string()})) != 0);
  CHECK_THAT(said(folder), Catch::Contains("two folders"));
  CHECK(run(folder, with(folder.arguments("no"), {"--load", out.string(), "--predict", lines})) != 0);
  CHECK_THAT(said(folder), Catch::Contains("these are two calls"));
  REQUIRE(run(folder, with(folder.arguments("head"), {"--model", model.string(), "--method", "head"})) == 0);
  CHECK(run(folder, with(folder.arguments("no"), {"--load", (folder.path / "head").string(), "--keep", "best"})) != 0);
  CHECK_THAT(said(folder), Catch::Contains("goes on as a head alone"));
  if (fs::exists("/dev/full"))
    CHECK(finish(start(LORASB_FINETUNE, {"--load", out.string(), "--predict", lines}, "/dev/full")) != 0);
}

TEST_CASE("batches that make one update together are one batch, and patience keeps the best epoch's numbers") {
  const Folder folder;
  const std::string model = tiny_model(folder, "tiny_bert");
  const auto arguments = [&](const std::string& out, std::initializer_list<std::string> more) {
    return with(with(folder.arguments(out), {"--model", model}), more);
  };
  REQUIRE(run(folder, arguments("one", {"--batch", "16"})) == 0);
  REQUIRE(run(folder, arguments("two", {"--batch", "8", "--accumulate", "2"})) == 0);
  const nlohmann::json one = metrics(folder, "one"), two = metrics(folder, "two");
  REQUIRE(one["history"].size() == two["history"].size());
  for (std::size_t t = 0; t < one["history"].size(); ++t) {
    CHECK(two["history"][t]["loss"].get<double>() ==
          Approx(one["history"][t]["loss"].get<double>()).epsilon(1e-4));  // rounding of a few steps
    CHECK(two["history"][t]["learning_rate"] == one["history"][t]["learning_rate"]);
  }
  const formats::AdapterFolder<float> a = formats::read_adapter_folder<float>(folder.path / "one" / "adapter");
  const formats::AdapterFolder<float> b = formats::read_adapter_folder<float>(folder.path / "two" / "adapter");
  for (const auto& [name, adapter] : a.adapters)
    CHECK(relative_error(b.adapters.at(name).R, adapter.R) < 1e-2);  // AdamW divides small by small
  for (const char* key : {"macro_f1", "matthews"}) CHECK(std::abs(one[key].get<double>()) <= 1);
  CHECK_FALSE(one.contains("kept_step"));

  const auto patient = [&](std::initializer_list<std::string> more) {
    return with(arguments("patient", {"--epochs", "40", "--patience", "2", "--learning-rate", "0.05"}), more);
  };
  REQUIRE(run(folder, patient({})) == 0);
  const nlohmann::json m = metrics(folder, "patient"), evaluations = m["evaluations"];
  REQUIRE(evaluations.size() < 40);
  std::size_t best = 0;
  for (std::size_t e = 0; e < evaluations.size(); ++e)
    if (evaluations[e]["validation_accuracy"] > evaluations[best]["validation_accuracy"]) best = e;
  CHECK(evaluations.size() == best + 3);
  CHECK(m["kept_step"] == evaluations[best]["step"]);
  CHECK(m["stopped_step"] == evaluations.back()["step"]);
  CHECK(m["history"].size() == m["stopped_step"]);
  CHECK(m["validation_accuracy"] == evaluations[best]["validation_accuracy"]);
  const io::Checkpoint<float> saved = io::load_checkpoint<float>(folder.path / "patient" / "checkpoint.safetensors");
  const formats::AdapterFolder<float> kept = formats::read_adapter_folder<float>(folder.path / "patient" / "adapter");
  const Weight<float> R = kept.adapters.begin()->second.R;  // the first of the trained numbers
  CHECK(std::equal(R.data(), R.data() + R.size(), saved.tensor("best").begin()));
  CHECK_FALSE(std::equal(R.data(), R.data() + R.size(), saved.tensor("values").begin()));
  REQUIRE(run(folder,
              {"--load", (folder.path / "patient").string(), "--test", (folder.path / "test.tsv").string(), "--json"}) == 0);
  CHECK(nlohmann::json::parse(slurp(folder.path / "log"))["test_accuracy"] == m["test_accuracy"]);
  REQUIRE(run(folder, patient({"--resume"})) == 0);  // there is nothing left to do
  for (const char* key : {"history", "evaluations", "test_accuracy", "kept_step", "stopped_step"})
    CHECK(metrics(folder, "patient")[key] == m[key]);

  const auto refused = [&](std::initializer_list<std::string> more, const std::string& words) {
    CHECK(run(folder, arguments("refused", more)) != 0);
    CHECK_THAT(slurp(folder.path / "log"), Catch::Contains(words));
  };
  refused({"--patience", "2", "--validation-size", "0"}, "needs validation texts");
  refused({"--patience", "2", "--method", "head"}, "--patience");
  refused({"--accumulate", "0"}, "--accumulate");
  refused({"--private", "--sigma", "1", "--delta", "1e-4", "--accumulate", "2"}, "--accumulate");
  refused({"--private", "--sigma", "1", "--delta", "1e-4", "--patience", "2"}, "--patience");
  refused({"--max-tokens", "1"}, "at most 1 tokens are allowed");
}

TEST_CASE("texts are cut to --max-tokens, and a line can have two of them") {
  const Folder folder;
  const std::string model = tiny_model(folder, "tiny_bert");
  std::ofstream train(folder.path / "pairs.tsv");
  for (int i = 0; i < 30; ++i)
    train << "same\tthe good b " << i << "\tthe good\nother\tthe bad\tis a b\t" << i
          << "\n";  // a further tab belongs to the second
  train.close();
  const std::string pairs = (folder.path / "pairs.tsv").string(), out = (folder.path / "out").string(),
                    lines = (folder.path / "lines").string();
  REQUIRE(run(folder, with(folder.arguments("out"),
                           {"--model", model, "--data", "tsv:" + pairs + ":" + pairs, "--pairs", "--max-tokens", "7", "--pool",
                            "pooler", "--write-merged", (folder.path / "merged").string()})) == 0);
  CHECK_THAT(slurp(folder.path / "log"), Catch::Contains("120 texts cut to the 7 tokens"));
  const auto said = [&](const std::string& text, std::vector<std::string> words) {
    std::ofstream(lines) << text;
    words.insert(words.end(), {"--predict", lines, "--json"});
    CHECK(run(folder, words) >= 0);
    return slurp(folder.path / "log");
  };
  const std::string there = said("the\tgood a\n", {"--load", out});  // the folder knows that it takes pairs
  CHECK_THAT(there, Catch::Contains("probability"));
  CHECK(said("good a\tthe\n", {"--load", out}) != there);
  CHECK(said("the good\ta\n", {"--load", out}) != there);  // the types tell where a text ends, and a token in between
  CHECK(said("the\tgood a is\n", {"--load", out}) != said("the\tgood a bad\n", {"--load", out}));
  const std::vector<std::string> six{"--load", out, "--max-tokens", "6"};
  CHECK(said("the\tgood a is\n", six) == said("the\tgood a bad\n", six));
  CHECK_THAT(said("the\tgood a is b bad\n", {"--load", out}), Catch::Contains("1 texts cut to the 7 tokens"));
  const nlohmann::json a = nlohmann::json::parse(there);
  const nlohmann::json b = nlohmann::json::parse(said("the\tgood a\n", {"--load", (folder.path / "merged").string()}));
  CHECK(a["probability"].get<double>() == Approx(b["probability"].get<double>()).epsilon(1e-5));
  const fs::path tensors = fs::path(model) / "model.safetensors";  // the second text has the second type
  Weight<float> types = io::SafetensorsFile(tensors).read_weight<float>("bert.embeddings.token_type_embeddings.weight");
  types.row(1).setOnes();
  const fs::path old = rewrite(tensors, "bert.embeddings.token_type_embeddings.weight", types);
  CHECK(said("the\tgood a\n", {"--load", out}) != there);
  fs::rename(old, tensors);
  REQUIRE(said("the\tgood a\n", {"--load", out}) == there);
  REQUIRE(run(folder, {"--load", out, "--test", pairs, "--json"}) == 0);
  CHECK_THAT(slurp(folder.path / "log"), Catch::Contains("\"test_examples\":60"));

  CHECK_THAT(said("the good\n", {"--load", out}), Catch::Contains("line 1 has no two texts, expected text<TAB>text"));
  CHECK_THAT(said("the\tgood\n \tgood\n", {"--load", out}), Catch::Contains("line 2 has no two texts"));
  const auto refused = [&](std::initializer_list<std::string> more, const std::string& words) {
    CHECK(run(folder, with(folder.arguments("refused"), more)) != 0);
    CHECK_THAT(slurp(folder.path / "log"), Catch::Contains(words));
  };
  refused({"--model", model, "--pairs"}, "line 1 has no two texts, expected label<TAB>text<TAB>text");
  refused({"--model", model, "--pairs", "--data", "wordnet"}, "needs --data tsv:");
  if (model_files_present()) refused({"--pairs", "--data", "tsv:" + pairs + ":" + pairs}, "use-lite reads one text");
  REQUIRE(run(folder, with(folder.arguments("out"), {"--model", model})) == 0);
  CHECK_THAT(said("the\tgood\n", {"--load", out, "--pairs"}), Catch::Contains("was trained on single texts"));
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
  // training with all texts and the noise of the bases is one entry of the ledger with them, and its steps were lost from sight
  REQUIRE(run(folder, arguments("all", {"--sigma", "10", "--bases", "noised", "--batch", "100000"})) == 0);
  CHECK(metrics(folder, "all")["steps"].get<double>() >= 1);
  CHECK_FALSE(metrics(folder, "all").contains("steps_lost"));
  REQUIRE(run(folder, arguments("discrete", {"--epsilon", "8", "--noise-kind", "discrete"})) == 0);
  const nlohmann::json discrete = metrics(folder, "discrete");
  CHECK(discrete["noise_kind"] == "discrete");
  CHECK(discrete["accountant"] == "pld");
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
  refused({"--load", (folder.path / "lora-sb").string()}, "needs --predict, --test or --write-merged");
  refused({"--load", folder.path.string(), "--predict", file}, "holds neither");
  refused({"--load", (folder.path / "lora-sb").string(), "--predict", (folder.path / "none").string()}, "cannot open");
}

#endif
