#include "lorasb/train/run_state.hpp"

#include <filesystem>

#include "lorasb/adapter/basis.hpp"
#include "lorasb/optim/adamw.hpp"
#include "lorasb/optim/sgd.hpp"
#include "lorasb/train/step.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::train;
using namespace lorasb::test;

namespace {

/// A training run: three numbers, pulled towards those of each example.
struct Run {
  std::vector<double> values{0, 0, 0};
  optim::AdamW<double> optimizer{3, {}};
  ShuffledBatches batches{10, 3, 7};
  Step<double> step{3, 2, 1};

  void train(int steps) {
    for (int t = 0; t < steps; ++t) {
      const std::span<const Index> batch = batches.next();
      const auto pass = [&](Index, Index first, Index count, std::span<double> g) {
        for (Index i = first; i < first + count; ++i)
          for (std::size_t k = 0; k < 3; ++k) g[k] += values[k] - double(batch[std::size_t(i)]) * double(k + 1);
        return PassResult{};
      };
      step.run(std::ssize(batch), pass, values, optimizer, 0.1);
    }
  }
};

}  // namespace

TEST_CASE("a run that is saved and restored goes on to the same bits") {
  Run whole;
  whole.train(6);
  io::Checkpoint<double> checkpoint;
  save_run<double>(checkpoint, whole.values, whole.optimizer, whole.batches);
  const std::filesystem::path path = std::filesystem::temp_directory_path() / "lorasb_run_state_test.safetensors";
  io::save_checkpoint(path, checkpoint);
  whole.train(9);

  Run resumed;
  resumed.train(2);  // anything
  restore_run<double>(io::load_checkpoint<double>(path), resumed.values, resumed.optimizer, resumed.batches);
  std::filesystem::remove(path);
  CHECK(resumed.optimizer.steps() == 6);
  resumed.train(9);
  CHECK(resumed.values == whole.values);
  CHECK(resumed.batches.epoch() == whole.batches.epoch());
  CHECK(resumed.batches.position() == whole.batches.position());
}

TEST_CASE("the names in a checkpoint are those of checkpoints that were written before") {
  io::Checkpoint<double> old;
  old.tensors["values"] = {1, 2, 3};
  old.tensors["optimizer.first_moment"] = {4, 5, 6};
  old.tensors["optimizer.second_moment"] = {7, 8, 9};
  old.tensors["frozen.q.B"] = {1, 2, 3, 4, 5, 6};
  old.tensors["frozen.q.A"] = {7, 8, 9, 10};
  old.put_integer("steps", 42);
  old.put_integer("epoch", 1);
  old.put_integer("position", 6);
  Run run;
  restore_run<double>(old, run.values, run.optimizer, run.batches);
  CHECK(run.values == std::vector<double>{1, 2, 3});
  CHECK(run.optimizer.steps() == 42);
  CHECK(run.batches.epoch() == 1);
  CHECK(run.batches.position() == 6);
  const AdapterBasis<double> basis = restore_basis(old, "q", 3, 2, 0.5);
  CHECK(basis.B(2, 1) == 6);
  CHECK(basis.A(1, 0) == 9);
  CHECK(basis.scale == 0.5);
  const Weight<double> W0 = Weight<double>::Zero(3, 2);
  const AdapterSet<double> adapters = restore_adapters<double>(old, {{"q", W0}});
  CHECK(adapters.at("q").B == basis.B);
  CHECK(adapters.at("q").A == basis.A);
  CHECK(adapters.at("q").R == Weight<double>::Zero(2, 2));
  CHECK(adapters.at("q").scale == 1);
  CHECK_ERROR(restore_adapters<double>(old, {{"q", W0}, {"k", W0}}), ErrorId::checkpoint, "no tensor \"frozen.k.B\"");

  io::Checkpoint<double> again;
  save_run<double>(again, run.values, run.optimizer, run.batches);
  AdapterBases<double> bases;
  bases.add("q", basis);
  save_bases(again, bases);
  CHECK(again.tensors == old.tensors);
  CHECK(again.state == old.state);
}

TEST_CASE("a checkpoint of other sizes, or without what is needed, is refused") {
  Run run;
  io::Checkpoint<double> checkpoint;
  CHECK_ERROR(restore_run<double>(checkpoint, run.values, run.optimizer, run.batches), ErrorId::checkpoint, "no tensor \"values\"");
  save_run<double>(checkpoint, run.values, run.optimizer, run.batches);
  std::vector<double> more(4);
  CHECK_ERROR(restore_run<double>(checkpoint, more, run.optimizer, run.batches), ErrorId::checkpoint,
              "\"values\" has 3 numbers, expected 4");
  checkpoint.state.erase("epoch");
  CHECK_ERROR(restore_run<double>(checkpoint, run.values, run.optimizer, run.batches), ErrorId::checkpoint, "\"epoch\"");
  CHECK_ERROR(restore_basis<double>(checkpoint, "k", 3, 2), ErrorId::checkpoint, "no tensor \"frozen.k.B\"");
}
