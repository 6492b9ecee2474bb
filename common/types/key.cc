// SPDX-License-Identifier: Apache-2.0
#include "common/types/key.h"

#include <cstdint>

#include "absl/strings/str_cat.h"
#include "common/types/error.h"
#include "common/types/limits.h"

namespace ballast {
namespace {

// Length in bytes of the well-formed character at the start of `s`, 0 if there is none. With
// `cut`, a character that the end of `s` cuts short counts with the bytes that are there.
size_t CharacterBytes(absl::string_view s, bool cut) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(s[i]); };
  const uint8_t b0 = byte(0);
  if (b0 < 0x80) {
    return 1;
  }
  size_t bytes = 0;
  uint8_t low = 0x80;
  uint8_t high = 0xBF;
  if (b0 >= 0xC2 && b0 <= 0xDF) {
    bytes = 2;
  } else if (b0 >= 0xE0 && b0 <= 0xEF) {
    bytes = 3;
    low = b0 == 0xE0 ? 0xA0 : 0x80;
    high = b0 == 0xED ? 0x9F : 0xBF;
  } else if (b0 >= 0xF0 && b0 <= 0xF4) {
    bytes = 4;
    low = b0 == 0xF0 ? 0x90 : 0x80;
    high = b0 == 0xF4 ? 0x8F : 0xBF;
  } else {
    return 0;
  }
  for (size_t i = 1; i < bytes; ++i) {
    if (i == s.size()) {
      return cut ? i : 0;
    }
    if (byte(i) < low || byte(i) > high) {
      return 0;
    }
    low = 0x80;
    high = 0xBF;
  }
  return bytes;
}

bool IsUtf8(absl::string_view text, bool cut) {
  while (!text.empty()) {
    const size_t bytes = CharacterBytes(text, cut);
    if (bytes == 0) {
      return false;
    }
    text.remove_prefix(bytes);
  }
  return true;
}

absl::Status ValidateText(absl::string_view text, absl::string_view what, bool cut) {
  if (text.size() > kKeyBytesMax) {
    return InvalidArgument(
        absl::StrCat(what, " has ", text.size(), " bytes; the limit is ", kKeyBytesMax));
  }
  if (text.find('\0') != absl::string_view::npos) {
    return InvalidArgument(absl::StrCat(what, " contains a NUL byte"));
  }
  if (!IsUtf8(text, cut)) {
    return InvalidArgument(absl::StrCat(what, " is not valid UTF-8"));
  }
  return absl::OkStatus();
}

}  // namespace

bool IsValidUtf8(absl::string_view text) { return IsUtf8(text, /*cut=*/false); }

absl::Status ValidateKey(absl::string_view key) {
  if (key.empty()) {
    return InvalidArgument("the key is empty; it needs 1 to 1024 bytes");
  }
  return ValidateText(key, "the key", /*cut=*/false);
}

absl::Status ValidatePrefix(absl::string_view prefix) {
  return ValidateText(prefix, "the prefix", /*cut=*/true);
}

}  // namespace ballast
