// SPDX-License-Identifier: Apache-2.0
// Snapshots of our own state, and serving their files to others.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/log.h"
#include "common/raft/raft_log.h"

namespace ballast {
namespace {

constexpr int kFetchesServedMax = 4;  // pages being read at once; more are asked for again

}  // namespace

void RaftLog::TakeSnapshot(absl::AnyInvocable<void(absl::Status)> done) {
  if (!failed_.ok()) {
    PostToOwner([status = absl::UnavailableError("the log failed"),
                 done = std::move(done)]() mutable { done(status); });
    return;
  }
  if (!own_.has_value()) {
    if (installing_ || applied_ == snapshot_.index) {
      // There is nothing newer than the snapshot that exists or is just being installed.
      PostToOwner([done = std::move(done)]() mutable { done(absl::OkStatus()); });
      return;
    }
    StartSnapshot();
  }
  own_->done.push_back(std::move(done));
}

void RaftLog::MaybeSnapshot() {
  if (bytes_since_snapshot_ >= options_.snapshot_log_bytes && !own_.has_value() && !installing_ &&
      failed_.ok() && applied_ > snapshot_.index) {
    StartSnapshot();
  }
}

// The manifest's index is what every image holds at least: what is applied now.
void RaftLog::StartSnapshot() {
  own_.emplace();
  own_->id = {.index = applied_, .term = log_.TermAt(applied_)};
  own_->names = machine_.ImageNames();
  bytes_since_snapshot_ = 0;
  PostToOwner([this, id = own_->id] {
    if (own_.has_value() && own_->id == id) {
      NextImage();
    }
  });
}

// One image a turn; the next is taken when this one is on disk.
void RaftLog::NextImage() {
  if (own_->files.size() == own_->names.size()) {
    own_->written = true;
    CommitOwnSnapshotIfDurable();
    return;
  }
  const SnapshotId id = own_->id;
  const std::string name = own_->names[own_->files.size()];
  OnDisk<absl::StatusOr<SnapshotFile>>(
      [id, name, image = machine_.TakeImage(name)](RaftDisk& disk) {
        return disk.snapshots.WriteImage(id, name, image);
      },
      [this, id](absl::StatusOr<SnapshotFile> file) {
        if (!own_.has_value() || own_->id != id) {
          return;  // an install came in between
        }
        if (!file.ok()) {
          EndOwnSnapshot(file.status());
          return;
        }
        own_->files.push_back(*std::move(file));
        NextImage();
      });
}

// The core takes a snapshot only of what it knows to be on our own disk; what is applied may run
// ahead of that.
void RaftLog::CommitOwnSnapshotIfDurable() {
  if (!own_.has_value() || !own_->written || own_->committing ||
      reports_.reported() < own_->id.index) {
    return;
  }
  own_->committing = true;
  const SnapshotId id = own_->id;
  OnDisk<absl::Status>(
      [id, files = own_->files](RaftDisk& disk) {
        return disk.snapshots.CommitSnapshot(id, files).status();
      },
      [this, id](absl::Status status) {
        if (own_.has_value() && own_->id == id) {
          OwnSnapshotCommitted(status);
        }
      });
}

void RaftLog::OwnSnapshotCommitted(const absl::Status& status) {
  if (!status.ok()) {
    EndOwnSnapshot(status);
    return;
  }
  const SnapshotId id = own_->id;
  const uint32_t trailing = Trailing(id.index);
  ballast_craft_update update;
  const int result =
      ballast_craft_snapshot_taken(core_.get(), NowMs(), id.index, id.term, trailing, &update);
  snapshot_ = id;
  const uint64_t trim = id.index - trailing;
  if (trim > log_.base_index()) {
    wal_queue_.emplace_back(WalTrim{.index = trim, .term = log_.TermAt(trim)});
    log_.TrimTo(trim);
  }
  LogInfo("raft.snapshot_taken", {{"group", options_.group.value()},
                                  {"node", options_.self.value()},
                                  {"index", id.index},
                                  {"images", own_->files.size()}});
  EndOwnSnapshot(absl::OkStatus());
  Took(result, update, {});
  RemoveOldSnapshots();
}

void RaftLog::EndOwnSnapshot(const absl::Status& status) {
  if (!own_.has_value()) {
    return;
  }
  if (!status.ok()) {
    LogWarning("raft.snapshot_ended", {{"group", options_.group.value()},
                                       {"node", options_.self.value()},
                                       {"error", status.ToString()}});
  }
  std::vector<absl::AnyInvocable<void(absl::Status)>> waiting = std::move(own_->done);
  own_.reset();
  for (auto& done : waiting) {
    PostToOwner([status, done = std::move(done)]() mutable { done(status); });
  }
}

// How many entries up to the snapshot stay in the log, for followers that lack only a few.
uint32_t RaftLog::Trailing(uint64_t snapshot) const {
  if (lone_) {
    return 0;
  }
  uint32_t kept = 0;
  uint64_t bytes = 0;
  while (kept < options_.trailing_entries_max && log_.Has(snapshot - kept)) {
    bytes += log_.At(snapshot - kept).bytes();
    if (bytes > options_.trailing_bytes_max) {
      break;
    }
    ++kept;
  }
  return kept;
}

void RaftLog::RemoveOldSnapshots() {
  std::vector<SnapshotId> kept = {snapshot_};
  const SteadyTime now = clock_.SteadyNow();
  for (auto it = leases_.begin(); it != leases_.end();) {
    it = it->second <= now ? leases_.erase(it) : std::next(it);
  }
  for (const auto& [id, until] : leases_) {
    kept.push_back(id);
  }
  if (own_.has_value()) {
    kept.push_back(own_->id);
  }
  if (fetch_.has_value()) {
    kept.push_back(fetch_->id);
  }
  if (installing_) {
    kept.push_back(installing_id_);
  }
  OnDisk<absl::Status>([kept](RaftDisk& disk) { return disk.snapshots.RemoveAllBut(kept); },
                       [](absl::Status status) {
                         if (!status.ok()) {  // costs space only; the next snapshot tries again
                           LogWarning("raft.snapshots_not_removed", {{"error", status.ToString()}});
                         }
                       });
}

void RaftLog::OnFetchRequest(NodeId from, const FetchRequest& request) {
  if (fetches_served_ >= kFetchesServedMax) {
    return;
  }
  ++fetches_served_;
  leases_[request.snapshot] = clock_.SteadyNow() + options_.fetch_lease;
  OnDisk<absl::StatusOr<SnapshotStore::Page>>(
      [request, bytes = options_.fetch_page_bytes](RaftDisk& disk) {
        return disk.snapshots.ReadPage(request.snapshot, request.name, request.offset, bytes);
      },
      [this, from, request](absl::StatusOr<SnapshotStore::Page> read) {
        --fetches_served_;
        FetchPage page{.request = request.request, .gone = true, .file_bytes = 0, .data = {}};
        if (read.ok()) {
          page.gone = false;
          page.file_bytes = read->file_bytes;
          page.data = std::move(read->data);
        } else {
          leases_.erase(request.snapshot);
        }
        Send(from, RaftMessage{.asks = {}, .echoes = {}, .body = std::move(page)});
      });
}

}  // namespace ballast
