#include "lorasb/train/ledger_file.hpp"

#include "io/files.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::train;
using lorasb::test::TemporaryFolder;
using privacy::Ledger;
using privacy::SamplingScheme;

namespace {

Ledger fresh() {
  Ledger ledger({.population = 100, .delta = 1e-3});
  ledger.reserve(SamplingScheme::poisson, 0.1, 1, 10);
  return ledger;
}
void charge(Ledger& ledger, int steps) {
  for (int i = 0; i < steps; ++i) ledger.charge(SamplingScheme::poisson, 0.1, 1, true);
}

}  // namespace

TEST_CASE("what was charged is on disk before charge returns, and a disk that takes nothing stops the step") {
  const TemporaryFolder folder;
  const LedgerFile file(folder / "ledger.txt");
  Ledger ledger = fresh();
  file.write_ahead(ledger);
  CHECK_FALSE(file.read());
  charge(ledger, 3);
  CHECK(file.read() == ledger.text() + "\n");
  const LedgerFile nowhere(folder / "missing" / "ledger.txt");
  nowhere.write_ahead(ledger);
  CHECK_THROWS_AS(charge(ledger, 1), Error);
  // without a path nothing is written or read
  Ledger seeded = fresh();
  LedgerFile().write_ahead(seeded);
  charge(seeded, 1);
  CHECK_FALSE(LedgerFile().read());
  CHECK_FALSE(LedgerFile().is_written());
}

TEST_CASE("a run that goes on takes what was spent from the file, which is ahead of its checkpoint, or refuses") {
  const TemporaryFolder folder;
  const LedgerFile file(folder / "ledger.txt");
  Ledger ledger = fresh();
  file.write_ahead(ledger);
  charge(ledger, 2);
  io::Checkpoint<float> checkpoint;
  save_ledger(checkpoint, ledger);
  charge(ledger, 3);  // and lost

  Ledger restored = fresh();
  restore_ledger(restored, &checkpoint, file);
  CHECK(restored.steps() == 5);
  Ledger none = fresh();
  restore_ledger<float>(none, nullptr, file);  // killed before the first checkpoint
  CHECK(none.steps() == 5);
  Ledger only = fresh();
  restore_ledger(only, &checkpoint, LedgerFile());  // seeded: the checkpoint says it all
  CHECK(only.steps() == 2);

  const LedgerFile missing(folder / "other.txt");
  CHECK_ERROR(restore_ledger(only, &checkpoint, missing, "--resume"), ErrorId::checkpoint, "--resume: there is no");
  Ledger empty = fresh();
  restore_ledger<float>(empty, nullptr, missing);  // killed before the first step
  CHECK(empty.steps() == 0);
  save_ledger(checkpoint, restored);
  charge(restored, 1);
  save_ledger(checkpoint, restored);
  CHECK_ERROR(restore_ledger(only, &checkpoint, file), ErrorId::checkpoint, "5 steps, fewer than the 6 of the checkpoint");
  checkpoint.state.erase("ledger");
  CHECK_ERROR(restore_ledger(only, &checkpoint, file), ErrorId::checkpoint, "has no ledger");
}
