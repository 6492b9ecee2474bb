// SPDX-License-Identifier: Apache-2.0
#include "gateway/remote_backend.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "client/metadata_client.h"
#include "common/base/status_macros.h"
#include "common/env/clock.h"
#include "common/types/error.h"
#include "common/types/shard_config.h"
#include "gateway/cluster_calls.h"
#include "gateway/cluster_views.h"
#include "gateway/core/replica_lists.h"

namespace ballast::gateway {
namespace {

constexpr absl::Duration kConnectTimeout = absl::Seconds(2);
constexpr absl::Duration kPatience = absl::Seconds(10);
// Nobody reads chunks from servers that only messages know. The name is reserved for what does not
// exist (RFC 2606).
constexpr char kNoAddress[] = "gateway.invalid:1";
// What is said of replicas that nobody can look at.
constexpr ReplicaFacts kUnreadable{.length_bytes = 0, .crc32c = 0, .corrupt = true};

// The handle that the text is; nothing if it is none.
std::optional<ChunkHandle> ParseHandle(absl::string_view text) {
  uint64_t value = 0;
  if (text.size() != 16 || !absl::SimpleHexAtoi(text, &value)) {
    return std::nullopt;
  }
  const ChunkHandle handle(value);
  // Exactly the form that is printed: no upper case, no sign or prefix that the parser also takes.
  return handle.ToString() == text ? std::optional(handle) : std::nullopt;
}

v1::CommandResult CannotReach(const v1::Command& command) {
  v1::CommandResult result;
  result.set_command_id(command.command_id());
  result.set_handle(command.handle());
  result.set_code(static_cast<uint32_t>(absl::StatusCode::kUnimplemented));
  result.set_text("a gateway relays this server's heartbeats and cannot reach its chunks");
  return result;
}

// Servers by name and id. A name that several servers have stands for none.
class ServerLookup {
 public:
  explicit ServerLookup(const v1::ListServersResponse& servers) {
    for (const v1::ServerStatus& server : servers.servers()) {
      ids_[server.server_id()] = {server.server_id()};
      if (!server.name().empty()) {
        ids_[server.name()].push_back(server.server_id());
      }
    }
  }
  absl::StatusOr<std::string> Find(const std::string& word) const {
    const auto it = ids_.find(word);
    if (it == ids_.end()) {
      return MakeError(v1::REASON_UNKNOWN_SERVER, absl::StrCat("no server ", word));
    }
    if (it->second.size() > 1) {
      return absl::FailedPreconditionError(
          absl::StrCat("several servers are called ", word, ": name one by its id"));
    }
    return it->second.front();
  }

 private:
  absl::btree_map<std::string, std::vector<std::string>> ids_;
};

// A boot epoch for servers that only messages know, above those of every gateway before: the time,
// or more if the clock of one of those was ahead.
absl::StatusOr<uint64_t> NextBoot(ShardctlClient& controller) {
  ASSIGN_OR_RETURN(const v1::WatchResponse now, controller.Watch(v1::WatchRequest()));
  auto boot = static_cast<uint64_t>(absl::ToUnixMillis(RealClock().WallNow()));
  for (const v1::RegisteredServer& server : now.registry().servers()) {
    if (server.no_placement()) {
      boot = std::max(boot, server.boot_epoch() + 1);
    }
  }
  return boot;
}

absl::Status NotHere(absl::string_view what) {
  return absl::UnimplementedError(
      absl::StrCat(what, " is not for a cluster whose controller numbers configurations itself"));
}

}  // namespace

RemoteBackend::~RemoteBackend() {
  absl::MutexLock lock(&mu_);
  if (connection_ != nullptr) {
    connection_->relay->SayStopping();
  }
}

absl::StatusOr<RemoteBackend::Connection*> RemoteBackend::Connect() {
  absl::MutexLock lock(&mu_);
  if (connection_ != nullptr) {
    return connection_.get();
  }
  auto connection = std::make_unique<Connection>();
  client::ClientOptions options;
  options.cluster = options_.cluster;
  options.connect_timeout = kConnectTimeout;
  options.retry.total = kPatience;
  ASSIGN_OR_RETURN(connection->client, client::Client::Connect(std::move(options)));
  const std::string cluster_id = connection->client->controller().cluster_id();
  RelayOptions relaying;
  relaying.address = kNoAddress;
  ASSIGN_OR_RETURN(relaying.boot_epoch, NextBoot(connection->client->controller()));
  relaying.no_placement = true;
  relaying.patience = kPatience;
  connection->relay =
      std::make_unique<HeartbeatRelay>(*connection->client, cluster_id, std::move(relaying));
  connection->values = std::make_unique<ValueStore>(*connection->client, ValueStoreOptions());
  connection->pool = std::make_unique<ServerPool>(connection->client->controller(), options_.pool);
  connection_ = std::move(connection);
  return connection_.get();
}

// --- heartbeats ----------------------------------------------------------------------------------

absl::StatusOr<HeartbeatOrders> RemoteBackend::Heartbeat(const ServerHeartbeat& heartbeat,
                                                         absl::Duration age) {
  ASSIGN_OR_RETURN(Connection* const cluster, Connect());
  ASSIGN_OR_RETURN(const uint32_t shards, cluster->client->metadata().routing().ShardCount());
  ASSIGN_OR_RETURN(RelayedServer* const server, cluster->relay->FindOrRegister(heartbeat.server));
  std::vector<HeldReplica> held;
  for (const std::string& name : heartbeat.chunks) {
    const auto handle = ParseHandle(name);
    if (handle.has_value() && handle->sequence() > 0 && handle->shard().value() < shards) {
      held.push_back({*handle});
    }
  }
  names_counted_[heartbeat.server] = heartbeat.chunks.size() - held.size();
  std::sort(held.begin(), held.end(),
            [](const HeldReplica& a, const HeldReplica& b) { return a.handle < b.handle; });
  ASSIGN_OR_RETURN(const HeartbeatRelay::Commands commands,
                   cluster->relay->Send(
                       *server, {heartbeat.disk_usage_pct, heartbeat.health}, age,
                       [&](HeartbeatRelay::Lists* lists) { FillLists(held, kUnreadable, lists); }));
  HeartbeatOrders orders;
  for (const v1::Command& command : commands) {
    const std::string chunk = ChunkHandle(command.handle()).ToString();
    if (command.has_delete_replica()) {
      orders.chunks_to_delete.push_back(chunk);
    } else if (command.has_replicate()) {
      orders.chunks_to_replicate.push_back(chunk);
    } else {
      cluster->relay->AddResult(*server, CannotReach(command));
    }
  }
  return orders;
}

void RemoteBackend::Touch(const std::string& server) {
  Connection* cluster = nullptr;
  {
    absl::MutexLock lock(&mu_);
    cluster = connection_.get();
  }
  RelayedServer* const known = cluster == nullptr ? nullptr : cluster->relay->Find(server);
  if (known != nullptr) {
    cluster->relay->Touch(*known);
  }
}

// --- what is looked up ---------------------------------------------------------------------------

absl::StatusOr<std::vector<ServerRow>> RemoteBackend::Servers() {
  ASSIGN_OR_RETURN(Connection* const cluster, Connect());
  ASSIGN_OR_RETURN(const v1::ListServersResponse response, ListServers(*cluster->client));
  std::vector<ServerRow> rows = RowsOf(response);
  for (ServerRow& row : rows) {
    const auto counted = names_counted_.find(row.server);
    if (row.alive && counted != names_counted_.end()) {
      row.chunk_count += counted->second;
    }
  }
  return rows;
}

absl::StatusOr<BalanceReport> RemoteBackend::CheckBalance() {
  ASSIGN_OR_RETURN(Connection* const cluster, Connect());
  ASSIGN_OR_RETURN(const v1::CheckBalanceResponse response, cluster->client->CheckBalance());
  return BalanceOf(response);
}

absl::StatusOr<std::vector<MoveOutcome>> RemoteBackend::Move(absl::Span<const ChunkMove> moves) {
  ASSIGN_OR_RETURN(Connection* const cluster, Connect());
  ASSIGN_OR_RETURN(const v1::ListServersResponse response, ListServers(*cluster->client));
  const ServerLookup servers(response);
  std::vector<MoveOutcome> outcomes(moves.size());
  std::vector<v1::MoveReplicasRequest::Move> asked;
  std::vector<size_t> places;
  for (size_t i = 0; i < moves.size(); ++i) {
    const auto handle = ParseHandle(moves[i].chunk);
    const auto from = servers.Find(moves[i].from);
    const auto to = servers.Find(moves[i].to);
    if (!handle.has_value()) {
      outcomes[i].status =
          MakeError(v1::REASON_CHUNK_NOT_FOUND,
                    absl::StrCat("no chunk ", moves[i].chunk, ": chunks are named by handle"));
    } else if (!from.ok() || !to.ok()) {
      outcomes[i].status = from.ok() ? to.status() : from.status();
    } else {
      v1::MoveReplicasRequest::Move& move = asked.emplace_back();
      move.set_handle(handle->value());
      move.set_from_server_id(*from);
      move.set_to_server_id(*to);
      places.push_back(i);
    }
  }
  const absl::Duration timeout = MovesTimeout(asked.size());
  const auto answers = cluster->client->MoveReplicas(std::move(asked), timeout);
  for (size_t i = 0; i < places.size(); ++i) {
    outcomes[places[i]] = {answers[i].status, answers[i].bytes_copied};
  }
  return outcomes;
}

// --- configurations and values -------------------------------------------------------------------

absl::Status RemoteBackend::SetConfig(const GroupConfiguration&) { return NotHere("set_config"); }

absl::StatusOr<UpdateOutcome> RemoteBackend::UpdateConfig(const GroupConfiguration&) {
  return NotHere("config_update");
}

absl::StatusOr<std::string> RemoteBackend::Read(const std::string& key) {
  ASSIGN_OR_RETURN(Connection* const cluster, Connect());
  return cluster->values->Read(key);
}

absl::Status RemoteBackend::Write(const std::string& key, const std::string& value) {
  ASSIGN_OR_RETURN(Connection* const cluster, Connect());
  return cluster->values->Write(key, value);
}

absl::Status RemoteBackend::CompareAndSet(const std::string& key, const std::string& from,
                                          const std::string& to) {
  ASSIGN_OR_RETURN(Connection* const cluster, Connect());
  return cluster->values->CompareAndSet(key, from, to);
}

absl::StatusOr<std::vector<std::string>> RemoteBackend::AddServer(const std::string& server,
                                                                  std::optional<double> weight) {
  ASSIGN_OR_RETURN(Connection* const cluster, Connect());
  return cluster->pool->AddServer(server, weight);
}

absl::StatusOr<std::vector<std::string>> RemoteBackend::RemoveServer(const std::string& server) {
  ASSIGN_OR_RETURN(Connection* const cluster, Connect());
  return cluster->pool->RemoveServer(server);
}

absl::StatusOr<std::vector<std::string>> RemoteBackend::Route(const std::string& key) {
  ASSIGN_OR_RETURN(Connection* const cluster, Connect());
  return cluster->pool->Route(key);
}

absl::StatusOr<std::unique_ptr<ClusterBackend>> MakeRemoteBackend(
    const RemoteBackendOptions& options) {
  if (options.cluster.empty()) {
    return InvalidArgument("no address of a shard controller given");
  }
  for (const std::string& address : options.cluster) {
    RETURN_IF_ERROR(ValidateAddress(address));
  }
  return std::make_unique<RemoteBackend>(options);
}

}  // namespace ballast::gateway
