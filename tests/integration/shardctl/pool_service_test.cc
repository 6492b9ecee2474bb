// SPDX-License-Identifier: Apache-2.0
// Routing pools over real gRPC on port 0, on a log in memory.
#include <string>
#include <thread>

#include "absl/strings/str_cat.h"
#include "client/pool_router.h"
#include "common/routing/shard_router.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/shardctl/node.h"
#include "tests/support/status_matchers.h"

namespace ballast::shardctl {
namespace {

using ::ballast::testing::HasReason;
using ::ballast::testing::StatusIs;
using ::testing::ElementsAre;
using ::testing::IsEmpty;

class PoolServiceTest : public ::testing::Test {
 protected:
  absl::StatusOr<v1::Pool> Put(const std::string& id, double weight) {
    v1::PutPoolServerRequest request;
    request.set_pool("p");
    request.set_id(id);
    request.set_weight(weight);
    auto response = client_.PutPoolServer(request);
    if (!response.ok()) return response.status();
    return response->pool();
  }
  absl::StatusOr<std::vector<std::string>> Route(const std::string& key, uint32_t count) {
    v1::RouteRequest request;
    request.set_pool("p");
    request.set_key(key);
    request.set_count(count);
    const auto response = client_.Route(request);
    if (!response.ok()) return response.status();
    return std::vector<std::string>(response->servers().begin(), response->servers().end());
  }
  absl::Status Create() {
    v1::CreatePoolRequest request;
    request.set_name("p");
    return client_.CreatePool(request).status();
  }
  v1::WatchPoolRequest WatchAfter(uint64_t version, uint32_t wait_ms) {
    v1::WatchPoolRequest request;
    request.set_name("p");
    request.set_version(version);
    request.set_wait_ms(wait_ms);
    return request;
  }

  Node node_;
  ShardctlClient client_{ClientOf(node_.address())};
};

TEST_F(PoolServiceTest, EveryCallWorksThroughTheClient) {
  EXPECT_THAT(Route("k", 1), HasReason(v1::REASON_POOL_NOT_FOUND));
  ASSERT_OK(Create());
  EXPECT_THAT(*Route("k", 1), IsEmpty());
  ASSERT_OK(Put("a", 1).status());
  ASSERT_OK_AND_ASSIGN(const v1::Pool pool, Put("b", 2));
  ASSERT_EQ(pool.servers_size(), 2);
  EXPECT_EQ(pool.servers(1).points(), 2048u);

  const HashRing ring = *HashRing::Make({{"a", 1024}, {"b", 2048}});
  for (int i = 0; i < 100; ++i) {
    const std::string key = absl::StrCat("key", i);
    ASSERT_OK_AND_ASSIGN(const auto servers, Route(key, 2));
    ASSERT_EQ(servers.size(), 2u);
    EXPECT_EQ(servers[0], ring.servers()[ring.Find(StableHash(key))].id);
  }

  v1::GetPoolRequest get;
  get.set_name("p");
  ASSERT_OK_AND_ASSIGN(const auto got, client_.GetPool(get));
  EXPECT_EQ(got.pool().SerializeAsString(), pool.SerializeAsString());
  ASSERT_OK_AND_ASSIGN(const auto list, client_.ListPools());
  ASSERT_EQ(list.pools_size(), 1);
  EXPECT_EQ(list.pools(0).server_count(), 2u);

  v1::RemovePoolServerRequest remove;
  remove.set_pool("p");
  remove.set_id("a");
  ASSERT_OK(client_.RemovePoolServer(remove).status());
  EXPECT_THAT(*Route("k", 5), ElementsAre("b"));
  v1::DeletePoolRequest erase;
  erase.set_name("p");
  ASSERT_OK(client_.DeletePool(erase).status());
  EXPECT_THAT(client_.GetPool(get), HasReason(v1::REASON_POOL_NOT_FOUND));
}

TEST_F(PoolServiceTest, AWatchAnswersAtOnceWithWhatIsNewAndWaitsForWhatIsNot) {
  EXPECT_THAT(client_.WatchPool(WatchAfter(0, 30'000)), HasReason(v1::REASON_POOL_NOT_FOUND));
  ASSERT_OK(Create());
  ASSERT_OK_AND_ASSIGN(const auto first, client_.WatchPool(WatchAfter(0, 30'000)));
  const uint64_t version = first.pool().version();
  ASSERT_OK_AND_ASSIGN(const auto nothing, client_.WatchPool(WatchAfter(version, 1)));
  EXPECT_FALSE(nothing.has_pool());

  absl::StatusOr<v1::WatchPoolResponse> news;
  std::thread watcher([&] { news = client_.WatchPool(WatchAfter(version, 30'000)); });
  ShardctlClient other(ClientOf(node_.address()));
  v1::PutPoolServerRequest put;
  put.set_pool("p");
  put.set_id("a");
  while (node_.waiting_for_pools() == 0) {
    std::this_thread::yield();
  }
  ASSERT_OK(other.PutPoolServer(put).status());
  watcher.join();
  ASSERT_OK(news.status());
  ASSERT_EQ(news->pool().servers_size(), 1);
  EXPECT_EQ(news->pool().servers(0).weight(), 1);

  std::thread last([&] { news = client_.WatchPool(WatchAfter(news->pool().version(), 30'000)); });
  while (node_.waiting_for_pools() == 0) {
    std::this_thread::yield();
  }
  v1::DeletePoolRequest erase;
  erase.set_name("p");
  ASSERT_OK(other.DeletePool(erase).status());
  last.join();
  EXPECT_THAT(news, HasReason(v1::REASON_POOL_NOT_FOUND));
}

TEST_F(PoolServiceTest, ARouterFollowsItsPoolAndGoesOnWithoutTheController) {
  EXPECT_THAT(client::PoolRouter::Start(ClientOf(node_.address()), "p").status(),
              HasReason(v1::REASON_POOL_NOT_FOUND));
  ASSERT_OK(Create());
  ASSERT_OK_AND_ASSIGN(const auto router,
                       client::PoolRouter::Start(ClientOf(node_.address()), "p"));
  EXPECT_EQ(router->ServerOf("k"), "");
  ASSERT_OK(Put("a", 1).status());
  ASSERT_OK(Put("b", 2).status());
  const HashRing ring = *HashRing::Make({{"a", 1024}, {"b", 2048}});
  while (router->ServersOf("k", 9).size() < 2) {
    std::this_thread::yield();
  }
  for (int i = 0; i < 100; ++i) {
    const std::string key = absl::StrCat("key", i);
    EXPECT_EQ(router->ServerOf(key), ring.servers()[ring.Find(StableHash(key))].id);
  }
  node_.Stop();
  EXPECT_EQ(router->ServersOf("k", 9).size(), 2u);
}

TEST_F(PoolServiceTest, WhatIsOutOfBoundsIsRefused) {
  ASSERT_OK(Create());
  EXPECT_THAT(Put("", 1), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Put("a", -1), StatusIs(absl::StatusCode::kInvalidArgument));
  EXPECT_THAT(Route(std::string(65537, 'x'), 1), StatusIs(absl::StatusCode::kInvalidArgument));
  ASSERT_OK(Put("a", 1).status());
  EXPECT_THAT(*Route(std::string("\0\xff", 2), 0), ElementsAre("a"));  // any bytes; 0 counts as 1
}

TEST_F(PoolServiceTest, AnotherNodeSendsToTheLeader) {
  Node follower("127.0.0.1:0", "", {{NodeId(7), node_.address()}});
  follower.OnExecutor([&] { follower.log().SetRole(ReplicatedLog::Role::kFollower, NodeId(7)); });
  ShardctlClient client(ClientOf(follower.address()));
  v1::CreatePoolRequest request;
  request.set_name("p");
  ASSERT_OK(client.CreatePool(request).status());
  ASSERT_OK(Put("a", 1).status());
  EXPECT_THAT(*Route("k", 1), ElementsAre("a"));
}

}  // namespace
}  // namespace ballast::shardctl
