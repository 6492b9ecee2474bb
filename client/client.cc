// SPDX-License-Identifier: Apache-2.0
#include "client/client.h"

#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/chunk_io.h"
#include "client/grpc_master_api.h"
#include "client/routing_cache.h"
#include "common/base/status_macros.h"
#include "common/base/uuid.h"
#include "common/routing/shard_router.h"
#include "common/types/error.h"
#include "common/types/shard_config.h"

namespace ballast::client {
namespace {

// A server that does not accept a connection for this long is passed over for another replica.
constexpr absl::Duration kReadConnectTimeout = absl::Seconds(2);

class ShardctlSource final : public ClusterSource {
 public:
  explicit ShardctlSource(ShardctlClient& controller) : controller_(controller) {}

  absl::StatusOr<v1::Configuration> CurrentConfiguration() override {
    ASSIGN_OR_RETURN(auto response, controller_.Query(v1::QueryRequest()));
    return std::move(*response.mutable_configuration());
  }

  absl::StatusOr<v1::Registry> CurrentRegistry() override {
    v1::WatchRequest request;
    ASSIGN_OR_RETURN(auto response, controller_.Watch(request));
    return std::move(*response.mutable_registry());
  }

 private:
  ShardctlClient& controller_;
};

// Reads and writes have different ideas of a silent server: a reader has other replicas to go to,
// while a writer waits for other machines' disks.
class ChunkIoTransport final : public ChunkTransport {
 public:
  ChunkIoTransport(const std::string& cluster_id, const ClientOptions& options)
      : writes_({.cluster_id = cluster_id}),
        reads_({.cluster_id = cluster_id,
                .stall_timeout = options.stall_timeout,
                .connect_timeout = std::min(kReadConnectTimeout, options.stall_timeout)}) {}

  absl::StatusOr<ChunkWriteResult> WriteChunk(const ChunkWriteRequest& request,
                                              ChunkSource source) override {
    return writes_.WriteChunk(request, source);
  }
  ChunkReadResult ReadChunk(const ChunkReadRequest& request, ChunkSink sink) override {
    return reads_.ReadChunk(request, sink);
  }

 private:
  ChunkIo writes_;
  ChunkIo reads_;
};

bool IsChunkLength(uint64_t bytes) {
  return bytes >= kBlockBytes && bytes <= kChunkBytesMax && bytes % kBlockBytes == 0;
}

absl::Status ValidateOptions(const ClientOptions& options) {
  if (options.cluster.empty()) {
    return InvalidArgument("no address of a shard controller given");
  }
  for (const std::string& address : options.cluster) {
    RETURN_IF_ERROR(ValidateAddress(address));
  }
  if (!IsChunkLength(options.chunk_bytes) || !IsChunkLength(options.stream_chunk_bytes)) {
    return InvalidArgument("the chunk size must be a multiple of 64 KiB, from 64 KiB to 64 MiB");
  }
  if (options.ordered_piece_bytes == 0 || options.ordered_piece_bytes % kBlockBytes != 0 ||
      options.puts_in_flight < 1 || options.gets_in_flight < 1) {
    return InvalidArgument("piece size and numbers in flight must be positive");
  }
  return absl::OkStatus();
}

v1::BatchRequest::Operation ToProto(const BatchOperation& operation) {
  v1::BatchRequest::Operation proto;
  const auto set_precondition = [&](v1::Precondition* precondition) {
    precondition->set_if_generation_match(*operation.if_generation_match);
  };
  switch (operation.kind) {
    case BatchOperation::Kind::kPut: {
      v1::PutInlineRequest& put = *proto.mutable_put_inline();
      put.set_key(operation.key);
      put.set_value(operation.value);
      put.set_crc32c(ComputeCrc32c(operation.value).value);
      if (operation.if_generation_match.has_value()) {
        set_precondition(put.mutable_precondition());
      }
      break;
    }
    case BatchOperation::Kind::kDelete:
      proto.mutable_delete_object()->set_key(operation.key);
      if (operation.if_generation_match.has_value()) {
        set_precondition(proto.mutable_delete_object()->mutable_precondition());
      }
      break;
    case BatchOperation::Kind::kGet:
      proto.mutable_get_object()->set_key(operation.key);
      break;
  }
  return proto;
}

absl::StatusOr<BatchResult> FromOutcome(const v1::BatchResponse::Outcome& outcome) {
  BatchResult result;
  switch (outcome.reply_case()) {
    case v1::BatchResponse::Outcome::kPutInline:
      result.generation = outcome.put_inline().generation();
      return result;
    case v1::BatchResponse::Outcome::kDeleteObject:
      result.generation = outcome.delete_object().generation();
      return result;
    case v1::BatchResponse::Outcome::kGetObject: {
      const v1::GetObjectResponse& get = outcome.get_object();
      result.generation = get.object().generation();
      result.is_inline = get.object().is_inline();
      if (result.is_inline && ComputeCrc32c(get.inline_data()).value != get.object().crc32c()) {
        return MakeError(v1::REASON_CHECKSUM_MISMATCH, "the value does not have its checksum");
      }
      result.value = get.inline_data();
      return result;
    }
    default:
      return absl::InternalError("the master's answer holds nothing");
  }
}

}  // namespace

struct Client::State {
  State(ClientOptions opts, std::unique_ptr<ShardctlClient> ctl, v1::GetClusterResponse facts)
      : options(std::move(opts)),
        cluster(std::move(facts)),
        controller(std::move(ctl)),
        source(*controller),
        routing(source),
        api(MakeGrpcMasterApi(cluster.cluster_id())),
        environment{RealPacer(), options.on_waiting, {StableHash(MakeUuid())}},
        metadata(*api, routing, environment, options.retry, options.rpc_timeout),
        maintenance(metadata),
        transport(cluster.cluster_id(), options),
        health(options.avoid_failed_server),
        writer(metadata, transport, health, options),
        reader(metadata, transport, health, options) {}

  const ClientOptions options;
  const v1::GetClusterResponse cluster;
  const std::unique_ptr<ShardctlClient> controller;
  ShardctlSource source;
  RoutingCache routing;
  const std::unique_ptr<MasterApi> api;
  RetryEnvironment environment;
  MetadataClient metadata;
  MaintenanceClient maintenance;
  ChunkIoTransport transport;
  ServerHealth health;
  ObjectWriter writer;
  ObjectReader reader;
  // The cluster's setting as of Connect. Where it was lowered since, the masters say so and the
  // value is stored as a chunk.
  std::atomic<uint64_t> inline_bytes{kInlineBytesDefault};
};

Client::Client(std::unique_ptr<State> state) : state_(std::move(state)) {}

Client::~Client() { state_->metadata.CloseSessions(); }

absl::StatusOr<std::unique_ptr<Client>> Client::Connect(ClientOptions options) {
  RETURN_IF_ERROR(ValidateOptions(options));
  ShardctlClientOptions controller_options;
  controller_options.addresses = options.cluster;
  controller_options.cluster_id = options.cluster_id;
  controller_options.total_timeout = options.connect_timeout;
  auto controller = std::make_unique<ShardctlClient>(std::move(controller_options));
  const auto cluster = controller->GetCluster();
  if (!cluster.ok()) {
    if (ReasonOf(cluster.status()) != v1::REASON_UNSPECIFIED) {
      return cluster.status();
    }
    return absl::UnavailableError(absl::StrCat("no shard controller answers at ",
                                               absl::StrJoin(options.cluster, ", "), " (",
                                               cluster.status().message(), ")"));
  }
  auto client = std::unique_ptr<Client>(
      new Client(std::make_unique<State>(std::move(options), std::move(controller), *cluster)));
  ASSIGN_OR_RETURN(const v1::Registry registry, client->state_->source.CurrentRegistry());
  client->state_->inline_bytes = registry.settings().inline_bytes();
  return client;
}

absl::StatusOr<PutResult> Client::Put(const std::string& key, Source& source,
                                      const PutOptions& put) {
  return state_->writer.Put(key, source, put, state_->inline_bytes);
}

absl::StatusOr<GetResult> Client::Get(const std::string& key, Sink& sink, const GetOptions& get) {
  return state_->reader.Get(key, sink, get);
}

absl::StatusOr<CopyResult> Client::Copy(const std::string& source, const std::string& target,
                                        const CopyOptions& copy) {
  ObjectCopier copier(state_->metadata, state_->reader, state_->writer);
  return copier.Copy(source, target, copy, state_->inline_bytes);
}

absl::StatusOr<v1::ObjectInfo> Client::Stat(const std::string& key, Cancellation* cancel) {
  ASSIGN_OR_RETURN(auto response, state_->metadata.Stat(key, CallControl{cancel, {}}));
  return std::move(*response.mutable_object());
}

absl::StatusOr<uint64_t> Client::Delete(const std::string& key, const DeleteOptions& options) {
  v1::DeleteObjectRequest request;
  request.set_key(key);
  if (options.if_generation_match.has_value()) {
    request.mutable_precondition()->set_if_generation_match(*options.if_generation_match);
  }
  ASSIGN_OR_RETURN(const auto response,
                   state_->metadata.Delete(std::move(request), CallControl{options.cancel, {}}));
  return response.generation();
}

absl::Status Client::SetReplication(const std::string& key, uint32_t wanted_replicas,
                                    Cancellation* cancel) {
  v1::SetReplicationRequest request;
  request.set_key(key);
  request.set_wanted_replicas(wanted_replicas);
  return state_->metadata.SetReplication(std::move(request), CallControl{cancel, {}}).status();
}

std::vector<MoveOutcome> Client::MoveReplicas(std::vector<v1::MoveReplicasRequest::Move> moves,
                                              absl::Duration call_timeout, Cancellation* cancel) {
  return state_->metadata.MoveReplicas(std::move(moves), call_timeout, CallControl{cancel, {}});
}

MaintenanceClient& Client::maintenance() { return state_->maintenance; }

absl::StatusOr<v1::CheckBalanceResponse> Client::CheckBalance(Cancellation* cancel) {
  ASSIGN_OR_RETURN(const std::vector<GroupId> groups, state_->routing.Groups());
  absl::StatusOr<v1::CheckBalanceResponse> response = absl::UnavailableError("there is no group");
  for (const GroupId group : groups) {
    // With others to go to, a group that is not well is not waited for.
    const RetryLimits patience = {.total = absl::Seconds(2)};
    response = state_->metadata.CheckBalance(
        group, {cancel, group == groups.back() ? std::nullopt : std::optional(patience)});
    if (response.ok()) {
      return response;
    }
  }
  return response;
}

ObjectLister Client::Lister(const ListOptions& options) {
  return ObjectLister(state_->metadata, options.prefix, options.start_after,
                      CallControl{options.cancel, {}});
}

absl::StatusOr<ListResult> Client::List(const ListOptions& options) {
  if (options.limit == 0) {
    return InvalidArgument("limit must be at least 1");
  }
  ObjectLister lister = Lister(options);
  ListResult result;
  ASSIGN_OR_RETURN(result.objects, lister.Next(options.limit));
  result.more = result.objects.size() == options.limit;
  return result;
}

std::vector<absl::StatusOr<BatchResult>> Client::Batch(
    const std::vector<BatchOperation>& operations, Cancellation* cancel) {
  std::vector<v1::BatchRequest::Operation> protos;
  protos.reserve(operations.size());
  for (const BatchOperation& operation : operations) {
    protos.push_back(ToProto(operation));
  }
  std::vector<absl::StatusOr<BatchResult>> results;
  results.reserve(operations.size());
  for (auto& outcome : state_->metadata.Batch(std::move(protos), CallControl{cancel, {}})) {
    if (outcome.ok()) {
      results.push_back(FromOutcome(*outcome));
    } else {
      results.push_back(outcome.status());
    }
  }
  return results;
}

absl::StatusOr<ClusterStatus> Client::Status(Cancellation* cancel) {
  ClusterStatus status;
  status.cluster_id = state_->cluster.cluster_id();
  status.shard_count = state_->cluster.shard_count();
  ASSIGN_OR_RETURN(status.registry, state_->source.CurrentRegistry());
  ASSIGN_OR_RETURN(const v1::Configuration configuration, state_->source.CurrentConfiguration());
  status.config_version = configuration.version();
  status.servers = absl::UnavailableError("no master group answers");
  for (const v1::GroupInfo& group : configuration.groups()) {
    bool has_leader = false;
    for (const v1::MasterAddress& master : group.masters()) {
      MemberStatus member{group.group_id(), master.address(),
                          state_->metadata.GroupStatus(master.address(), cancel)};
      has_leader |= member.status.ok() && !member.status->leader_address().empty();
      status.members.push_back(std::move(member));
    }
    if (has_leader && !status.servers.ok()) {
      // One short try: a status call must not wait for a cluster that is not well.
      const RetryLimits limits = {.total = absl::Seconds(2)};
      auto servers =
          state_->metadata.ListServers(GroupId(group.group_id()), CallControl{cancel, limits});
      if (servers.ok()) {
        status.servers =
            std::vector<v1::ServerStatus>(servers->servers().begin(), servers->servers().end());
      } else {
        status.servers = servers.status();
      }
    }
  }
  return status;
}

ShardctlClient& Client::controller() { return *state_->controller; }

MetadataClient& Client::metadata() { return state_->metadata; }

}  // namespace ballast::client
