// SPDX-License-Identifier: Apache-2.0
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/integration/master/service_fixture.h"
#include "tests/support/status_matchers.h"

namespace ballast::master {
namespace {

using testing::HasReason;
using Stub = v1::Master::Stub;

class LargeWriteTest : public ServiceFixture {
 protected:
  v1::BeginWriteResponse Begin(const std::string& key, uint32_t chunk_count) {
    v1::BeginWriteResponse response;
    EXPECT_OK(Call(&Stub::BeginWrite, BeginRequest(key, chunk_count), &response));
    return response;
  }
  // Seals position i with handles[i], 100 bytes each.
  absl::Status Seal(uint64_t draft, const std::vector<uint64_t>& handles) {
    v1::SealChunksRequest request;
    Identify(static_cast<uint32_t>(draft >> 48), request.mutable_request());
    request.set_draft_id(draft);
    for (size_t i = 0; i < handles.size(); ++i) {
      v1::SealedChunk& chunk = *request.add_chunks();
      chunk.set_handle(handles[i]);
      chunk.set_position(i);
      chunk.set_length_bytes(100);
      chunk.set_crc32c(kChunk.value);
      chunk.add_server_indexes(1);
      chunk.add_server_indexes(3);
    }
    v1::SealChunksResponse response;
    return Call(&Stub::SealChunks, request, &response);
  }
  v1::CommitObjectRequest CommitRequest(const std::string& key, uint64_t draft, uint64_t count) {
    v1::CommitObjectRequest request;
    Identify(ShardOf(key), request.mutable_request());
    request.set_key(key);
    request.set_draft_id(draft);
    request.set_chunk_count(count);
    request.set_size_bytes(100 * count);
    Crc32c crc;
    for (uint64_t i = 0; i < count; ++i) crc = ConcatCrc32c(crc, kChunk, 100);
    request.set_crc32c(crc.value);
    return request;
  }
  // A whole write; returns its generation.
  uint64_t Write(const std::string& key, uint32_t count) {
    const v1::BeginWriteResponse begun = Begin(key, count);
    std::vector<uint64_t> handles;
    for (const v1::ChunkPlacement& chunk : begun.chunks()) handles.push_back(chunk.handle());
    EXPECT_OK(Seal(begun.draft_id(), handles));
    v1::CommitObjectResponse response;
    EXPECT_OK(Call(&Stub::CommitObject, CommitRequest(key, begun.draft_id(), count), &response));
    return response.generation();
  }
  absl::Status Chunks(const std::string& key, uint64_t generation, uint64_t first, uint32_t count,
                      v1::GetChunksResponse* page) {
    v1::GetChunksRequest request;
    request.set_key(key);
    request.set_generation(generation);
    request.set_first_position(first);
    request.set_count(count);
    return Call(&Stub::GetChunks, request, page);
  }

  const Crc32c kChunk{0x1234};
};

TEST_F(LargeWriteTest, BeginsSealsCommitsAndIsRead) {
  Start();
  const v1::BeginWriteResponse begun = Begin("k", 2);
  EXPECT_EQ(begun.wanted_replicas(), 3u);
  EXPECT_EQ(begun.required_replicas(), 2u);
  EXPECT_EQ(begun.expiry_ms(), 3'600'000u);
  ASSERT_EQ(begun.chunks_size(), 2);
  ASSERT_EQ(begun.chunks(0).servers_size(), 3);
  EXPECT_EQ(begun.chunks(0).servers(0).server_id(), "server-1");

  // One more, and one instead of the second, on other servers.
  v1::AllocateChunksRequest more;
  Identify(ShardOf("k"), more.mutable_request());
  more.set_draft_id(begun.draft_id());
  more.set_chunk_count(2);
  more.set_chunk_bytes(100);
  more.add_avoid_server_ids("server-1");
  v1::AllocateChunksResponse allocated;
  ASSERT_OK(Call(&Stub::AllocateChunks, more, &allocated));
  ASSERT_EQ(allocated.chunks_size(), 2);
  EXPECT_EQ(allocated.chunks(0).servers(0).server_id(), "server-2");
  const std::string first_answer = allocated.SerializeAsString();
  ASSERT_OK(Call(&Stub::AllocateChunks, more, &allocated));
  EXPECT_EQ(allocated.SerializeAsString(), first_answer) << "a retry gives the same handles";

  const std::vector<uint64_t> handles = {begun.chunks(0).handle(), allocated.chunks(1).handle(),
                                         allocated.chunks(0).handle()};
  ASSERT_OK(Seal(begun.draft_id(), handles));
  const v1::CommitObjectRequest commit = CommitRequest("k", begun.draft_id(), 3);
  v1::CommitObjectResponse committed;
  ASSERT_OK(Call(&Stub::CommitObject, commit, &committed));
  ASSERT_OK(Call(&Stub::CommitObject, commit, &committed)) << "a retry";
  EXPECT_EQ(committed.generation(), 1u);

  v1::GetObjectResponse got;
  ASSERT_OK(Get("k", &got));
  EXPECT_EQ(got.object().size_bytes(), 300u);
  EXPECT_EQ(got.object().chunk_count(), 3u);
  EXPECT_FALSE(got.object().is_inline());
  ASSERT_EQ(got.chunks_size(), 3);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(got.chunks(i).handle(), handles[i]);
    EXPECT_EQ(got.chunks(i).position(), static_cast<uint64_t>(i));
    EXPECT_EQ(got.chunks(i).offset_bytes(), 100u * i);
    EXPECT_EQ(got.chunks(i).length_bytes(), 100u);
    EXPECT_EQ(got.chunks(i).crc32c(), kChunk.value);
    ASSERT_EQ(got.chunks(i).replicas_size(), 2);
    EXPECT_EQ(got.chunks(i).replicas(1).server_id(), "server-3");
  }
  v1::GetChunksResponse page;
  ASSERT_OK(Chunks("k", 1, 1, 1, &page));
  ASSERT_EQ(page.chunks_size(), 1);
  EXPECT_EQ(page.chunks(0).SerializeAsString(), got.chunks(1).SerializeAsString());
  ASSERT_OK(Chunks("k", 1, 3, 5, &page));
  EXPECT_EQ(page.chunks_size(), 0);
}

TEST_F(LargeWriteTest, WithoutEnoughServersNothingIsBegun) {
  Start();
  OnExecutor([this] { view_.servers = 1; });
  v1::BeginWriteResponse response;
  EXPECT_THAT(Call(&Stub::BeginWrite, BeginRequest("k", 0), &response),
              HasReason(v1::REASON_TOO_FEW_SERVERS));
  OnExecutor([this] { EXPECT_EQ(machine_.Count().drafts, 0u); });
  v1::BeginWriteRequest single = BeginRequest("k", 1);
  single.set_wanted_replicas(1);
  ASSERT_OK(Call(&Stub::BeginWrite, single, &response)) << "required = min(min_replicas, wanted)";
  EXPECT_EQ(response.required_replicas(), 1u);
}

TEST_F(LargeWriteTest, WithoutPlacementNobodyIsAskedForServers) {
  Start();
  OnExecutor([this] { view_.servers = 0; });
  v1::BeginWriteRequest request = BeginRequest("k", 2);
  request.set_no_placement(true);
  request.clear_chunk_bytes();
  v1::BeginWriteResponse begun;
  ASSERT_OK(Call(&Stub::BeginWrite, request, &begun));
  ASSERT_EQ(begun.chunks_size(), 2);
  EXPECT_EQ(begun.chunks(0).servers_size() + begun.chunks(1).servers_size(), 0);
  EXPECT_EQ(begun.required_replicas(), 2u);
  v1::BeginWriteResponse again;
  ASSERT_OK(Call(&Stub::BeginWrite, request, &again));
  EXPECT_EQ(again.SerializeAsString(), begun.SerializeAsString()) << "a retry";
  request.set_no_placement(false);
  request.set_chunk_bytes(1);
  EXPECT_THAT(Call(&Stub::BeginWrite, request, &again), HasReason(v1::REASON_TOO_FEW_SERVERS));
}

TEST_F(LargeWriteTest, OneBatchBeginsManyWritesAndAnotherEndsThem) {
  Start();
  constexpr int kCount = 300;
  const auto key = [](int i) { return absl::StrCat("k", i); };
  v1::BatchRequest begin;
  for (int i = 0; i < kCount; ++i) {
    *begin.add_operations()->mutable_begin_write() = BeginRequest(key(i), 1);
    begin.mutable_operations(i)->mutable_begin_write()->set_no_placement(i % 2 == 0);
  }
  v1::BatchResponse begun;
  ASSERT_OK(Call(&Stub::Batch, begin, &begun));
  ASSERT_EQ(begun.outcomes_size(), kCount);
  v1::BatchRequest end;
  for (int i = 0; i < kCount; ++i) {
    const v1::BeginWriteResponse& one = begun.outcomes(i).begin_write();
    ASSERT_EQ(one.chunks_size(), 1) << begun.outcomes(i).text();
    EXPECT_EQ(one.chunks(0).servers_size(), i % 2 == 0 ? 0 : 3);
    v1::SealChunksRequest& seal = *end.add_operations()->mutable_seal_chunks();
    Identify(ShardOf(key(i)), seal.mutable_request());
    seal.set_draft_id(one.draft_id());
    v1::SealedChunk& chunk = *seal.add_chunks();
    chunk.set_handle(one.chunks(0).handle());
    chunk.set_length_bytes(100);
    chunk.set_crc32c(kChunk.value);
    for (uint32_t server : {1u, 2u}) chunk.add_server_indexes(server);
    *end.add_operations()->mutable_commit_object() = CommitRequest(key(i), one.draft_id(), 1);
    v1::SetReplicationRequest& set = *end.add_operations()->mutable_set_replication();
    Identify(ShardOf(key(i)), set.mutable_request());
    set.set_key(key(i));
    set.set_wanted_replicas(4);
  }
  v1::BatchResponse ended;
  ASSERT_OK(Call(&Stub::Batch, end, &ended));
  for (const v1::BatchResponse::Outcome& outcome : ended.outcomes()) {
    EXPECT_EQ(outcome.code(), 0u) << outcome.text();
  }
  v1::GetObjectResponse got;
  ASSERT_OK(Get(key(kCount - 1), &got));
  EXPECT_EQ(got.object().wanted_replicas(), 4u);
  EXPECT_EQ(got.chunks_size(), 1);
}

TEST_F(LargeWriteTest, TheNumberOfReplicasChangesWithoutANewGeneration) {
  Start();
  const uint64_t generation = Write("k", 2);
  ASSERT_OK(Put("inline", "v"));
  const auto set = [&](const std::string& key, uint32_t wanted) {
    v1::SetReplicationRequest request;
    Identify(ShardOf(key), request.mutable_request());
    request.set_key(key);
    request.set_wanted_replicas(wanted);
    v1::SetReplicationResponse response;
    return Call(&Stub::SetReplication, request, &response);
  };
  ASSERT_OK(set("k", 5));
  v1::GetObjectResponse got;
  ASSERT_OK(Get("k", &got));
  EXPECT_EQ(got.object().wanted_replicas(), 5u);
  EXPECT_EQ(got.object().generation(), generation);
  EXPECT_THAT(set("inline", 2), HasReason(v1::REASON_OBJECT_INLINE));
  EXPECT_EQ(set("inline", 2).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(set("missing", 2), HasReason(v1::REASON_OBJECT_NOT_FOUND));
  EXPECT_THAT(set("k", 0), HasReason(v1::REASON_INVALID_ARGUMENT));
  EXPECT_THAT(set("k", 6), HasReason(v1::REASON_INVALID_ARGUMENT));
}

TEST_F(LargeWriteTest, AnAllocationThatFoundNoServersMayBeRetried) {
  Start();
  const v1::BeginWriteResponse begun = Begin("k", 0);
  v1::AllocateChunksRequest more;
  Identify(ShardOf("k"), more.mutable_request());
  more.set_draft_id(begun.draft_id());
  more.set_chunk_count(1);
  more.set_chunk_bytes(100);
  OnExecutor([this] { view_.servers = 1; });
  v1::AllocateChunksResponse allocated;
  EXPECT_THAT(Call(&Stub::AllocateChunks, more, &allocated), HasReason(v1::REASON_TOO_FEW_SERVERS));
  OnExecutor([this] { view_.servers = 3; });
  ASSERT_OK(Call(&Stub::AllocateChunks, more, &allocated));
  EXPECT_EQ(allocated.chunks(0).handle() & ChunkHandle::kSequenceMax, 1u);
}

TEST_F(LargeWriteTest, AReplacedGenerationIsReadableForItsGracePeriodOnly) {
  Start();
  v1::Settings settings = DefaultSettings();
  settings.set_grace_ms(3'600'000);
  service_.SetSettings(settings);
  const uint64_t first = Write("k", 2);
  settings.set_grace_ms(0);
  const uint64_t second = Write("k", 2);
  v1::GetChunksResponse page;
  EXPECT_OK(Chunks("k", first, 0, 9, &page));
  EXPECT_EQ(page.chunks_size(), 2);
  service_.SetSettings(settings);
  Write("k", 1);  // dooms the second generation, due at once
  for (;;) {      // the expiry loop ticks every 5 ms
    const absl::Status status = Chunks("k", second, 0, 9, &page);
    if (ReasonOf(status) == v1::REASON_GENERATION_GONE) break;
    ASSERT_OK(status);
  }
  EXPECT_OK(Chunks("k", first, 0, 9, &page));
  EXPECT_THAT(Chunks("k", 99, 0, 9, &page), HasReason(v1::REASON_OBJECT_NOT_FOUND));
}

TEST_F(LargeWriteTest, ADraftEndsWhenAbortedOrUnrenewed) {
  Start();
  const v1::BeginWriteResponse begun = Begin("k", 1);
  v1::AbortWriteRequest abort;
  Identify(ShardOf("k"), abort.mutable_request());
  abort.set_draft_id(begun.draft_id());
  v1::AbortWriteResponse aborted;
  ASSERT_OK(Call(&Stub::AbortWrite, abort, &aborted));
  EXPECT_THAT(Seal(begun.draft_id(), {begun.chunks(0).handle()}),
              HasReason(v1::REASON_DRAFT_ENDED));

  v1::Settings settings = DefaultSettings();
  settings.set_draft_expiry_ms(1);
  service_.SetSettings(settings);
  const v1::BeginWriteResponse second = Begin("k", 1);
  v1::GetGroupStatusResponse group;
  do {
    ASSERT_OK(Call(&Stub::GetGroupStatus, v1::GetGroupStatusRequest(), &group));
  } while (group.draft_count() > 0);
  v1::CommitObjectResponse committed;
  EXPECT_THAT(Call(&Stub::CommitObject, CommitRequest("k", second.draft_id(), 0), &committed),
              HasReason(v1::REASON_DRAFT_ENDED));
}

TEST_F(LargeWriteTest, BadWritesNameTheField) {
  Start();
  const auto expect = [](const absl::Status& status, const std::string& field) {
    EXPECT_THAT(status, HasReason(v1::REASON_INVALID_ARGUMENT)) << field;
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr(field));
  };
  v1::BeginWriteResponse begun;
  const auto begin = [&](auto change, const std::string& field) {
    v1::BeginWriteRequest request = BeginRequest("k", 1);
    change(request);
    expect(Call(&Stub::BeginWrite, request, &begun), field);
  };
  begin([](auto& r) { r.set_wanted_replicas(6); }, "wanted_replicas");
  begin([](auto& r) { r.set_chunk_count(257); }, "chunk_count");
  begin([](auto& r) { r.set_chunk_bytes(0); }, "chunk_bytes");
  begin([](auto& r) { r.set_chunk_bytes((64u << 20) + 1); }, "chunk_bytes");
  begin([](auto& r) { r.clear_request(); }, "session_id");
  begun = Begin("k", 1);
  expect(Seal(begun.draft_id(), {}), "chunks");
  expect(Seal(begun.draft_id(), {begun.chunks(0).handle() + 1}), "handle");
  v1::CommitObjectRequest commit = CommitRequest("k", begun.draft_id(), 1);
  v1::CommitObjectResponse committed;
  expect(Call(&Stub::CommitObject, commit, &committed), "positions");
  commit.set_draft_id(begun.draft_id() ^ (uint64_t{1} << 48));
  expect(Call(&Stub::CommitObject, commit, &committed), "draft_id");
  commit.set_draft_id(0);
  expect(Call(&Stub::CommitObject, commit, &committed), "draft_id");
}

}  // namespace
}  // namespace ballast::master
