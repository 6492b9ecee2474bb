// SPDX-License-Identifier: Apache-2.0
// The core's events and what each step of it demands, in this order: term
// and vote, entries, snapshot, role, messages, commit, timer.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/log.h"
#include "common/raft/raft_log.h"

namespace ballast {

void RaftLog::Took(int result, const ballast_craft_update& update, std::vector<LogEntry> entries) {
  if (!failed_.ok()) {
    return;
  }
  if (result != BALLAST_CRAFT_OK) {
    // The core's term may be ahead of the disk: only a restart from disk helps, if anything.
    Fail(result == BALLAST_CRAFT_CONFLICT
             ? absl::DataLossError("a leader's entries contradict committed ones of this log")
             : absl::InternalError("the consensus core refused an event"));
    return;
  }
  if ((update.flags & BALLAST_CRAFT_UPDATE_HARD) != 0) {
    wal_queue_.emplace_back(WalHard{.term = update.term, .vote = update.vote});
    hard_write_ = write_next_;
  }
  if ((update.flags & BALLAST_CRAFT_UPDATE_ENTRIES) != 0) {
    TookEntries(update, std::move(entries));
  }
  if ((update.flags & BALLAST_CRAFT_UPDATE_SNAPSHOT) != 0) {
    StartInstall({update.snapshot.index, update.snapshot.term});
  }
  RoleMayHaveChanged(update);
  for (size_t i = 0; i < update.message_count; ++i) {
    SendCore(update.messages[i]);
  }
  if (!installing_) {  // during an install heartbeats move the core's, with nothing to apply
    CHECK_LE(update.commit, log_.last_index());
    committed_ = std::max(committed_, update.commit);
  }
  ArmTimer(update.timeout_ms);
  WriteIfIdle();
  ScheduleApply();
  StartReadRound();
}

void RaftLog::TookEntries(const ballast_craft_update& update, std::vector<LogEntry> entries) {
  const uint64_t first = update.entries.first;
  const size_t count = update.entries.count;
  if (update.entries.source == BALLAST_CRAFT_SOURCE_BARRIER) {
    entries = {{.term = update.term,
                .type = EntryType::kBarrier,
                .payload = std::make_shared<const std::string>(8, '\0')}};
  }
  CHECK_GE(entries.size(), count);
  entries.erase(entries.begin(), entries.end() - static_cast<ptrdiff_t>(count));
  if (log_.Has(first)) {
    CHECK_GT(first, committed_) << " a committed entry would be overwritten";
    log_.TruncateFrom(first);
  }
  CHECK_EQ(first, log_.last_index() + 1);
  for (const LogEntry& entry : entries) {
    log_.Append(entry);
  }
  reports_.Queue(write_next_, first, log_.last_index());
  wal_queue_.emplace_back(WalEntries{.first = first, .entries = std::move(entries)});
}

// --- messages -----------------------------------------------------------------------------------

// Entries are put in now: after a later truncation others would be at their indexes. What is too
// long for one message goes in several consecutive ones.
void RaftLog::SendCore(const ballast_craft_message& message) {
  const NodeId to(static_cast<uint32_t>(message.peer));
  CoreMessage part{.core = message, .entries = {}};
  if (message.type == BALLAST_CRAFT_APPEND) {
    size_t bytes = 0;
    for (uint32_t i = 1; i <= message.entry_count; ++i) {
      const LogEntry& entry = log_.At(message.log_index + i);
      if (!part.entries.empty() && bytes + entry.bytes() > kAppendPayloadBytesMax) {
        part.core.entry_count = static_cast<uint32_t>(part.entries.size());
        const LogEntry last = part.entries.back();
        Send(to, RaftMessage{.asks = {}, .echoes = {}, .body = part});
        part.core.log_index += part.entries.size();
        part.core.log_term = last.term;
        part.entries.clear();
        bytes = 0;
      }
      part.entries.push_back(entry);
      bytes += entry.bytes();
    }
    part.core.entry_count = static_cast<uint32_t>(part.entries.size());
  }
  Send(to, RaftMessage{.asks = {}, .echoes = {}, .body = std::move(part)});
}

void RaftLog::Send(NodeId to, RaftMessage message) {
  const auto peer = peers_.find(to.value());
  if (peer == peers_.end() || !failed_.ok()) {
    return;
  }
  if (Leads()) {
    message.asks = {.term = core_term_, .number = context_};
  }
  if (peer->second.echo.term == core_term_) {
    message.echoes = peer->second.echo_sent = peer->second.echo;
  }
  std::string bytes = EncodeRaftMessage(message);
  // Nothing may say anything of a term or vote that a crash could make us forget.
  if (hard_write_ > write_done_ || !held_.empty()) {
    held_.push_back({.write = hard_write_, .to = to, .bytes = std::move(bytes)});
  } else {
    transport_.Send(to, std::move(bytes));
  }
}

void RaftLog::Release() {
  while (!held_.empty() && held_.front().write <= write_done_) {
    transport_.Send(held_.front().to, std::move(held_.front().bytes));
    held_.pop_front();
  }
}

void RaftLog::OnEnvelope(NodeId from, const std::string& bytes) {
  if (!failed_.ok() || peers_.find(from.value()) == peers_.end()) {
    return;
  }
  absl::StatusOr<RaftMessage> message = DecodeRaftMessage(bytes);
  if (!message.ok()) {
    LogDebug("raft.bad_message", {{"from", from.value()}, {"error", message.status().ToString()}});
    return;
  }
  if (auto* core = std::get_if<CoreMessage>(&message->body)) {
    OnCore(from, std::move(*core));
  } else if (const auto* request = std::get_if<FetchRequest>(&message->body)) {
    OnFetchRequest(from, *request);
  } else if (auto* page = std::get_if<FetchPage>(&message->body)) {
    OnFetchPage(from, *page);
  }
  if (failed_.ok()) {
    OnContexts(from, *message);  // after the step: what counts is our term now
  }
}

void RaftLog::OnCore(NodeId from, CoreMessage message) {
  message.core.peer = from.value();
  if (message.core.type == BALLAST_CRAFT_INSTALL) {
    OnInstall(from, std::move(message));
    return;
  }
  std::vector<ballast_craft_meta> metas;
  metas.reserve(message.entries.size());
  for (const LogEntry& entry : message.entries) {
    metas.push_back({entry.term, static_cast<uint8_t>(entry.type)});
  }
  ballast_craft_update update;
  const int result =
      ballast_craft_receive(core_.get(), NowMs(), &message.core, metas.data(), &update);
  if (message.core.type == BALLAST_CRAFT_APPEND && message.core.term == update.term &&
      update.state == BALLAST_CRAFT_FOLLOWER) {
    followed_ = {.leader = from, .term = update.term};
  }
  Took(result, update, std::move(message.entries));
}

void RaftLog::OnContexts(NodeId from, const RaftMessage& message) {
  Peer& peer = peers_[from.value()];
  if (message.asks.number != 0 && message.asks.term == core_term_ && message.asks > peer.echo) {
    peer.echo = message.asks;
  }
  if (peer.echo.term == core_term_ && peer.echo != peer.echo_sent) {
    Send(from, RaftMessage{.asks = {}, .echoes = {}, .body = ConfirmMessage{}});
  }
  if (Leads() && message.echoes.term == core_term_ && message.echoes.number <= context_) {
    peer.confirmed = std::max(peer.confirmed, message.echoes.number);
    ServeReads();
  }
}

// --- writes -------------------------------------------------------------------------------------

// While one write is under way, everything else gathers for the next.
void RaftLog::WriteIfIdle() {
  if (write_in_flight_ || wal_queue_.empty() || !failed_.ok()) {
    return;
  }
  write_in_flight_ = true;
  const uint64_t write = write_next_++;
  using Result = std::pair<absl::Status, uint64_t>;
  OnDisk<Result>(
      [records = std::move(wal_queue_)](RaftDisk& disk) {
        const absl::Status status = disk.wal->Write(records);
        return Result(status, disk.wal->syncs());
      },
      [this, write](const Result& result) { Wrote(write, result.first, result.second); });
  wal_queue_.clear();
}

void RaftLog::Wrote(uint64_t write, const absl::Status& status, uint64_t syncs) {
  write_in_flight_ = false;
  wal_syncs_ = syncs;
  if (!failed_.ok()) {
    return;
  }
  if (!status.ok()) {
    Fail(status);
    return;
  }
  write_done_ = write;
  WriteIfIdle();
  Release();
  if (const std::optional<uint64_t> index = reports_.Done(write_done_)) {
    ballast_craft_update update;
    const int result = ballast_craft_persisted(core_.get(), NowMs(), *index, &update);
    Took(result, update, {});
  }
  if (install_write_ != 0 && write_done_ >= install_write_) {
    install_write_ = 0;
    LoadImage(0);
  }
  CommitOwnSnapshotIfDurable();
}

// --- timer --------------------------------------------------------------------------------------

void RaftLog::ArmTimer(uint64_t deadline_ms) {
  deadline_ms_ = std::max<uint64_t>(deadline_ms, 1);
  if (armed_ms_ != 0 && armed_ms_ <= deadline_ms_) {
    return;  // it fires early and is armed again: cheaper than moving it at every message
  }
  if (armed_ms_ != 0) {
    owner_.Cancel(timer_);
  }
  StartTimer(deadline_ms_);
}

void RaftLog::StartTimer(uint64_t at_ms) {
  const uint64_t now = NowMs();
  armed_ms_ = at_ms;
  timer_ =
      owner_.RunAfter(absl::Milliseconds(at_ms > now ? at_ms - now : 0), [this, alive = alive_] {
        if (*alive) {
          OnTimer();
        }
      });
}

void RaftLog::OnTimer() {
  armed_ms_ = 0;
  if (!failed_.ok()) {
    return;
  }
  const uint64_t now = NowMs();
  if (now < deadline_ms_) {
    StartTimer(deadline_ms_);
    return;
  }
  // After a pause of this process the messages that would have stopped the timer may not have
  // been read yet: one interval for them, before we disturb a leader that is well.
  const uint64_t interval_ms =
      static_cast<uint64_t>(absl::ToInt64Milliseconds(options_.heartbeat_interval));
  if (!grace_given_ && core_state_ == BALLAST_CRAFT_FOLLOWER && now - deadline_ms_ > interval_ms) {
    grace_given_ = true;
    StartTimer(now + interval_ms);
    return;
  }
  grace_given_ = false;
  ballast_craft_update update;
  const int result = ballast_craft_timeout(core_.get(), now, &update);
  Took(result, update, {});
}

}  // namespace ballast
