// SPDX-License-Identifier: Apache-2.0
#include "services/shardctl/server.h"

#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "common/base/status_macros.h"
#include "common/base/uuid.h"
#include "common/env/clock.h"
#include "common/routing/shard_router.h"
#include "common/types/error.h"

namespace ballast::shardctl {
namespace {

constexpr char kService[] = "shardctl";
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

ServiceFacts FactsOf(const MemberIdentity& identity) {
  ServiceFacts facts{
      .cluster_id = identity.cluster_id, .shard_count = identity.shard_count, .addresses = {}};
  for (const MasterEndpoint& voter : identity.voters) {
    facts.addresses[voter.node] = voter.address;
  }
  return facts;
}

}  // namespace

absl::StatusOr<std::string> Format(FileSystem& fs, const Options& options) {
  MemberIdentity identity;
  identity.service = kService;
  identity.cluster_id = options.cluster_id.empty() ? MakeUuid() : options.cluster_id;
  identity.shard_count = options.shards;
  identity.node = NodeId(options.node_id);
  ASSIGN_OR_RETURN(identity.voters, ParseVoters(options.voters));
  if (identity.voters.size() != 1) {
    return InvalidArgument("a shard controller of more than one process is not supported yet");
  }
  RETURN_IF_ERROR(
      FormatMemberFolder(fs, options.folder, identity, [&](const std::string& log_folder) {
        return RaftLog::Format(fs, LogOptionsOf(identity, log_folder));
      }));
  return identity.cluster_id;
}

Server::Server(std::unique_ptr<MemberFolder> folder)
    : folder_(std::move(folder)),
      executor_(MakeThreadExecutor(kService)),
      disk_(MakeThreadExecutor("shardctl-disk")),
      machine_(identity().shard_count),
      watches_(*executor_, machine_),
      pool_watches_(*executor_, machine_),
      watched_(machine_, watches_, pool_watches_),
      calls_(*executor_, FactsOf(identity())),
      service_(calls_, machine_, watches_),
      pools_(calls_, machine_, pool_watches_) {
  calls_.SetPolls([this](const absl::Status& status) {
    watches_.FailAll(status);
    pool_watches_.FailAll(status);
  });
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(
    FileSystem& fs, const Options& options, std::function<void(const absl::Status&)> on_failure) {
  ASSIGN_OR_RETURN(auto folder, MemberFolder::Open(fs, options.folder, kService));
  auto server = std::unique_ptr<Server>(new Server(std::move(folder)));
  ASSIGN_OR_RETURN(
      server->port_,
      GrpcServer::Start(options.listen.empty() ? server->identity().address() : options.listen,
                        {&server->service_, &server->pools_}));
  RETURN_IF_ERROR(server->OpenLog(fs, std::move(on_failure)));
  return server;
}

absl::Status Server::OpenLog(FileSystem& fs, std::function<void(const absl::Status&)> on_failure) {
  RaftLogOptions options = LogOptionsOf(identity(), folder_->log_folder());
  options.on_failure = std::move(on_failure);
  ASSIGN_OR_RETURN(log_, RaftLog::Open(std::move(options), RealClock(), *executor_, *disk_, fs,
                                       transport_, watched_));
  OnExecutor([this] { calls_.Attach(*log_); });
  return absl::OkStatus();
}

Server::~Server() {
  OnExecutor([this] {
    calls_.Detach();
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

}  // namespace ballast::shardctl
