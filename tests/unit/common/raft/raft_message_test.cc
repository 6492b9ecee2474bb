// SPDX-License-Identifier: Apache-2.0
#include "common/raft/raft_message.h"

#include <memory>
#include <string>
#include <vector>

#include "common/base/rng.h"
#include "common/types/limits.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ballast {
namespace {

using ::ballast::testing::StatusIs;

Payload Bytes(std::string bytes) { return std::make_shared<const std::string>(std::move(bytes)); }

std::vector<RaftMessage> Samples() {
  std::vector<RaftMessage> samples;
  for (uint8_t type = BALLAST_CRAFT_APPEND; type <= BALLAST_CRAFT_TIMEOUT_NOW; ++type) {
    CoreMessage m;
    m.core.type = type;
    m.core.version = 2;
    m.core.flag_a = type % 2 == 0;
    m.core.flag_b = type % 3 == 0;
    m.core.features = 1;
    m.core.capacity = 0xfffe;
    m.core.term = 1000 + type;
    m.core.log_index = uint64_t{1} << 60;
    m.core.log_term = 77;
    m.core.extra = ~uint64_t{0};
    if (type == BALLAST_CRAFT_APPEND) {
      m.entries = {{.term = 5, .type = EntryType::kCommand, .payload = Bytes("hello")},
                   {.term = 6, .type = EntryType::kBarrier, .payload = Bytes("")}};
      m.core.entry_count = 2;
    }
    samples.push_back(
        {.asks = {.term = 3, .number = 4}, .echoes = {.term = 5, .number = 6}, .body = m});
  }
  samples.push_back({.asks = {}, .echoes = {}, .body = ConfirmMessage{}});
  samples.push_back(
      {.asks = {},
       .echoes = {},
       .body = FetchRequest{.request = 9, .snapshot = {10, 2}, .name = "shard-1", .offset = 4096}});
  samples.push_back(
      {.asks = {},
       .echoes = {},
       .body = FetchPage{.request = 9, .gone = false, .file_bytes = 99, .data = "page"}});
  return samples;
}

TEST(RaftMessageTest, SurvivesARoundTrip) {
  for (const RaftMessage& sample : Samples()) {
    const std::string bytes = EncodeRaftMessage(sample);
    ASSERT_OK_AND_ASSIGN(const RaftMessage decoded, DecodeRaftMessage(bytes));
    EXPECT_EQ(decoded.body.index(), sample.body.index());
    EXPECT_EQ(EncodeRaftMessage(decoded), bytes);
    if (const auto* core = std::get_if<CoreMessage>(&decoded.body)) {
      EXPECT_EQ(core->core.extra, ~uint64_t{0});
      EXPECT_EQ(decoded.echoes.number, 6u);
    }
  }
}

TEST(RaftMessageTest, RefusesEveryPrefixAndAnySuffix) {
  for (const RaftMessage& sample : Samples()) {
    const std::string bytes = EncodeRaftMessage(sample);
    for (size_t cut = 0; cut < bytes.size(); ++cut) {
      EXPECT_THAT(DecodeRaftMessage(bytes.substr(0, cut)), StatusIs(absl::StatusCode::kDataLoss));
    }
    EXPECT_THAT(DecodeRaftMessage(bytes + "x"), StatusIs(absl::StatusCode::kDataLoss));
  }
}

TEST(RaftMessageTest, RefusesAnotherVersion) {
  std::string bytes = EncodeRaftMessage(Samples()[0]);
  bytes[0] = 2;
  EXPECT_THAT(DecodeRaftMessage(bytes), StatusIs(absl::StatusCode::kDataLoss));
}

// No crash, no runaway memory, whatever arrives; what is accepted encodes to the same bytes.
TEST(RaftMessageTest, TakesNoHarmFromDamagedBytes) {
  Rng rng(20240601);
  const std::vector<RaftMessage> samples = Samples();
  for (int i = 0; i < 50000; ++i) {
    std::string bytes = EncodeRaftMessage(samples[rng.Below(samples.size())]);
    for (uint64_t flips = 1 + rng.Below(4); flips > 0; --flips) {
      bytes[rng.Below(bytes.size())] = static_cast<char>(rng.Below(256));
    }
    const auto decoded = DecodeRaftMessage(bytes);
    if (decoded.ok()) {
      EXPECT_EQ(EncodeRaftMessage(*decoded), bytes);
    }
  }
}

TEST(RaftMessageTest, RefusesEntriesBeyondTheLimit) {
  RaftMessage message = Samples()[0];
  auto& core = std::get<CoreMessage>(message.body);
  core.entries[0].payload = Bytes(std::string(kLogEntryBytesMax, 'x'));
  EXPECT_OK(DecodeRaftMessage(EncodeRaftMessage(message)));
  core.entries[0].payload = Bytes(std::string(kLogEntryBytesMax + 1, 'x'));
  EXPECT_THAT(DecodeRaftMessage(EncodeRaftMessage(message)), StatusIs(absl::StatusCode::kDataLoss));
}

}  // namespace
}  // namespace ballast
