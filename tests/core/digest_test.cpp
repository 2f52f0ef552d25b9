#include "lorasb/core/digest.hpp"

#include <fstream>
#include <string_view>
#include <vector>

#include "support.hpp"

using namespace lorasb;

namespace {

std::string sha256(std::string_view message) {
  Sha256 sha;
  sha.update(std::as_bytes(std::span(message)));
  return hex(sha.digest());
}

}  // namespace

TEST_CASE("SHA-256 gives NIST's example values") {
  // FIPS 180-2 appendix B and NIST's "Descriptions of SHA-256, SHA-384, and SHA-512"
  CHECK(sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(sha256("abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrst"
               "nopqrstu") == "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1");
  CHECK(sha256(std::string(1'000'000, 'a')) == "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("SHA-256 agrees with Python's at lengths around the ends of blocks, in portions of any size") {
  std::ifstream golden(LORASB_TEST_DIR "/golden/digests.txt");
  std::size_t length = 0;
  std::string expected;
  int lines = 0;
  for (; golden >> length >> expected; ++lines) {
    std::vector<std::byte> message(length);
    for (std::size_t i = 0; i < length; ++i) message[i] = std::byte((131 * i + 7) % 256);
    for (const std::size_t portion : {std::size_t(1), std::size_t(63), std::size_t(64), std::size_t(65), length + 1}) {
      CAPTURE(length, portion);
      Sha256 sha;
      for (std::size_t i = 0; i < length; i += portion)
        sha.update(std::span(message).subspan(i, std::min(portion, length - i)));
      CHECK(hex(sha.digest()) == expected);
    }
  }
  CHECK(lines == 36);
}

TEST_CASE("a digest may be asked for on the way") {
  Sha256 sha;
  sha.update(std::as_bytes(std::span("ab", 2)));
  CHECK(hex(sha.digest()) == sha256("ab"));
  sha.update({});
  sha.update(std::as_bytes(std::span("c", 1)));
  CHECK(hex(sha.digest()) == sha256("abc"));
}
