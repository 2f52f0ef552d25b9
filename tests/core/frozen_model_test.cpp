#include "lorasb/core/frozen_model.hpp"

#include <type_traits>
#include <vector>

#include "support.hpp"

using namespace lorasb;
using namespace lorasb::test;

TEST_CASE("a frozen model keeps the memory of its weights for as long as a copy of it lives") {
  std::weak_ptr<const std::vector<float>> file;
  FrozenModel<float> copy;
  {
    auto memory = std::make_shared<const std::vector<float>>(std::vector<float>{1, 2, 3, 4, 5, 6});
    FrozenModel<float> model;
    model.add("q.weight", FrozenWeight<float>(memory->data(), 2, 3));
    file = memory;
    model.keep(std::move(memory));
    copy = model;
  }
  REQUIRE_FALSE(file.expired());
  CHECK(copy.at("q.weight").wide()(1, 0) == 4);
  CHECK(copy.flat("q.weight").size() == 6);
  CHECK(copy.size() == 1);
  copy = FrozenModel<float>();
  CHECK(file.expired());
}

TEST_CASE("a weight of a frozen model gives way to another of its shape, in that model alone") {
  const std::vector<float> old{1, 2, 3, 4, 5, 6}, other{6, 5, 4, 3, 2, 1};
  FrozenModel<float> model;
  model.add("q.weight", FrozenWeight<float>(old.data(), 2, 3));
  const FrozenModel<float> copy = model;
  model.replace("q.weight", FrozenWeight<float>(other.data(), 2, 3));
  CHECK(model.at("q.weight").wide()(1, 0) == 3);
  CHECK(copy.at("q.weight").wide()(1, 0) == 4);
  CHECK_ERROR(model.replace("q.weight", FrozenWeight<float>(other.data(), 3, 2)), ErrorId::shape, "q.weight");
  CHECK_ERROR(model.replace("k.weight", FrozenWeight<float>(other.data(), 2, 3)), ErrorId::unknown_name, "k.weight");
}

TEST_CASE("a frozen model is made over the values of another, which it views or keeps") {
  ParameterLayout layout;
  layout.add("q", Role::weight, 2, 3);
  layout.add("q", Role::bias, 1, 2);
  auto values = std::make_shared<Parameters<double>>(layout);
  values->at("q", Role::weight).setConstant(2);
  const FrozenModel<double> views{std::as_const(*values)};
  CHECK(views.at("q.weight").wide().data() == values->flat("q.weight").data());
  STATIC_REQUIRE_FALSE(std::is_constructible_v<FrozenModel<double>, Parameters<double>>);
  const FrozenModel<double> keeps{std::shared_ptr<const Parameters<double>>(values)};
  const double* const data = values->flat().data();
  values.reset();
  CHECK(keeps.at("q.weight").wide().data() == data);
  CHECK(keeps.at("q.weight").wide().sum() == 12);
}

TEST_CASE("a frozen model refuses a name that is taken or unknown, and numbers that are not flat") {
  const Weight<float> W = random_matrix<Weight<float>>(3, 4, 1);
  const Eigen::Matrix<Bfloat16, 1, Eigen::Dynamic> narrow = Eigen::RowVectorXf::Ones(3).cast<Bfloat16>();
  FrozenModel<float> model;
  model.add("W", W);
  model.add("part", W.leftCols(2));
  model.add("bias", FrozenWeight<float>(narrow.data(), 1, 3));
  CHECK(model.contains("W"));
  CHECK_ERROR(model.add("W", W), ErrorId::duplicate_name, "\"W\"");
  CHECK_ERROR(model.at("V"), ErrorId::unknown_name, "there are: \"W\", \"part\", \"bias\"");
  CHECK(model.flat("W").data() == W.data());
  CHECK_ERROR(model.flat("part"), ErrorId::value, "without gaps");
  CHECK_ERROR(model.flat("bias"), ErrorId::value, "\"bias\" is stored as BF16, expected F32");
}
