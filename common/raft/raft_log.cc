// SPDX-License-Identifier: Apache-2.0
// Proposals, applying, reads and roles. What the core demands is in raft_log_step.cc.
#include "common/raft/raft_log.h"

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/log.h"
#include "common/types/error.h"

namespace ballast {
namespace {

absl::Status NotLeader() { return NotLeaderError(""); }
absl::Status OutcomeUnknown() {
  return MakeError(v1::REASON_OUTCOME_UNKNOWN, "leadership was lost before the result was known");
}
absl::Status Overloaded() {
  return MakeError(v1::REASON_OVERLOADED, "too many proposals and reads wait");
}

// What an entry costs beside its payload, for thresholds.
constexpr uint64_t kEntryOverheadBytes = 64;

}  // namespace

RaftLog::RaftLog(RaftLogOptions options, Clock& clock, Executor& owner, Executor& disk,
                 RaftTransport& transport, StateMachine& machine)
    : options_(std::move(options)),
      clock_(clock),
      owner_(owner),
      disk_executor_(disk),
      transport_(transport),
      machine_(machine),
      lone_(options_.voters.size() == 1) {
  const ballast_craft_config config = CoreConfig(options_);
  core_.reset(ballast_craft_create(&config));
  CHECK(core_ != nullptr);
  for (const NodeId voter : options_.voters) {
    if (voter != options_.self) {
      peers_[voter.value()] = Peer{};
    }
  }
}

RaftLog::~RaftLog() {
  *alive_ = false;
  if (armed_ms_ != 0) {
    owner_.Cancel(timer_);
  }
  transport_.SetReceiver(nullptr);
}

void RaftLog::PostToOwner(absl::AnyInvocable<void()> task) {
  owner_.Post([alive = alive_, task = std::move(task)]() mutable {
    if (*alive) {
      task();
    }
  });
}

// --- proposals and reads ------------------------------------------------------------------------

void RaftLog::Propose(std::string command, ProposeCallback done) {
  absl::Status refused;
  if (command.size() > kLogEntryBytesMax) {
    refused = InvalidArgument(
        absl::StrCat("a command of ", command.size(), " bytes is longer than ", kLogEntryBytesMax));
  } else if (!LeadsReady()) {
    refused = NotLeader();
  } else if (queued_.size() + waiting_.size() >= options_.proposals_max ||
             client_bytes_ + command.size() > options_.proposal_bytes_max) {
    refused = Overloaded();
  }
  if (!refused.ok()) {
    PostToOwner([refused, done = std::move(done)]() mutable { done(refused); });
    return;
  }
  client_bytes_ += command.size();
  queued_.push_back({std::make_shared<const std::string>(std::move(command)), std::move(done)});
  Schedule();
}

void RaftLog::ReadBarrier(ReadCallback done) {
  if (!Leads() || reads_.size() >= options_.proposals_max) {
    absl::Status refused = Leads() ? Overloaded() : NotLeader();
    PostToOwner([refused, done = std::move(done)]() mutable { done(refused); });
    return;
  }
  reads_.Add(std::move(done));
  Schedule();
}

// What was proposed in one turn of the executor is submitted together, in a turn of its own.
void RaftLog::Schedule() {
  if (!turn_scheduled_) {
    turn_scheduled_ = true;
    PostToOwner([this] { RunTurn(); });
  }
}

void RaftLog::RunTurn() {
  turn_scheduled_ = false;
  SubmitQueued();
  StartReadRound();
  ServeReads();
}

void RaftLog::SubmitQueued() {
  if (queued_.empty()) {
    return;
  }
  std::vector<Proposal> proposals = std::move(queued_);
  queued_.clear();
  ballast_craft_update update;
  const int result =
      ballast_craft_submit(core_.get(), NowMs(), static_cast<uint32_t>(proposals.size()), &update);
  if (result == BALLAST_CRAFT_NOT_LEADER) {  // a transfer is under way
    for (Proposal& proposal : proposals) {
      client_bytes_ -= proposal.command->size();
      proposal.done(NotLeader());
    }
    return;
  }
  std::vector<LogEntry> entries;
  entries.reserve(proposals.size());
  uint64_t index = update.entries.first;
  for (Proposal& proposal : proposals) {
    waiting_.push_back({.index = index++,
                        .term = update.term,
                        .bytes = proposal.command->size(),
                        .done = std::move(proposal.done)});
    entries.push_back(
        {.term = update.term, .type = EntryType::kCommand, .payload = std::move(proposal.command)});
  }
  Took(result, update, std::move(entries));
}

void RaftLog::StartReadRound() {
  if (!Leads() || committed_ < floor_ || !reads_.WantsRound()) {
    return;
  }
  ++context_;
  reads_.StartRound(context_, committed_);
  if (lone_) {
    reads_.Confirm();
    return;
  }
  for (const auto& [id, peer] : peers_) {
    Send(NodeId(id), RaftMessage{.asks = {}, .echoes = {}, .body = ConfirmMessage{}});
  }
}

void RaftLog::ServeReads() {
  if (!Leads()) {
    return;
  }
  if (const uint64_t round = reads_.number(); round != 0) {
    size_t confirmed = 1;  // ourselves
    for (const auto& [id, peer] : peers_) {
      confirmed += peer.confirmed >= round ? 1 : 0;
    }
    if (confirmed > options_.voters.size() / 2) {
      reads_.Confirm();
      StartReadRound();
    }
  }
  for (ReadCallback& done : reads_.TakeServable(applied_)) {
    done(absl::OkStatus());
  }
}

// --- applying -----------------------------------------------------------------------------------

void RaftLog::ScheduleApply() {
  if (!apply_scheduled_ && !installing_ && applied_ < committed_ && failed_.ok()) {
    apply_scheduled_ = true;
    PostToOwner([this] { ApplySlice(); });
  }
}

void RaftLog::ApplySlice() {
  apply_scheduled_ = false;
  const SteadyTime end = clock_.SteadyNow() + options_.apply_slice;
  for (uint32_t n = 0; n < options_.apply_slice_entries_max; ++n) {
    if (installing_ || applied_ >= committed_ || !failed_.ok()) {
      break;
    }
    ApplyOne(applied_ + 1);
    if (n % 8 == 7 && clock_.SteadyNow() >= end) {
      break;
    }
  }
  ServeReads();
  TellRole();
  MaybeSnapshot();
  ScheduleApply();
}

void RaftLog::ApplyOne(uint64_t index) {
  const LogEntry entry = log_.At(index);
  std::string result;
  if (entry.type == EntryType::kCommand) {
    result = machine_.Apply(RaftIndex(index), *entry.payload);
  }
  applied_ = index;
  bytes_since_snapshot_ += entry.bytes() + kEntryOverheadBytes;
  if (!waiting_.empty() && waiting_.front().index == index) {
    Waiting waiting = std::move(waiting_.front());
    waiting_.pop_front();
    CHECK_EQ(waiting.term, entry.term) << " at " << index;
    client_bytes_ -= waiting.bytes;
    waiting.done(Applied{.index = RaftIndex(index), .result = std::move(result)});
  }
}

// --- roles --------------------------------------------------------------------------------------

void RaftLog::RoleMayHaveChanged(const ballast_craft_update& update) {
  if (update.state == core_state_ && update.term == core_term_) {
    return;
  }
  // Several changes may have collapsed into one; a leader of another term is another leadership.
  const bool led = core_state_ == BALLAST_CRAFT_LEADER;
  core_state_ = update.state;
  core_term_ = update.term;
  if (led) {
    DropClients(OutcomeUnknown(), NotLeader());
  }
  if (core_state_ == BALLAST_CRAFT_LEADER) {
    // Everything committed in earlier terms is at or below the last entry now, barrier included.
    floor_ = update.last;
    for (auto& [id, peer] : peers_) {
      peer.confirmed = 0;
    }
  }
  TellRole();
}

void RaftLog::DropClients(const absl::Status& submitted, const absl::Status& queued) {
  std::deque<Waiting> waiting = std::move(waiting_);
  waiting_.clear();
  std::vector<Proposal> proposals = std::move(queued_);
  queued_.clear();
  client_bytes_ = 0;
  std::vector<ReadCallback> reads = reads_.TakeAll();
  for (Waiting& w : waiting) {
    PostToOwner([submitted, done = std::move(w.done)]() mutable { done(submitted); });
  }
  for (Proposal& p : proposals) {
    PostToOwner([queued, done = std::move(p.done)]() mutable { done(queued); });
  }
  for (ReadCallback& r : reads) {
    PostToOwner([queued, done = std::move(r)]() mutable { done(queued); });
  }
}

ReplicatedLog::State RaftLog::state() const {
  State state;
  state.role = LeadsReady()                                             ? Role::kLeader
               : core_state_ == BALLAST_CRAFT_FOLLOWER || !failed_.ok() ? Role::kFollower
                                                                        : Role::kCandidate;
  state.term = RaftTerm(core_term_);
  if (Leads()) {
    state.leader = options_.self;
  } else if (failed_.ok() && core_state_ == BALLAST_CRAFT_FOLLOWER &&
             followed_.term == core_term_) {
    state.leader = followed_.leader;
  }
  state.committed = RaftIndex(committed_);
  state.applied = RaftIndex(applied_);
  state.last = RaftIndex(log_.last_index());
  state.wal_syncs = wal_syncs_;
  return state;
}

void RaftLog::SetRoleObserver(RoleObserver observer) {
  observer_ = std::move(observer);
  PostToOwner([this] {
    if (observer_) {
      observer_(state());
    }
  });
}

void RaftLog::TellRole() {
  const State now = state();
  if (told_ == std::pair(now.role, now.term.value())) {
    return;
  }
  told_ = {now.role, now.term.value()};
  LogInfo("raft.role", {{"group", options_.group.value()},
                        {"node", options_.self.value()},
                        {"term", core_term_},
                        {"role", now.role == Role::kLeader     ? "leader"
                                 : now.role == Role::kFollower ? "follower"
                                                               : "candidate"}});
  PostToOwner([this, now] {
    if (observer_) {
      observer_(now);
    }
  });
}

void RaftLog::TransferLeadership() {
  if (!Leads()) {
    return;
  }
  ballast_craft_update update;
  const int result = ballast_craft_transfer(core_.get(), NowMs(), 0, &update);
  if (result != BALLAST_CRAFT_NOT_LEADER) {
    Took(result, update, {});
  }
}

void RaftLog::Fail(const absl::Status& status) {
  if (!failed_.ok()) {
    return;
  }
  failed_ = status;
  held_.clear();
  fetch_.reset();
  EndOwnSnapshot(absl::UnavailableError(absl::StrCat("the log failed: ", status.message())));
  DropClients(OutcomeUnknown(), NotLeader());
  TellRole();
  if (options_.on_failure) {
    PostToOwner([this, status] { options_.on_failure(status); });
  } else {
    LogError("raft.failed", {{"group", options_.group.value()},
                             {"node", options_.self.value()},
                             {"error", status.ToString()}});
  }
}

}  // namespace ballast
