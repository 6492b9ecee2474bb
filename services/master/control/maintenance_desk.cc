// SPDX-License-Identifier: Apache-2.0
#include "services/master/control/maintenance_desk.h"

#include <cmath>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/byte_units.h"
#include "common/types/error.h"
#include "services/master/core/balance.h"
#include "services/master/core/heat.h"
#include "services/master/core/leader_copy_view.h"

namespace ballast::master {
namespace {

// Looked at in one call of Fsck, so that it takes about a millisecond.
constexpr size_t kFsckExaminedMax = 4096;
constexpr int kFsckFindingsMax = 1000;
constexpr uint64_t kEndOfSequences = ChunkHandle::kSequenceMax;

std::string HandleStandingText(HandleStanding standing) {
  switch (standing) {
    case HandleStanding::kNotOurs:
      return "of a shard that this group does not serve";
    case HandleStanding::kReferenced:
      return "referenced by an object, a draft or a replaced object in its grace period";
    case HandleStanding::kGarbage:
      return "garbage: nothing refers to it any more; its replicas are being deleted";
    case HandleStanding::kUnaccounted:
      return "unaccounted: this metadata never gave it out; its replicas are quarantined";
  }
  return "";
}

}  // namespace

// --- state and words of operators
// ------------------------------------------------------------------

v1::GetMaintenanceResponse MaintenanceDesk::State(uint32_t moves_shown) {
  v1::GetMaintenanceResponse response;
  *response.mutable_repair() = repair_.State();
  *response.mutable_rebalance() = rebalance_.State(moves_shown);
  for (v1::DrainState& drain : repair_.Drains()) {
    *response.add_drains() = std::move(drain);
  }
  response.set_trims(repair_.TrimCount());
  return response;
}

void MaintenanceDesk::PlanRebalance(uint32_t moves_shown, PlanDone done) {
  rebalance_.Plan(moves_shown, std::move(done));
}

v1::RebalanceState MaintenanceDesk::StartRebalance() {
  rebalance_.Start();
  rebalance_.Tick(repair_.WhyNotRebalance());
  return rebalance_.State(0);
}

v1::RebalanceState MaintenanceDesk::StopRebalance() {
  rebalance_.Stop();
  return rebalance_.State(0);
}

void MaintenanceDesk::ReleaseLossBreaker() { repair_.ReleaseBreaker(); }

// --- explanations
// ----------------------------------------------------------------------------------

std::string MaintenanceDesk::NameOf(ServerIndex server) const {
  const v1::RegisteredServer* const entry = view_.directory().Find(server);
  if (entry == nullptr) {
    return absl::StrCat("server number ", server.value());
  }
  return entry->name().empty() ? absl::StrCat(entry->server_id(), " (", entry->address(), ")")
                               : entry->name();
}

std::string MaintenanceDesk::StandingOf(const ReplicaStanding& replica) const {
  if (replica.trimmed) {
    return "being trimmed: it does not count and is deleted once enough others are verified";
  }
  if (replica.corrupt) {
    return "damaged: never served; goes when enough others are verified";
  }
  if (replica.counts) {
    return replica.verified ? "counts, verified" : "counts, not verified since its server's start";
  }
  if (replica.expected) {
    return "just written: its server has not reported it yet";
  }
  switch (view_.leader()->liveness.state(replica.server)) {
    case LivenessState::kDead:
      return "on a dead server: does not count";
    case LivenessState::kUnknown:
      return "on a server that was not heard of since this leader began";
    default:
      return "does not count";
  }
}

std::string MaintenanceDesk::NeedOf(const ChunkPicture& picture) {
  const Assessment assessment = Assess(picture);
  std::string need;
  switch (assessment.need) {
    case ChunkNeed::kNone:
      return "";
    case ChunkNeed::kLost:
      return "no replica can be read: wait for one of its servers to come back";
    case ChunkNeed::kCopy:
      need = absl::StrCat("has ", picture.present(), " of ", picture.wanted_replicas, " replicas");
      break;
    case ChunkNeed::kDrain:
      need = "has replicas on a server that is being drained";
      break;
    case ChunkNeed::kTrim:
      need = absl::StrCat("has ", picture.staying(), " replicas, ", picture.wanted_replicas,
                          " are wanted: the surplus goes from the fullest server, some time after "
                          "the last server died or came back");
      break;
    case ChunkNeed::kDamaged:
      return "has a damaged replica, which goes when the others are verified";
  }
  if (view_.leader()->copies.HasChunk(picture.handle)) {
    return need + "; a copy is under way";
  }
  const std::string blocked = repair_.BlockedReason(picture.handle);
  if (!blocked.empty()) {
    return absl::StrCat(need, "; cannot be copied now: ", blocked);
  }
  if (assessment.need == ChunkNeed::kCopy && assessment.urgency > 1 &&
      repair_.State().only_last_copies()) {
    return need +
           "; waits, since many servers fell silent together and may come back "
           "('ballast repair all' ends that)";
  }
  return assessment.need == ChunkNeed::kTrim ? need : need + "; waits for its turn";
}

std::string MaintenanceDesk::HistoryLine(const CopyHistory::Entry& entry) const {
  const CopyTask& task = entry.task;
  std::string line = absl::StrCat(
      absl::FormatDuration(absl::Seconds(absl::ToInt64Seconds(view_.Now() - entry.at))),
      " ago: ", CopyPurposeName(task.purpose),
      task.source == ServerIndex(0) ? ": copied" : ": moved");
  if (task.source != ServerIndex(0)) {
    absl::StrAppend(&line, " from ", NameOf(task.source));
  }
  absl::StrAppend(&line, " to ", NameOf(task.target));
  return entry.status.ok() ? line
                           : absl::StrCat(line, ", failed: ", std::string(entry.status.message()));
}

absl::StatusOr<v1::ChunkExplanation> MaintenanceDesk::ExplainChunk(ChunkHandle handle) {
  v1::ChunkExplanation explanation;
  explanation.set_handle(handle.value());
  explanation.set_standing(HandleStandingText(view_.catalog().StandingOf(handle)));
  ChunkTable* const table = view_.catalog().chunks(handle.shard());
  const ChunkRecord* const record = table == nullptr ? nullptr : table->Find(handle.sequence());
  if (record == nullptr) {
    if (view_.catalog().StandingOf(handle) == HandleStanding::kNotOurs) {
      return MakeError(v1::REASON_CHUNK_NOT_FOUND, "this group does not serve the chunk's shard");
    }
    return explanation;
  }
  explanation.set_length_bytes(record->length_bytes());
  explanation.set_wanted_replicas(record->wanted_replicas());
  table->DecayHeat(handle.sequence(), handle.sequence() + 1, view_.HeatEpoch());
  explanation.set_heat(HeatOfCode(record->heat()));
  const auto chunk = LeaderCopyView(*view_.leader(), view_.catalog()).FindChunk(handle);
  for (const ReplicaStanding& replica : chunk->replicas) {
    v1::ChunkExplanation::Replica& row = *explanation.add_replicas();
    if (const v1::RegisteredServer* const entry = view_.directory().Find(replica.server)) {
      row.set_server_id(entry->server_id());
    }
    row.set_name(NameOf(replica.server));
    row.set_standing(StandingOf(replica));
  }
  const ShardLens* const lens = pictures_.LensOf(handle.shard());
  explanation.set_need(lens == nullptr
                           ? "not judged yet: not all servers have reported since this leader began"
                           : NeedOf(PictureOf(pictures_.Servers(), *lens, handle, *record)));
  copies_.history().ForEach(handle, [&](const CopyHistory::Entry& entry) {
    explanation.add_history(HistoryLine(entry));
  });
  return explanation;
}

absl::StatusOr<v1::ExplainResponse> MaintenanceDesk::ExplainServer(absl::string_view server_id) {
  const v1::RegisteredServer* const entry = view_.directory().FindById(server_id);
  if (entry == nullptr) {
    return MakeError(v1::REASON_UNKNOWN_SERVER, "no such chunk server is registered");
  }
  v1::ExplainResponse response;
  double sum = 0;
  int counted = 0;
  for (const v1::ServerStatus& status : view_.ServerStatuses()) {
    if (status.server_id() == entry->server_id()) {
      *response.mutable_server() = status;
    }
    if (status.liveness() == v1::LIVENESS_ALIVE && !status.no_placement()) {
      sum += status.utilization_pct();
      ++counted;
    }
  }
  const v1::ServerStatus& status = response.server();
  if (counted > 0 && status.liveness() == v1::LIVENESS_ALIVE) {
    const double off = status.utilization_pct() - sum / counted;
    response.add_notes(absl::StrFormat(
        "%.1f %% full, %.1f points %s the mean of %d servers%s", status.utilization_pct(),
        std::abs(off), off < 0 ? "below" : "above", counted,
        std::abs(off) > kBalanceThresholdPoints ? ": rebalancing is called for" : ""));
  }
  const ClusterView servers = pictures_.Servers();
  const int position = servers.PositionOf(ServerIndex(entry->server_index()));
  for (const CopyBudget budget : {CopyBudget::kRepair, CopyBudget::kRebalance}) {
    if (position < 0) {
      break;
    }
    const CopyLoad load = copies_.LoadsOf(servers, budget)[static_cast<size_t>(position)];
    if (load.incoming + load.outgoing > 0) {
      response.add_notes(absl::StrCat(budget == CopyBudget::kRepair ? "repair" : "rebalancing",
                                      ": receives ", load.incoming, " copies, sends ",
                                      load.outgoing));
    }
  }
  if (position >= 0 && !servers.at(static_cast<size_t>(position)).accepts) {
    response.add_notes(
        "takes no new replicas: it is not alive, not active, loading, unhealthy or "
        "registered without placement");
  }
  for (const v1::DrainState& drain : repair_.Drains()) {
    if (drain.server_id() == entry->server_id()) {
      response.add_notes(drain.done()
                             ? std::string("drained: it can be taken away")
                             : absl::StrFormat("draining: %d chunks, %s left (%.0f %%)",
                                               drain.chunks_left(), FormatBytes(drain.bytes_left()),
                                               drain.progress_pct()));
    }
  }
  return response;
}

// --- fsck
// ------------------------------------------------------------------------------------------

void MaintenanceDesk::ExamineChunk(const ClusterView& servers, const ShardLens& lens,
                                   ChunkHandle handle, const ChunkRecord& record,
                                   v1::FsckResponse& response) const {
  using Finding = v1::FsckResponse::Finding;
  const ChunkPicture picture = PictureOf(servers, lens, handle, record);
  const auto find = [&](Finding::Kind kind, std::string text, ServerIndex server) {
    Finding& finding = *response.add_findings();
    finding.set_handle(handle.value());
    finding.set_kind(kind);
    finding.set_text(std::move(text));
    const v1::RegisteredServer* const entry = view_.directory().Find(server);
    finding.set_server_id(entry == nullptr ? std::string() : entry->server_id());
  };
  const Assessment assessment = Assess(picture);
  if (assessment.need == ChunkNeed::kLost) {
    find(Finding::KIND_LOST, "no live replica", ServerIndex(0));
  } else if (assessment.need == ChunkNeed::kCopy) {
    find(Finding::KIND_SHORT,
         absl::StrCat(picture.present(), " of ", picture.wanted_replicas, " replicas"),
         ServerIndex(0));
  } else if (assessment.need == ChunkNeed::kTrim) {
    find(Finding::KIND_SURPLUS,
         absl::StrCat(picture.staying(), " replicas, ", picture.wanted_replicas, " wanted"),
         ServerIndex(0));
  }
  record.ForEachReplica([&](ServerIndex server, uint8_t flags) {
    if ((flags & ChunkRecord::kCorrupt) != 0 && lens.Knows(server)) {
      find(Finding::KIND_CORRUPT, "its bytes do not fit their checksums", server);
    }
  });
  std::set<uint32_t> used;
  std::set<uint32_t> usable;
  for (size_t i = 0; i < servers.size(); ++i) {
    if (servers.at(i).accepts) usable.insert(servers.ZoneAt(i));
  }
  for (const ReplicaView& replica : picture.replicas) {
    if (replica.present()) used.insert(servers.ZoneAt(static_cast<size_t>(replica.position)));
  }
  if (used.size() < static_cast<size_t>(picture.present()) && used.size() < usable.size()) {
    find(Finding::KIND_MISPLACED,
         absl::StrCat(picture.present(), " replicas in ", used.size(), " zones, ", usable.size(),
                      " could be used"),
         ServerIndex(0));
  }
}

void MaintenanceDesk::ExamineSpecials(ChunkHandle from, ChunkHandle to,
                                      v1::FsckResponse& response) const {
  view_.leader()->replicas.ForEachSpecial(
      from, ServerIndex(0), [&](const LiveReplicas::Special& special) {
        if (special.handle > to || response.findings_size() >= 2 * kFsckFindingsMax) {
          return false;
        }
        if (view_.catalog().StandingOf(special.handle) == HandleStanding::kUnaccounted) {
          v1::FsckResponse::Finding& finding = *response.add_findings();
          finding.set_handle(special.handle.value());
          finding.set_kind(v1::FsckResponse::Finding::KIND_QUARANTINED);
          finding.set_text(absl::StrCat("the metadata never gave this handle out; ",
                                        FormatBytes(special.facts.length_bytes)));
          if (const auto* const entry = view_.directory().Find(special.server)) {
            finding.set_server_id(entry->server_id());
          }
        }
        return true;
      });
}

v1::FsckResponse MaintenanceDesk::Fsck(ChunkHandle after) {
  v1::FsckResponse response;
  const ClusterView servers = pictures_.Servers();
  size_t examined = 0;
  for (const ShardId shard : view_.catalog().owned_shards()) {
    if (shard < after.shard()) {
      continue;
    }
    uint64_t begin = shard == after.shard() ? after.sequence() + 1 : 0;
    const ShardLens* const lens = pictures_.LensOf(shard);
    const ChunkTable* const table = view_.catalog().chunks(shard);
    if (lens == nullptr) {
      response.set_shards_unsettled(response.shards_unsettled() + 1);
    }
    while (begin <= kEndOfSequences) {
      const std::optional<uint64_t> first =
          lens == nullptr || table == nullptr ? std::nullopt : table->FirstFrom(begin);
      const uint64_t last =
          first.has_value() ? (*first / ChunkTable::kPageRecords + 1) * ChunkTable::kPageRecords - 1
                            : kEndOfSequences;
      if (first.has_value()) {
        table->ForEach(*first, last + 1, [&](uint64_t sequence, const ChunkRecord& record) {
          ++examined;
          ExamineChunk(servers, *lens, ChunkHandle(shard, sequence), record, response);
        });
      }
      ExamineSpecials(ChunkHandle(shard, begin), ChunkHandle(shard, last), response);
      begin = last + 1;
      if (examined >= kFsckExaminedMax || response.findings_size() >= kFsckFindingsMax) {
        response.set_chunks_examined(examined);
        response.set_more(true);
        response.set_next_after(ChunkHandle(shard, last).value());
        return response;
      }
    }
  }
  response.set_chunks_examined(examined);
  return response;
}

absl::Status MaintenanceDesk::PurgeQuarantined(ChunkHandle handle, absl::string_view server_id) {
  const v1::RegisteredServer* const entry = view_.directory().FindById(server_id);
  if (entry == nullptr) {
    return MakeError(v1::REASON_UNKNOWN_SERVER, "no such chunk server is registered");
  }
  const ServerIndex server(entry->server_index());
  const std::optional<ReplicaFacts> facts = view_.leader()->replicas.HeldFacts(server, handle);
  if (!facts.has_value()) {
    return MakeError(v1::REASON_CHUNK_NOT_FOUND, "the server does not report this chunk");
  }
  if (view_.catalog().StandingOf(handle) != HandleStanding::kUnaccounted) {
    return MakeError(v1::REASON_REPLICA_EXISTS,
                     "it is not quarantined: the metadata accounts for this handle");
  }
  v1::Command command;
  command.set_handle(handle.value());
  command.mutable_delete_replica()->set_length_bytes(facts->length_bytes);
  command.mutable_delete_replica()->set_cause(v1::Command::Delete::CAUSE_PURGE);
  orders_.Order(server, std::move(command), 1000);
  intake_.Flush();
  return absl::OkStatus();
}

}  // namespace ballast::master
