// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "client/cancellation.h"
#include "client/client.h"
#include "common/base/byte_units.h"
#include "common/rpc/channel_pool.h"
#include "common/types/ids.h"
#include "protos/chunkserver_control_service.grpc.pb.h"

namespace ballast::gateway {

// What a heartbeat message says of its server, beside its chunks.
struct ServerFacts {
  double utilization_pct = 0;  // 0..100
  // Empty, "ok" and "healthy" (in any case of letters) are health; anything else makes the server
  // DEGRADED: it counts and is read, and gets no new replicas. Cut to what a heartbeat may hold.
  std::string health;
  // > 0. Some size, for servers whose percentage alone matters.
  uint64_t capacity_bytes = TiB(1);
};

// A server that messages name. What is public never changes; the rest is the relay's.
class RelayedServer {
 public:
  RelayedServer(std::string name_in, std::string id_in, ServerIndex index_in)
      : name(std::move(name_in)), id(std::move(id_in)), index(index_in) {}
  const std::string name;
  const std::string id;
  const ServerIndex index;

 private:
  friend class HeartbeatRelay;
  // Held while lists are on their way, so that they arrive in their order. Messages without lists
  // need none.
  absl::Mutex order_mu_ ABSL_ACQUIRED_BEFORE(mu_);
  absl::Mutex mu_;  // a leaf
  uint64_t last_sequence_ ABSL_GUARDED_BY(mu_) = 0;
  bool heard_ ABSL_GUARDED_BY(mu_) = false;
  ServerFacts facts_ ABSL_GUARDED_BY(mu_);
  std::vector<v1::CommandResult> results_ ABSL_GUARDED_BY(mu_);  // not told yet
  std::vector<v1::Command> unclaimed_ ABSL_GUARDED_BY(mu_);      // came when nobody could take them
};

struct RelayOptions {
  std::string address;        // of every server: where its chunks can be read, or this process
  uint64_t boot_epoch = 1;    // of every server
  bool no_placement = false;  // their bytes cannot be reached
  absl::Duration patience = absl::Seconds(10);  // of one call, all its tries
};

// Registers servers that only messages name, and speaks for them to the leaders of all groups by
// unary heartbeats (docs/protocols/heartbeat.md, "Relayed heartbeats").
//
// Guarantees: the lists of one server arrive in the order in which they were filled. A result that
// was given to AddResult goes with the next heartbeat of its server until one was answered.
// Concurrency: thread-safe; calls block.
// Ownership: `client` outlives it; servers live as long as the relay.
// Failure: the masters' and the shard controller's errors; UNAVAILABLE when the patience is over.
class HeartbeatRelay {
 public:
  using Commands = std::vector<v1::Command>;
  using Lists = google::protobuf::RepeatedPtrField<v1::ShardReport>;
  // Writes the server's whole list (core/replica_lists.h). Called with the server's order held, so
  // that of two lists the later one is sent later.
  using FillLists = absl::FunctionRef<void(Lists*)>;

  HeartbeatRelay(client::Client& client, std::string cluster_id, RelayOptions options);
  HeartbeatRelay(const HeartbeatRelay&) = delete;
  HeartbeatRelay& operator=(const HeartbeatRelay&) = delete;

  // Ends calls under way and later ones (CANCELLED).
  void Stop() { stop_.Cancel(); }

  // Null if the name is not registered here.
  RelayedServer* Find(absl::string_view name) const;
  RelayedServer* FindById(absl::string_view id) const;
  RelayedServer* FindByIndex(ServerIndex index) const;
  // INVALID_ARGUMENT: the name is empty, too long or has control characters.
  absl::StatusOr<RelayedServer*> FindOrRegister(const std::string& name);

  // A sign of life given `age` ago, with what the server says of itself and all its chunks.
  absl::StatusOr<Commands> Send(RelayedServer& server, const ServerFacts& facts, absl::Duration age,
                                FillLists lists);
  // The same without a word about chunks.
  absl::StatusOr<Commands> SendBeat(RelayedServer& server, const ServerFacts& facts,
                                    absl::Duration age);
  // All its chunks, and no sign of life.
  absl::StatusOr<Commands> Report(RelayedServer& server, FillLists lists);
  // Only fetches commands.
  absl::StatusOr<Commands> Poll(RelayedServer& server);
  // A sign of life now, facts as before; one try of a second at most. Nothing if the server has not
  // been heard. Commands that come are given to the next caller of the others.
  void Touch(RelayedServer& server);

  // Says of all servers that were heard that they are stopping: whoever speaks for them next need
  // not wait until they are late. Best effort, one try each, until a master does not answer in
  // time: however many servers there are, the end waits for one such try.
  void SayStopping();

  void AddResult(RelayedServer& server, v1::CommandResult result);

 private:
  v1::Heartbeat Begin(RelayedServer& server);
  v1::Heartbeat BeginBeat(RelayedServer& server, const ServerFacts& facts, absl::Duration age);
  // One try at every group. Nothing if the server has not been heard. False: some group did not
  // answer in time.
  bool TryBeat(RelayedServer& server, bool stopping);
  absl::StatusOr<Commands> SendToAll(RelayedServer& server, const v1::Heartbeat& heartbeat);
  absl::StatusOr<v1::Heartbeat> PartOf(const v1::Heartbeat& heartbeat, GroupId group);
  // `is_new`: no heartbeat of the server was answered so far.
  absl::StatusOr<v1::HeartbeatReply> SendTo(GroupId group, const v1::Heartbeat& heartbeat,
                                            bool is_new);
  absl::StatusOr<v1::HeartbeatReply> TryOnce(const std::string& address,
                                             const v1::Heartbeat& heartbeat,
                                             absl::Duration timeout);

  client::Client& client_;
  const std::string cluster_id_;
  const RelayOptions options_;
  const uint64_t incarnation_;
  client::Cancellation stop_;
  ChannelPool channels_;  // heartbeats have connections of their own

  mutable absl::Mutex mu_;
  absl::btree_map<std::string, std::unique_ptr<RelayedServer>> servers_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ballast::gateway
