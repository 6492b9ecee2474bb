// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/cancellation.h"
#include "client/maintenance_client.h"
#include "client/object_copier.h"
#include "client/object_lister.h"
#include "client/object_reader.h"
#include "client/object_writer.h"
#include "client/options.h"
#include "client/sink.h"
#include "client/source.h"
#include "common/rpc/shardctl_client.h"
#include "protos/master_service.pb.h"
#include "protos/shardctl_service.pb.h"

namespace ballast::client {

struct DeleteOptions {
  std::optional<uint64_t> if_generation_match;
  Cancellation* cancel = nullptr;
};

struct ListOptions {
  std::string prefix;
  std::string start_after;  // the last key of the page before; need not exist
  size_t limit = 1000;      // >= 1
  Cancellation* cancel = nullptr;
};

struct ListResult {
  std::vector<v1::ObjectInfo> objects;  // in the order of key bytes
  bool more = false;                    // there may be more: go on with start_after = the last key
};

// One small operation of a Batch.
struct BatchOperation {
  enum class Kind { kPut, kDelete, kGet };
  Kind kind = Kind::kGet;
  std::string key;
  std::string value;                            // kPut: at most the cluster's inline_bytes
  std::optional<uint64_t> if_generation_match;  // kPut, kDelete
};
struct BatchResult {
  uint64_t generation = 0;
  std::string value;      // kGet of an inline value
  bool is_inline = true;  // kGet: false: too large for a batch, use Get
};

// One member of a group, or why it could not be asked.
struct MemberStatus {
  uint32_t group = 0;
  std::string address;
  absl::StatusOr<v1::GetGroupStatusResponse> status;
};
struct ClusterStatus {
  std::string cluster_id;
  uint32_t shard_count = 0;
  uint64_t config_version = 0;  // 0: no group has joined yet
  std::vector<MemberStatus> members = {};
  v1::Registry registry = {};
  // As one group's leader sees them.
  absl::StatusOr<std::vector<v1::ServerStatus>> servers = absl::UnknownError("not asked");
};

// A Ballast cluster, to programs.
//
// Consistency. Every read sees all mutations that were answered before it began (linearizable per
// object; List per page). A Put is visible as a whole or not at all; a Get delivers bytes of one
// generation only. OK of a mutation: it is durable on a majority of its group, and its chunks
// on at least the cluster's min_replicas servers. `if_generation_match` makes compare-and-set.
//
// Retries. All calls find leaders, follow moved shards and retry what may succeed, for
// options.retry.total (10 minutes) at most; use `cancel` for less. Mutations are applied exactly
// once, however often they were retried. Errors are definite (nothing happened, nothing will),
// except those with reason OUTCOME_UNKNOWN (ReasonOf in common/types/error.h): then nobody can say;
// read, or repeat with a precondition. docs/protocols/errors.md lists all reasons.
//
// Threads. Thread-safe; calls block. A Put or Get of a large object runs up to puts_in_flight or
// gets_in_flight threads of its own while it lasts.
//
// Memory. Below 64 MiB + 4 MiB for each chunk in flight, whatever the size of the object: files
// are sent from and received into the file; only sources that cannot be read twice are held by the
// chunk (stream_chunk_bytes), only ordered sinks by the piece (ordered_piece_bytes).
//
// Lifetime. The destructor closes the sessions (best effort, <= 2 s a group); no call may be
// running.
class Client {
 public:
  // Finds the cluster: its id, settings and configuration.
  //   INVALID_ARGUMENT   an option is out of its range; the text names it
  //   UNAVAILABLE        no shard controller answered for connect_timeout
  //   FAILED_PRECONDITION / WRONG_CLUSTER
  static absl::StatusOr<std::unique_ptr<Client>> Connect(ClientOptions options);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  // Stores an object; see ObjectWriter.
  absl::StatusOr<PutResult> Put(const std::string& key, Source& source, const PutOptions& put);

  // Reads an object or a range of it; see ObjectReader.
  absl::StatusOr<GetResult> Get(const std::string& key, Sink& sink, const GetOptions& get);

  // Copies an object within the cluster, bytes and user metadata; see ObjectCopier.
  absl::StatusOr<CopyResult> Copy(const std::string& source, const std::string& target,
                                  const CopyOptions& copy);

  // Facts of an object. NOT_FOUND / OBJECT_NOT_FOUND.
  absl::StatusOr<v1::ObjectInfo> Stat(const std::string& key, Cancellation* cancel = nullptr);

  // Removes an object; returns the generation removed. NOT_FOUND / OBJECT_NOT_FOUND,
  // FAILED_PRECONDITION / GENERATION_MISMATCH.
  absl::StatusOr<uint64_t> Delete(const std::string& key, const DeleteOptions& options);

  // Sets how many replicas an object and its chunks should have, 1..5; its generation stays. They
  // are made and trimmed in the background. NOT_FOUND / OBJECT_NOT_FOUND, FAILED_PRECONDITION /
  // OBJECT_INLINE: the value lies in the metadata and has as many copies as its group has masters.
  absl::Status SetReplication(const std::string& key, uint32_t wanted_replicas,
                              Cancellation* cancel = nullptr);

  // Moves replicas between chunk servers; see MetadataClient::MoveReplicas.
  std::vector<MoveOutcome> MoveReplicas(std::vector<v1::MoveReplicasRequest::Move> moves,
                                        absl::Duration call_timeout,
                                        Cancellation* cancel = nullptr);

  // How evenly the live servers are filled, as the first group that answers sees them.
  absl::StatusOr<v1::CheckBalanceResponse> CheckBalance(Cancellation* cancel = nullptr);

  // Repair, rebalancing, drains: what the masters do by themselves, and words of an operator in it.
  MaintenanceClient& maintenance();

  // One page of objects. To walk many, Lister saves calls.
  absl::StatusOr<ListResult> List(const ListOptions& options);
  // Walks all pages; must not outlive the client.
  ObjectLister Lister(const ListOptions& options);

  // Many small operations at once, each with its own outcome, in the order given: one log entry and
  // one disk sync a group instead of one each. Not atomic. Operations on one key take effect in
  // their order unless one of them had to be retried.
  std::vector<absl::StatusOr<BatchResult>> Batch(const std::vector<BatchOperation>& operations,
                                                 Cancellation* cancel = nullptr);

  // How the cluster is. Members that do not answer within 2 s are shown as such.
  absl::StatusOr<ClusterStatus> Status(Cancellation* cancel = nullptr);

  // The shard controller, for groups, servers' states and settings.
  ShardctlClient& controller();
  // The calls to masters below all this, for programs that are part of the cluster (the gateway).
  MetadataClient& metadata();

 private:
  struct State;
  explicit Client(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

}  // namespace ballast::client
