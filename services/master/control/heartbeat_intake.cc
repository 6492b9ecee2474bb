// SPDX-License-Identifier: Apache-2.0
#include "services/master/control/heartbeat_intake.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/types/error.h"
#include "common/types/limits.h"
#include "common/types/shard_config.h"

namespace ballast::master {
namespace {

constexpr size_t kHealthTextMax = 256;
constexpr size_t kOutboxMax = 4096;
constexpr int kCommandsPerReply = 1024;
constexpr size_t kAsksPerReply = 1024;
constexpr uint32_t kAgeMsMax = 600'000;
// Of one turn of the executor (LiveReplicas::Ingest): well below 2 ms.
constexpr int64_t kWorkPerTurn = 16384;
// Claims of servers about bytes are cut here, so that sums of them cannot overflow.
constexpr uint64_t kBytesClaimMax = uint64_t{1} << 60;

// What somebody who relays the server's words says of them.
absl::Status CheckRelay(const v1::Heartbeat& heartbeat, bool is_unary) {
  if (heartbeat.age_ms() > kAgeMsMax) {
    return InvalidArgument(absl::StrCat("age_ms is over ", kAgeMsMax));
  }
  if (heartbeat.no_lists() && !is_unary) {
    return InvalidArgument("no_lists is for unary heartbeats: a stream tells every change");
  }
  if (heartbeat.no_lists() && heartbeat.shards_size() > 0) {
    return InvalidArgument("no_lists, and yet `shards` is not empty");
  }
  return absl::OkStatus();
}

absl::Status CheckFields(const v1::Heartbeat& heartbeat, bool is_unary) {
  RETURN_IF_ERROR(CheckRelay(heartbeat, is_unary));
  if (heartbeat.no_beat()) {
    return absl::OkStatus();  // what it says of the server is not looked at
  }
  if (heartbeat.health() < v1::SERVER_HEALTH_OK ||
      heartbeat.health() > v1::SERVER_HEALTH_STOPPING) {
    return InvalidArgument("a heartbeat needs a known health");
  }
  if (heartbeat.health_text().size() > kHealthTextMax) {
    return InvalidArgument("health_text is longer than 256 bytes");
  }
  const double pct = heartbeat.disk_utilization_pct();
  if (!std::isfinite(pct) || pct < 0 || pct > 100) {
    return InvalidArgument("disk_utilization_pct is not within 0..100");
  }
  return heartbeat.address().empty() ? absl::OkStatus() : ValidateAddress(heartbeat.address());
}

ServerReport ReportOf(const v1::Heartbeat& heartbeat, const std::string& address) {
  ServerReport report;
  report.capacity_bytes = std::min(heartbeat.capacity_bytes(), kBytesClaimMax);
  report.used_bytes = std::min(heartbeat.used_bytes(), kBytesClaimMax);
  report.incoming_bytes = std::min(heartbeat.incoming_bytes(), kBytesClaimMax);
  report.utilization_pct = heartbeat.disk_utilization_pct();
  report.health = heartbeat.health();
  report.health_text = heartbeat.health_text();
  report.address = address;
  return report;
}

}  // namespace

HeartbeatIntake::HeartbeatIntake(Executor& executor, LiveView& view, std::string cluster_id)
    : executor_(executor), view_(view), cluster_id_(std::move(cluster_id)) {}

// --- streams
// --------------------------------------------------------------------------------------

uint64_t HeartbeatIntake::OnStreamBegan(HeartbeatSink* sink) {
  streams_[++last_stream_].sink = sink;
  return last_stream_;
}

void HeartbeatIntake::OnStreamHeartbeat(uint64_t stream,
                                        std::shared_ptr<const v1::Heartbeat> heartbeat) {
  if (!streams_.contains(stream)) {
    return;
  }
  const absl::StatusOr<ServerIndex> server = Admit(*heartbeat, stream);
  if (!server.ok()) {
    CloseStream(stream, server.status());
    return;
  }
  auto ingest = std::make_shared<Ingest>();
  ingest->heartbeat = heartbeat;
  ingest->server = *server;
  ingest->session = sessions_[*server].number;
  ingest->done = [this, stream, heartbeat, index = *server](absl::Status status) {
    if (!status.ok()) {
      CloseStream(stream, status);
    } else if (const auto it = streams_.find(stream); it != streams_.end()) {
      it->second.sink->Answer(MakeReply(index, *heartbeat));
    }
  };
  Continue(std::move(ingest));
}

void HeartbeatIntake::OnStreamEnded(uint64_t stream) {
  const auto it = streams_.find(stream);
  if (it == streams_.end()) {
    return;
  }
  const ServerIndex server = it->second.server;
  streams_.erase(it);
  const auto session = sessions_.find(server);
  if (session == sessions_.end() || session->second.stream != stream) {
    return;
  }
  sessions_.erase(session);
  if (LeaderState* const leader = view_.leader()) {
    leader->liveness.OnStreamBroken(server, stream, view_.Now());
    leader->ledger.ForgetServer(server);
  }
}

void HeartbeatIntake::CloseStream(uint64_t stream, const absl::Status& status) {
  const auto it = streams_.find(stream);
  if (it != streams_.end()) {
    HeartbeatSink* const sink = it->second.sink;
    OnStreamEnded(stream);
    sink->Close(status);
  }
}

// --- unary
// ----------------------------------------------------------------------------------------

void HeartbeatIntake::OnUnaryHeartbeat(std::shared_ptr<const v1::Heartbeat> heartbeat,
                                       UnaryDone done) {
  const absl::StatusOr<ServerIndex> server = Admit(*heartbeat, /*stream=*/0);
  if (!server.ok()) {
    done(server.status());
    return;
  }
  Session& session = sessions_[*server];
  // Of lists that were overtaken by later ones nothing is taken: they are history.
  if (heartbeat->no_lists() || heartbeat->sequence() <= session.last_sequence) {
    done(MakeReply(*server, *heartbeat));
    return;
  }
  session.last_sequence = heartbeat->sequence();
  auto ingest = std::make_shared<Ingest>();
  ingest->heartbeat = heartbeat;
  ingest->server = *server;
  ingest->session = session.number;
  ingest->is_unary = true;
  ingest->done = [this, heartbeat, index = *server,
                  done = std::move(done)](absl::Status status) mutable {
    if (status.ok()) {
      done(MakeReply(index, *heartbeat));
    } else {
      done(std::move(status));
    }
  };
  Continue(std::move(ingest));
}

// --- admission
// ------------------------------------------------------------------------------------

absl::StatusOr<ServerIndex> HeartbeatIntake::Admit(const v1::Heartbeat& heartbeat,
                                                   uint64_t stream) {
  LeaderState* const leader = view_.leader();
  if (leader == nullptr) {
    return NotLeaderError(leader_hint_);
  }
  // What is left out is what the stream's first message said.
  const auto bound = streams_.find(stream);
  const bool goes_on = bound != streams_.end() && bound->second.server != ServerIndex(0);
  if (heartbeat.cluster_id() != cluster_id_ && !(goes_on && heartbeat.cluster_id().empty())) {
    return MakeError(v1::REASON_WRONG_CLUSTER,
                     absl::StrCat("this is a master of cluster ", cluster_id_));
  }
  if (heartbeat.server_id().empty() && !goes_on) {
    return InvalidArgument("the first heartbeat says whose it is: server_id is missing");
  }
  Liveness::Holder holder{heartbeat.boot_epoch(), heartbeat.incarnation()};
  std::string address = heartbeat.address();
  if (goes_on) {
    holder.boot_epoch =
        holder.boot_epoch == 0 ? bound->second.holder.boot_epoch : holder.boot_epoch;
    holder.incarnation =
        holder.incarnation == 0 ? bound->second.holder.incarnation : holder.incarnation;
    address = address.empty() ? bound->second.address : address;
  }
  if (holder.boot_epoch == 0 || holder.incarnation == 0) {
    return InvalidArgument("a heartbeat needs boot_epoch and incarnation");
  }
  RETURN_IF_ERROR(CheckFields(heartbeat, /*is_unary=*/stream == 0));
  if (!view_.directory().known()) {
    return NotReadyError("the registry of chunk servers has not come from shardctl yet",
                         absl::Milliseconds(500));
  }
  const v1::RegisteredServer* const server =
      goes_on && heartbeat.server_id().empty() ? view_.directory().Find(bound->second.server)
                                               : view_.directory().FindById(heartbeat.server_id());
  if (server == nullptr || server->state() == v1::SERVER_STATE_REMOVED) {
    return MakeError(v1::REASON_UNKNOWN_SERVER,
                     server == nullptr ? "this chunk server is not registered at shardctl"
                                       : "this chunk server was removed; it must register anew");
  }
  const ServerIndex index(server->server_index());
  if (goes_on && bound->second.server != index) {
    return InvalidArgument("one stream speaks for one chunk server");
  }
  if (heartbeat.no_beat()) {
    RETURN_IF_ERROR(leader->liveness.OnNoBeat(index, holder, stream));
  } else {
    const Liveness::Beat beat{.sender = holder,
                              .stream = stream,
                              .stopping = heartbeat.health() == v1::SERVER_HEALTH_STOPPING,
                              .tells_chunks = !heartbeat.no_lists(),
                              .age = absl::Milliseconds(heartbeat.age_ms())};
    RETURN_IF_ERROR(leader->liveness.OnHeartbeat(index, beat, view_.Now()));
  }
  if (bound != streams_.end()) {
    bound->second.server = index;
    bound->second.holder = holder;
    bound->second.address = address;
  }
  const auto session = sessions_.find(index);
  if (session == sessions_.end() || session->second.stream != stream ||
      session->second.holder != holder) {
    BeginSession(index, stream, holder);
  }
  Record(index, heartbeat, address);
  return index;
}

void HeartbeatIntake::BeginSession(ServerIndex server, uint64_t stream, Liveness::Holder holder) {
  Session session;
  session.stream = stream;
  session.holder = holder;
  session.number = ++last_session_;
  const Session before = std::exchange(sessions_[server], std::move(session));
  view_.leader()->replicas.OnStreamBegan(server, holder, view_.Now());
  view_.leader()->ledger.ForgetServer(server);
  if (observer_ != nullptr) {
    observer_->OnReport(server);  // what was ordered may have to be ordered again
  }
  if (before.stream != 0 && before.stream != stream) {
    CloseStream(before.stream,
                before.holder == holder
                    ? NotReadyError("a newer stream has taken over", absl::ZeroDuration())
                    : MakeError(v1::REASON_STALE_BOOT,
                                "a newer incarnation of this chunk server has taken over"));
  }
}

void HeartbeatIntake::Record(ServerIndex server, const v1::Heartbeat& heartbeat,
                             const std::string& address) {
  LeaderState& leader = *view_.leader();
  if (!heartbeat.no_beat()) {
    leader.SetReport(server, ReportOf(heartbeat, address));
  }
  for (const v1::CommandResult& result : heartbeat.results()) {
    const auto order =
        leader.ledger.Finish(server, result.command_id(), /*done=*/result.code() == 0);
    if (order.has_value() && result.code() != 0) {
      LogInfo("master.command_refused",
              {{"server", server.value()},
               {"chunk", order->handle.ToString()},
               {"reason", ReasonName(static_cast<v1::Reason>(result.reason()))},
               {"text", result.text().substr(0, kHealthTextMax)}});
    }
    if (observer_ != nullptr) {
      observer_->OnCommandResult(server, result, order);
    }
  }
}

bool HeartbeatIntake::IsLoading(ServerIndex server) const {
  const ServerReport* const report = view_.leader()->FindReport(server);
  return report != nullptr && report->health == v1::SERVER_HEALTH_LOADING;
}

// --- lists
// ----------------------------------------------------------------------------------------

void HeartbeatIntake::Continue(std::shared_ptr<Ingest> ingest) {
  if (view_.leader() == nullptr) {
    ingest->done(NotLeaderError(leader_hint_));
    return;
  }
  const auto session = sessions_.find(ingest->server);
  if (session == sessions_.end() || session->second.number != ingest->session) {
    ingest->done(NotReadyError("a newer report has taken over", absl::ZeroDuration()));
    return;
  }
  bool more = false;
  const absl::Status status = TakeSlice(*ingest, &more);
  if (!status.ok() || !more) {
    const ServerIndex server = ingest->server;
    ingest->done(status);
    if (observer_ != nullptr) {
      observer_->OnReport(server);
    }
    return;
  }
  executor_.Post([this, ingest = std::move(ingest)]() mutable { Continue(std::move(ingest)); });
}

absl::Status HeartbeatIntake::TakeSlice(Ingest& ingest, bool* more) {
  // A server that is still scanning cannot give complete lists; it gives them afterwards.
  if (IsLoading(ingest.server)) {
    return absl::OkStatus();
  }
  int64_t work = kWorkPerTurn;
  RETURN_IF_ERROR(TakeReports(ingest, work, more));
  if (*more || !ingest.is_unary) {
    return absl::OkStatus();
  }
  std::vector<ShardId> named;
  for (const v1::ShardReport& report : ingest.heartbeat->shards()) {
    named.push_back(ShardId(report.shard()));
  }
  std::sort(named.begin(), named.end());
  const LiveReplicas::Ingested ingested = view_.leader()->replicas.IngestEmptyLists(
      ingest.server, named, ingest.emptied, work, view_.Now());
  TakeIn(ingest.server, ingested);
  *more = !ingested.done;
  return absl::OkStatus();
}

absl::Status HeartbeatIntake::TakeReports(Ingest& ingest, int64_t& work, bool* more) {
  const v1::Heartbeat& heartbeat = *ingest.heartbeat;
  while (ingest.shard < heartbeat.shards_size()) {
    if (work <= 0) {
      *more = true;
      return absl::OkStatus();
    }
    const v1::ShardReport& report = heartbeat.shards(ingest.shard);
    const int from = ingest.cursor.replica;
    ASSIGN_OR_RETURN(
        const LiveReplicas::Ingested ingested,
        view_.leader()->replicas.Ingest(ingest.server, report, ingest.cursor, work, view_.Now()));
    TakeIn(ingest.server, ingested);
    for (int i = from; i < ingest.cursor.replica; ++i) {
      if (const uint64_t reads = report.replicas(i).reads_since_last(); reads > 0) {
        view_.CountReads(ChunkHandle(report.replicas(i).handle()), reads);
      }
    }
    if (!ingested.done) {
      *more = true;
      return absl::OkStatus();
    }
    ++ingest.shard;
    ingest.cursor = LiveReplicas::Cursor();
  }
  return absl::OkStatus();
}

void HeartbeatIntake::TakeIn(ServerIndex server, const LiveReplicas::Ingested& ingested) {
  LeaderState& leader = *view_.leader();
  leader.KeepPromises(server, ingested.appeared);
  leader.locations.Note(ingested.odd);
}

void HeartbeatIntake::AskForLists(ServerIndex server, const v1::Heartbeat& heartbeat,
                                  v1::HeartbeatReply& reply) {
  LeaderState& leader = *view_.leader();
  const absl::Duration patience = leader.liveness.limits().interval * 2;
  const LiveReplicas::Asks asks =
      leader.replicas.NextAsks(server, view_.Now(), patience, kAsksPerReply);
  for (const ShardId shard : asks.lists) {
    reply.add_resend_shards(shard.value());
  }
  for (const ShardId shard : asks.digests) {
    reply.add_resync_shards(shard.value());
  }
  for (const auto& [shard, bucket] : asks.buckets) {
    v1::ShardBucket& asked = *reply.add_resend_buckets();
    asked.set_shard(shard.value());
    asked.set_bucket(bucket);
  }
  if (heartbeat.has_lists_digest() &&
      leader.replicas.WantsAllDigests(server, heartbeat.lists_digest(),
                                      heartbeat.lists_replica_count(), view_.Now(), patience)) {
    reply.set_tell_digests(true);
  }
}

v1::HeartbeatReply HeartbeatIntake::MakeReply(ServerIndex server, const v1::Heartbeat& heartbeat) {
  v1::HeartbeatReply reply;
  reply.set_sequence(heartbeat.sequence());
  reply.set_config_version(view_.machine().config_version().value());
  const auto session = sessions_.find(server);
  if (view_.leader() == nullptr || session == sessions_.end()) {
    return reply;
  }
  if (session->second.stream != 0 && !IsLoading(server)) {
    AskForLists(server, heartbeat, reply);
  }
  TakeCommands(session->second, reply);
  return reply;
}

// --- commands
// -------------------------------------------------------------------------------------

bool HeartbeatIntake::CanTake(ServerIndex server) const {
  const auto session = sessions_.find(server);
  return session != sessions_.end() && session->second.outbox.size() < kOutboxMax;
}

void HeartbeatIntake::TakeCommands(Session& session, v1::HeartbeatReply& reply) {
  std::vector<v1::Command>& outbox = session.outbox;
  const auto end = outbox.begin() + std::min(static_cast<int>(outbox.size()), kCommandsPerReply);
  reply.mutable_commands()->Add(std::make_move_iterator(outbox.begin()),
                                std::make_move_iterator(end));
  outbox.erase(outbox.begin(), end);
}

void HeartbeatIntake::Enqueue(ServerIndex server, v1::Command command) {
  CHECK(CanTake(server));
  sessions_[server].outbox.push_back(std::move(command));
  waiting_.insert(server);
}

void HeartbeatIntake::Flush() {
  for (auto it = waiting_.begin(); it != waiting_.end();) {
    const auto session = sessions_.find(*it);
    if (session == sessions_.end() || session->second.outbox.empty()) {
      it = waiting_.erase(it);
      continue;
    }
    ++it;
    const auto stream = streams_.find(session->second.stream);
    if (stream == streams_.end()) {
      continue;
    }
    std::vector<v1::Command>& outbox = session->second.outbox;
    v1::HeartbeatReply reply;
    reply.set_config_version(view_.machine().config_version().value());
    const auto end = outbox.begin() + std::min(static_cast<int>(outbox.size()), kCommandsPerReply);
    reply.mutable_commands()->Add(outbox.begin(), end);
    if (stream->second.sink->Push(std::move(reply))) {
      outbox.erase(outbox.begin(), end);
    }
  }
}

void HeartbeatIntake::WithdrawDeletes(ServerIndex server, ChunkHandle handle) {
  const auto session = sessions_.find(server);
  if (session != sessions_.end()) {
    std::erase_if(session->second.outbox, [&](const v1::Command& command) {
      return command.has_delete_replica() && command.handle() == handle.value();
    });
  }
}

void HeartbeatIntake::DropServer(ServerIndex server) {
  const auto session = sessions_.find(server);
  if (session == sessions_.end()) {
    return;
  }
  const uint64_t stream = session->second.stream;
  sessions_.erase(session);
  CloseStream(stream, MakeError(v1::REASON_UNKNOWN_SERVER,
                                "this chunk server was removed; it must register anew"));
}

void HeartbeatIntake::DropAll(const absl::Status& status) {
  sessions_.clear();
  while (!streams_.empty()) {
    CloseStream(streams_.begin()->first, status);
  }
}

}  // namespace ballast::master
