// SPDX-License-Identifier: Apache-2.0
#include "client/cli/json_output.h"

#include "common/types/error.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace ballast::client {
namespace {

using ::testing::HasSubstr;

TEST(JsonOutputTest, ObjectsHaveAllTheirFacts) {
  v1::ObjectInfo object;
  object.set_key("a \"quoted\"\nkey");
  object.set_generation(7);
  object.set_size_bytes(uint64_t{1} << 42);
  object.set_crc32c(0xab);
  object.set_is_inline(false);
  object.set_chunk_count(3);
  object.set_wanted_replicas(2);
  object.set_modified_unix_ms(5);
  object.add_metadata()->set_name("n");
  object.mutable_metadata(0)->set_value("v");
  EXPECT_EQ(ObjectJson(object),
            R"({"key":"a \"quoted\"\nkey","generation":7,"size_bytes":4398046511104,)"
            R"("crc32c":"000000ab","inline":false,"chunk_count":3,"wanted_replicas":2,)"
            R"("modified_unix_ms":5,"metadata":{"n":"v"}})");
}

TEST(JsonOutputTest, ResultsAndErrorsAreOneLine) {
  PutResult put;
  put.generation = 4;
  EXPECT_THAT(PutJson("k", put, absl::Milliseconds(1500)), HasSubstr("\"seconds\":1.5"));
  EXPECT_EQ(RemovedJson("k", 3, absl::OkStatus()), R"({"key":"k","removed":true,"generation":3})");
  const absl::Status missing = MakeError(v1::REASON_OBJECT_NOT_FOUND, "line\nbreak");
  EXPECT_THAT(RemovedJson("k", 0, missing), HasSubstr("OBJECT_NOT_FOUND"));
  EXPECT_EQ(ErrorJson(missing),
            R"({"error":{"code":"NOT_FOUND","reason":"OBJECT_NOT_FOUND","text":"line\nbreak"}})");
}

TEST(JsonOutputTest, TextThatIsNoUtf8DoesNotEndTheProgram) {
  EXPECT_THAT(ErrorJson(absl::UnavailableError("bad \xff byte")), HasSubstr("bad"));
}

TEST(JsonOutputTest, StatusHoldsSilentMembersAndServersNobodyKnows) {
  ClusterStatus status{.cluster_id = "c", .shard_count = 256, .config_version = 1};
  status.members.push_back({1, "m:1", absl::UnavailableError("silent")});
  status.registry.add_servers()->set_server_id("one");
  status.servers = absl::UnavailableError("nobody");
  const std::string json = StatusJson(status, {});
  EXPECT_THAT(json, HasSubstr(R"("address":"m:1","error":{"code":"UNAVAILABLE")"));
  EXPECT_THAT(json, HasSubstr(R"("liveness":"unknown")"));
  EXPECT_THAT(json, HasSubstr("servers_error"));
}

TEST(JsonOutputTest, StatusTellsWhatEachGroupDoes) {
  MaintenanceClient::OfGroup group;
  group.group = 7;
  group.maintenance.mutable_repair()->set_chunks_one_left(3);
  group.maintenance.add_drains()->set_name("four");
  const std::string json = StatusJson(ClusterStatus(), {group});
  EXPECT_THAT(json, HasSubstr(R"("maintenance":[{"group":7,"repair":{)"));
  EXPECT_THAT(json, HasSubstr(R"("chunks_one_left":"3")"));
  EXPECT_THAT(json, HasSubstr(R"("name":"four")"));
}

TEST(JsonOutputTest, ConfigurationsCountTheShardsOfEachGroup) {
  v1::Configuration configuration;
  configuration.set_version(2);
  for (const uint32_t owner : {1u, 1u, 2u}) {
    configuration.add_shard_owner(owner);
  }
  configuration.add_groups()->set_group_id(1);
  configuration.mutable_groups(0)->add_masters()->set_address("m:1");
  EXPECT_EQ(ConfigurationJson(configuration),
            R"({"config_version":2,"groups":[{"group_id":1,"shard_count":2,)"
            R"("masters":[{"node_id":0,"address":"m:1"}]}]})");
}

}  // namespace
}  // namespace ballast::client
