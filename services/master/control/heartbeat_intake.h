// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/container/btree_set.h"
#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/env/executor.h"
#include "common/types/ids.h"
#include "protos/chunkserver_control_service.pb.h"
#include "services/master/control/live_view.h"

namespace ballast::master {

// A chunk server's open stream as the intake sees it. Called on the executor; never blocks.
class HeartbeatSink {
 public:
  virtual ~HeartbeatSink() = default;
  // The answer to the heartbeat taken last: the next one may come.
  virtual void Answer(v1::HeartbeatReply reply) = 0;
  // Commands, at any time. False if too much waits to be sent: try again later.
  virtual bool Push(v1::HeartbeatReply reply) = 0;
  // Ends the stream.
  virtual void Close(const absl::Status& status) = 0;
};

// Told of what heartbeats bring that somebody may wait for. On the executor; must not call back
// into the intake.
class HeartbeatObserver {
 public:
  virtual ~HeartbeatObserver() = default;
  // `order`: what the command was, if it is known and had no result yet.
  virtual void OnCommandResult(ServerIndex server, const v1::CommandResult& result,
                               const std::optional<CommandLedger::Order>& order) = 0;
  // A heartbeat of the server has been taken in, lists and all, or its session began anew.
  virtual void OnReport(ServerIndex server) = 0;
};

// Takes heartbeats in, from streams and unary calls, and hands commands out. It only records: what
// follows from a heartbeat is decided by the maintenance loop on its own tick.
//
// Guarantees: a heartbeat counts for liveness when it is handed in, however long its lists are;
// lists are taken in slices of some 2000 replicas, or some 16000 records looked at, a turn of the
// executor; one stream speaks for one server; of several streams of a server the newest accepted
// one counts, the others are closed. Heartbeats that somebody relays (age_ms, no_beat, no_lists)
// are taken as docs/protocols/heartbeat.md says. Refusals (chunkserver_control_service.proto):
// NOT_LEADER, WRONG_CLUSTER, NOT_READY while the registry is not known, UNKNOWN_SERVER,
// INVALID_ARGUMENT, DUPLICATE_SERVER, STALE_BOOT, NOT_HOLDER.
//
// Concurrency: everything on `executor`.
// Ownership and lifetime: references outlive it; a sink stays valid until OnStreamEnded or its
// Close; tasks it posted must not run after its end.
class HeartbeatIntake {
 public:
  using UnaryDone = absl::AnyInvocable<void(absl::StatusOr<v1::HeartbeatReply>)>;

  HeartbeatIntake(Executor& executor, LiveView& view, std::string cluster_id);

  // What NOT_LEADER tells: host:port of the leader, or empty.
  void SetLeaderHint(std::string address) { leader_hint_ = std::move(address); }

  // At most one; null: none. Outlives the intake, or is taken back.
  void SetObserver(HeartbeatObserver* observer) { observer_ = observer; }

  // --- streams ---
  // Returns the stream's number, > 0.
  uint64_t OnStreamBegan(HeartbeatSink* sink);
  // Ends in sink->Answer or sink->Close.
  void OnStreamHeartbeat(uint64_t stream, std::shared_ptr<const v1::Heartbeat> heartbeat);
  // However it ended.
  void OnStreamEnded(uint64_t stream);

  // --- unary ---
  void OnUnaryHeartbeat(std::shared_ptr<const v1::Heartbeat> heartbeat, UnaryDone done);

  // --- commands ---
  // True if the server has a session with room for another command.
  bool CanTake(ServerIndex server) const;
  // Queues a command. Flush sends what is queued to servers with a stream; a unary caller gets it
  // in its next reply. What a session ends with is dropped: it is derived again. Requires: CanTake.
  void Enqueue(ServerIndex server, v1::Command command);
  void Flush();
  // Takes back deletes of this chunk that have not left yet.
  void WithdrawDeletes(ServerIndex server, ChunkHandle handle);

  // The server was removed from the registry.
  void DropServer(ServerIndex server);
  // Ends all streams and what is being taken in (leadership lost, or the process stops).
  void DropAll(const absl::Status& status);

 private:
  // Who reports for a server now: a stream, or unary calls.
  struct Session {
    uint64_t stream = 0;  // 0: unary
    Liveness::Holder holder;
    uint64_t number = 0;         // unique; tells a session from its successor
    uint64_t last_sequence = 0;  // of unary calls
    std::vector<v1::Command> outbox;
  };
  struct Stream {
    HeartbeatSink* sink = nullptr;
    ServerIndex server;  // 0 before its first accepted heartbeat
    // What the first message said and later ones leave out.
    Liveness::Holder holder;
    std::string address;
  };
  // A heartbeat whose lists are being taken in.
  struct Ingest {
    std::shared_ptr<const v1::Heartbeat> heartbeat;
    ServerIndex server;
    uint64_t session = 0;
    bool is_unary = false;
    int shard = 0;                      // next of heartbeat->shards()
    LiveReplicas::Cursor cursor;        // in it
    LiveReplicas::EmptyCursor emptied;  // unary: the shards that were not named
    absl::AnyInvocable<void(absl::Status)> done;
  };

  absl::StatusOr<ServerIndex> Admit(const v1::Heartbeat& heartbeat, uint64_t stream);
  void BeginSession(ServerIndex server, uint64_t stream, Liveness::Holder holder);
  void Record(ServerIndex server, const v1::Heartbeat& heartbeat, const std::string& address);
  // As its latest heartbeat said. Requires: a leader.
  bool IsLoading(ServerIndex server) const;
  void Continue(std::shared_ptr<Ingest> ingest);
  absl::Status TakeSlice(Ingest& ingest, bool* more);
  absl::Status TakeReports(Ingest& ingest, int64_t& work, bool* more);
  void TakeIn(ServerIndex server, const LiveReplicas::Ingested& ingested);
  void AskForLists(ServerIndex server, const v1::Heartbeat& heartbeat, v1::HeartbeatReply& reply);
  // Moves commands of the outbox into `reply`.
  void TakeCommands(Session& session, v1::HeartbeatReply& reply);
  v1::HeartbeatReply MakeReply(ServerIndex server, const v1::Heartbeat& heartbeat);
  void CloseStream(uint64_t stream, const absl::Status& status);

  Executor& executor_;
  LiveView& view_;
  const std::string cluster_id_;
  std::string leader_hint_;
  HeartbeatObserver* observer_ = nullptr;
  uint64_t last_stream_ = 0;
  uint64_t last_session_ = 0;
  absl::btree_map<uint64_t, Stream> streams_;
  absl::btree_map<ServerIndex, Session> sessions_;
  absl::btree_set<ServerIndex> waiting_;  // every server whose outbox is not empty, and others
};

}  // namespace ballast::master
