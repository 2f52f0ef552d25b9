#include "lorasb/federated/baselines/communication.hpp"

#include <limits>
#include <vector>

#include "lorasb/adapter/lora/bind.hpp"
#include "support.hpp"

using namespace lorasb;
using namespace lorasb::federated;

namespace {

/// The shapes of one layer, for all layers and with one rank.
std::vector<AdaptedShape> model(Index layers, Index rank, std::vector<AdaptedShape> layer) {
  std::vector<AdaptedShape> modules;
  for (Index i = 0; i < layers; ++i)
    for (AdaptedShape shape : layer) {
      shape.rank = rank;
      modules.push_back(shape);
    }
  return modules;
}

/// A decoder's q, k, v, o, gate, up and down: `width` is that of the residual stream.
std::vector<AdaptedShape> decoder(Index layers, Index rank, Index width, Index queries, Index keys, Index inner) {
  return model(
      layers, rank,
      {{queries, width}, {keys, width}, {keys, width}, {width, queries}, {inner, width}, {inner, width}, {width, inner}});
}

std::vector<AdaptedShape> mistral_7b(Index rank) { return decoder(32, rank, 4096, 32 * 128, 8 * 128, 14336); }
std::vector<AdaptedShape> gemma_2_9b(Index rank) { return decoder(42, rank, 3584, 16 * 256, 8 * 256, 14336); }
std::vector<AdaptedShape> llama_3_2_3b(Index rank) { return decoder(28, rank, 3072, 24 * 128, 8 * 128, 8192); }
std::vector<AdaptedShape> bert_base(Index rank) { return model(12, rank, {{768, 768}, {768, 768}}); }  // query, value

constexpr FederatedMethod all_methods[] = {FederatedMethod::fed_sb, FederatedMethod::fedit, FederatedMethod::ffa_lora, FederatedMethod::fedex_lora, FederatedMethod::flora};

void check(RoundNumbers numbers, Index up, Index down) {
  CHECK(numbers.up == up);
  CHECK(numbers.down == down);
}

}  // namespace

TEST_CASE("Fed-SB exchanges as many numbers as its paper says, whatever the number of clients") {
  for (const Index clients : {1, 3, 25, 1000000}) {
    check(numbers_per_round(FederatedMethod::fed_sb, mistral_7b(200), 0, clients), 8'960'000, 8'960'000);
    check(numbers_per_round(FederatedMethod::fed_sb, gemma_2_9b(200), 0, clients), 11'760'000, 11'760'000);
    check(numbers_per_round(FederatedMethod::fed_sb, llama_3_2_3b(200), 0, clients), 7'840'000, 7'840'000);
    const Index head = 3 * 768 + 3;  // weight and bias of three classes
    check(numbers_per_round(FederatedMethod::fed_sb, bert_base(64), head, clients), 100'611, 100'611);
  }
}

TEST_CASE("a stack of 25 clients of rank 32 on Mistral-7B is 234 times what Fed-SB sends at rank 200") {
  // Of one layer: r (m + n) over q, o: 8192 each, k, v: 5120 each, gate, up, down: 18432 each; together 81,920 r.
  const Index up = 32 * 81'920 * 32;
  CHECK(up == 83'886'080);  // plain LoRA's trained numbers
  const RoundNumbers stack = numbers_per_round(FederatedMethod::flora, mistral_7b(32), 0, 25);
  check(stack, up, 2'097'152'000);  // 2,097 M in print
  const double times = double(stack.down) / double(numbers_per_round(FederatedMethod::fed_sb, mistral_7b(200), 0, 25).down);
  CHECK(times == Approx(234.057).margin(1e-3));  // 234 in print
}

TEST_CASE("each method sends and receives what its formula says, and the head once each way") {
  const std::vector<AdaptedShape> modules{{10, 6, 2}, {5, 7, 3}};
  const Index lora = 2 * 16 + 3 * 12, head = 100, K = 4;
  check(numbers_per_round(FederatedMethod::fed_sb, modules, head, K), 4 + 9 + head, 4 + 9 + head);
  check(numbers_per_round(FederatedMethod::fedit, modules, head, K), lora + head, lora + head);
  check(numbers_per_round(FederatedMethod::ffa_lora, modules, head, K), 2 * 10 + 3 * 5 + head, 2 * 10 + 3 * 5 + head);
  check(numbers_per_round(FederatedMethod::fedex_lora, modules, head, K), lora + head, lora + (K - 1) * lora + head);
  check(numbers_per_round(FederatedMethod::flora, modules, head, K), lora + head, K * lora + head);
  for (const FederatedMethod method : all_methods) {
    check(numbers_per_round(method, {}, head, K), head, head);
    const RoundNumbers one = numbers_per_round(method, modules, head, 1);
    CHECK(one.up == one.down);
  }
}

TEST_CASE("what a client sends is the buffer that it trains") {
  const AdaptedShape shape{10, 6, 2};
  ParameterLayout cores, lora, B, A;
  cores.add("q.R", 2, 2);
  append_lora("q", 10, 6, 2, lora);
  append_lora("q", 10, 6, 2, B, A);
  CHECK(numbers_per_round(FederatedMethod::fed_sb, {&shape, 1}, 0, 1).up == cores.size());
  CHECK(numbers_per_round(FederatedMethod::fedit, {&shape, 1}, 0, 1).up == lora.size());
  CHECK(numbers_per_round(FederatedMethod::ffa_lora, {&shape, 1}, 0, 1).up == B.size());
}

TEST_CASE("all_methods are named as on the command line") {
  CHECK(name_of(FederatedMethod::fedex_lora) == "fedex-lora");
  for (const FederatedMethod method : all_methods) CHECK(method_named(name_of(method)) == method);
  CHECK_FALSE(method_named("FedIT"));
  CHECK_FALSE(method_named(""));
}

TEST_CASE("counts beyond what an index holds, and shapes that no adapter has, are refused") {
  constexpr Index huge = std::numeric_limits<Index>::max();
  const std::vector<AdaptedShape> modules{{10, 6, 2}};
  const std::vector<AdaptedShape> large{{huge / 4, huge / 4, 2}};  // r (m + n) just fits
  CHECK(numbers_per_round(FederatedMethod::fedit, large, 0, 1).up == huge / 4 * 4);
  CHECK_ERROR(numbers_per_round(FederatedMethod::fedit, large, 4, 1), ErrorId::value, "more numbers than can be counted");
  CHECK_ERROR(numbers_per_round(FederatedMethod::flora, large, 0, 2), ErrorId::value, "more numbers than can be counted");
  CHECK_ERROR(numbers_per_round(FederatedMethod::fedex_lora, modules, 0, huge / 2), ErrorId::value, "more numbers than can be counted");
  CHECK(numbers_per_round(FederatedMethod::fedit, modules, 0, huge).down == 32);
  CHECK_ERROR(numbers_per_round(FederatedMethod::fedit, std::vector<AdaptedShape>{{huge, huge, 1}}, 0, 1), ErrorId::value, "counted");
  CHECK_ERROR(numbers_per_round(FederatedMethod::ffa_lora, std::vector<AdaptedShape>{{huge, 6, 2}}, 0, 1), ErrorId::value, "counted");
  CHECK_ERROR(numbers_per_round(FederatedMethod::fed_sb, std::vector<AdaptedShape>{{huge, huge, huge}}, 0, 1), ErrorId::value,
              "counted");
  CHECK_ERROR(numbers_per_round(FederatedMethod::fed_sb, std::vector<AdaptedShape>{{10, 6, 7}}, 0, 1), ErrorId::rank,
              "rank is 7 for a weight of 10 x 6, expected 1 to min(out, in)");
  CHECK_ERROR(numbers_per_round(FederatedMethod::fed_sb, std::vector<AdaptedShape>{{10, 6, 0}}, 0, 1), ErrorId::rank, "rank is 0");
  CHECK_ERROR(numbers_per_round(FederatedMethod::fed_sb, std::vector<AdaptedShape>{{-10, -6, 1}}, 0, 1), ErrorId::rank, "-10 x -6");
  CHECK_ERROR(numbers_per_round(FederatedMethod::fed_sb, modules, -1, 1), ErrorId::value, "head has -1 numbers");
  CHECK_ERROR(numbers_per_round(FederatedMethod::fed_sb, modules, 0, 0), ErrorId::value, "there are 0 clients");
}
