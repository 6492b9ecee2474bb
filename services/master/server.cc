// SPDX-License-Identifier: Apache-2.0
#include "services/master/server.h"

#include <utility>

#include "absl/synchronization/notification.h"
#include "common/base/status_macros.h"
#include "common/base/uuid.h"
#include "common/env/clock.h"
#include "common/routing/shard_router.h"
#include "common/types/error.h"

namespace ballast::master {
namespace {

constexpr char kService[] = "master";
constexpr absl::Duration kShutdownGrace = absl::Seconds(1);

RaftLogOptions LogOptionsOf(const MemberIdentity& identity, const std::string& log_folder) {
  RaftLogOptions options;
  options.cluster_id = identity.cluster_id;
  options.group = identity.group;
  options.self = identity.node;
  for (const MasterEndpoint& voter : identity.voters) {
    options.voters.push_back(voter.node);
  }
  options.folder = log_folder;
  options.seed = StableHash(MakeUuid());
  return options;
}

std::map<NodeId, std::string> AddressesOf(const MemberIdentity& identity) {
  std::map<NodeId, std::string> addresses;
  for (const MasterEndpoint& voter : identity.voters) {
    addresses[voter.node] = voter.address;
  }
  return addresses;
}

}  // namespace

absl::Status Format(FileSystem& fs, const Options& options) {
  MemberIdentity identity;
  identity.service = kService;
  identity.cluster_id = options.cluster_id;
  identity.shard_count = options.shards;
  identity.group = GroupId(options.group);
  identity.node = NodeId(options.node_id);
  if (options.group == 0) {
    return InvalidArgument("groups count from 1");
  }
  ASSIGN_OR_RETURN(identity.voters, ParseVoters(options.voters));
  if (identity.voters.size() != 1) {
    return InvalidArgument("a group of more than one master is not supported yet");
  }
  return FormatMemberFolder(fs, options.folder, identity, [&](const std::string& log_folder) {
    return RaftLog::Format(fs, LogOptionsOf(identity, log_folder));
  });
}

Server::Server(std::unique_ptr<MemberFolder> folder)
    : folder_(std::move(folder)),
      addresses_(AddressesOf(identity())),
      executor_(MakeThreadExecutor(kService)),
      disk_(MakeThreadExecutor("master-disk")),
      machine_(identity().group, identity().shard_count),
      view_(RealClock(), machine_, StableHash(MakeUuid())),
      proposer_(*executor_, RealClock(), machine_),
      intake_(*executor_, view_, identity().cluster_id),
      poller_(*executor_, view_, intake_, proposer_),
      copies_(*executor_, view_, intake_, proposer_),
      pictures_(view_),
      copy_desk_(view_, copies_),
      repair_(*executor_, view_, pictures_, copy_desk_, intake_, proposer_, StableHash(MakeUuid())),
      rebalance_(*executor_, view_, pictures_, copy_desk_),
      maintenance_(*executor_, view_, intake_, proposer_, copies_, repair_, rebalance_),
      desk_(view_, pictures_, copy_desk_, intake_, repair_, rebalance_),
      expiry_(*executor_, machine_, proposer_, ExpiryLoop::Options()),
      master_service_(*executor_, RealClock(), machine_, proposer_, view_, copies_, desk_,
                      {identity().cluster_id, identity().node, addresses_}),
      heartbeat_service_(*executor_, intake_, identity().cluster_id) {}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(
    FileSystem& fs, const Options& options, std::function<void(const absl::Status&)> on_failure) {
  if (options.shardctl.empty()) {
    return InvalidArgument("--shardctl names no shard controller");
  }
  for (const std::string& address : options.shardctl) {
    RETURN_IF_ERROR(ValidateAddress(address));
  }
  ASSIGN_OR_RETURN(auto folder, MemberFolder::Open(fs, options.folder, kService));
  auto server = std::unique_ptr<Server>(new Server(std::move(folder)));
  ASSIGN_OR_RETURN(
      server->port_,
      GrpcServer::Start(options.listen.empty() ? server->identity().address() : options.listen,
                        {&server->master_service_, &server->heartbeat_service_}));
  RETURN_IF_ERROR(server->OpenLog(fs, std::move(on_failure)));
  server->Follow(options);
  return server;
}

absl::Status Server::OpenLog(FileSystem& fs, std::function<void(const absl::Status&)> on_failure) {
  RaftLogOptions options = LogOptionsOf(identity(), folder_->log_folder());
  options.on_failure = std::move(on_failure);
  ASSIGN_OR_RETURN(log_, RaftLog::Open(std::move(options), RealClock(), *executor_, *disk_, fs,
                                       transport_, machine_));
  OnExecutor([this] {
    proposer_.Attach(log_.get());
    log_->SetRoleObserver([this](const ReplicatedLog::State& state) { OnRole(state); });
    maintenance_.Start();
    expiry_.Start();
  });
  return absl::OkStatus();
}

void Server::Follow(const Options& options) {
  ShardctlWatcherOptions watch;
  watch.addresses = options.shardctl;
  watch.cluster_id = identity().cluster_id;
  OnExecutor([&] { watch.after = machine_.config_version(); });
  ShardctlWatcher::Events events;
  events.on_configuration = [this](const ShardConfig& configuration) {
    poller_.OnConfiguration(configuration);
  };
  events.on_registry = [this](const v1::Registry& registry) {
    master_service_.SetSettings(registry.settings());
    expiry_.SetSessionIdle(registry.settings().session_idle_ms());
    poller_.OnRegistry(registry);
  };
  watcher_ = std::make_unique<ShardctlWatcher>(*executor_, std::move(watch), std::move(events));
}

void Server::OnRole(const ReplicatedLog::State& state) {
  proposer_.OnRole(state);
  const bool leads = state.role == ReplicatedLog::Role::kLeader;
  const auto leader = addresses_.find(state.leader.value_or(NodeId()));
  intake_.SetLeaderHint(leads || leader == addresses_.end() ? std::string() : leader->second);
  if (view_.leader() != nullptr && (!leads || view_.leader()->term() != state.term)) {
    const absl::Status why = NotLeaderError(leads ? address() : std::string());
    copies_.EndTerm(why);
    view_.EndTerm();
    intake_.DropAll(why);
  }
  if (leads && view_.leader() == nullptr) {
    view_.BeginTerm(state.term);
    poller_.OnLeading();
  }
}

Server::~Server() {
  watcher_.reset();
  OnExecutor([this] {
    maintenance_.Stop();
    expiry_.Stop();
    const absl::Status why = NotReadyError("the master is stopping", absl::Milliseconds(500));
    copies_.EndTerm(why);
    view_.EndTerm();
    intake_.DropAll(why);
    proposer_.Attach(nullptr);
    log_.reset();
  });
  if (port_ != nullptr) {
    port_->Shutdown(kShutdownGrace);
  }
  disk_.reset();
  executor_.reset();
}

void Server::OnExecutor(Task task) {
  absl::Notification done;
  executor_->Post([&] {
    task();
    done.Notify();
  });
  done.WaitForNotification();
}

}  // namespace ballast::master
