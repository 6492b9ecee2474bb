// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/btree_set.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/env/clock.h"
#include "common/env/executor.h"
#include "common/rpc/retry_policy.h"
#include "common/types/shard_config.h"
#include "protos/chunkserver_control_service.pb.h"
#include "services/chunkserver/control/master_stream.h"
#include "services/chunkserver/control/post_gate.h"
#include "services/chunkserver/store/chunk_store.h"

namespace ballast::chunkserver {

// The conversation with one group of masters: finds its leader, keeps one stream to it, reports.
//
// Guarantees: a new stream begins with each of the group's shards: with an offer if its list was
// told to the end on an earlier stream, else with the full list, in pages; and goes on with changes
// and with what the master asks for (ReportBuilder). Who speaks is said in a stream's first message
// only; a heartbeat without news takes less than 128 bytes. At most kUnansweredMax reports are
// unanswered, so that a slow master bounds what is sent. A heartbeat goes out every interval
// whatever else there is to say; a stream on which nothing is answered for `silence_max` is given
// up for the next master. Concurrency: lives on one executor; every method and callback runs there.
class GroupSession {
 public:
  static constexpr uint64_t kUnansweredMax = 2;
  static constexpr size_t kShardsPerReportMax = 1024;
  // Results that wait for a report; what exceeds it is dropped, and ordered again by the master.
  static constexpr size_t kResultsMax = 4096;

  // What all sessions share.
  struct World {
    Executor& executor;
    Clock& clock;
    std::shared_ptr<PostGate> gate;  // leads to `executor`
    ChunkStore& store;
    MasterStreams& streams;
    // Everything but sequence, shards and results.
    std::function<v1::Heartbeat()> make_heartbeat;
    std::function<absl::Duration()> interval;
    std::function<void(uint64_t source, const v1::HeartbeatReply& reply)> on_commands;
    std::function<void()> on_unknown_server;  // register again
    std::function<void(const absl::Status&)> on_fatal;
  };

  // `source` is the key of this session for commands, never used again.
  GroupSession(World& world, uint64_t source, GroupMembers members, std::vector<ShardId> shards);
  ~GroupSession();

  uint64_t source() const { return source_; }
  const GroupMembers& members() const { return members_; }
  // The group owns these now.
  void SetShards(const std::vector<ShardId>& shards);

  // World::interval() gives another value: the next heartbeat is due by that.
  void OnIntervalChanged();
  // The store has something to report.
  void OnNews();
  void AddResult(v1::CommandResult result);
  // Says good-bye: a last heartbeat, then the end of the stream. Afterwards no timer of it is set,
  // so that it may outlive the executor.
  void SayStopping();

 private:
  void Connect();
  void Tick();
  void Report(bool is_heartbeat);
  void OnReply(uint64_t stream_number, const v1::HeartbeatReply& reply);
  void OnEnd(uint64_t stream_number, const absl::Status& status);
  void Reconnect(const absl::Status& why);

  const std::shared_ptr<GroupSession*> alive_;  // on the executor: lives as long as this
  World& world_;
  const uint64_t source_;
  const GroupMembers members_;
  absl::btree_set<ShardId> shards_;
  ChunkStore::ReporterId reporter_;
  LeaderRoute route_;
  Backoff backoff_;

  std::unique_ptr<MasterStream> stream_;  // null: waiting to connect
  uint64_t stream_number_ = 0;            // events of older streams are ignored
  bool lists_started_ = false;            // on this stream
  uint64_t sent_ = 0;                     // heartbeats on this stream
  uint64_t answered_ = 0;
  SteadyTime last_answer_;
  uint64_t sequence_ = 0;  // of the process to this group
  std::vector<v1::CommandResult> results_;
  std::optional<Executor::TimerId> tick_timer_;
  std::optional<Executor::TimerId> connect_timer_;
  bool stopping_ = false;
};

}  // namespace ballast::chunkserver
