// lorasb-finetune: fine-tunes a pretrained sentence encoder on labelled texts. `--help` lists what it can do.
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <optional>

#include "examples/finetune/compare.hpp"
#include "examples/finetune/go_on.hpp"
#include "examples/finetune/parse_options.hpp"
#include "examples/finetune/settle_task.hpp"
#include "examples/finetune/unused.hpp"

namespace {

/// 0 when all that was printed has arrived.
int finish_output() {
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0) return 0;
  std::fprintf(stderr, "lorasb-finetune: the standard output cannot be written: %s\n", std::strerror(errno));
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  using namespace lorasb::examples;
  FinetuneOptions options;
  if (const int status = parse_options(argc, argv, options); status >= 0) return status;
  std::signal(SIGXFSZ, SIG_IGN);  // a full quota is an error that a write reports
  std::signal(SIGPIPE, SIG_IGN);  // and so is a gnuplot that is not there
  try {
    choose_backend(options.backend);
    std::optional<TrainedFolder> loaded;
    if (!options.load.empty()) loaded = read_trained_folder(options);
    settle_task(options, loaded.has_value());
    if (loaded && options.only_uses_loaded()) {
      say_unused(options, true, true);
      const LoadedClassifier classifier = load_classifier(*loaded, options);
      if (!options.test.empty()) test(classifier, options);
      if (!options.predict.empty()) predict(classifier, options);
      if (!options.write_merged.empty()) classifier.write_merged(options.write_merged, "--write-merged");
      return finish_output();
    }
    if (loaded) go_on_from(*loaded, options);
    say_unused(options, loaded && loaded->method == options.method && options.method != lorasb::Method::head, loaded.has_value());
    Task task = read_task(options, std::move(loaded));
    options.data_checksum = task.checksum;
    const std::string outputs = options.problem == ProblemType::regression ? " with a number each"
                                : options.problem == ProblemType::multi_label
                                    ? lorasb::concat(" with any of ", task.classes(), " labels")
                                    : lorasb::concat(" in ", task.classes(), " classes");
    std::printf("%s: %td training, %td validation and %td test texts%s\n", options.data.c_str(), task.train.size(),
                task.validation.size(), task.test.size(), outputs.c_str());
    for (const std::string& note : task.notes) std::printf("  %s\n", note.c_str());
    std::fflush(stdout);
    if (options.compare) {
      compare(task, options);
      return 0;
    }
    const RunResult result = run_and_report(task, options);
    print_table(result);
    if (result.privacy) std::printf("\n%s", statement(*result.privacy).c_str());
    std::printf("\nWritten to %s\n", options.out.c_str());
    return finish_output();
  } catch (const std::exception& error) {
    std::fprintf(stderr, "lorasb-finetune: %s\n", error.what());
    return 1;
  }
}
