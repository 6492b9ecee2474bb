// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/server.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/notification.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/base/uuid.h"
#include "common/env/clock.h"
#include "common/routing/shard_router.h"
#include "common/rpc/bulk_channel.h"
#include "common/types/error.h"
#include "services/chunkserver/store/recovery.h"

namespace ballast::chunkserver {
namespace {

constexpr absl::Duration kShutdownGrace = absl::Seconds(2);
constexpr absl::Duration kRegisterPause = absl::Seconds(1);
constexpr uint32_t kDiskThreadsMax = 256;

std::string FolderOf(const Options& options) {
  absl::string_view folder = options.folder;
  while (folder.size() > 1 && absl::ConsumeSuffix(&folder, "/")) {
  }
  return std::string(folder);
}

ShardctlClientOptions ClientOptions(const Options& options, absl::string_view cluster_id) {
  ShardctlClientOptions out;
  out.addresses = options.shardctl;
  out.cluster_id = std::string(cluster_id);
  return out;
}

absl::Status Validate(const Options& options) {
  if (options.shardctl.empty()) {
    return InvalidArgument("--shardctl needs at least one HOST:PORT");
  }
  for (const std::string& address : options.shardctl) {
    RETURN_IF_ERROR(ValidateAddress(address));
  }
  // As an address of a server, but port 0 picks one.
  const std::string& listen = options.listen;
  RETURN_IF_ERROR(ValidateAddress(
      absl::EndsWith(listen, ":0") ? listen.substr(0, listen.size() - 1) + "1" : listen));
  if (!options.advertise.empty()) {
    RETURN_IF_ERROR(ValidateAddress(options.advertise));
  }
  if (options.disk_threads < 1 || options.disk_threads > kDiskThreadsMax) {
    return InvalidArgument(absl::StrCat("--disk-threads must be 1 to ", kDiskThreadsMax));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::string> Format(FileSystem& fs, const Options& options) {
  RETURN_IF_ERROR(Validate(options));
  std::string cluster_id = options.cluster_id;
  if (cluster_id.empty()) {
    ShardctlClient shardctl(ClientOptions(options, ""));
    ASSIGN_OR_RETURN(const v1::GetClusterResponse cluster, shardctl.GetCluster());
    cluster_id = cluster.cluster_id();
  }
  const std::string server_id = MakeUuid();
  RETURN_IF_ERROR(FormatFolder(fs, FolderOf(options), cluster_id, server_id));
  return server_id;
}

absl::StatusOr<std::unique_ptr<Server>> Server::Start(
    FileSystem& fs, const Options& options, std::function<void(const absl::Status&)> on_failure) {
  RETURN_IF_ERROR(Validate(options));
  ASSIGN_OR_RETURN(std::unique_ptr<ServerIdentity> identity,
                   ServerIdentity::Open(fs, FolderOf(options)));
  ASSIGN_OR_RETURN(FenceTable fences, identity->LoadFences());
  auto server =
      std::unique_ptr<Server>(new Server(std::move(identity), options, std::move(on_failure)));
  ChunkStoreOptions store;
  store.folder = FolderOf(options);
  store.cluster_id = server->identity_->cluster_id();
  store.capacity_bytes = options.capacity_bytes;
  store.on_news = [raw = server.get()] {
    if (!raw->news_posted_.exchange(true)) {
      raw->gate_->Post([raw] {
        raw->news_posted_ = false;
        raw->heartbeater_->OnNews();
      });
    }
  };
  server->store_ = std::make_unique<ChunkStore>(fs, std::move(store));
  server->directory_.Add(ServedStore{.server_id = server->identity_->server_id(),
                                     .boot_epoch = server->identity_->boot_epoch(),
                                     .store = server->store_.get()});
  DataServiceOptions data;
  data.cluster_id = server->identity_->cluster_id();
  data.traffic = server->traffic_.get();
  server->service_ = std::make_unique<ChunkDataService>(server->directory_, *server->disk_,
                                                        server->channels_, data);
  ASSIGN_OR_RETURN(server->port_,
                   GrpcServer::Start(options.listen, {server->service_.get()}, &TuneBulkServer));
  server->StartControl(options, std::move(fences));
  server->scan_->Post([raw = server.get()] { raw->Scan(); });
  return server;
}

Server::Server(std::unique_ptr<ServerIdentity> identity, const Options& options,
               std::function<void(const absl::Status&)> on_failure)
    : identity_(std::move(identity)),
      on_failure_(std::move(on_failure)),
      control_(MakeThreadExecutor("heartbeat")),
      gate_(std::make_shared<PostGate>(*control_)),
      pacer_(MakeThreadExecutor("pacer")),
      pacer_gate_(std::make_shared<PostGate>(*pacer_)),
      traffic_(std::make_unique<TrafficControl>(*pacer_, RealClock())),
      scan_helpers_(options.disk_threads),
      disk_(std::make_unique<ThreadPool>("disk", static_cast<int>(options.disk_threads))),
      registrar_(MakeThreadExecutor("registrar")),
      scan_(MakeThreadExecutor("scan")) {}

void Server::StartControl(const Options& options, FenceTable fences) {
  registration_.set_server_id(identity_->server_id());
  registration_.set_address(options.advertise.empty() ? port_->address() : options.advertise);
  registration_.set_zone(options.zone);
  registration_.set_boot_epoch(identity_->boot_epoch());
  shardctl_ = std::make_unique<ShardctlClient>(ClientOptions(options, identity_->cluster_id()));
  streams_ = std::make_unique<GrpcMasterStreams>(identity_->cluster_id());
  HeartbeaterOptions heartbeat;
  heartbeat.zone = options.zone;
  heartbeat.address = registration_.address();
  heartbeat.incarnation = StableHash(MakeUuid());
  Heartbeater::Callbacks callbacks;
  callbacks.register_server = [this] { registrar_->Post([this] { Register(); }); };
  callbacks.on_fatal = [this](const absl::Status& status) { Fail(status); };
  callbacks.on_settings = [this](const v1::Settings& settings) {
    traffic_->SetLimits(settings);
    pacer_->Post(
        [this, days = settings.scrub_days() == 0 ? kScrubDaysDefault : settings.scrub_days()] {
          scrubber_->SetPeriod(absl::Hours(24) * days);
        });
  };
  const PostBlocking post_blocking = [this](Task task) { disk_->Post(std::move(task)); };
  sources_ = std::make_unique<GrpcChunkSources>(channels_, identity_->cluster_id());
  copier_ = std::make_unique<ChunkCopier>(*store_, post_blocking, *sources_, *control_, RealClock(),
                                          ChunkCopierOptions());
  ScrubberOptions scrub;
  scrub.note_file = JoinPath(FolderOf(options), "scrub");
  scrubber_ =
      std::make_unique<Scrubber>(std::move(scrub), *pacer_, RealClock(), pacer_gate_, *store_,
                                 post_blocking, [this] { return traffic_->foreground_factor(); });
  pacer_->Post([this] { scrubber_->Start(); });
  traffic_->StartBackOff([this] { return scrubber_->read_bytes(); });
  heartbeater_ = std::make_unique<Heartbeater>(
      std::move(heartbeat), *control_, RealClock(), gate_, *store_, *identity_, std::move(fences),
      post_blocking, *copier_, *traffic_, *streams_, std::move(callbacks));
  control_->Post([this] { heartbeater_->Start(); });
  ShardctlWatcherOptions watch;
  watch.addresses = options.shardctl;
  watch.cluster_id = identity_->cluster_id();
  ShardctlWatcher::Events events;
  events.on_configuration = [this](const ShardConfig& config) {
    heartbeater_->OnConfiguration(config);
  };
  events.on_registry = [this](const v1::Registry& registry) { heartbeater_->OnRegistry(registry); };
  watcher_ = std::make_unique<ShardctlWatcher>(*control_, std::move(watch), std::move(events));
}

// On the registrar's thread, until it succeeds or the server stops.
void Server::Register() {
  const absl::StatusOr<v1::RegisterChunkServerResponse> registered =
      shardctl_->RegisterChunkServer(registration_);
  if (registered.ok()) {
    LogInfo("chunkserver.registered",
            {{"server_index", registered->server_index()}, {"address", registration_.address()}});
    gate_->Post([this] { heartbeater_->OnRegistered(); });
    return;
  }
  if (stopping_) {
    return;
  }
  if (IsDefinite(registered.status()) && ReasonOf(registered.status()) != v1::REASON_NOT_LEADER &&
      ReasonOf(registered.status()) != v1::REASON_NOT_READY) {
    Fail(registered.status());
    return;
  }
  LogWarning("chunkserver.not_registered", {{"error", std::string(registered.status().message())}});
  registrar_->RunAfter(kRegisterPause, [this] { Register(); });
}

void Server::Scan() {
  const absl::StatusOr<RecoveryReport> report = RecoverChunks(
      *store_, &stopping_, scan_helpers_, [this](Task task) { disk_->Post(std::move(task)); });
  if (!report.ok() && !stopping_) {
    Fail(report.status());
  }
}

void Server::Fail(const absl::Status& status) {
  if (!failed_.exchange(true)) {
    on_failure_(status);
  }
}

Server::~Server() {
  stopping_ = true;
  service_->Drain();
  scan_.reset();
  if (heartbeater_ != nullptr) {
    watcher_.reset();
    OnControl([this] { heartbeater_->SayStopping(); });
    shardctl_->Shutdown();
    copier_->Cancel();
  }
  if (port_ != nullptr) {
    port_->Shutdown(kShutdownGrace);
  }
  service_->WaitIdle();
  registrar_.reset();
  if (heartbeater_ != nullptr) {
    copier_->WaitIdle();
    // Ends the streams; whatever they and the pool still say falls on closed ears.
    gate_->Close();
    control_.reset();
    heartbeater_.reset();
    streams_.reset();
  }
  pacer_gate_->Close();
  pacer_.reset();  // nobody waits at a gate any more
  disk_.reset();
}

void Server::OnControl(Task task) {
  absl::Notification done;
  control_->Post([&] {
    task();
    done.Notify();
  });
  done.WaitForNotification();
}

}  // namespace ballast::chunkserver
