// SPDX-License-Identifier: Apache-2.0
#include "gateway/embedded_backend.h"

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/env/clock.h"
#include "common/types/error.h"
#include "common/types/limits.h"
#include "gateway/cluster_calls.h"
#include "gateway/cluster_views.h"
#include "gateway/core/replica_lists.h"
#include "services/chunkserver/hosted_servers.h"

// Start and stop, heartbeats and what is looked up. Moves: embedded_moves.cc.

namespace ballast::gateway {
namespace {

// The cluster is in this process: what is not answered within this time never will be.
constexpr absl::Duration kPatience = absl::Seconds(10);
constexpr absl::Duration kDeletePatience = absl::Seconds(5);
// Of a name that is too long for a key, so much is repeated.
constexpr size_t kNameShown = 64;

}  // namespace

// --- start and stop ------------------------------------------------------------------------------

absl::StatusOr<std::unique_ptr<EmbeddedBackend>> EmbeddedBackend::Start(
    const EmbeddedBackendOptions& options) {
  if (options.chunk_bytes < 1 || options.chunk_bytes > kChunkBytesMax) {
    return InvalidArgument(absl::StrCat("chunks have 1 to ", kChunkBytesMax, " bytes"));
  }
  auto backend = std::unique_ptr<EmbeddedBackend>(new EmbeddedBackend(options));
  RETURN_IF_ERROR(backend->Open());
  return backend;
}

absl::Status EmbeddedBackend::Open() {
  ASSIGN_OR_RETURN(scratch_, ScratchFolder::Make(options_.folder));
  ASSIGN_OR_RETURN(cluster_,
                   EmbeddedCluster::Start(fs_, {.folder = scratch_->path(),
                                                .heartbeat_interval = options_.heartbeat_interval,
                                                .auto_rebalance = options_.auto_rebalance}));
  chunkserver::HostedServersOptions hosting;
  hosting.cluster_id = cluster_->cluster_id();
  ASSIGN_OR_RETURN(auto hosted, chunkserver::HostedServers::Start(fs_, hosting));

  client::ClientOptions client_options;
  client_options.cluster = {cluster_->shardctl_address()};
  client_options.cluster_id = cluster_->cluster_id();
  client_options.retry = {
      .total = kPatience, .first_wait = absl::Milliseconds(1), .wait_max = absl::Milliseconds(200)};
  ASSIGN_OR_RETURN(client_, client::Client::Connect(std::move(client_options)));
  adopter_ = std::make_unique<ChunkAdopter>(client_->metadata(), options_.chunk_bytes);

  RelayOptions relaying;
  relaying.address = hosted->address();
  relaying.patience = kPatience;
  relay_ = std::make_unique<HeartbeatRelay>(*client_, cluster_->cluster_id(), relaying);
  const std::string stores = JoinPath(scratch_->path(), "servers");
  RETURN_IF_ERROR(fs_.CreateDir(stores));
  runner_ =
      std::make_unique<OrderRunner>(std::move(hosted), stores, adopter_->facts(), *relay_, book_);
  values_ = std::make_unique<ValueStore>(
      *client_, ValueStoreOptions{.reserved_prefix = std::string(kAdoptedKeyPrefix),
                                  .value_bytes_max = kInlineBytesMax});
  pool_ = std::make_unique<ServerPool>(client_->controller(), options_.pool);
  return absl::OkStatus();
}

EmbeddedBackend::~EmbeddedBackend() {
  config_group_.reset();
  if (relay_ != nullptr) {
    relay_->Stop();  // so that the runner waits for no report
  }
  runner_.reset();
}

// --- heartbeats ----------------------------------------------------------------------------------

std::vector<std::string> EmbeddedBackend::NewNames(const std::vector<std::string>& names) {
  std::vector<std::string> fresh;
  absl::MutexLock lock(&book_.mu);
  for (const std::string& name : names) {
    if (!book_.chunks.Find(name).has_value()) {
      fresh.push_back(name);
    }
  }
  return fresh;
}

absl::Status EmbeddedBackend::AdoptFrom(const std::vector<std::string>& names,
                                        RelayedServer& holder) {
  std::vector<ChunkAdopter::Wish> wishes;
  for (const std::string& name : names) {
    wishes.push_back({name, holder.index});
  }
  const auto outcomes = adopter_->Adopt(wishes);
  absl::Status status;
  absl::MutexLock lock(&book_.mu);
  for (size_t i = 0; i < names.size(); ++i) {
    if (!outcomes[i].ok()) {
      status.Update(outcomes[i].status());
    } else if (book_.chunks.Knows(*outcomes[i])) {
      status.Update(InvalidArgument(absl::StrCat("chunk ", names[i].substr(0, kNameShown),
                                                 "... cannot be told from another one")));
    } else {
      book_.chunks.Adopt(names[i], *outcomes[i]);
    }
  }
  return status;
}

absl::StatusOr<std::vector<ChunkHandle>> EmbeddedBackend::Resolve(
    const std::vector<std::string>& names, RelayedServer& holder) {
  if (const std::vector<std::string> fresh = NewNames(names); !fresh.empty()) {
    RETURN_IF_ERROR(AdoptFrom(fresh, holder));
  }
  std::vector<ChunkHandle> handles;
  handles.reserve(names.size());
  absl::MutexLock lock(&book_.mu);
  for (const std::string& name : names) {
    handles.push_back(*book_.chunks.Find(name));
  }
  return handles;
}

absl::Status EmbeddedBackend::GrowWanted(absl::Span<const ChunkHandle> handles, SteadyTime now) {
  std::vector<AdoptedChunks::Growth> growth;
  {
    absl::MutexLock lock(&book_.mu);
    growth = book_.chunks.WantedGrowth(handles, now);
  }
  if (growth.empty()) {
    return absl::OkStatus();
  }
  const std::vector<absl::Status> statuses = adopter_->SetWanted(growth);
  absl::Status status;
  absl::MutexLock lock(&book_.mu);
  for (size_t i = 0; i < growth.size(); ++i) {
    if (statuses[i].ok()) {
      book_.chunks.SetWanted(growth[i].handle, growth[i].wanted);
    }
    status.Update(statuses[i]);
  }
  return status;
}

absl::StatusOr<HeartbeatRelay::Commands> EmbeddedBackend::SendLists(RelayedServer& server,
                                                                    const ServerFacts& facts,
                                                                    absl::Duration age) {
  return relay_->Send(server, facts, age, [&](HeartbeatRelay::Lists* lists) {
    std::vector<HeldReplica> held;
    {
      absl::MutexLock lock(&book_.mu);
      held = book_.chunks.HeldBy(server.index);
    }
    FillLists(held, adopter_->facts(), lists);
  });
}

ServerFacts EmbeddedBackend::FactsOf(RelayedServer& server, const ServerHeartbeat& heartbeat) {
  ServerFacts facts{.utilization_pct = heartbeat.disk_usage_pct, .health = heartbeat.health};
  if (options_.auto_rebalance) {
    absl::MutexLock lock(&book_.mu);
    const ToldUsage::Usage usage =
        usage_.OnTold(server.index, heartbeat.disk_usage_pct, book_.chunks.TallyOf(server.index));
    facts.capacity_bytes = usage.capacity_bytes;
    facts.utilization_pct = usage.utilization_pct;
  }
  return facts;
}

absl::StatusOr<HeartbeatOrders> EmbeddedBackend::Heartbeat(const ServerHeartbeat& heartbeat,
                                                           absl::Duration age) {
  const SteadyTime spoken = RealClock().SteadyNow() - age;
  ASSIGN_OR_RETURN(RelayedServer* const server, relay_->FindOrRegister(heartbeat.server));
  heard_ = true;
  if (!NewNames(heartbeat.chunks).empty()) {
    // The masters hear of the server before they hear of its chunks; and it has lived, even if a
    // chunk cannot be taken in.
    ASSIGN_OR_RETURN(HeartbeatRelay::Commands commands,
                     relay_->SendBeat(*server, FactsOf(*server, heartbeat), age));
    runner_->Take(*server, std::move(commands));
  }
  ASSIGN_OR_RETURN(const std::vector<ChunkHandle> handles, Resolve(heartbeat.chunks, *server));
  std::vector<ChunkHandle> dropped;
  {
    absl::MutexLock lock(&book_.mu);
    dropped = book_.chunks.TakeList(server->index, handles, spoken);
  }
  runner_->Drop(*server, std::move(dropped));
  RETURN_IF_ERROR(GrowWanted(handles, RealClock().SteadyNow()));
  ASSIGN_OR_RETURN(HeartbeatRelay::Commands commands,
                   SendLists(*server, FactsOf(*server, heartbeat), age));

  // Copies that came with this reply, however soon they end, and those that came between messages
  // and go on.
  absl::btree_set<ChunkHandle> to_copy;
  for (const v1::Command& command : commands) {
    if (command.has_replicate()) {
      to_copy.insert(ChunkHandle(command.handle()));
    }
  }
  runner_->Take(*server, std::move(commands));
  {
    absl::MutexLock lock(&book_.mu);
    const auto under_way = book_.chunks.TakeCopiesToTell(server->index);
    to_copy.insert(under_way.begin(), under_way.end());
  }
  HeartbeatOrders orders;
  // What is to be deleted is told when it is done, so that all that is said of the server agrees.
  runner_->WaitForDeletes(*server, kDeletePatience);
  absl::MutexLock lock(&book_.mu);
  for (const ChunkHandle handle : book_.chunks.TakeDeletesToTell(server->index)) {
    orders.chunks_to_delete.push_back(book_.chunks.NameOf(handle));
  }
  for (const ChunkHandle handle : to_copy) {
    orders.chunks_to_replicate.push_back(book_.chunks.NameOf(handle));
  }
  return orders;
}

void EmbeddedBackend::Touch(const std::string& server) {
  if (RelayedServer* const known = relay_->Find(server)) {
    relay_->Touch(*known);
  }
}

// --- what is looked up ---------------------------------------------------------------------------

absl::StatusOr<std::vector<ServerRow>> EmbeddedBackend::Servers() {
  ASSIGN_OR_RETURN(const v1::ListServersResponse response, ListServers(*client_));
  return RowsOf(response);
}

absl::StatusOr<BalanceReport> EmbeddedBackend::CheckBalance() {
  ASSIGN_OR_RETURN(const v1::CheckBalanceResponse response, client_->CheckBalance());
  return BalanceOf(response);
}

// --- configurations and values -------------------------------------------------------------------

absl::Status EmbeddedBackend::NeedConfigGroup() {
  if (config_group_ == nullptr) {
    // A folder for each try: one that failed may have left half a group in its own.
    ASSIGN_OR_RETURN(config_group_,
                     ConfigGroup::Start(
                         fs_, JoinPath(scratch_->path(), absl::StrCat("group", ++group_folders_))));
  }
  return absl::OkStatus();
}

absl::Status EmbeddedBackend::SetConfig(const GroupConfiguration& config) {
  RETURN_IF_ERROR(NeedConfigGroup());
  return config_group_->Set(config);
}

absl::StatusOr<UpdateOutcome> EmbeddedBackend::UpdateConfig(const GroupConfiguration& config) {
  RETURN_IF_ERROR(NeedConfigGroup());
  return config_group_->Update(config);
}

absl::StatusOr<std::string> EmbeddedBackend::Read(const std::string& key) {
  return values_->Read(key);
}

absl::Status EmbeddedBackend::Write(const std::string& key, const std::string& value) {
  return values_->Write(key, value);
}

absl::Status EmbeddedBackend::CompareAndSet(const std::string& key, const std::string& from,
                                            const std::string& to) {
  return values_->CompareAndSet(key, from, to);
}

absl::StatusOr<std::vector<std::string>> EmbeddedBackend::AddServer(const std::string& server,
                                                                    std::optional<double> weight) {
  return pool_->AddServer(server, weight);
}

absl::StatusOr<std::vector<std::string>> EmbeddedBackend::RemoveServer(const std::string& server) {
  return pool_->RemoveServer(server);
}

absl::StatusOr<std::vector<std::string>> EmbeddedBackend::Route(const std::string& key) {
  return pool_->Route(key);
}

absl::StatusOr<std::unique_ptr<ClusterBackend>> MakeEmbeddedBackend(
    const EmbeddedBackendOptions& options) {
  return EmbeddedBackend::Start(options);
}

}  // namespace ballast::gateway
