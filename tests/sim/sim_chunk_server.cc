// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/sim_chunk_server.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/types/blocks.h"
#include "common/types/error.h"
#include "services/chunkserver/store/recovery.h"

namespace ballast::testing {
namespace {

// A hop whose neighbours are silent for so long gives up.
constexpr absl::Duration kHopPatience = absl::Seconds(8);

std::vector<Crc32c> BlockSums(absl::string_view bytes) {
  std::vector<Crc32c> sums;
  for (uint64_t block = 0; block < BlockCount(bytes.size()); ++block) {
    sums.push_back(ComputeCrc32c(bytes.substr(block * kBlockBytes, kBlockBytes)));
  }
  return sums;
}

}  // namespace

SimChunkServer::SimChunkServer(ChunkWorld& world, Place place,
                               std::function<void(absl::Status)> on_fatal)
    : world_(world),
      place_(std::move(place)),
      on_fatal_(std::move(on_fatal)),
      alive_(std::make_shared<SimChunkServer*>(this)),
      process_(world.sim, place_.name),
      control_(process_.MakeExecutor()),
      disk_(process_.MakeExecutor()),
      gate_(std::make_shared<chunkserver::PostGate>(*control_)) {
  auto identity = chunkserver::ServerIdentity::Open(*place_.fs, kFolder);
  if (!identity.ok()) {
    return;  // a fault came in between: whoever started it tries again
  }
  identity_ = *std::move(identity);
  auto fences = identity_->LoadFences();
  if (!fences.ok()) {
    return;
  }
  chunkserver::ChunkStoreOptions options;
  options.folder = kFolder;
  options.cluster_id = identity_->cluster_id();
  options.capacity_bytes = place_.capacity_bytes;
  options.free_bytes_min = 0;
  options.open_files_max = 4;
  options.on_news = [this] {
    if (!std::exchange(news_posted_, true)) {
      gate_->Post([this] {
        news_posted_ = false;
        heartbeater_->OnNews();
      });
    }
  };
  store_ = std::make_unique<chunkserver::ChunkStore>(*place_.fs, std::move(options));
  streams_ = world_.streams.MakeClient(place_.node, identity_->cluster_id());
  chunkserver::HeartbeaterOptions heartbeat;
  heartbeat.zone = place_.zone;
  heartbeat.address = place_.address;
  heartbeat.incarnation = world_.rng().Next() | 1;
  sources_ = std::make_unique<SimChunkSources>(world_, place_.node);
  chunkserver::ChunkCopierOptions copies;
  copies.stall_timeout = absl::Seconds(5);
  copies.message_bytes = kBlockBytes;
  copier_ = std::make_unique<chunkserver::ChunkCopier>(
      *store_, [this](Task task) { CopyOnDisk(std::move(task)); }, *sources_, *control_, world_.sim,
      copies);
  traffic_ = std::make_unique<chunkserver::TrafficControl>(*control_, world_.sim);
  heartbeater_ = std::make_unique<chunkserver::Heartbeater>(
      std::move(heartbeat), *control_, world_.sim, gate_, *store_, *identity_, *std::move(fences),
      [this](Task task) { OnDisk(std::move(task)); }, *copier_, *traffic_, *streams_,
      chunkserver::Heartbeater::Callbacks{
          .register_server = [this] { Register(); },
          .on_fatal = [this](const absl::Status& status) { Fatal(status); },
          .on_settings = [this](const v1::Settings& s) { traffic_->SetLimits(s); }});
  process_.SetAfterTurn([this] { world_.checker.LookForNoticed(place_.disk, *store_); });
  control_->Post([this] { heartbeater_->Start(); });
  control_->Post([this] { WatchShardctl(); });
  OnDisk([this] {
    if (const auto report = chunkserver::RecoverChunks(*store_, nullptr); !report.ok()) {
      Fatal(report.status());
    }
  });
}

SimChunkServer::~SimChunkServer() {
  process_.SetAfterTurn(nullptr);
  // Nothing that is destroyed here may still act on the disk.
  place_.fs->FailAfter(1);
  gate_->Close();
  hops_.clear();
  EndCopies();
  heartbeater_.reset();
  copier_.reset();
  traffic_.reset();
  streams_.reset();
  disk_.reset();
  control_.reset();
  store_.reset();
  identity_.reset();
}

void SimChunkServer::OnDisk(Task task) {
  const int64_t most = absl::ToInt64Microseconds(disk_delay_max_);
  const int64_t delay = world_.rng().OneIn(40) ? 20 * most : most;
  disk_->RunAfter(absl::Microseconds(world_.rng().Below(static_cast<uint64_t>(delay) + 1)),
                  std::move(task));
}

void SimChunkServer::CopyOnDisk(Task task) {
  const uint64_t id = ++last_copy_task_;
  copy_tasks_[id] = std::move(task);
  OnDisk([this, id] {
    const auto it = copy_tasks_.find(id);
    if (it != copy_tasks_.end()) {
      Task due = std::move(it->second);
      copy_tasks_.erase(it);
      due();
    }
  });
}

// A copier cannot be destroyed in the middle of a copy; on a disk that takes nothing any more it
// can be brought to an end without a trace.
void SimChunkServer::EndCopies() {
  if (copier_ == nullptr) {
    return;
  }
  copier_->Cancel();
  while (copier_->running() > 0) {
    sources_->EndAll();
    for (auto& [id, task] : std::exchange(copy_tasks_, {})) {
      task();
    }
  }
}

void SimChunkServer::Fatal(const absl::Status& status) {
  if (std::exchange(fatal_, true)) {
    return;
  }
  world_.trace(absl::StrCat(place_.name, " ends: ", status.message()));
  world_.sim.At(absl::ZeroDuration(), [weak = std::weak_ptr<SimChunkServer*>(alive_), status] {
    if (const auto self = weak.lock()) {
      // It ends this server, and with it the original of what runs here.
      const auto on_fatal = (*self)->on_fatal_;
      on_fatal(status);
    }
  });
}

void SimChunkServer::Register() {
  control_->RunAfter(absl::Milliseconds(world_.rng().Between(1, 60)), [this] {
    if (!world_.network.Converse(place_.node, world_.shardctl.node())) {
      control_->RunAfter(absl::Milliseconds(500), [this] { Register(); });
      return;
    }
    const absl::StatusOr<uint32_t> index = world_.shardctl.Register(
        identity_->server_id(), place_.address, place_.zone, identity_->boot_epoch());
    if (!index.ok()) {
      Fatal(index.status());
      return;
    }
    world_.checker.SetServer(place_.disk, ServerIndex(*index));
    heartbeater_->OnRegistered();
  });
}

void SimChunkServer::WatchShardctl() {
  if (world_.network.Converse(place_.node, world_.shardctl.node())) {
    if (!std::exchange(configured_, true)) {
      heartbeater_->OnConfiguration(world_.shardctl.config());
    }
    const v1::Registry& registry = world_.shardctl.registry();
    if (registry.version() != std::exchange(registry_version_, registry.version())) {
      heartbeater_->OnRegistry(registry);
    }
  }
  control_->RunAfter(absl::Milliseconds(world_.rng().Between(50, 300)),
                     [this] { WatchShardctl(); });
}

// --- the data service ---------------------------------------------------------------------------

void SimChunkServer::Write(ChunkHandle handle, std::shared_ptr<const std::string> bytes,
                           std::vector<std::string> rest, WriteReply reply) {
  const uint64_t id = ++last_hop_;
  Hop& hop = hops_[id];
  hop.handle = handle;
  hop.bytes = std::move(bytes);
  hop.reply = std::move(reply);
  hop.downstream_done = rest.empty();
  if (!rest.empty()) {
    Forward(id, hop, std::move(rest));
  }
  control_->RunAfter(kHopPatience,
                     [this, id] { Finish(id, absl::UnavailableError("the chain is silent")); });
  OnDisk([this, id] { Receive(id); });
}

void SimChunkServer::Forward(uint64_t id, const Hop& hop, std::vector<std::string> rest) {
  const std::string next = rest.front();
  rest.erase(rest.begin());
  // The answer finds its way back only to this very process.
  WriteReply answer = [weak = std::weak_ptr<SimChunkServer*>(alive_),
                       id](const absl::Status& done) {
    if (const auto self = weak.lock()) {
      (*self)->control_->Post([server = *self, id, done] {
        const auto it = server->hops_.find(id);
        if (it == server->hops_.end()) {
          return;
        }
        it->second.downstream_done = done.ok();
        if (done.ok()) {
          server->CommitIfReady(id);
        } else {
          server->Finish(id, done);
        }
      });
    }
  };
  SimChunkServer* const there = world_.server_at(next);
  if (there == nullptr) {
    control_->Post([this, id] { Finish(id, absl::UnavailableError("connection refused")); });
    return;
  }
  world_.network.Send(
      place_.node, there->place_.node,
      [&world = world_, next, handle = hop.handle, bytes = hop.bytes, rest = std::move(rest),
       from = place_.node, answer = std::move(answer)]() mutable {
        SimChunkServer* const server = world.server_at(next);
        if (server == nullptr) {
          return;
        }
        server->control_->Post([&world, server, handle, bytes = std::move(bytes),
                                rest = std::move(rest), from,
                                answer = std::move(answer)]() mutable {
          server->Write(handle, std::move(bytes), std::move(rest),
                        [&world, node = server->place_.node, from,
                         answer = std::move(answer)](const absl::Status& status) {
                          world.network.Send(node, from, [answer, status] { answer(status); });
                        });
        });
      });
}

void SimChunkServer::Receive(uint64_t id) {
  const auto it = hops_.find(id);
  if (it == hops_.end()) {
    return;
  }
  const std::string& bytes = *it->second.bytes;
  const bool hinted = world_.rng().OneIn(2);
  auto writer = store_->StartWrite(it->second.handle, hinted ? bytes.size() : 0);
  absl::Status status = writer.status();
  if (status.ok()) {
    it->second.writer = *std::move(writer);
    std::string wire = bytes;
    if (world_.rng().OneIn(100)) {
      wire[world_.rng().Below(wire.size())] ^= 1;  // on its way
    }
    const auto verified = chunkserver::VerifiedBlocks::Verify({wire}, BlockSums(bytes));
    status = verified.ok() ? it->second.writer->Append(*verified) : verified.status();
  }
  if (!status.ok()) {
    control_->Post([this, id, status] { Finish(id, status); });
    return;
  }
  OnDisk([this, id] {
    const auto hop = hops_.find(id);
    if (hop == hops_.end()) {
      return;
    }
    const std::string& all = *hop->second.bytes;
    const absl::Status prepared = hop->second.writer->Prepare(all.size(), ComputeCrc32c(all));
    hop->second.prepared = prepared.ok();
    control_->Post([this, id, prepared] {
      if (prepared.ok()) {
        CommitIfReady(id);
      } else {
        Finish(id, prepared);
      }
    });
  });
}

void SimChunkServer::CommitIfReady(uint64_t id) {
  const auto it = hops_.find(id);
  if (it == hops_.end() || !it->second.prepared || !it->second.downstream_done ||
      std::exchange(it->second.committing, true)) {
    return;
  }
  OnDisk([this, id] {
    const auto hop = hops_.find(id);
    if (hop == hops_.end()) {
      return;
    }
    const absl::Status committed = hop->second.writer->Commit();
    if (committed.ok()) {
      world_.checker.OnServerAck(place_.disk, hop->second.handle);
    }
    control_->Post([this, id, committed] { Finish(id, committed); });
  });
}

void SimChunkServer::Finish(uint64_t id, const absl::Status& status) {
  const auto it = hops_.find(id);
  if (it == hops_.end()) {
    return;
  }
  const WriteReply reply = std::move(it->second.reply);
  // Destroying a writer removes what it wrote, which is the disk pool's work.
  OnDisk([writer = std::move(it->second.writer)] {});
  hops_.erase(it);
  reply(status);
}

void SimChunkServer::Read(ChunkHandle handle, ReadReply reply) {
  OnDisk([this, handle, reply = std::move(reply)] {
    const auto chunk = store_->Open(handle);
    if (!chunk.ok()) {
      reply(chunk.status());
      return;
    }
    const uint64_t blocks = (*chunk)->header.blocks.size();
    std::string bytes(blocks * kBlockBytes, '\0');
    const absl::StatusOr<size_t> got = store_->ReadBlocks(**chunk, 0, blocks, bytes.data());
    if (!got.ok()) {
      reply(got.status());
      return;
    }
    store_->CountRead(handle);
    bytes.resize(*got);
    reply(std::move(bytes));
  });
}

void SimChunkServer::ReadPart(ChunkHandle handle, uint64_t offset, uint64_t bytes_max,
                              ChunkPartReply reply) {
  OnDisk([this, handle, offset, bytes_max, reply = std::move(reply)] {
    const auto chunk = store_->Open(handle);
    if (!chunk.ok()) {
      reply(chunk.status());
      return;
    }
    const auto& header = (*chunk)->header;
    ChunkPart part;
    part.offset = offset;
    if (offset < header.length_bytes) {
      const uint64_t first = offset / kBlockBytes;
      const uint64_t count =
          std::min<uint64_t>(bytes_max / kBlockBytes, header.blocks.size() - first);
      part.data = std::make_shared<std::string>(count * kBlockBytes, '\0');
      const auto got = store_->ReadBlocks(**chunk, first, count, part.data->data());
      if (!got.ok()) {
        reply(got.status());
        return;
      }
      part.data->resize(*got);
      part.blocks.assign(header.blocks.begin() + static_cast<std::ptrdiff_t>(first),
                         header.blocks.begin() + static_cast<std::ptrdiff_t>(first + count));
    }
    reply(std::move(part));
  });
}

}  // namespace ballast::testing
