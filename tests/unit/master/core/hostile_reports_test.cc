// SPDX-License-Identifier: Apache-2.0
// Reports that no honest server sends.
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "services/master/core/live_replicas.h"
#include "tests/support/status_matchers.h"
#include "tests/unit/master/core/fake_catalog.h"

namespace ballast::master {
namespace {

using ::ballast::testing::StatusIs;

constexpr ShardId kShard(1);
ChunkHandle Handle(uint64_t sequence) { return ChunkHandle(kShard, sequence); }

class HostileReportsTest : public ::testing::Test {
 protected:
  absl::StatusOr<LiveReplicas::Ingested> Take(const v1::ShardReport& report) {
    LiveReplicas::Cursor cursor;
    int64_t work = LiveReplicas::kNoBound;
    return replicas_.Ingest(ServerIndex(1), report, cursor, work, SteadyTime());
  }

  FakeCatalog catalog_{2};
  LiveReplicas replicas_{catalog_};
};

TEST_F(HostileReportsTest, HostileReportsAreRefused) {
  const auto refused = [&](auto&& change) {
    v1::ShardReport report;
    report.set_shard(kShard.value());
    report.set_full_begin(true);
    auto* r = report.add_replicas();
    r->set_handle(Handle(1).value());
    r->set_length_bytes(1);
    change(report);
    return Take(report);
  };
  EXPECT_OK(refused([](v1::ShardReport&) {}));
  const auto code = absl::StatusCode::kInvalidArgument;
  EXPECT_THAT(refused([](auto& r) { r.set_shard(2); }), StatusIs(code));
  EXPECT_THAT(refused([](auto& r) { r.set_shard(0xFFFFFFFF); }), StatusIs(code));
  EXPECT_THAT(refused([](auto& r) { r.mutable_replicas(0)->set_handle(5); }), StatusIs(code));
  EXPECT_THAT(refused([](auto& r) { r.mutable_replicas(0)->set_handle(Handle(0).value()); }),
              StatusIs(code));
  EXPECT_THAT(refused([](auto& r) { r.mutable_replicas(0)->set_length_bytes(MiB(64) + 1); }),
              StatusIs(code));
}

TEST_F(HostileReportsTest, HostileBucketsAreRefused) {
  constexpr uint64_t kBuckets = (ChunkHandle::kSequenceMax + 1) / kBucketSequences;
  const auto taken = [&](auto&& change) {
    v1::ShardReport report;
    report.set_shard(kShard.value());
    change(report);
    return Take(report).status();
  };
  const auto with_buckets = [&](std::vector<std::pair<uint64_t, uint32_t>> buckets) {
    return taken([&](auto& r) {
      r.set_all_buckets(true);
      for (const auto& [bucket, count] : buckets) {
        r.add_buckets()->set_bucket(bucket);
        r.mutable_buckets(r.buckets_size() - 1)->set_replica_count(count);
      }
    });
  };
  const auto whole = [&](uint64_t bucket, std::vector<uint64_t> sequences) {
    return taken([&](auto& r) {
      r.set_whole_bucket(true);
      r.set_bucket(bucket);
      for (const uint64_t s : sequences) {
        r.add_replicas()->set_handle(ChunkHandle(kShard, s).value());
      }
    });
  };
  EXPECT_OK(with_buckets({{0, 1}, {kBuckets - 1, 4096}})) << "nobody asked: ignored";
  EXPECT_OK(whole(kBuckets - 1, {ChunkHandle::kSequenceMax}));
  EXPECT_OK(taken([](auto& r) { r.set_offer(true); }));
  const auto invalid = StatusIs(absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(with_buckets({{5, 1}, {5, 1}}), invalid);
  EXPECT_THAT(with_buckets({{5, 1}, {4, 1}}), invalid);
  EXPECT_THAT(with_buckets({{5, 0}}), invalid);
  EXPECT_THAT(with_buckets({{5, 4097}}), invalid);
  EXPECT_THAT(with_buckets({{kBuckets, 1}}), invalid);
  EXPECT_THAT(with_buckets({{~uint64_t{0}, 1}}), invalid);
  EXPECT_THAT(whole(kBuckets, {}), invalid);
  EXPECT_THAT(whole(~uint64_t{0}, {}), invalid);
  EXPECT_THAT(whole(1, {4095}), invalid);
  EXPECT_THAT(whole(1, {8192}), invalid);
  EXPECT_THAT(whole(1, {4097, 4097}), invalid);
  EXPECT_THAT(whole(1, {4098, 4097}), invalid);
  EXPECT_THAT(whole(0, {0}), invalid);
  EXPECT_THAT(taken([](auto& r) {
                r.set_whole_bucket(true);
                r.add_replicas()->set_handle(ChunkHandle(ShardId(0), 7).value());
              }),
              invalid)
      << "another shard's";
  EXPECT_THAT(taken([](auto& r) {
                r.set_offer(true);
                r.set_full_begin(true);
              }),
              invalid);
  EXPECT_THAT(taken([](auto& r) {
                r.set_offer(true);
                r.add_replicas()->set_handle(Handle(1).value());
              }),
              invalid);
  EXPECT_THAT(taken([](auto& r) {
                r.set_whole_bucket(true);
                r.add_removed_handles(Handle(1).value());
              }),
              invalid);
  EXPECT_THAT(taken([](auto& r) { r.add_buckets()->set_replica_count(1); }), invalid);
}

}  // namespace
}  // namespace ballast::master
