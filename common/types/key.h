// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace ballast {

// True for well-formed UTF-8 (Unicode 15, table 3-7: no overlong forms, no surrogates, at most
// U+10FFFF).
bool IsValidUtf8(absl::string_view text);

// OK for a key of 1..1024 bytes of UTF-8 without NUL; otherwise INVALID_ARGUMENT, naming the rule.
absl::Status ValidateKey(absl::string_view key);

// As ValidateKey, but may be empty and may end inside a character: a prefix of a valid key.
absl::Status ValidatePrefix(absl::string_view prefix);

}  // namespace ballast
