#include "lorasb/core/borrowed.hpp"

#include <string>
#include <type_traits>

#include "support.hpp"

using namespace lorasb;

TEST_CASE("what is borrowed has a name and is not copied") {
  STATIC_REQUIRE(std::is_convertible_v<std::string&, Borrowed<std::string>>);
  STATIC_REQUIRE(std::is_convertible_v<const std::string&, Borrowed<std::string>>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<Borrowed<std::string>, std::string>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<Borrowed<std::string>, const std::string>);
  STATIC_REQUIRE_FALSE(std::is_constructible_v<Borrowed<std::string>, const char*>);
  std::string object = "before";
  const Borrowed<std::string> borrowed(object);
  object = "after";
  CHECK(&*borrowed == &object);
  CHECK(borrowed->size() == 5);
}
