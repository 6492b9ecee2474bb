// SPDX-License-Identifier: Apache-2.0
// The small vocabulary: byte units, strong ids, UUIDs, status macros.
#include <memory>
#include <set>
#include <sstream>
#include <type_traits>
#include <unordered_set>
#include <utility>

#include "absl/hash/hash.h"
#include "absl/status/statusor.h"
#include "common/base/byte_units.h"
#include "common/base/status_macros.h"
#include "common/base/strong_id.h"
#include "common/base/uuid.h"
#include "gtest/gtest.h"

namespace ballast {
namespace {

TEST(ByteUnitsTest, CeilDivRoundsUpAndNeverOverflows) {
  static_assert(CeilDiv(0, 64) == 0);
  static_assert(CeilDiv(1, 64) == 1);
  static_assert(CeilDiv(64, 64) == 1);
  static_assert(CeilDiv(65, 64) == 2);
  static_assert(CeilDiv(~uint64_t{0}, 2) == uint64_t{1} << 63);
  static_assert(CeilDiv(~uint64_t{0}, 1) == ~uint64_t{0});
  static_assert(MiB(64) == 1024 * KiB(64));
  static_assert(GiB(1) == 1024 * MiB(1) && TiB(1) == 1024 * GiB(1));
}

TEST(ByteUnitsTest, FormatsForPeopleWithThreeDigitsAtMost) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(17), "17 B");
  EXPECT_EQ(FormatBytes(999), "999 B");
  EXPECT_EQ(FormatBytes(1000), "1.0 KiB");
  EXPECT_EQ(FormatBytes(KiB(1)), "1.0 KiB");
  EXPECT_EQ(FormatBytes(KiB(64)), "64 KiB");
  EXPECT_EQ(FormatBytes(GiB(3) / 2), "1.5 GiB");
  EXPECT_EQ(FormatBytes(MiB(1) - 1), "1.0 MiB");
  EXPECT_EQ(FormatBytes(TiB(4)), "4.0 TiB");
  EXPECT_EQ(FormatBytes(~uint64_t{0}), "16 EiB");
}

using RedId = StrongId<struct RedTag, uint32_t>;
using BlueId = StrongId<struct BlueTag, uint32_t>;
using TinyId = StrongId<struct TinyTag, uint8_t>;

TEST(StrongIdTest, DifferentTagsDoNotMix) {
  static_assert(!std::is_convertible_v<RedId, BlueId>);
  static_assert(!std::is_constructible_v<RedId, BlueId>);
  static_assert(!std::is_convertible_v<uint32_t, RedId>);
  static_assert(!std::is_convertible_v<RedId, uint32_t>);
  static_assert(sizeof(RedId) == sizeof(uint32_t));
}

TEST(StrongIdTest, IsOrderedHashableAndPrintable) {
  EXPECT_LT(RedId(1), RedId(2));
  EXPECT_EQ(RedId(1).Next(), RedId(2));
  EXPECT_EQ(RedId().value(), 0u);
  EXPECT_EQ(absl::Hash<RedId>()(RedId(5)), absl::Hash<RedId>()(RedId(5)));
  EXPECT_EQ((std::unordered_set<RedId>{RedId(1), RedId(1), RedId(2)}).size(), 2u);
  std::ostringstream out;
  out << RedId(77) << " " << TinyId(65);
  EXPECT_EQ(out.str(), "77 65");
}

TEST(UuidTest, MakesDistinctVersionFourIds) {
  std::set<std::string> made;
  for (int i = 0; i < 100; ++i) {
    const std::string uuid = MakeUuid();
    EXPECT_TRUE(IsUuid(uuid)) << uuid;
    EXPECT_EQ(uuid[14], '4') << uuid;
    EXPECT_NE(std::string("89ab").find(uuid[19]), std::string::npos) << uuid;
    EXPECT_TRUE(made.insert(uuid).second) << uuid;
  }
}

TEST(UuidTest, AcceptsOnlyTheOneForm) {
  EXPECT_TRUE(IsUuid("123e4567-e89b-12d3-a456-426614174000"));
  for (const char* bad :
       {"", "123e4567-e89b-12d3-a456-42661417400", "123e4567-e89b-12d3-a456-4266141740000",
        "123E4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-42661417400g",
        "123e4567ee89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-4266141740-0",
        "{23e4567-e89b-12d3-a456-42661417400}"}) {
    EXPECT_FALSE(IsUuid(bad)) << bad;
  }
}

absl::StatusOr<std::unique_ptr<int>> MakeNumber(bool ok) {
  if (!ok) {
    return absl::DataLossError("no number");
  }
  return std::make_unique<int>(5);
}

absl::StatusOr<int> SumOf(bool first, bool second) {
  ASSIGN_OR_RETURN(const std::unique_ptr<int> a, MakeNumber(first));
  ASSIGN_OR_RETURN(auto b, MakeNumber(second));
  RETURN_IF_ERROR(absl::OkStatus());
  return *a + *b;
}

TEST(StatusMacrosTest, MoveValuesAndPassErrorsOn) {
  EXPECT_EQ(*SumOf(true, true), 10);
  EXPECT_EQ(SumOf(true, false).status(), absl::DataLossError("no number"));
  EXPECT_EQ(SumOf(false, true).status(), absl::DataLossError("no number"));
}

}  // namespace
}  // namespace ballast
