// SPDX-License-Identifier: Apache-2.0
// Taking over a leader's snapshot. Its files are fetched while the leader's message is held back
// from the core, which would otherwise stop voting and could not give up: afterwards the install
// itself takes milliseconds.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/log.h"
#include "common/raft/raft_log.h"

namespace ballast {
namespace {

constexpr int kSilentTriesBeforeOthers = 3;
constexpr int kSilentTriesMax = 20;  // of one page, before the source is given up

}  // namespace

// --- fetching -----------------------------------------------------------------------------------

void RaftLog::OnInstall(NodeId from, CoreMessage message) {
  const SnapshotId id{.index = message.core.log_index, .term = message.core.log_term};
  if (lone_ || installing_) {
    return;
  }
  const bool known = id.index <= snapshot_.index ||
                     (id.index <= log_.last_index() && log_.TermAt(id.index) == id.term);
  if (message.core.term < core_term_ || known || id.index == 0) {
    // Nothing to fetch: the core refuses it, or answers that we have all of it.
    ballast_craft_update update;
    const int result = ballast_craft_receive(core_.get(), NowMs(), &message.core, nullptr, &update);
    Took(result, update, {});
    return;
  }
  if (fetch_.has_value()) {
    if (fetch_->id == id) {
      if (message.core.term >= fetch_->install.core.term) {
        fetch_->install = std::move(message);  // the same snapshot, perhaps of a newer leader
        fetch_->source = from;
      }
      return;
    }
    if (fetch_->silent_tries < kSilentTriesBeforeOthers) {
      return;
    }
    EndFetch("the source is silent, and another snapshot is offered");
  }
  fetch_.emplace();
  fetch_->source = from;
  fetch_->install = std::move(message);
  fetch_->id = id;
  LogInfo("raft.fetch", {{"group", options_.group.value()},
                         {"node", options_.self.value()},
                         {"from", from.value()},
                         {"index", id.index}});
  RequestPage();
}

void RaftLog::RequestPage() {
  fetch_->request = next_request_++;
  fetch_->silent_tries = 0;
  SendRequest();
}

// Every try has the request's number: the answer to an earlier one is as good.
void RaftLog::SendRequest() {
  const std::string name =
      fetch_->manifest.has_value() ? fetch_->manifest->files[fetch_->file].name : "";
  Send(fetch_->source, RaftMessage{.asks = {},
                                   .echoes = {},
                                   .body = FetchRequest{.request = fetch_->request,
                                                        .snapshot = fetch_->id,
                                                        .name = name,
                                                        .offset = fetch_->data.size()}});
  owner_.RunAfter(options_.fetch_retry, [this, alive = alive_, request = fetch_->request] {
    if (*alive) {
      FetchTimer(request);
    }
  });
}

void RaftLog::FetchTimer(uint64_t request) {
  if (!fetch_.has_value() || fetch_->request != request || fetch_->writing) {
    return;
  }
  if (++fetch_->silent_tries > kSilentTriesMax) {
    EndFetch("the source is silent");
    return;
  }
  SendRequest();
}

void RaftLog::OnFetchPage(NodeId from, const FetchPage& page) {
  if (!fetch_.has_value() || fetch_->writing || page.request != fetch_->request ||
      from != fetch_->source) {
    return;
  }
  const bool is_manifest = !fetch_->manifest.has_value();
  const uint64_t bytes =
      is_manifest ? page.file_bytes : fetch_->manifest->files[fetch_->file].bytes;
  if (page.gone) {
    EndFetch("the snapshot is gone");
    return;
  }
  if (page.file_bytes != bytes || bytes > (is_manifest ? kManifestBytesMax : kImageBytesMax) ||
      fetch_->data.size() + page.data.size() > bytes ||
      (page.data.empty() && fetch_->data.size() < bytes)) {
    EndFetch("the source's pages contradict each other");
    return;
  }
  fetch_->data += page.data;
  if (fetch_->data.size() < bytes) {
    RequestPage();
    return;
  }
  OnFetchedFile();
}

void RaftLog::OnFetchedFile() {
  const std::string data = std::move(fetch_->data);
  fetch_->data.clear();
  if (!fetch_->manifest.has_value()) {
    absl::StatusOr<SnapshotManifest> manifest = DecodeManifest(data);
    if (!manifest.ok() || manifest->id != fetch_->id) {
      EndFetch("the manifest is damaged");
      return;
    }
    fetch_->manifest = *std::move(manifest);
    if (fetch_->manifest->files.empty()) {
      StepInstall();
    } else {
      RequestPage();
    }
    return;
  }
  const SnapshotFile file = fetch_->manifest->files[fetch_->file];
  if (ComputeCrc32c(data) != file.crc) {
    EndFetch(absl::StrCat("image ", file.name, " is damaged"));
    return;
  }
  fetch_->writing = true;
  const SnapshotId id = fetch_->id;
  OnDisk<absl::Status>(
      [manifest = *fetch_->manifest, id, file, data](RaftDisk& disk) {
        const absl::Status ours = disk.snapshots.CheckOwner(manifest);
        return ours.ok() ? disk.snapshots.WriteImage(id, file.name, data).status() : ours;
      },
      [this, id](absl::Status status) {
        if (!fetch_.has_value() || fetch_->id != id) {
          return;
        }
        if (!status.ok()) {
          EndFetch(status.ToString());
          return;
        }
        fetch_->writing = false;
        if (++fetch_->file == fetch_->manifest->files.size()) {
          StepInstall();
        } else {
          RequestPage();
        }
      });
}

// The leader sends its message again; then everything starts anew.
void RaftLog::EndFetch(absl::string_view why) {
  LogWarning("raft.fetch_ended", {{"group", options_.group.value()},
                                  {"node", options_.self.value()},
                                  {"index", fetch_->id.index},
                                  {"reason", std::string(why)}});
  fetch_.reset();
}

// --- installing ---------------------------------------------------------------------------------

void RaftLog::StepInstall() {
  const CoreMessage message = fetch_->install;
  install_files_ = fetch_->manifest->files;
  fetch_.reset();
  ballast_craft_update update;
  const int result = ballast_craft_receive(core_.get(), NowMs(), &message.core, nullptr, &update);
  Took(result, update, {});
}

// The core has dropped its log and waits. From here on there is no way back but a restart, so a
// failure ends this member's part.
void RaftLog::StartInstall(SnapshotId id) {
  installing_ = true;
  installing_id_ = id;
  reports_.StartInstall();
  EndOwnSnapshot(absl::AbortedError("a leader's snapshot came in between"));
  log_.Reset(id.index, id.term);
  OnDisk<absl::Status>(
      [id, files = install_files_](RaftDisk& disk) {
        return disk.snapshots.CommitSnapshot(id, files).status();
      },
      [this, id](absl::Status status) {
        if (!failed_.ok()) {
          return;
        }
        if (!status.ok()) {
          Fail(status);
          return;
        }
        wal_queue_.emplace_back(WalReset{.index = id.index, .term = id.term});
        install_write_ = write_next_;
        WriteIfIdle();
      });
}

// One image a turn.
void RaftLog::LoadImage(size_t file) {
  if (file == 0) {
    machine_.Reset();
  }
  if (file == install_files_.size()) {
    Installed();
    return;
  }
  OnDisk<absl::StatusOr<std::string>>(
      [id = installing_id_, wanted = install_files_[file]](RaftDisk& disk) {
        return disk.snapshots.ReadImage(id, wanted);
      },
      [this, file](absl::StatusOr<std::string> image) {
        if (!failed_.ok()) {
          return;
        }
        const absl::Status restored =
            image.ok() ? machine_.RestoreImage(install_files_[file].name, *image) : image.status();
        if (!restored.ok()) {
          Fail(restored);
          return;
        }
        LoadImage(file + 1);
      });
}

void RaftLog::Installed() {
  installing_ = false;
  snapshot_ = installing_id_;
  applied_ = committed_ = snapshot_.index;
  bytes_since_snapshot_ = 0;
  install_files_.clear();
  reports_.Restart(snapshot_.index);
  LogInfo("raft.installed", {{"group", options_.group.value()},
                             {"node", options_.self.value()},
                             {"index", snapshot_.index}});
  ballast_craft_update update;
  const int result = ballast_craft_snapshot_installed(core_.get(), NowMs(), snapshot_.index,
                                                      snapshot_.term, &update);
  Took(result, update, {});
  RemoveOldSnapshots();
}

}  // namespace ballast
