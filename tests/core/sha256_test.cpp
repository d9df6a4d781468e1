#include "core/sha256.hpp"

#include "tests/support/folder_test.hpp"

#include <gtest/gtest.h>

namespace isoflop {
namespace {

// The examples of FIPS 180-4's companion document, and the empty message.
TEST(Sha256, GivesThePublishedDigests) {
  EXPECT_EQ(sha256_text(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_text("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_text("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_text(std::string(1000000, 'a')),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, DoesNotDependOnHowTheTextIsCut) {
  std::string text;
  for (int i = 0; i < 300; ++i) text += static_cast<char>(i * 7);
  for (const size_t piece : {size_t{1}, size_t{55}, size_t{64}, size_t{65}, size_t{200}}) {
    Sha256 hash;
    for (size_t at = 0; at < text.size(); at += piece)
      hash.update(text.data() + at, std::min(piece, text.size() - at));
    EXPECT_EQ(hash.finish(), sha256_text(text)) << piece;
  }
}

using Sha256File = FolderTest;
TEST_F(Sha256File, IsThatOfItsContent) {
  EXPECT_EQ(sha256_file(write("some", "abc")), sha256_text("abc"));
}

}  // namespace
}  // namespace isoflop
