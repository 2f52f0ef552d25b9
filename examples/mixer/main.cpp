// lorasb-mix: an expert for each domain and a router over them (LoRA-Mixer). `--help` lists what it can do.
#include <csignal>

#include "examples/common/trained_folder.hpp"
#include "examples/mixer/methods.hpp"
#include "examples/mixer/report.hpp"

namespace {

using namespace lorasb::examples;

void run(const MixTask& task, const MixOptions& options) {
  Methods methods(task, options);
  std::vector<MixResult> results;
  const auto add = [&](MixResult result) {
    if (result.routing.size() > 0) write_routing_picture(options.out / ("routing-" + result.name + ".svg"), result, task);
    results.push_back(std::move(result));
    write_metrics(options.out / "metrics.json", results, task, options);
  };
  if (!options.compare) {
    MixResult oracle{.name = "oracle"};
    MixResult mixed = methods.mixture(options.experts, &oracle, options.out / "mixture");
    add(std::move(oracle));
    add(std::move(mixed));
  } else {
    add(methods.head());
    add(methods.single(options.experts, "single"));
    if (options.experts != ExpertKind::lora) add(methods.single(ExpertKind::lora, "single-lora"));
    for (const ExpertKind kind : {ExpertKind::lora, ExpertKind::lora_sb, ExpertKind::cores}) {
      const bool own = kind == options.experts;
      MixResult oracle{.name = own ? "oracle" : "oracle-lora"};
      const bool wanted = own || kind == ExpertKind::lora;
      MixResult mixed =
          methods.mixture(kind, wanted ? &oracle : nullptr, own ? std::optional(options.out / "mixture") : std::nullopt);
      if (wanted) add(std::move(oracle));
      add(std::move(mixed));
    }
  }
  print_table(results, task);
  std::printf("\nWritten to %s\n", options.out.c_str());
}

}  // namespace

int main(int argc, char** argv) {
  MixOptions options;
  if (const int status = parse_options(argc, argv, options); status >= 0) return status;
  std::signal(SIGXFSZ, SIG_IGN);  // a full quota is an error that a write reports
  try {
    choose_backend(options.backend);
    say_unused(options);
    require_no_model(options.out);
    for (const char* trained : {"classifier.json", "adapter"})
      lorasb::require(!std::filesystem::exists(options.out / trained), lorasb::ErrorId::value, "--out: ",
                      lorasb::in_quotes(options.out.string()), " holds what another program trained (", trained,
                      "), whose metrics.json would be overwritten; give another folder");
    make_folder(options.out, "--out");
    const MixTask task = read_task(options);
    for (const std::string& note : task.notes) std::printf("  %s\n", note.c_str());
    std::fflush(stdout);
    run(task, options);
    return 0;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "lorasb-mix: %s\n", error.what());
    return 1;
  }
}
