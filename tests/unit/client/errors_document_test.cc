// SPDX-License-Identifier: Apache-2.0
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/types/error.h"
#include "gtest/gtest.h"

namespace ballast {
namespace {

// reason -> the cells of its row in docs/protocols/errors.md.
std::map<std::string, std::vector<std::string>> Rows() {
  std::map<std::string, std::vector<std::string>> rows;
  std::ifstream page("docs/protocols/errors.md");
  std::string line;
  while (std::getline(page, line)) {
    absl::string_view text = line;
    if (!absl::ConsumePrefix(&text, "|") || !absl::ConsumeSuffix(&text, "|")) {
      continue;
    }
    std::vector<std::string> cells = absl::StrSplit(text, '|');
    for (std::string& cell : cells) {
      absl::StripAsciiWhitespace(&cell);
    }
    rows[cells[0]] = cells;
  }
  return rows;
}

TEST(ErrorsDocumentTest, EveryReasonHasItsRowWithItsCode) {
  const auto rows = Rows();
  const auto& values = *v1::Reason_descriptor();
  ASSERT_GT(values.value_count(), 20);
  for (int i = 0; i < values.value_count(); ++i) {
    const auto reason = static_cast<v1::Reason>(values.value(i)->number());
    if (reason == v1::REASON_UNSPECIFIED) {
      continue;
    }
    const std::string name(ReasonName(reason));
    const auto it = rows.find(name);
    ASSERT_NE(it, rows.end()) << name << " has no row";
    ASSERT_EQ(it->second.size(), 5u) << name;
    EXPECT_EQ(it->second[1], absl::StatusCodeToString(CodeOf(reason))) << name;
    const bool may_have_happened = !IsDefinite(MakeError(reason, ""));
    EXPECT_EQ(it->second[3] != "no", may_have_happened) << name;
    EXPECT_FALSE(it->second[4].empty()) << name;
  }
}

}  // namespace
}  // namespace ballast
