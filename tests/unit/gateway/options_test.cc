// SPDX-License-Identifier: Apache-2.0
#include "gateway/options.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/status_matchers.h"

namespace ballast::gateway {
namespace {

using ::testing::HasSubstr;

std::string ProblemOf(const Options& options) { return std::string(Validate(options).message()); }

TEST(GatewayOptionsTest, DefaultsAreAnEmbeddedCluster) {
  const Options options;
  EXPECT_OK(Validate(options));
  EXPECT_FALSE(options.IsRemote());
}

TEST(GatewayOptionsTest, AddressesAreHostAndPort) {
  Options options;
  options.remote.cluster = {"127.0.0.1:7400", "[::1]:1", "host:65535"};
  EXPECT_OK(Validate(options));
  EXPECT_TRUE(options.IsRemote());
  for (const std::string bad : {"", "host", ":7400", "host:", "host:0", "host:65536", "host:x"}) {
    options.remote.cluster = {bad};
    EXPECT_THAT(ProblemOf(options), HasSubstr("no HOST:PORT")) << bad;
  }
}

TEST(GatewayOptionsTest, WhatIsForTheEmbeddedClusterIsRefusedWithAnother) {
  Options options;
  options.remote.cluster = {"h:1"};
  options.embedded.folder = "x";
  EXPECT_THAT(ProblemOf(options), HasSubstr("--folder"));
}

TEST(GatewayOptionsTest, ARunningClusterHasASettingForBackgroundRebalancing) {
  Options options;
  options.embedded.auto_rebalance = true;
  EXPECT_OK(Validate(options));
  options.remote.cluster = {"localhost:7400"};
  EXPECT_THAT(ProblemOf(options), HasSubstr("rebalance-auto"));
}

TEST(GatewayOptionsTest, BoundsAreTold) {
  Options options;
  options.embedded.chunk_bytes = 0;
  EXPECT_THAT(ProblemOf(options), HasSubstr("--chunk-bytes"));
  options.embedded.chunk_bytes = kChunkBytesMax + 1;
  EXPECT_THAT(ProblemOf(options), HasSubstr("--chunk-bytes"));
  options.embedded.chunk_bytes = 1;
  options.embedded.heartbeat_interval = absl::Milliseconds(1);
  EXPECT_THAT(ProblemOf(options), HasSubstr("--heartbeat-interval"));
}

}  // namespace
}  // namespace ballast::gateway
