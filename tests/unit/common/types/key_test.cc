// SPDX-License-Identifier: Apache-2.0
#include "common/types/key.h"

#include <cstdint>
#include <string>

#include "common/base/rng.h"
#include "common/types/limits.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ballast {
namespace {

using ballast::testing::HasReason;
using ballast::testing::IsOk;
using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Encode(uint32_t code) {
  std::string out;
  const auto add = [&out](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
  if (code < 0x80) {
    add(code);
  } else if (code < 0x800) {
    add(0xC0 | (code >> 6));
    add(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    add(0xE0 | (code >> 12));
    add(0x80 | ((code >> 6) & 0x3F));
    add(0x80 | (code & 0x3F));
  } else {
    add(0xF0 | (code >> 18));
    add(0x80 | ((code >> 12) & 0x3F));
    add(0x80 | ((code >> 6) & 0x3F));
    add(0x80 | (code & 0x3F));
  }
  return out;
}

TEST(Utf8Test, AcceptsExactlyTheScalarValues) {
  for (uint32_t code = 0; code < 0x200000; ++code) {
    const bool scalar = code <= 0x10FFFF && !(code >= 0xD800 && code <= 0xDFFF);
    ASSERT_EQ(IsValidUtf8(Encode(code)), scalar) << std::hex << code;
  }
}

TEST(Utf8Test, RefusesOverlongForms) {
  for (const char* text :
       {"\xC0\x80", "\xC0\xAF", "\xC1\xBF", "\xE0\x80\x80", "\xE0\x9F\xBF", "\xF0\x80\x80\x80",
        "\xF0\x8F\xBF\xBF", "\xF8\x88\x80\x80\x80", "\xFC\x84\x80\x80\x80\x80"}) {
    EXPECT_FALSE(IsValidUtf8(text));
  }
}

TEST(Utf8Test, RefusesBytesThatBeginNothing) {
  for (int byte = 0x80; byte <= 0xFF; ++byte) {
    const std::string alone(1, static_cast<char>(byte));
    EXPECT_FALSE(IsValidUtf8(alone)) << byte;
    if (byte < 0xC2 || byte > 0xF4) {
      EXPECT_FALSE(IsValidUtf8(alone + "\x80\x80\x80")) << byte;
    }
  }
}

TEST(Utf8Test, RefusesAWrongByteAtAnyPlace) {
  for (const uint32_t code : {0x80u, 0x7FFu, 0x800u, 0xFFFFu, 0x10000u, 0x10FFFFu}) {
    const std::string good = Encode(code);
    for (size_t i = 1; i < good.size(); ++i) {
      for (const char wrong : {'\x7F', '\xC0', 'a', '\0'}) {
        std::string bad = good;
        bad[i] = wrong;
        EXPECT_FALSE(IsValidUtf8(bad)) << code << " at " << i;
        EXPECT_FALSE(IsValidUtf8("x" + bad + "y"));
      }
      EXPECT_FALSE(IsValidUtf8(good.substr(0, i)));
      EXPECT_FALSE(IsValidUtf8(good.substr(i)));
    }
  }
}

TEST(KeyTest, NeedsOneTo1024Bytes) {
  EXPECT_THAT(ValidateKey("k"), IsOk());
  EXPECT_THAT(ValidateKey(std::string(kKeyBytesMax, 'k')), IsOk());
  EXPECT_THAT(ValidateKey(""), HasReason(v1::REASON_INVALID_ARGUMENT));
  EXPECT_THAT(ValidateKey(std::string(kKeyBytesMax + 1, 'k')),
              HasReason(v1::REASON_INVALID_ARGUMENT));
  EXPECT_THAT(std::string(ValidateKey(std::string(2000, 'k')).message()),
              AllOf(HasSubstr("2000"), HasSubstr("1024")));
}

TEST(KeyTest, IsUtf8WithoutNul) {
  EXPECT_THAT(ValidateKey("фото/東京/é/\xF0\x9F\x98\x80"), IsOk());
  EXPECT_THAT(ValidateKey("a b\tc\n\x7F"), IsOk());
  EXPECT_THAT(ValidateKey(absl::string_view("a\0b", 3)), Not(IsOk()));
  EXPECT_THAT(ValidateKey("a\xFF"), HasReason(v1::REASON_INVALID_ARGUMENT));
  EXPECT_THAT(ValidateKey("\xED\xA0\x80"), Not(IsOk())) << "a surrogate";
}

TEST(PrefixTest, MayBeEmptyAndMayEndInsideACharacter) {
  EXPECT_THAT(ValidatePrefix(""), IsOk());
  const std::string key = "aé東\U0010FFFFz";
  for (size_t bytes = 0; bytes <= key.size(); ++bytes) {
    EXPECT_THAT(ValidatePrefix(key.substr(0, bytes)), IsOk()) << bytes;
  }
}

TEST(PrefixTest, IsRefusedWhenNoKeyCanBeginWithIt) {
  for (const char* bad : {"\xC0", "\x80", "\xE0\x80", "\xED\xA0", "\xF0\x80", "\xF4\x90", "\xF5",
                          "a\xE6\x9D"
                          "b",
                          "\xFF"}) {
    EXPECT_THAT(ValidatePrefix(bad), Not(IsOk()));
  }
  EXPECT_THAT(ValidatePrefix(absl::string_view("\0", 1)), Not(IsOk()));
  EXPECT_THAT(ValidatePrefix(std::string(kKeyBytesMax + 1, 'k')), Not(IsOk()));
}

TEST(PrefixTest, EveryPrefixOfEveryValidKeyIsAccepted) {
  Rng rng(11);
  for (int i = 0; i < 2000; ++i) {
    std::string key;
    while (key.size() < 12) {
      const uint32_t code = static_cast<uint32_t>(rng.Between(1, 0x10FFFF));
      if (code < 0xD800 || code > 0xDFFF) {
        key += Encode(code >> (4 * rng.Below(5)) | 1);
      }
    }
    if (!IsValidUtf8(key)) {
      continue;  // the shift may have made a surrogate
    }
    ASSERT_OK(ValidateKey(key));
    ASSERT_OK(ValidatePrefix(absl::string_view(key).substr(0, rng.Below(key.size() + 1))));
  }
}

}  // namespace
}  // namespace ballast
