// SPDX-License-Identifier: Apache-2.0
// Making a log, and what a start reads before the core's first event.
#include <algorithm>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/raft/raft_log.h"
#include "common/types/error.h"

namespace ballast {
namespace {

std::string WalFolder(const RaftLogOptions& options) { return JoinPath(options.folder, "wal"); }
std::string SnapshotFolder(const RaftLogOptions& options) {
  return JoinPath(options.folder, "snapshot");
}

Wal::Options WalOptions(const RaftLogOptions& options) {
  return Wal::Options{.cluster_id = options.cluster_id,
                      .group = options.group.value(),
                      .salt = options.seed,
                      .segment_bytes = options.segment_bytes};
}

std::string ConfigurationOf(const ballast_craft* core) {
  size_t bytes = 0;
  const void* payload = ballast_craft_bootstrap_payload(core, &bytes);
  return std::string(static_cast<const char*>(payload), bytes);
}

// What the newest usable snapshot and the log make together.
enum class Fit {
  kKeepLog,  // the log goes on from the snapshot (or there is none)
  kDropLog,  // the snapshot was installed, the crash came before the log said so
};

absl::StatusOr<Fit> FitLogTo(const SnapshotStore::Found& found, const LogCache& log,
                             const std::string& configuration) {
  const std::string skipped =
      found.unusable.empty()
          ? ""
          : absl::StrCat("; unusable snapshots: ", absl::StrJoin(found.unusable, ", "));
  const uint64_t snapshot = found.newest.has_value() ? found.newest->id.index : 0;
  if (log.base_index() > snapshot) {
    return absl::DataLossError(absl::StrCat("the log begins at ", log.base_index() + 1,
                                            snapshot == 0
                                                ? std::string(" and there is no snapshot")
                                                : absl::StrCat(", the snapshot ends at ", snapshot),
                                            skipped));
  }
  if (snapshot == 0) {
    if (log.last_index() == 0 || log.At(1).type != EntryType::kChange) {
      return absl::DataLossError(absl::StrCat("the log has no configuration", skipped));
    }
  } else if (log.TermAt(snapshot) != found.newest->id.term) {
    if (!skipped.empty()) {
      // An older snapshot than the newest must not make the log forget what it acknowledged.
      return absl::DataLossError(
          absl::StrCat("the log does not reach snapshot ", snapshot, skipped));
    }
    return Fit::kDropLog;
  }
  if (log.Has(1) && *log.At(1).payload != configuration) {
    return MakeError(v1::REASON_WRONG_CLUSTER, "the log was formatted for other voters");
  }
  return Fit::kKeepLog;
}

}  // namespace

absl::Status RaftLog::Validate(const RaftLogOptions& options) {
  if (options.cluster_id.empty() || options.cluster_id.size() > kClusterIdBytesMax) {
    return InvalidArgument(absl::StrCat("a cluster id has 1..", kClusterIdBytesMax, " bytes"));
  }
  const size_t voters = options.voters.size();
  if (voters != 1 && voters != 3 && voters != 5) {
    return InvalidArgument(absl::StrCat("a group has 1, 3 or 5 voters, not ", voters));
  }
  if (options.heartbeat_interval < absl::Milliseconds(1) ||
      options.election_timeout < 2 * options.heartbeat_interval ||
      options.election_timeout > absl::Minutes(10)) {
    return InvalidArgument(
        "the election timeout is at least two heartbeat intervals, which are at least 1 ms");
  }
  if (options.inflight_entries_max == 0 || options.fetch_page_bytes == 0 ||
      options.fetch_page_bytes > kSnapshotPageBytesMax) {
    return InvalidArgument("sizes of transfers are neither 0 nor beyond their limits");
  }
  const ballast_craft_config config = CoreConfig(options);
  ballast_craft* core = ballast_craft_create(&config);
  if (core == nullptr) {
    return InvalidArgument("node ids of voters are distinct and not 0, and one is our own");
  }
  ballast_craft_destroy(core);
  return absl::OkStatus();
}

ballast_craft_config RaftLog::CoreConfig(const RaftLogOptions& options) {
  ballast_craft_config config = {};
  config.id = options.self.value();
  std::vector<NodeId> voters = options.voters;
  std::sort(voters.begin(), voters.end());  // their order is part of log entry 1
  config.voter_count = std::min<size_t>(voters.size(), BALLAST_CRAFT_VOTERS_MAX);
  for (size_t i = 0; i < config.voter_count; ++i) {
    config.voters[i] = voters[i].value();
  }
  config.seed = static_cast<uint32_t>(options.seed ^ (options.seed >> 32)) +
                options.self.value() * 0x9E3779B9u;
  config.election_timeout_ms =
      static_cast<uint32_t>(absl::ToInt64Milliseconds(options.election_timeout));
  config.heartbeat_timeout_ms =
      static_cast<uint32_t>(absl::ToInt64Milliseconds(options.heartbeat_interval));
  config.install_timeout_ms =
      static_cast<uint32_t>(absl::ToInt64Milliseconds(options.install_timeout));
  config.inflight_entries_max = options.inflight_entries_max;
  return config;
}

absl::Status RaftLog::Format(FileSystem& fs, const RaftLogOptions& options) {
  RETURN_IF_ERROR(Validate(options));
  RETURN_IF_ERROR(fs.CreateDir(options.folder));
  RETURN_IF_ERROR(fs.CreateDir(SnapshotFolder(options)));
  RETURN_IF_ERROR(fs.CreateDir(WalFolder(options)));
  RETURN_IF_ERROR(fs.SyncDir(options.folder));
  RETURN_IF_ERROR(fs.SyncDir(ParentPath(options.folder)));
  const ballast_craft_config config = CoreConfig(options);
  const std::unique_ptr<ballast_craft, CoreDeleter> core(ballast_craft_create(&config));
  const LogEntry configuration{
      .term = 1,
      .type = EntryType::kChange,
      .payload = std::make_shared<const std::string>(ConfigurationOf(core.get()))};
  return Wal::Create(
      fs, WalFolder(options), WalOptions(options),
      {WalHard{.term = 1, .vote = 0}, WalEntries{.first = 1, .entries = {configuration}}});
}

absl::StatusOr<RaftLog::Recovered> RaftLog::Recover(FileSystem& fs, const RaftLogOptions& options,
                                                    const std::string& configuration,
                                                    StateMachine& machine) {
  ASSIGN_OR_RETURN(const bool formatted, fs.Exists(WalFolder(options)));
  if (!formatted) {
    return absl::NotFoundError(absl::StrCat(options.folder, " is not formatted"));
  }
  Recovered recovered;
  recovered.disk = std::make_unique<RaftDisk>(
      RaftDisk{.wal = nullptr,
               .snapshots = SnapshotStore(fs, SnapshotFolder(options),
                                          {.cluster_id = options.cluster_id,
                                           .group = options.group.value(),
                                           .configuration = configuration})});
  SnapshotStore& snapshots = recovered.disk->snapshots;
  ASSIGN_OR_RETURN(recovered.disk->wal,
                   Wal::Open(fs, WalFolder(options), WalOptions(options), &recovered.replay));
  ASSIGN_OR_RETURN(const SnapshotStore::Found found, snapshots.FindNewest());
  for (const std::string& reason : found.unusable) {
    LogWarning("raft.snapshot_unusable", {{"reason", reason}});
  }
  ASSIGN_OR_RETURN(const Fit fit, FitLogTo(found, recovered.replay.log(), configuration));

  std::vector<WalRecord> records;
  if (found.newest.has_value()) {
    recovered.snapshot = found.newest->id;
    machine.Reset();
    for (const SnapshotFile& file : found.newest->files) {
      ASSIGN_OR_RETURN(const std::string image, snapshots.ReadImage(found.newest->id, file));
      RETURN_IF_ERROR(machine.RestoreImage(file.name, image));
    }
    if (fit == Fit::kDropLog) {
      records.emplace_back(
          WalReset{.index = found.newest->id.index, .term = found.newest->id.term});
      if (recovered.replay.term() < found.newest->id.term) {
        records.insert(records.begin(), WalHard{.term = found.newest->id.term, .vote = 0});
      }
    }
  }
  if (found.unusable.empty()) {
    RETURN_IF_ERROR(snapshots.RemoveAllBut({recovered.snapshot}));
  }
  if (options.voters.size() == 1) {
    // The core of a lone voter never raises its term; without this an entry lost in a crash could
    // be replaced by another one of the same index and term.
    const uint64_t term = std::max(recovered.replay.term(), recovered.snapshot.term);
    records.emplace_back(WalHard{.term = term + 1, .vote = 0});
  }
  if (!records.empty()) {
    RETURN_IF_ERROR(recovered.disk->wal->Write(records));
    for (const WalRecord& record : records) {
      RETURN_IF_ERROR(recovered.replay.Apply(record));
    }
  }
  return recovered;
}

absl::StatusOr<std::unique_ptr<RaftLog>> RaftLog::Open(RaftLogOptions options, Clock& clock,
                                                       Executor& owner, Executor& disk,
                                                       FileSystem& fs, RaftTransport& transport,
                                                       StateMachine& machine) {
  RETURN_IF_ERROR(Validate(options));
  auto log = std::unique_ptr<RaftLog>(
      new RaftLog(std::move(options), clock, owner, disk, transport, machine));
  ASSIGN_OR_RETURN(Recovered recovered,
                   Recover(fs, log->options_, ConfigurationOf(log->core_.get()), machine));
  log->disk_ = std::move(recovered.disk);
  log->wal_syncs_ = log->disk_->wal->syncs();
  log->snapshot_ = recovered.snapshot;
  log->core_term_ = recovered.replay.term();
  const uint64_t vote = recovered.replay.vote();
  log->log_ = recovered.replay.TakeLog();
  log->applied_ = log->committed_ = recovered.snapshot.index;
  log->PostToOwner([raw = log.get(), vote] { raw->Begin(vote); });
  return log;
}

void RaftLog::Begin(uint64_t vote) {
  transport_.SetReceiver(
      [this](NodeId from, const std::string& bytes) { OnEnvelope(from, bytes); });
  std::vector<ballast_craft_meta> metas;
  for (uint64_t i = log_.base_index() + 1; i <= log_.last_index(); ++i) {
    metas.push_back({log_.At(i).term, static_cast<uint8_t>(log_.At(i).type)});
  }
  reports_.Restart(log_.last_index());
  ballast_craft_update update;
  const int result =
      ballast_craft_start(core_.get(), NowMs(), core_term_, vote, snapshot_.index, snapshot_.term,
                          log_.base_index() + 1, metas.data(), metas.size(), &update);
  Took(result, update, {});
}

}  // namespace ballast
