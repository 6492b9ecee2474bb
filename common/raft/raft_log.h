// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/byte_units.h"
#include "common/env/clock.h"
#include "common/env/executor.h"
#include "common/env/file_system.h"
#include "common/raft/craft_shim.h"
#include "common/raft/log_cache.h"
#include "common/raft/raft_disk.h"
#include "common/raft/raft_message.h"
#include "common/raft/read_rounds.h"
#include "common/raft/replicated_log.h"
#include "common/raft/state_machine.h"
#include "common/raft/transport.h"
#include "common/raft/write_reports.h"
#include "common/types/ids.h"
#include "common/types/limits.h"

namespace ballast {

struct RaftLogOptions {
  std::string cluster_id;      // 1..36 bytes
  GroupId group;               // 0 for shardctl's own log
  NodeId self;                 // one of `voters`
  std::vector<NodeId> voters;  // 1, 3 or 5; the same on every member, for ever
  std::string folder;          // of the log alone; exists (its parents do, for Format)
  uint64_t seed = 0;           // differs per node and per start

  // A follower that hears nothing for 1..2 election timeouts stands for election. The heartbeat
  // interval must exceed a round trip plus a sync, and be well below the election timeout.
  absl::Duration election_timeout = absl::Milliseconds(150);
  absl::Duration heartbeat_interval = absl::Milliseconds(30);
  // When a leader offers its snapshot again; costs one small message, as members fetch outside the
  // core. The core would wait so long after it took a newer one in the meantime.
  absl::Duration install_timeout = absl::Seconds(2);

  uint32_t inflight_entries_max = 4096;       // sent to one follower and unacknowledged
  size_t proposals_max = 16384;               // waiting for their result; also reads
  uint64_t proposal_bytes_max = MiB(64);      // of those
  uint64_t snapshot_log_bytes = MiB(64);      // applied since the last snapshot, then the next
  uint32_t trailing_entries_max = 8192;       // kept behind a snapshot for slow followers
  uint64_t trailing_bytes_max = MiB(16);      // likewise
  uint64_t segment_bytes = kLogSegmentBytes;  // of the write-ahead log
  absl::Duration apply_slice = absl::Milliseconds(1);  // longest run of applying in one turn
  uint32_t apply_slice_entries_max = 1024;             // likewise
  size_t fetch_page_bytes = kSnapshotPageBytesMax;     // 1..kSnapshotPageBytesMax
  absl::Duration fetch_retry = absl::Milliseconds(200);
  absl::Duration fetch_lease = absl::Seconds(30);  // a snapshot someone fetches is kept so long

  // Called once, on the executor, when the disk failed or the log was found damaged: this member
  // takes part no more. A process has nothing better to do than to stop. Null: logged only.
  std::function<void(const absl::Status&)> on_failure;
};

// ReplicatedLog on the consensus core, this folder's write-ahead log, snapshots and messages.
//
// Guarantees: as ReplicatedLog. A command is acknowledged only after a majority has it on disk;
// nothing is sent before the term or vote it relies on is on disk.
// Concurrency: Open blocks and may run anywhere; afterwards all methods, and the destructor, on
// `owner`. Disk work runs on `disk`, which must be another executor (or a simulated one) and
// serial. A callback must not destroy the log.
// Lifetime: everything passed by reference must outlive the log; `disk` must be destroyed (or
// idle) before `owner` is.
// Failure: a failed write or sync, or damage found later, ends this member's part: see on_failure.
class RaftLog final : public ReplicatedLog {
 public:
  // Makes an empty log in options.folder, to be done once on each voter before the first Open. A
  // voter that lost its folder must not be formatted again under its node id: it could vote twice
  // in one term, and has forgotten what it acknowledged.
  // ALREADY_EXISTS: there is one. INVALID_ARGUMENT: impossible options.
  static absl::Status Format(FileSystem& fs, const RaftLogOptions& options);

  // Recovers and starts. `machine` must be in its state before index 1; it is restored from the
  // newest snapshot here, entries are applied later on `owner`.
  // NOT_FOUND: not formatted. INVALID_ARGUMENT: impossible options. FAILED_PRECONDITION: of
  // another cluster, group or set of voters. DATA_LOSS: damaged; the text says what.
  static absl::StatusOr<std::unique_ptr<RaftLog>> Open(RaftLogOptions options, Clock& clock,
                                                       Executor& owner, Executor& disk,
                                                       FileSystem& fs, RaftTransport& transport,
                                                       StateMachine& machine);
  ~RaftLog() override;

  void Propose(std::string command, ProposeCallback done) override;
  void ReadBarrier(ReadCallback done) override;
  State state() const override;
  void SetRoleObserver(RoleObserver observer) override;
  // Also UNAVAILABLE if the log failed, ABORTED if a leader's snapshot came in between.
  void TakeSnapshot(absl::AnyInvocable<void(absl::Status)> done) override;

  // Asks the best follower to take over, for planned stops. Nothing happens if this node does not
  // lead; proposals are refused until it is over, one election timeout at most.
  void TransferLeadership();

 private:
  struct Proposal {
    Payload command;
    ProposeCallback done;
  };
  struct Waiting {  // submitted
    uint64_t index = 0;
    uint64_t term = 0;
    size_t bytes = 0;
    ProposeCallback done;
  };
  struct HeldMessage {
    uint64_t write = 0;  // sent once this write is durable
    NodeId to;
    std::string bytes;
  };
  struct Peer {
    ReadContext echo;        // the newest that it asked and we could confirm
    ReadContext echo_sent;   // the last one sent
    uint64_t confirmed = 0;  // its newest echo to us in this leadership
  };
  // Their constructors are spelled out because clang 14 takes no default member initialisers of a
  // nested class for a std::optional in the class around it.
  struct OwnSnapshot {
    OwnSnapshot() {}
    SnapshotId id;
    std::vector<std::string> names;
    std::vector<SnapshotFile> files;  // written so far, in the order of names
    bool written = false;             // all of them
    bool committing = false;
    std::vector<absl::AnyInvocable<void(absl::Status)>> done;
  };
  struct Fetch {  // of a snapshot that a leader wants us to install
    Fetch() {}
    NodeId source;
    CoreMessage install;  // its message, held back until all files are here
    SnapshotId id;
    std::optional<SnapshotManifest> manifest;
    size_t file = 0;   // in manifest->files
    std::string data;  // of the manifest, then of the current file
    uint64_t request = 0;
    int silent_tries = 0;
    bool writing = false;
  };
  struct CoreDeleter {
    void operator()(ballast_craft* core) const { ballast_craft_destroy(core); }
  };
  struct Recovered {
    std::unique_ptr<RaftDisk> disk;
    WalReplay replay;
    SnapshotId snapshot;
  };

  RaftLog(RaftLogOptions options, Clock& clock, Executor& owner, Executor& disk,
          RaftTransport& transport, StateMachine& machine);

  // --- raft_log_open.cc ---
  static absl::Status Validate(const RaftLogOptions& options);
  static ballast_craft_config CoreConfig(const RaftLogOptions& options);
  static absl::StatusOr<Recovered> Recover(FileSystem& fs, const RaftLogOptions& options,
                                           const std::string& configuration, StateMachine& machine);
  void Begin(uint64_t vote);

  // --- raft_log.cc: proposals, applying, roles ---
  void Schedule();
  void RunTurn();
  void SubmitQueued();
  void ScheduleApply();
  void ApplySlice();
  void ApplyOne(uint64_t index);
  void RoleMayHaveChanged(const ballast_craft_update& update);
  void TellRole();
  bool Leads() const { return core_state_ == BALLAST_CRAFT_LEADER && failed_.ok(); }
  bool LeadsReady() const { return Leads() && applied_ >= floor_; }
  void DropClients(const absl::Status& submitted, const absl::Status& queued);
  void ServeReads();
  void StartReadRound();
  void Fail(const absl::Status& status);
  // Runs on the owner unless the log is gone by then.
  void PostToOwner(absl::AnyInvocable<void()> task);
  // `work` runs on the disk executor, then `done` with its result on the owner.
  template <typename Result>
  void OnDisk(absl::AnyInvocable<Result(RaftDisk&)> work, absl::AnyInvocable<void(Result)> done);

  // --- raft_log_step.cc: the core's events and what they demand ---
  uint64_t NowMs() { return absl::ToInt64Milliseconds(clock_.SteadyNow().SinceOrigin()); }
  void Took(int result, const ballast_craft_update& update, std::vector<LogEntry> entries);
  void TookEntries(const ballast_craft_update& update, std::vector<LogEntry> entries);
  void SendCore(const ballast_craft_message& message);
  void Send(NodeId to, RaftMessage message);
  void Release();
  void WriteIfIdle();
  void Wrote(uint64_t write, const absl::Status& status, uint64_t syncs);
  void ArmTimer(uint64_t deadline_ms);
  void StartTimer(uint64_t at_ms);
  void OnTimer();
  void OnEnvelope(NodeId from, const std::string& bytes);
  void OnCore(NodeId from, CoreMessage message);
  void OnContexts(NodeId from, const RaftMessage& message);

  // --- raft_log_snapshot.cc ---
  void MaybeSnapshot();
  void StartSnapshot();
  void NextImage();
  void CommitOwnSnapshotIfDurable();
  void OwnSnapshotCommitted(const absl::Status& status);
  void EndOwnSnapshot(const absl::Status& status);
  uint32_t Trailing(uint64_t snapshot) const;
  void RemoveOldSnapshots();
  void OnFetchRequest(NodeId from, const FetchRequest& request);

  // --- raft_log_install.cc ---
  void OnInstall(NodeId from, CoreMessage message);
  void RequestPage();
  void SendRequest();
  void FetchTimer(uint64_t request);
  void OnFetchPage(NodeId from, const FetchPage& page);
  void OnFetchedFile();
  void EndFetch(absl::string_view why);
  void StepInstall();
  void StartInstall(SnapshotId id);
  void LoadImage(size_t file);
  void Installed();

  const RaftLogOptions options_;
  Clock& clock_;
  Executor& owner_;
  Executor& disk_executor_;
  RaftTransport& transport_;
  StateMachine& machine_;
  const bool lone_;
  const std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::shared_ptr<RaftDisk> disk_;  // used by tasks on disk_executor_ only

  std::unique_ptr<ballast_craft, CoreDeleter> core_;
  absl::Status failed_;
  // Relations: snapshot_.index <= applied_ <= committed_ <= log_.last_index(), but for an install.
  LogCache log_;
  uint64_t committed_ = 0;
  uint64_t applied_ = 0;
  int core_state_ = BALLAST_CRAFT_FOLLOWER;
  uint64_t core_term_ = 0;
  // The leader last heard of, and when: the core goes on naming it after the term has changed.
  struct {
    NodeId leader;
    uint64_t term = 0;
  } followed_;
  uint64_t floor_ = 0;              // a leader answers reads once it has applied this
  std::map<uint64_t, Peer> peers_;  // by node id, without ourselves

  // Writes. Numbers count batches; wal_queue_ is batch write_next_.
  std::vector<WalRecord> wal_queue_;
  uint64_t write_next_ = 1;
  bool write_in_flight_ = false;
  uint64_t write_done_ = 0;
  uint64_t hard_write_ = 0;  // batch that has the newest term and vote
  WriteReports reports_;
  std::deque<HeldMessage> held_;
  uint64_t wal_syncs_ = 0;

  // Clients.
  bool turn_scheduled_ = false;
  bool apply_scheduled_ = false;
  std::vector<Proposal> queued_;
  std::deque<Waiting> waiting_;
  uint64_t client_bytes_ = 0;  // of queued_ and waiting_
  ReadRounds reads_;
  uint64_t context_ = 0;  // number of the newest read context; never falls
  RoleObserver observer_;
  std::pair<Role, uint64_t> told_ = {Role::kFollower, 0};

  // Timer.
  uint64_t deadline_ms_ = 0;
  uint64_t armed_ms_ = 0;  // 0: not armed
  Executor::TimerId timer_ = 0;
  bool grace_given_ = false;

  // Snapshots.
  SnapshotId snapshot_;  // newest that the core knows
  std::vector<SnapshotFile> install_files_;
  uint64_t bytes_since_snapshot_ = 0;
  std::optional<OwnSnapshot> own_;
  std::map<SnapshotId, SteadyTime> leases_;
  int fetches_served_ = 0;  // at this moment
  std::optional<Fetch> fetch_;
  uint64_t next_request_ = 1;
  bool installing_ = false;  // between the core's demand and its completion
  SnapshotId installing_id_;
  uint64_t install_write_ = 0;  // batch with the RESET record; 0: not queued yet
};

template <typename Result>
void RaftLog::OnDisk(absl::AnyInvocable<Result(RaftDisk&)> work,
                     absl::AnyInvocable<void(Result)> done) {
  disk_executor_.Post([disk = disk_, alive = alive_, &owner = owner_, work = std::move(work),
                       done = std::move(done)]() mutable {
    Result result = work(*disk);
    owner.Post(
        [alive = std::move(alive), done = std::move(done), result = std::move(result)]() mutable {
          if (*alive) {
            done(std::move(result));
          }
        });
  });
}

}  // namespace ballast
