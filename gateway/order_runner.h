// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/env/executor.h"
#include "common/routing/replica_digest.h"
#include "gateway/chunk_book.h"
#include "gateway/heartbeat_relay.h"
#include "services/chunkserver/hosted_servers.h"

namespace ballast::gateway {

// Carries the masters' commands out on the hosted chunk stores, keeps the book of what servers
// hold, and reports at once.
//
// A server's store begins to exist when a command needs it, and so do the files of adopted chunks:
// zeros in sparse files, made before a command that reads or deletes them. A replica that was
// received or deleted by command is so in the store as well.
//
// Guarantees: commands for one server and chunk are carried out in the order of Take; the result of
// each goes to the masters with the server's list as it is then.
// Concurrency: thread-safe; methods do not block but where they say so.
// Ownership: `relay` and `book` outlive it; it owns the hosted servers.
class OrderRunner {
 public:
  // `folder` exists; servers' folders are made in it. `facts`: of all adopted chunks.
  OrderRunner(std::unique_ptr<chunkserver::HostedServers> hosted, std::string folder,
              const ReplicaFacts& facts, HeartbeatRelay& relay, ChunkBook& book);
  // Commands that run are finished or cut short, others dropped. Blocks. To be fast, let the relay
  // end its calls before.
  ~OrderRunner();
  OrderRunner(const OrderRunner&) = delete;
  OrderRunner& operator=(const OrderRunner&) = delete;

  // Commands that came for the server in any reply.
  void Take(RelayedServer& server, HeartbeatRelay::Commands commands);

  // The server says that it does not have these any more: their files go as well, if there are any.
  void Drop(RelayedServer& server, std::vector<ChunkHandle> handles);

  // Waits until all deletes that the server was given have been carried out and reported, for
  // `patience` at most. False: some are still under way.
  bool WaitForDeletes(const RelayedServer& server, absl::Duration patience);

 private:
  struct Order;

  // --- on the executor ---
  void Begin(RelayedServer& server, const HeartbeatRelay::Commands& commands);
  absl::Status Prepare(RelayedServer& server, const v1::Command& command);
  absl::StatusOr<chunkserver::ChunkStore*> OpenStore(const RelayedServer& server);
  // Makes the file of a chunk that the server holds and nobody has needed so far.
  absl::Status Materialise(const RelayedServer& server, ChunkHandle handle);
  void Finish(RelayedServer& server, const v1::Command& command, v1::CommandResult result);
  void Report(RelayedServer& server);

  void End(const RelayedServer& server, bool is_delete);

  const std::string folder_;
  const ReplicaFacts facts_;
  HeartbeatRelay& relay_;
  ChunkBook& book_;
  std::atomic<bool> stopping_{false};

  // Used on the executor.
  std::set<RelayedServer*> to_report_;
  std::vector<std::pair<const RelayedServer*, bool>> finished_;  // and not reported

  absl::Mutex mu_;
  absl::btree_map<ServerIndex, int> deletes_ ABSL_GUARDED_BY(mu_);  // under way

  std::unique_ptr<Executor> executor_;  // one thread that blocks on disks and reports
  std::unique_ptr<chunkserver::HostedServers> hosted_;  // ends before executor_
};

}  // namespace ballast::gateway
