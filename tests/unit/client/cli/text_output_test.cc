// SPDX-License-Identifier: Apache-2.0
#include "client/cli/text_output.h"

#include "common/base/byte_units.h"
#include "common/types/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ballast::client {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

ClusterStatus TwoServers() {
  ClusterStatus status{.cluster_id = "c", .shard_count = 256, .config_version = 1};
  for (uint32_t i = 1; i <= 2; ++i) {
    v1::RegisteredServer* const server = status.registry.add_servers();
    server->set_server_id(i == 1 ? "one" : "two");
    server->set_server_index(i);
    server->set_address("h:" + std::to_string(i));
    server->set_state(v1::SERVER_STATE_ACTIVE);
  }
  v1::ServerStatus seen;
  seen.set_server_id("two");
  seen.set_liveness(v1::LIVENESS_ALIVE);
  seen.set_used_bytes(GiB(1));
  seen.set_capacity_bytes(GiB(10));
  seen.set_last_heartbeat_ms_ago(1500);
  seen.set_health("ok");
  status.servers = std::vector<v1::ServerStatus>{seen};
  v1::GetGroupStatusResponse leader;
  leader.set_is_leader(true);
  leader.set_object_count(12);
  status.members.push_back({1, "m1:1", leader});
  status.members.push_back({1, "m2:1", absl::UnavailableError("silent")});
  return status;
}

TEST(TextOutputTest, TablesAlignTheirColumns) {
  Table table({Table::Align::kLeft, Table::Align::kRight, Table::Align::kLeft});
  table.Row({"a", "1", "x"});
  table.Row({"long", "1000"});
  EXPECT_EQ(table.ToString(), "a        1  x\nlong  1000\n");
}

TEST(TextOutputTest, KeysStayOnOneLine) {
  EXPECT_EQ(PrintableKey("a\nb\t\x1b[31m"), "a\\nb\\t\\x1b[31m");
  EXPECT_EQ(PrintableKey("grün"), "grün");
  EXPECT_EQ(PrintableKey("gr\xff"), "gr\\xff");
}

TEST(TextOutputTest, AnErrorIsOneLineThatSaysWhatToDo) {
  const std::string gone =
      ErrorText("get k", MakeError(v1::REASON_CHUNK_UNAVAILABLE, "no replica\nof chunk 5"));
  EXPECT_EQ(gone.find('\n'), gone.size() - 1);
  EXPECT_THAT(gone, HasSubstr("ballast servers"));
  EXPECT_EQ(ErrorText("get k", MakeError(v1::REASON_OBJECT_NOT_FOUND, "k in shard 5")),
            "ballast: get k: no such object\n");
  EXPECT_THAT(ErrorText("put k", MakeError(v1::REASON_OUTCOME_UNKNOWN, "lost")),
              HasSubstr("ballast stat"));
}

TEST(TextOutputTest, ProgressFitsTheTerminalAndNeverPassesTheEnd) {
  for (const int width : {0, 5, 20, 60, 80, 200}) {
    for (const uint64_t done : {uint64_t{0}, MiB(10), MiB(100), MiB(200)}) {
      const std::string line = ProgressText("films/with/a/very/long/name/indeed/film.mkv", done,
                                            MiB(100), absl::Seconds(2), width);
      EXPECT_LE(line.size(), static_cast<size_t>(width));
      EXPECT_THAT(line, Not(HasSubstr("200%")));
    }
  }
  const std::string line = ProgressText("k", MiB(50), MiB(100), absl::Seconds(5), 80);
  EXPECT_THAT(line, HasSubstr("50%"));
  EXPECT_THAT(line, HasSubstr("10 MiB/s"));
  EXPECT_THAT(line, HasSubstr("ETA 5s"));
  EXPECT_THAT(ProgressText("k", MiB(50), 0, absl::Seconds(5), 80), Not(HasSubstr("%")));
}

TEST(TextOutputTest, StatusNamesSilentMastersAndUnknownServers) {
  const std::string text = StatusText(TwoServers());
  EXPECT_THAT(text, HasSubstr("leader m1:1"));
  EXPECT_THAT(text, HasSubstr("12 objects"));
  EXPECT_THAT(text, HasSubstr("no answer from m2:1"));
  EXPECT_THAT(text, HasSubstr("1 alive, 1 unknown"));
  EXPECT_THAT(text, HasSubstr("1.0 GiB of 10 GiB"));
  ClusterStatus fresh;
  EXPECT_THAT(StatusText(fresh), HasSubstr("ballast group join"));
  EXPECT_THAT(StatusText(fresh), Not(HasSubstr("all have")));
  EXPECT_THAT(text, HasSubstr("all have the copies they want"));
}

TEST(TextOutputTest, ServersShowsEveryRegisteredServer) {
  const std::string text = ServersText(TwoServers());
  EXPECT_THAT(text, HasSubstr("h:1"));
  EXPECT_THAT(text, HasSubstr("1.5s"));
  ClusterStatus unasked = TwoServers();
  unasked.servers = absl::UnavailableError("no master");
  EXPECT_THAT(ServersText(unasked), HasSubstr("h:2"));
}

TEST(TextOutputTest, ObjectsShowSizeAndMetadata) {
  v1::ObjectInfo object;
  object.set_key("k");
  object.set_size_bytes(MiB(3));
  object.set_chunk_count(1);
  object.set_wanted_replicas(2);
  object.add_metadata()->set_name("lang");
  object.mutable_metadata(0)->set_value("en");
  EXPECT_THAT(ObjectText(object), HasSubstr("3.0 MiB (3145728 bytes)"));
  EXPECT_THAT(ObjectText(object), HasSubstr("meta.lang"));
  EXPECT_THAT(ObjectLine(object), HasSubstr("1970-01-01 00:00:00 UTC  k\n"));
}

}  // namespace
}  // namespace ballast::client
