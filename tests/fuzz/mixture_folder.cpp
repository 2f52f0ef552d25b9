// Fuzzes the reader of mixtures.
#include "lorasb/mixer/mixture_folder.hpp"

#include "fuzz/fuzz.hpp"
#include "fuzz/mutator.hpp"

namespace lorasb::fuzz {
namespace {

const std::vector<std::string> mixture_files{"mixture.json",
                                             "router.safetensors",
                                             "experts/a/adapter_config.json",
                                             "experts/a/adapter_model.safetensors",
                                             "experts/b/adapter_config.json",
                                             "experts/b/adapter_model.safetensors"};

Weight<float> mixture_matrix(Index rows, Index cols, float start) {
  Weight<float> m(rows, cols);
  for (Index i = 0; i < m.size(); ++i) m.data()[i] = start + 0.25f * float(i % 7);
  return m;
}
/// Two modules, 4 x 3 and 3 x 4.
const std::vector<Module<float>>& mixture_modules() {
  static const Weight<float> q = mixture_matrix(4, 3, 1), v = mixture_matrix(3, 4, 2);
  static const std::vector<Module<float>> modules{{"layer.q", FrozenWeight<float>(q)}, {"layer.v", FrozenWeight<float>(v)}};
  return modules;
}

mixer::Mixture<float> seed_mixture(mixer::ExpertKind kind) {
  using mixer::ExpertKind;
  mixer::ExpertBank<float> bank;
  if (kind == ExpertKind::cores) {
    AdapterBases<float> bases;
    for (const Module<float>& m : mixture_modules())
      bases.add(m.name, {.B = mixture_matrix(m.W0.rows(), 2, 0.5f), .A = mixture_matrix(2, m.W0.cols(), 0.25f), .scale = 0.5f});
    bank = mixer::ExpertBank<float>(std::move(bases));
  }
  for (const std::string name : {"a", "b"}) {
    AdapterSet<float> adapters;
    NamedSet<LoraAdapter<float>> lora;
    NamedSet<Weight<float>> cores;
    for (const Module<float>& m : mixture_modules()) {
      const Weight<float> B = mixture_matrix(m.W0.rows(), 2, 0.5f), A = mixture_matrix(2, m.W0.cols(), 0.25f),
                          R = mixture_matrix(2, 2, name == "a" ? 1 : 3);
      lora.add(m.name, {.B = B, .A = A, .scale = 0.5f});
      cores.add(m.name, R);
      adapters.add(m.name, {.B = B, .R = R, .A = A, .scale = 0.5f});
    }
    if (kind == ExpertKind::lora) bank.add(name, lora);
    if (kind == ExpertKind::lora_sb) bank.add(name, std::move(adapters));
    if (kind == ExpertKind::cores) bank.add_cores(name, std::move(cores));
    bank.freeze(name);
  }
  return mixer::make_mixture(std::move(bank), mixer::RouterInput::projection, {}, 0.5, 7);
}

std::vector<Input> mixture_seeds() {
  std::vector<Input> seeds;
  for (const mixer::ExpertKind kind : {mixer::ExpertKind::lora, mixer::ExpertKind::lora_sb, mixer::ExpertKind::cores}) {
    const std::filesystem::path folder = second_folder();
    mixer::write_mixture<float>(folder, seed_mixture(kind), {.mode = mixer::RoutingMode::top_k, .k = 1});
    Input seed;
    for (const std::string& file : mixture_files) seed.files.push_back({true, read_file(folder / file)});
    seeds.push_back(std::move(seed));
  }
  return seeds;
}

bool mixture_past_first_check(const Input& input) {
  for (std::size_t i = 0; i < input.files.size(); ++i)
    if (!input.files[i].there || !(i % 2 == 0 ? is_json(input[i]) : is_safetensors(input[i]))) return false;
  return true;
}

void mutate_mixture(Input& input, Mutator& m) {
  static const std::vector<Input> seeds = mixture_seeds();
  const Input& whole = m.one_of(seeds);
  if (m.one_in(60)) input.files[m.below(6)].there ^= true;
  const std::size_t file = m.one_in(2) ? 0 : m.below(6);
  file % 2 == 0 ? m.json(input[file], whole[file]) : m.safetensors(input[file], whole[file]);
}

void read_mixture(const Input&, const std::filesystem::path& folder) {
  const mixer::SavedMixture<float> read = mixer::read_mixture<float>(folder, mixture_modules());
  must(read.mixture.bank.size() >= 1 && !read.mixture.routers.empty(), "a mixture without experts or routers was accepted");
  if (!writes_again()) return;
  const std::filesystem::path again = second_folder();
  must_not_throw("a mixture that was read cannot be written and read again", [&] {
    mixer::write_mixture<float>(again, read.mixture, read.routing);
    const mixer::SavedMixture<float> other = mixer::read_mixture<float>(again, mixture_modules());
    must(other.mixture.bank.size() == read.mixture.bank.size() && other.routing.k == read.routing.k &&
             other.routing.mode == read.routing.mode && other.mixture.groups == read.mixture.groups &&
             other.mixture.input == read.mixture.input,
         "a mixture is not what was read");
    for (const auto& [module, G] : read.mixture.routers)
      must(other.mixture.routers.at(module) == G, "a router is not what was read");
  });
}

const Registered mixture_reader({.name = "mixture_folder",
                                 .files = mixture_files,
                                 .seeds = mixture_seeds,
                                 .mutate = mutate_mixture,
                                 .past_first_check = mixture_past_first_check,
                                 .read = read_mixture});

}  // namespace
}  // namespace lorasb::fuzz
