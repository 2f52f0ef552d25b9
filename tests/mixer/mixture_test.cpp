#include "lorasb/mixer/mixture.hpp"

#include "io/files.hpp"
#include "lorasb/mixer/fold.hpp"
#include "lorasb/mixer/mixture_folder.hpp"
#include "lorasb/mixer/statistics.hpp"
#include "lorasb/models/sentence_encoder/model.hpp"
#include "mixer/small_mixture.hpp"
#include "nn/gradient_check.hpp"

using namespace lorasb;
using namespace lorasb::mixer;
using namespace lorasb::test;

namespace {

constexpr models::SentenceEncoderConfig tiny{
    .vocabulary = 11, .embedding = 8, .hidden = 12, .feed_forward = 10, .heads = 2, .layers = 2, .max_tokens = 6};
const std::vector<std::string> sites{"layers.0.attention.qkv", "layers.0.attention.out", "layers.1.feed_forward.up",
                                     "projection"};

/// A bank of experts on some modules of the tiny encoder.
template <Real S>
ExpertBank<S> make_bank(ExpertKind kind, Index experts) {
  const auto shape = [](const std::string& name) {
    const std::vector<ModuleShape> all = models::sentence_encoder_modules(tiny);
    return *std::ranges::find(all, name, &ModuleShape::name);
  };
  ExpertBank<S> bank;
  if (kind == ExpertKind::cores) {
    AdapterBases<S> bases;
    for (const std::string& name : sites) {
      const LowRankAdapter<S> a = random_adapter<S>(shape(name).out_features, shape(name).in_features, 2, 1, 0.5);
      bases.add(name, {.B = a.B, .A = a.A, .scale = a.scale});
    }
    bank = ExpertBank<S>(std::move(bases));
  }
  for (Index e = 0; e < experts; ++e) {
    const std::string name = concat("expert", e);
    AdapterSet<S> adapters;
    NamedSet<LoraAdapter<S>> lora;
    NamedSet<Weight<S>> cores;
    for (const std::string& site : sites) {
      LowRankAdapter<S> a = random_adapter<S>(shape(site).out_features, shape(site).in_features,
                                              kind == ExpertKind::cores ? 2 : 1 + e % 2, 20 + std::uint64_t(e), 0.5);
      lora.add(site, {.B = a.B, .A = a.A, .scale = a.scale});
      cores.add(site, a.R);
      adapters.add(site, std::move(a));
    }
    if (kind == ExpertKind::lora) bank.add(name, lora);
    if (kind == ExpertKind::lora_sb) bank.add(name, std::move(adapters));
    if (kind == ExpertKind::cores) bank.add_cores(name, std::move(cores));
  }
  return bank;
}

template <Real S>
struct TinyModel {
  Parameters<S> weights{models::sentence_encoder_layout(tiny)};
  FrozenModel<S> model{std::as_const(weights)};
  std::vector<S> timescales{S(1), S(0.5), S(0.1), S(0.02)};
  TinyModel() {
    Random random(5);
    for (S& w : weights.flat()) w = S(0.4 * random.normal());
  }
  std::vector<Module<S>> modules() const {
    std::vector<Module<S>> all;
    for (const ModuleShape& m : models::sentence_encoder_modules(tiny)) all.push_back({m.name, model.at(m.name + ".weight")});
    return all;
  }
  models::SentenceEncoder<S> encoder(const Layers<S>& layers, const Parameters<S>& values) const {
    return {tiny, model, timescales, layers, values.layout()};
  }
  static nn::PackedBatch batch() {
    nn::PackedBatch all;
    all.add(std::vector<std::int32_t>{3, 1, 4, 1}, {}, 0);
    all.add(std::vector<std::int32_t>{10}, {}, 2);
    all.add(std::vector<std::int32_t>{2, 7, 1, 8, 2, 8}, {}, 1);
    return all;
  }
};

template <Real S>
Parameters<S> take(const TinyModel<S>& t, Mixture<S>& mixture) {
  ParameterLayout layout;
  append_mixture(t.modules(), mixture, layout);
  Parameters<S> values(layout);
  take_mixture(mixture, values);
  return values;
}

const RoutingOptions top_2{.mode = RoutingMode::top_k, .k = 2};
const BalanceLossOptions no_loss{};

/// Vectors of the batch.
template <Real S>
Matrix<S> encode(const TinyModel<S>& t, const Mixture<S>& mixture, const Parameters<S>& values, const RoutingOptions& routing) {
  const Layers<S> layers = bind_mixture<S>(t.modules(), mixture, values, routing, no_loss);
  models::SentenceEncoderCache<S> cache;
  Matrix<S> Y(12, 3);
  t.encoder(layers, values).forward(TinyModel<S>::batch(), Y, cache);
  return Y;
}

}  // namespace

TEST_CASE("gradients of a whole encoder with a mixture are those of central differences, in both stages") {
  const TinyModel<double> t;
  const nn::PackedBatch batch = TinyModel<double>::batch();
  const Matrix<double> dY = random_matrix<Matrix<double>>(12, 3, 77);
  BalanceLossOptions loss{.balance = 0.3,
                          .entropy = 0.2,
                          .alignment = 0.3,
                          .preserve = 0.1,
                          .share = RoutedShare::top_1,
                          .entropy_sign = EntropySign::specialize,
                          .over_layers = OverLayers::mean,
                          .multiplier = 3};
  for (const ExpertKind kind : {ExpertKind::lora, ExpertKind::lora_sb, ExpertKind::cores})
    for (const bool by_block : {false, true})
      for (const RoutingMode mode : {RoutingMode::hard, RoutingMode::soft}) {
        INFO("kind " << int(kind) << ", by block " << by_block << ", mode " << int(mode));
        std::vector<std::vector<std::string>> groups;
        if (by_block) groups = {{sites[0], sites[1]}};
        Mixture<double> mixture = make_mixture(make_bank<double>(kind, 3), RouterInput::projection, groups, 0.5, 9);
        if (mode == RoutingMode::soft) mixture.bank.freeze_all();
        if (mode == RoutingMode::soft) mixture.bank.freeze("expert2", false);
        mixture.bank.protect("expert2");
        Parameters<double> values = take(t, mixture);
        CHECK(values.layout().count([](const auto& tensor) { return tensor.role == Role::router; }) ==
              (by_block ? 3 * (8 + 12 + 12) : 3 * (8 + 8 + 12 + 12)));
        Random random(3);
        for (double& v : values.flat()) v += 0.1 * random.normal();  // away from θ⁰
        const Layers<double> layers = bind_mixture<double>(t.modules(), mixture, values, {.mode = mode}, loss);
        const models::SentenceEncoder<double> encoder = t.encoder(layers, values);
        models::SentenceEncoderCache<double> cache;
        Matrix<double> Y(12, 3);
        std::vector<double> sums(std::size_t(encoder.statistics_size()));
        const auto objective = [&] {
          encoder.forward(batch, Y, cache);
          std::ranges::fill(sums, 0.0);
          encoder.add_statistics(cache, sums);
          return Y.cwiseProduct(dY).sum() + encoder.auxiliary_loss(sums);
        };
        objective();
        Parameters<double> gradient(values.layout());
        encoder.backward(batch, dY, cache, gradient.flat());
        CHECK(gradient_error(values.flat(), std::as_const(gradient).flat(), objective) < 1e-7);  // through two blocks
      }
}

TEMPLATE_TEST_CASE("a mixture saves as adapter folders and a router, loads bit-equal and routes alike", "", float, double) {
  using S = TestType;
  const TinyModel<S> t;
  for (const ExpertKind kind : {ExpertKind::lora, ExpertKind::lora_sb, ExpertKind::cores}) {
    const TemporaryFolder folder;
    Mixture<S> mixture =
        make_mixture(make_bank<S>(kind, 3), kind == ExpertKind::cores ? RouterInput::basis : RouterInput::projection,
                     {{sites[0], sites[1]}}, 0.7, 4);
    mixture.bank.freeze("expert1");
    Parameters<S> values = take(t, mixture);
    for (S& v : values.flat()) v *= S(1.01);
    const Mixture<S> whole = with_values(mixture, values);
    write_mixture(folder.path(), whole, top_2);
    SavedMixture<S> read = read_mixture<S>(folder.path(), t.modules());
    CHECK(read.routing.k == 2);
    CHECK(read.mixture.bank.experts()[1].frozen);
    CHECK(!read.mixture.bank.experts()[0].frozen);
    CHECK(read.mixture.bank.experts()[2].kind == kind);
    const Matrix<S> before = encode(t, mixture, values, top_2);
    const Parameters<S> again = take(t, read.mixture);
    CHECK(std::ranges::equal(again.flat(), std::as_const(values).flat()));
    CHECK(encode(t, read.mixture, again, read.routing) == before);
  }
}

TEST_CASE("trained experts are found in the buffer, and a mixture without anything trained needs none") {
  const TinyModel<double> t;
  Mixture<double> mixture = make_mixture(make_bank<double>(ExpertKind::lora, 2), RouterInput::projection, {}, 0.3);
  const Matrix<double> expected = [&] {
    Mixture<double> copy = mixture;
    const Parameters<double> values = take(t, copy);
    return encode(t, copy, values, top_2);
  }();
  mixture.bank.freeze_all();
  mixture.trains_router = false;
  CHECK(encode(t, mixture, Parameters<double>(ParameterLayout()), top_2) == expected);
}

TEMPLATE_TEST_CASE("a mixture whose router is constant folds to one adapter", "", float, double) {
  using S = TestType;
  const TinyModel<S> t;
  for (const ExpertKind kind : {ExpertKind::lora, ExpertKind::lora_sb, ExpertKind::cores})
    for (const RoutingOptions& routing : {top_2, RoutingOptions{.mode = RoutingMode::soft}}) {
      Mixture<S> mixture = make_mixture(make_bank<S>(kind, 3), RouterInput::projection);
      const NamedSet<LoraAdapter<S>> folded = fold_mixture(mixture, routing);
      ExpertBank<S> one;
      one.add("folded", folded);
      Mixture<S> single = make_mixture(std::move(one), RouterInput::projection);
      const Parameters<S> values = take(t, mixture), single_values = take(t, single);
      CHECK(relative_error(encode(t, single, single_values, {.mode = RoutingMode::soft}), encode(t, mixture, values, routing)) <
            Tolerance<S>::chain);
    }
  Mixture<S> varies = make_mixture(make_bank<S>(ExpertKind::cores, 3), RouterInput::projection, {}, 0.1);
  CHECK_ERROR(fold_mixture(varies, top_2), ErrorId::value, "depends on the token");
  Mixture<S> uniform = make_mixture(make_bank<S>(ExpertKind::cores, 3), RouterInput::projection);
  CHECK_ERROR(fold_mixture(uniform, {.mode = RoutingMode::hard}), ErrorId::value, "depends on the token");
  ExpertBank<S> many = make_bank<S>(ExpertKind::lora, 8);
  CHECK_ERROR(fold_mixture(make_mixture(std::move(many), RouterInput::projection), {.mode = RoutingMode::soft}), ErrorId::rank,
              "sum to 12");
}

TEST_CASE("statistics say where tokens go, by task, and whether the router has collapsed") {
  SmallMixture<double> m(ExpertKind::cores, 3, {.mode = RoutingMode::hard});
  m.objective();
  RoutingStatistics hard(3, 3);
  hard.add(m.layer().routing(m.cache), m.tasks);
  CHECK(hard.report().by_task == Matrix<double>::Identity(3, 3));
  CHECK(hard.report().probability.empty());
  CHECK(!hard.report().collapsed);
  m.routing = {.mode = RoutingMode::soft};
  m.G.setZero();
  m.objective();
  RoutingStatistics uniform(3, 3);
  uniform.add(m.layer().routing(m.cache), m.tasks);
  uniform.add(uniform);
  const RoutingReport r = uniform.report();
  CHECK(r.tokens == 24);
  CHECK(r.entropy == Approx(std::log(3.0)));
  CHECK(r.load_entropy == Approx(std::log(3.0)));
  CHECK(r.by_task(1, 2) == Approx(1.0 / 3));
  m.routing = {.mode = RoutingMode::top_k, .k = 1};
  m.objective();  // all equal: the lowest index
  RoutingStatistics one(3);
  one.add(m.layer().routing(m.cache), {});
  CHECK(one.report().collapsed);
  CHECK(one.report().load[0] == 1);
}

TEST_CASE("what does not fit into a bank or a model is refused") {
  const TinyModel<double> t;
  CHECK_ERROR(make_mixture(ExpertBank<double>(), RouterInput::projection), ErrorId::value, "there are no experts");
  ExpertBank<double> bank = make_bank<double>(ExpertKind::lora_sb, 2);
  CHECK_ERROR(bank.add("none", AdapterSet<double>()), ErrorId::value, "no expert was put on any layer");
  CHECK_ERROR(bank.add("expert1", bank.experts()[0].adapters), ErrorId::duplicate_name, "is there already");
  CHECK_ERROR(bank.add("a/b", bank.experts()[0].adapters), ErrorId::value, "expected a name");
  AdapterSet<double> other;
  other.add(sites[0], random_adapter<double>(24, 8, 2, 1));
  CHECK_ERROR(bank.add("few", other), ErrorId::unknown_name, "has nothing for module \"layers.0.attention.out\"");
  AdapterSet<double> wrong = bank.experts()[0].adapters;
  wrong.at(sites[1]) = random_adapter<double>(12, 12, 2, 1);
  CHECK_ERROR(bank.add("wrong", wrong), ErrorId::shape,
              "is 12 x 12 on module \"layers.0.attention.out\", other experts are 12 x 8");
  AdapterSet<double> more = bank.experts()[0].adapters;
  more.add("elsewhere", random_adapter<double>(12, 8, 2, 1));
  CHECK_ERROR(bank.add("more", more), ErrorId::unknown_name, "has module \"elsewhere\"");
  CHECK_ERROR(bank.add_cores("cores", {}), ErrorId::value, "no expert was put on any layer");
  CHECK_ERROR(bank.remove("x"), ErrorId::unknown_name, "no expert \"x\"");
  CHECK_ERROR(ExpertBank<double>(AdapterBases<double>()), ErrorId::value, "no expert was put on any layer");
  CHECK_ERROR(make_mixture(bank, RouterInput::basis), ErrorId::value, "share their bases");
  CHECK_ERROR(make_mixture(bank, RouterInput::projection, {{"projection", "x"}}), ErrorId::value,
              "\"x\", on which no expert sits");
  bank.remove("expert0");
  CHECK(bank.size() == 1);
  CHECK(bank.experts()[0].name == "expert1");

  ExpertBank<double> stranger;
  AdapterSet<double> elsewhere;
  elsewhere.add("encoder.query", random_adapter<double>(12, 8, 2, 1));
  stranger.add("one", elsewhere);
  ParameterLayout layout;
  CHECK_ERROR(append_mixture(t.modules(), make_mixture(stranger, RouterInput::projection), layout), ErrorId::unknown_name,
              "\"encoder.query\", but there is no such module");
}

TEST_CASE("frozen experts come from any adapter folder; what is none, or of other modules, is refused") {
  const TinyModel<float> t;
  const TemporaryFolder folder;
  ExpertBank<float> source = make_bank<float>(ExpertKind::lora, 1), bank;
  NamedSet<LoraAdapter<float>> lora;
  for (const auto& [module, a] : source.experts()[0].adapters) lora.add(module, {.B = a.B, .A = a.A, .scale = a.scale});
  formats::write_lora<float>(folder.path() / "plain", lora);
  load_expert<float>(folder.path() / "plain", "plain", t.modules(), bank);
  CHECK(bank.experts()[0].frozen);
  CHECK(bank.experts()[0].kind == ExpertKind::lora);
  CHECK(bank.experts()[0].adapters.at(sites[0]).B == source.experts()[0].adapters.at(sites[0]).B);

  NamedSet<LoraAdapter<float>> elsewhere;
  elsewhere.add("encoder.query", lora.at(sites[0]));
  formats::write_lora<float>(folder.path() / "elsewhere", elsewhere);
  CHECK_ERROR(load_expert<float>(folder.path() / "elsewhere", "b", t.modules(), bank), ErrorId::unknown_name,
              "\"encoder.query\", but there is no such module");
  NamedSet<LoraAdapter<float>> larger;
  larger.add(sites[0], lora.at(sites[1]));
  formats::write_lora<float>(folder.path() / "larger", larger);
  CHECK_ERROR(load_expert<float>(folder.path() / "larger", "b", t.modules(), bank), ErrorId::shape, "expected 24 x 8");
  CHECK_ERROR(load_expert<float>(folder.path() / "nothing", "b", t.modules(), bank), ErrorId::file_open, "adapter_config.json");
  CHECK_ERROR(read_mixture<float>(folder.path() / "plain", t.modules()), ErrorId::file_open, "mixture.json");

  ExpertBank<float> cores = make_bank<float>(ExpertKind::cores, 1);
  CHECK_ERROR(load_expert<float>(folder.path() / "plain", "b", t.modules(), cores), ErrorId::value,
              "is not the one that the experts share");

  write_mixture(folder.path() / "mixture", make_mixture(std::move(cores), RouterInput::basis), {.mode = RoutingMode::soft});
  io::write_file(folder.path() / "mixture" / "mixture.json", "{\"format\": \"lorasb-mixture\", \"version\": 2}");
  CHECK_ERROR(read_mixture<float>(folder.path() / "mixture", t.modules()), ErrorId::adapter_folder, "version 2");
  io::write_file(folder.path() / "mixture" / "mixture.json",
                 "{\"format\": \"lorasb-mixture\", \"version\": 1, \"experts\": []}");
  CHECK_ERROR(read_mixture<float>(folder.path() / "mixture", t.modules()), ErrorId::adapter_folder, "there are no experts");
}

TEST_CASE("cores over one set of adapters start alike, and a trainer's buffer holds what the mixture trains and then the head") {
  const TinyModel<float> t;
  AdapterSet<float> start;
  start.add(sites[0], random_adapter<float>(24, 8, 2, 1));
  start.add(sites[1], random_adapter<float>(12, 8, 2, 2));
  const AdapterSet<float> before = start;
  const ExpertBank<float> bank = make_cores(start, {"one", "two"});
  CHECK(bank.shares_bases());
  CHECK(bank.bases().at(sites[0]).B == before.at(sites[0]).B);
  CHECK(bank.bases().at(sites[0]).scale == before.at(sites[0]).scale);
  REQUIRE(bank.size() == 2);
  for (const Expert<float>& expert : bank.experts())
    for (const auto& [module, adapter] : before) CHECK(expert.adapters.at(module).R == adapter.R);

  ParameterLayout layout;
  layout.add("classifier", Role::head_weight, 2, 4);
  Parameters<float> head(layout);
  std::ranges::fill(head.flat(), 0.25f);
  Mixture<float> mixture = make_mixture(bank, RouterInput::projection, {}, 0.01, 5), other = mixture;
  const Parameters<float> values = start_values(t.modules(), mixture, head);
  ParameterLayout by_hand;
  append_mixture(t.modules(), other, by_hand);
  CHECK(values.layout().size() == by_hand.size() + 8);
  Parameters<float> mixed(by_hand);
  take_mixture(other, mixed);
  CHECK(std::ranges::equal(values.flat().first(mixed.flat().size()), std::as_const(mixed).flat()));
  CHECK(std::ranges::equal(values.flat("classifier", Role::head_weight), std::as_const(head).flat()));
  CHECK(mixture.bank.experts()[0].adapters.at(sites[0]).R.size() == 0);  // it has moved
}
