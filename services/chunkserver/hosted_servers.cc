// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/hosted_servers.h"

#include <tuple>
#include <utility>

#include "absl/container/btree_map.h"
#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/base/uuid.h"
#include "common/env/clock.h"
#include "common/types/error.h"
#include "services/chunkserver/store/recovery.h"

namespace ballast::chunkserver {
namespace {

constexpr absl::Duration kShutdownGrace = absl::Seconds(2);

using OnResult = std::function<void(const v1::CommandResult&)>;

}  // namespace

// One server. Runner and waiters are used on the shared executor only.
struct HostedServers::Hosted {
  Hosted(HostedServers& owner, std::unique_ptr<ServerIdentity> identity_in, FenceTable fences,
         ChunkStoreOptions options)
      : identity(std::move(identity_in)),
        store(owner.fs_, std::move(options)),
        copier(store, owner.PostBlockingWork(), owner.sources_, *owner.control_, RealClock(),
               owner.copier_options_),
        runner(store, *identity, std::move(fences), owner.gate_, owner.PostBlockingWork(), copier,
               /*traffic=*/nullptr, [this](const QueuedCommand& queued, v1::CommandResult result) {
                 Answer(queued.command, result);
               }) {}

  // What makes a command the same as another.
  using Key = std::tuple<uint64_t, uint64_t, uint64_t, uint64_t>;
  static Key KeyOf(const v1::Command& command) {
    return Key(command.handle(), command.command_id(), command.fence().config_version(),
               command.fence().term());
  }

  void Take(const std::vector<v1::Command>& commands, const OnResult& on_result) {
    google::protobuf::RepeatedPtrField<v1::Command> list;
    for (const v1::Command& command : commands) {
      waiters[KeyOf(command)].push_back(on_result);
      *list.Add() = command;
    }
    runner.Take(/*source=*/0, list);
  }

  void Answer(const v1::Command& command, const v1::CommandResult& result) {
    const auto it = waiters.find(KeyOf(command));
    if (it == waiters.end()) {
      return;  // named twice in one list and refused: answered at the first
    }
    const std::vector<OnResult> answered = std::move(it->second);
    waiters.erase(it);
    for (const OnResult& on_result : answered) {
      on_result(result);
    }
  }

  const std::unique_ptr<ServerIdentity> identity;
  ChunkStore store;
  ChunkCopier copier;
  absl::btree_map<Key, std::vector<OnResult>> waiters;
  CommandRunner runner;
};

absl::StatusOr<std::unique_ptr<HostedServers>> HostedServers::Start(
    FileSystem& fs, const HostedServersOptions& options) {
  if (!IsUuid(options.cluster_id)) {
    return InvalidArgument("the cluster id must be a UUID in lower case");
  }
  auto servers = std::unique_ptr<HostedServers>(new HostedServers(fs, options));
  ASSIGN_OR_RETURN(servers->port_,
                   GrpcServer::Start(options.listen, {servers->service_.get()}, &TuneBulkServer));
  return servers;
}

HostedServers::HostedServers(FileSystem& fs, const HostedServersOptions& options)
    : fs_(fs),
      cluster_id_(options.cluster_id),
      copier_options_(options.copier),
      sources_(channels_, options.cluster_id),
      control_(MakeThreadExecutor("hosted")),
      gate_(std::make_shared<PostGate>(*control_)),
      disk_(std::make_unique<ThreadPool>("disk", options.disk_threads)) {
  DataServiceOptions data;
  data.cluster_id = options.cluster_id;
  data.streams_max = options.streams_max;
  service_ = std::make_unique<ChunkDataService>(directory_, *disk_, channels_, data);
}

PostBlocking HostedServers::PostBlockingWork() {
  return [disk = disk_.get()](Task task) { disk->Post(std::move(task)); };
}

HostedServers::~HostedServers() {
  service_->Drain();
  std::vector<ChunkCopier*> copiers;
  {
    absl::MutexLock lock(&mu_);
    for (const auto& [id, hosted] : servers_) {
      copiers.push_back(&hosted->copier);
    }
  }
  for (ChunkCopier* copier : copiers) {
    copier->Cancel();
  }
  if (port_ != nullptr) {
    port_->Shutdown(kShutdownGrace);
  }
  service_->WaitIdle();
  for (ChunkCopier* copier : copiers) {
    copier->WaitIdle();
  }
  // What the pool still says falls on closed ears.
  gate_->Close();
  control_.reset();
  disk_.reset();
}

absl::Status HostedServers::AddServer(const HostedServer& server) {
  if (!IsUuid(server.server_id)) {
    return InvalidArgument("the server id must be a UUID in lower case");
  }
  if (server.capacity_is_nominal && server.capacity_bytes == 0) {
    return InvalidArgument("a nominal capacity must be named");
  }
  const auto exists = [&] {
    return absl::AlreadyExistsError(
        absl::StrCat("chunk server ", server.server_id, " is here already"));
  };
  if (Find(server.server_id) != nullptr) {
    return exists();
  }
  const absl::Status formatted = FormatFolder(fs_, server.folder, cluster_id_, server.server_id);
  if (!formatted.ok() && !absl::IsAlreadyExists(formatted)) {
    return formatted;
  }
  ASSIGN_OR_RETURN(std::unique_ptr<ServerIdentity> identity,
                   ServerIdentity::Open(fs_, server.folder));
  if (identity->server_id() != server.server_id || identity->cluster_id() != cluster_id_) {
    return absl::FailedPreconditionError(absl::StrCat(server.folder, " belongs to chunk server ",
                                                      identity->server_id(), " of cluster ",
                                                      identity->cluster_id()));
  }
  ASSIGN_OR_RETURN(FenceTable fences, identity->LoadFences());
  ChunkStoreOptions options;
  options.folder = server.folder;
  options.cluster_id = cluster_id_;
  options.capacity_bytes = server.capacity_bytes;
  options.capacity_is_nominal = server.capacity_is_nominal;
  auto hosted =
      std::make_unique<Hosted>(*this, std::move(identity), std::move(fences), std::move(options));
  RETURN_IF_ERROR(RecoverChunks(hosted->store, nullptr).status());
  const ServedStore served{.server_id = server.server_id,
                           .boot_epoch = hosted->identity->boot_epoch(),
                           .store = &hosted->store};
  {
    absl::MutexLock lock(&mu_);
    if (!servers_.emplace(server.server_id, std::move(hosted)).second) {
      return exists();
    }
  }
  directory_.Add(served);
  return absl::OkStatus();
}

HostedServers::Hosted* HostedServers::Find(absl::string_view server_id) const {
  absl::MutexLock lock(&mu_);
  const auto it = servers_.find(server_id);
  return it == servers_.end() ? nullptr : it->second.get();
}

absl::Status HostedServers::Execute(absl::string_view server_id, std::vector<v1::Command> commands,
                                    OnResult on_result) {
  Hosted* const hosted = Find(server_id);
  if (hosted == nullptr) {
    return MakeError(v1::REASON_UNKNOWN_SERVER,
                     absl::StrCat("no chunk server ", server_id.substr(0, 64), " is here"));
  }
  gate_->Post([hosted, commands = std::move(commands), on_result = std::move(on_result)] {
    hosted->Take(commands, on_result);
  });
  return absl::OkStatus();
}

ChunkStore* HostedServers::store(absl::string_view server_id) const {
  Hosted* const hosted = Find(server_id);
  return hosted == nullptr ? nullptr : &hosted->store;
}

uint64_t HostedServers::boot_epoch(absl::string_view server_id) const {
  const Hosted* const hosted = Find(server_id);
  return hosted == nullptr ? 0 : hosted->identity->boot_epoch();
}

}  // namespace ballast::chunkserver
