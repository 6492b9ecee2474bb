// SPDX-License-Identifier: Apache-2.0
#include "tests/support/hex_example.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/env/file_system.h"

namespace ballast::testing {

std::string HexDump(absl::string_view bytes) {
  std::string text;
  for (size_t at = 0; at < bytes.size(); at += 16) {
    absl::StrAppendFormat(&text, "%08x ", at);
    for (const char c : bytes.substr(at, 16)) {
      absl::StrAppendFormat(&text, " %02x", static_cast<unsigned char>(c));
    }
    text += "\n";
  }
  return text;
}

std::string HexExample(const std::string& document, absl::string_view name) {
  const auto text = ReadFile(PosixFileSystem(), document);
  if (!text.ok()) {
    return text.status().ToString();
  }
  const std::string fence = absl::StrCat("```hex ", name, "\n");
  const size_t begin = text->find(fence);
  if (begin == std::string::npos) {
    return absl::StrCat(document, " has no example ", name);
  }
  const size_t from = begin + fence.size();
  return text->substr(from, text->find("```", from) - from);
}

}  // namespace ballast::testing
