// SPDX-License-Identifier: Apache-2.0
#include "gateway/heartbeat_relay.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "client/metadata_client.h"
#include "common/base/byte_units.h"
#include "common/base/rng.h"
#include "common/base/status_macros.h"
#include "common/base/uuid.h"
#include "common/env/clock.h"
#include "common/routing/shard_router.h"
#include "common/rpc/status_bridge.h"
#include "common/types/error.h"
#include "gateway/core/server_id.h"

namespace ballast::gateway {
namespace {

constexpr size_t kHealthTextMax = 256;
constexpr absl::Duration kAgeMax = absl::Minutes(10);  // of a relayed heartbeat
constexpr absl::Duration kTryTimeout = absl::Seconds(5);
constexpr absl::Duration kTouchTimeout = absl::Seconds(1);
// A registration reaches the masters a moment after its answer; for longer than this a master that
// does not know the server has another reason, and so it has if it knew the server before.
constexpr absl::Duration kNewsPatience = absl::Seconds(5);
constexpr absl::Duration kNewsPause = absl::Milliseconds(1);

bool IsHealthy(absl::string_view health) {
  return health.empty() || absl::EqualsIgnoreCase(health, "ok") ||
         absl::EqualsIgnoreCase(health, "healthy");
}

// At most `bytes_max` bytes, and no half of a character at the end.
std::string CutText(absl::string_view text, size_t bytes_max) {
  if (text.size() <= bytes_max) {
    return std::string(text);
  }
  size_t end = bytes_max;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) {
    --end;
  }
  return std::string(text.substr(0, end));
}

}  // namespace

HeartbeatRelay::HeartbeatRelay(client::Client& client, std::string cluster_id, RelayOptions options)
    : client_(client),
      cluster_id_(std::move(cluster_id)),
      options_(std::move(options)),
      incarnation_(std::max<uint64_t>(1, StableHash(MakeUuid()))) {}

// --- servers -------------------------------------------------------------------------------------

RelayedServer* HeartbeatRelay::Find(absl::string_view name) const {
  absl::MutexLock lock(&mu_);
  const auto it = servers_.find(name);
  return it == servers_.end() ? nullptr : it->second.get();
}

RelayedServer* HeartbeatRelay::FindById(absl::string_view id) const {
  absl::MutexLock lock(&mu_);
  for (const auto& [name, server] : servers_) {
    if (server->id == id) {
      return server.get();
    }
  }
  return nullptr;
}

RelayedServer* HeartbeatRelay::FindByIndex(ServerIndex index) const {
  absl::MutexLock lock(&mu_);
  for (const auto& [name, server] : servers_) {
    if (server->index == index) {
      return server.get();
    }
  }
  return nullptr;
}

absl::StatusOr<RelayedServer*> HeartbeatRelay::FindOrRegister(const std::string& name) {
  if (RelayedServer* const known = Find(name)) {
    return known;
  }
  if (name.empty()) {
    return InvalidArgument("a server needs a name");
  }
  v1::RegisterChunkServerRequest request;
  request.set_server_id(ServerIdOf(cluster_id_, name));
  request.set_address(options_.address);
  request.set_boot_epoch(options_.boot_epoch);
  request.set_name(name);
  request.set_no_placement(options_.no_placement);
  ASSIGN_OR_RETURN(const v1::RegisterChunkServerResponse registered,
                   client_.controller().RegisterChunkServer(request));
  absl::MutexLock lock(&mu_);
  std::unique_ptr<RelayedServer>& server = servers_[name];
  if (server == nullptr) {
    server = std::make_unique<RelayedServer>(name, request.server_id(),
                                             ServerIndex(registered.server_index()));
  }
  return server.get();
}

// --- heartbeats ----------------------------------------------------------------------------------

v1::Heartbeat HeartbeatRelay::Begin(RelayedServer& server) {
  v1::Heartbeat heartbeat;
  heartbeat.set_cluster_id(cluster_id_);
  heartbeat.set_server_id(server.id);
  heartbeat.set_boot_epoch(options_.boot_epoch);
  heartbeat.set_incarnation(incarnation_);
  heartbeat.set_address(options_.address);
  absl::MutexLock lock(&server.mu_);
  heartbeat.set_sequence(++server.last_sequence_);
  heartbeat.mutable_results()->Add(server.results_.begin(), server.results_.end());
  return heartbeat;
}

v1::Heartbeat HeartbeatRelay::BeginBeat(RelayedServer& server, const ServerFacts& facts,
                                        absl::Duration age) {
  v1::Heartbeat heartbeat = Begin(server);
  const double pct = std::clamp(facts.utilization_pct, 0.0, 100.0);
  heartbeat.set_disk_utilization_pct(pct);
  heartbeat.set_capacity_bytes(facts.capacity_bytes);
  heartbeat.set_used_bytes(
      static_cast<uint64_t>(static_cast<double>(facts.capacity_bytes) * pct / 100));
  const bool healthy = IsHealthy(facts.health);
  heartbeat.set_health(healthy ? v1::SERVER_HEALTH_OK : v1::SERVER_HEALTH_DEGRADED);
  if (!healthy) {
    heartbeat.set_health_text(CutText(facts.health, kHealthTextMax));
  }
  heartbeat.set_age_ms(static_cast<uint32_t>(
      absl::ToInt64Milliseconds(std::clamp(age, absl::ZeroDuration(), kAgeMax))));
  return heartbeat;
}

absl::StatusOr<HeartbeatRelay::Commands> HeartbeatRelay::Send(RelayedServer& server,
                                                              const ServerFacts& facts,
                                                              absl::Duration age, FillLists lists) {
  absl::MutexLock order(&server.order_mu_);
  v1::Heartbeat heartbeat = BeginBeat(server, facts, age);
  lists(heartbeat.mutable_shards());
  ASSIGN_OR_RETURN(Commands commands, SendToAll(server, heartbeat));
  absl::MutexLock lock(&server.mu_);
  server.facts_ = facts;
  server.heard_ = true;
  return commands;
}

absl::StatusOr<HeartbeatRelay::Commands> HeartbeatRelay::SendBeat(RelayedServer& server,
                                                                  const ServerFacts& facts,
                                                                  absl::Duration age) {
  v1::Heartbeat heartbeat = BeginBeat(server, facts, age);
  heartbeat.set_no_lists(true);
  ASSIGN_OR_RETURN(Commands commands, SendToAll(server, heartbeat));
  absl::MutexLock lock(&server.mu_);
  server.facts_ = facts;
  server.heard_ = true;
  return commands;
}

absl::StatusOr<HeartbeatRelay::Commands> HeartbeatRelay::Report(RelayedServer& server,
                                                                FillLists lists) {
  absl::MutexLock order(&server.order_mu_);
  v1::Heartbeat heartbeat = Begin(server);
  heartbeat.set_no_beat(true);
  lists(heartbeat.mutable_shards());
  return SendToAll(server, heartbeat);
}

absl::StatusOr<HeartbeatRelay::Commands> HeartbeatRelay::Poll(RelayedServer& server) {
  v1::Heartbeat heartbeat = Begin(server);
  heartbeat.set_no_beat(true);
  heartbeat.set_no_lists(true);
  return SendToAll(server, heartbeat);
}

void HeartbeatRelay::Touch(RelayedServer& server) { TryBeat(server, /*stopping=*/false); }

void HeartbeatRelay::SayStopping() {
  std::vector<RelayedServer*> servers;
  {
    absl::MutexLock lock(&mu_);
    for (const auto& [name, server] : servers_) {
      servers.push_back(server.get());
    }
  }
  for (RelayedServer* const server : servers) {
    if (!TryBeat(*server, /*stopping=*/true)) {
      return;
    }
  }
}

bool HeartbeatRelay::TryBeat(RelayedServer& server, bool stopping) {
  ServerFacts facts;
  {
    absl::MutexLock lock(&server.mu_);
    if (!server.heard_) {
      return true;
    }
    facts = server.facts_;
  }
  v1::Heartbeat heartbeat = BeginBeat(server, facts, absl::ZeroDuration());
  heartbeat.set_no_lists(true);
  heartbeat.clear_results();  // this message may be lost without a trace
  if (stopping) {
    heartbeat.set_health(v1::SERVER_HEALTH_STOPPING);
  }
  bool in_time = true;
  client::RoutingCache& routing = client_.metadata().routing();
  const auto groups = routing.Groups();
  for (const GroupId group : groups.ok() ? *groups : std::vector<GroupId>()) {
    const auto route = routing.Find(client::Target(group));
    const auto reply = route.ok() ? TryOnce(route->address, heartbeat, kTouchTimeout)
                                  : absl::StatusOr<v1::HeartbeatReply>(route.status());
    in_time = in_time && !absl::IsDeadlineExceeded(reply.status());
    if (reply.ok()) {
      absl::MutexLock lock(&server.mu_);
      server.unclaimed_.insert(server.unclaimed_.end(), reply->commands().begin(),
                               reply->commands().end());
    }
  }
  return in_time;
}

void HeartbeatRelay::AddResult(RelayedServer& server, v1::CommandResult result) {
  absl::MutexLock lock(&server.mu_);
  server.results_.push_back(std::move(result));
}

// --- calls ---------------------------------------------------------------------------------------

absl::StatusOr<HeartbeatRelay::Commands> HeartbeatRelay::SendToAll(RelayedServer& server,
                                                                   const v1::Heartbeat& heartbeat) {
  ASSIGN_OR_RETURN(const std::vector<GroupId> groups, client_.metadata().routing().Groups());
  bool is_new = false;
  {
    absl::MutexLock lock(&server.mu_);
    is_new = !server.heard_;
  }
  Commands commands;
  absl::Status status;
  for (const GroupId group : groups) {
    absl::StatusOr<v1::HeartbeatReply> reply;
    if (groups.size() == 1) {
      reply = SendTo(group, heartbeat, is_new);
    } else {
      ASSIGN_OR_RETURN(const v1::Heartbeat part, PartOf(heartbeat, group));
      reply = SendTo(group, part, is_new);
    }
    status.Update(reply.status());
    if (reply.ok()) {
      std::move(reply->mutable_commands()->begin(), reply->mutable_commands()->end(),
                std::back_inserter(commands));
    }
  }
  absl::MutexLock lock(&server.mu_);
  if (!status.ok()) {
    std::move(commands.begin(), commands.end(), std::back_inserter(server.unclaimed_));
    return status;
  }
  // Not simply the first ones: another message may have told some of them meanwhile.
  std::erase_if(server.results_, [&](const v1::CommandResult& result) {
    return std::any_of(
        heartbeat.results().begin(), heartbeat.results().end(), [&](const v1::CommandResult& told) {
          return told.command_id() == result.command_id() && told.handle() == result.handle();
        });
  });
  commands.insert(commands.begin(), std::make_move_iterator(server.unclaimed_.begin()),
                  std::make_move_iterator(server.unclaimed_.end()));
  server.unclaimed_.clear();
  return commands;
}

// Only what concerns the shards of one group.
absl::StatusOr<v1::Heartbeat> HeartbeatRelay::PartOf(const v1::Heartbeat& heartbeat,
                                                     GroupId group) {
  client::RoutingCache& routing = client_.metadata().routing();
  v1::Heartbeat part = heartbeat;
  part.clear_shards();
  part.clear_results();
  for (const v1::ShardReport& list : heartbeat.shards()) {
    ASSIGN_OR_RETURN(const client::Route route,
                     routing.Find(client::Target(ShardId(list.shard()))));
    if (route.group == group) {
      *part.add_shards() = list;
    }
  }
  for (const v1::CommandResult& result : heartbeat.results()) {
    ASSIGN_OR_RETURN(const client::Route route,
                     routing.Find(client::Target(ChunkHandle(result.handle()).shard())));
    if (route.group == group) {
      *part.add_results() = result;
    }
  }
  return part;
}

absl::StatusOr<v1::HeartbeatReply> HeartbeatRelay::SendTo(GroupId group,
                                                          const v1::Heartbeat& heartbeat,
                                                          bool is_new) {
  client::MetadataClient& metadata = client_.metadata();
  client::RetryLoop loop(metadata.environment(),
                         {.total = options_.patience,
                          .first_wait = absl::Milliseconds(1),
                          .wait_max = absl::Milliseconds(200)},
                         &stop_);
  const SteadyTime begun = RealClock().SteadyNow();
  while (true) {
    const absl::StatusOr<client::Route> route = metadata.routing().Find(client::Target(group));
    if (!route.ok()) {
      if (!loop.AgainUnsent(route.status())) {
        return loop.Explain(route.status());
      }
      continue;
    }
    absl::StatusOr<v1::HeartbeatReply> reply =
        TryOnce(route->address, heartbeat, std::min(kTryTimeout, options_.patience));
    if (reply.ok()) {
      return reply;
    }
    absl::Status status = reply.status();
    metadata.LearnFrom(*route, status);
    if (is_new && ReasonOf(status) == v1::REASON_UNKNOWN_SERVER &&
        RealClock().SteadyNow() - begun < kNewsPatience) {
      status = NotReadyError(status.message(), kNewsPause);
    }
    if (!loop.Again(status)) {
      return loop.Explain(status);
    }
  }
}

absl::StatusOr<v1::HeartbeatReply> HeartbeatRelay::TryOnce(const std::string& address,
                                                           const v1::Heartbeat& heartbeat,
                                                           absl::Duration timeout) {
  grpc::ClientContext context;
  PrepareContext(context, cluster_id_, timeout);
  const client::Cancellation::Hook hook(&stop_, [&context] { context.TryCancel(); });
  v1::HeartbeatReply reply;
  RETURN_IF_ERROR(FromGrpc(v1::ChunkServerControl::NewStub(channels_.Get(address))
                               ->SendHeartbeat(&context, heartbeat, &reply)));
  return reply;
}

}  // namespace ballast::gateway
