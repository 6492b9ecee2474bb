// SPDX-License-Identifier: Apache-2.0
#include "common/base/uuid.h"

#include <sys/random.h>

#include "absl/strings/escaping.h"
#include "common/base/check.h"

namespace ballast {

std::string MakeUuid() {
  std::string bytes(16, '\0');
  CHECK_EQ(getrandom(bytes.data(), bytes.size(), 0), 16);
  bytes[6] = static_cast<char>((bytes[6] & 0x0F) | 0x40);
  bytes[8] = static_cast<char>((bytes[8] & 0x3F) | 0x80);
  std::string hex = absl::BytesToHexString(bytes);
  for (const size_t dash : {8, 13, 18, 23}) {
    hex.insert(dash, "-");
  }
  return hex;
}

bool IsUuid(absl::string_view text) {
  if (text.size() != 36) {
    return false;
  }
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash ? c != '-' : !((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) {
      return false;
    }
  }
  return true;
}

}  // namespace ballast
