// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/raft_cluster.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/types/error.h"

namespace ballast::testing {

using Role = ReplicatedLog::Role;

class RaftCluster::Transport final : public RaftTransport {
 public:
  Transport(RaftCluster* cluster, size_t self) : cluster_(cluster), self_(self) {}
  void Send(NodeId to, std::string envelope) override {
    cluster_->Deliver(self_, to.value() - 1, std::move(envelope));
  }
  void SetReceiver(Receiver receiver) override { receiver_ = std::move(receiver); }
  void Receive(size_t from, std::string envelope) {
    if (receiver_) {
      receiver_(NodeId(static_cast<uint32_t>(from + 1)), std::move(envelope));
    }
  }

 private:
  RaftCluster* const cluster_;
  const size_t self_;
  Receiver receiver_;
};

// Serial like any executor, with a latency that can change while it runs.
class RaftCluster::Disk final : public Executor {
 public:
  Disk(RaftCluster* cluster, size_t self)
      : cluster_(cluster), self_(self), inner_(cluster->sim_.MakeExecutor()) {}

  void Post(Task task) override {
    const absl::Duration now = cluster_->sim_.SteadyNow().SinceOrigin();
    const int64_t jitter_us = absl::ToInt64Microseconds(cluster_->members_[self_].disk_jitter);
    free_ = std::max(free_, now + absl::Microseconds(
                                      cluster_->rng().Below(static_cast<uint64_t>(jitter_us) + 1)));
    inner_->RunAfter(free_ - now, std::move(task));
  }
  TimerId RunAfter(absl::Duration delay, Task task) override {
    return inner_->RunAfter(delay, std::move(task));
  }
  void Cancel(TimerId id) override { inner_->Cancel(id); }

 private:
  RaftCluster* const cluster_;
  const size_t self_;
  std::unique_ptr<Executor> inner_;
  absl::Duration free_;
};

class RaftCluster::Machine final : public StateMachine {
 public:
  Machine(RaftCluster* cluster, size_t self) : cluster_(cluster), self_(self) {}
  std::string Apply(RaftIndex index, absl::string_view command) override {
    cluster_->OnApplied(index.value(), command);
    return set.Apply(index, command);
  }
  std::vector<std::string> ImageNames() const override { return set.ImageNames(); }
  std::string TakeImage(const std::string& name) const override { return set.TakeImage(name); }
  absl::Status RestoreImage(const std::string& name, absl::string_view image) override {
    return set.RestoreImage(name, image);
  }
  void Reset() override {
    cluster_->installs_ += cluster_->Running(self_) ? 1 : 0;  // not at the start
    set.Reset();
  }

  SetMachine set;

 private:
  RaftCluster* const cluster_;
  const size_t self_;
};

RaftCluster::RaftCluster(uint64_t seed, const Profile& profile)
    : seed_(seed),
      profile_(profile),
      sim_(seed),
      members_(profile.voters),
      cut_(profile.voters, std::vector<bool>(profile.voters)) {
  for (size_t i = 0; i < members_.size(); ++i) {
    members_[i].fs = std::make_unique<MemFileSystem>();
    CHECK_OK(RaftLog::Format(*members_[i].fs, OptionsOf(i)));
    Start(i);
  }
}

const SetMachine& RaftCluster::machine(size_t member) const {
  return members_[member].machine->set;
}

RaftCluster::~RaftCluster() {
  for (Member& m : members_) {
    m.log.reset();
  }
}

RaftLogOptions RaftCluster::OptionsOf(size_t member) {
  RaftLogOptions options;
  options.cluster_id = "simulated";
  options.group = GroupId(3);
  options.self = NodeId(static_cast<uint32_t>(member + 1));
  for (size_t i = 0; i < members_.size(); ++i) {
    options.voters.push_back(NodeId(static_cast<uint32_t>(i + 1)));
  }
  options.folder = "/log";
  options.seed = seed_ * 1000 + members_[member].incarnation;
  options.snapshot_log_bytes = profile_.snapshot_log_bytes;
  options.segment_bytes = profile_.segment_bytes;
  options.trailing_entries_max = profile_.trailing_entries_max;
  options.inflight_entries_max = profile_.inflight_entries_max;
  options.fetch_page_bytes = profile_.fetch_page_bytes;
  options.fetch_lease = profile_.fetch_lease;
  if (!profile_.election_timeouts.empty()) {
    options.election_timeout = profile_.election_timeouts[member];
  }
  options.install_timeout = absl::Milliseconds(300);
  options.fetch_retry = absl::Milliseconds(50);
  options.apply_slice_entries_max = 20;
  options.on_failure = [this, member](const absl::Status& status) {
    members_[member].failure = status;
    if (!members_[member].disk_fails) {
      Violate(absl::StrCat("member ", member, " failed: ", status.ToString()));
    }
  };
  return options;
}

void RaftCluster::Start(size_t member) {
  Member& m = members_[member];
  CHECK(m.log == nullptr);
  ++m.incarnation;
  m.failure = absl::OkStatus();
  m.disk_fails = false;
  m.owner = sim_.MakeExecutor();
  // Some disks are slow: elections then find writes of the last term still under way.
  m.disk_jitter = faults_ && rng().OneIn(4)
                      ? std::min(20 * profile_.disk_jitter, absl::Milliseconds(400))
                      : profile_.disk_jitter;
  m.disk = std::make_unique<Disk>(this, member);
  m.transport = std::make_unique<Transport>(this, member);
  m.machine = std::make_unique<Machine>(this, member);
  auto log =
      RaftLog::Open(OptionsOf(member), sim_, *m.owner, *m.disk, *m.fs, *m.transport, *m.machine);
  if (!log.ok()) {
    Violate(absl::StrCat("member ", member, " cannot start: ", log.status().ToString()));
    return;
  }
  m.log = *std::move(log);
  m.log->SetRoleObserver(
      [this, member](const ReplicatedLog::State& state) { OnRole(member, state); });
  Trace(absl::StrCat("start ", member));
}

void RaftCluster::Crash(size_t member) {
  Member& m = members_[member];
  m.log.reset();
  m.disk.reset();
  m.owner.reset();
  m.fs->Crash(&rng());
  Trace(absl::StrCat("crash ", member));
}

void RaftCluster::CrashSoon(size_t member) {
  members_[member].disk_fails = true;
  members_[member].fs->FailAfter(rng().Between(1, 12));
  sim_.At(absl::Milliseconds(rng().Between(1, 15)), [this, member] {
    if (Running(member)) {
      Crash(member);
    }
  });
}

std::optional<size_t> RaftCluster::Leader() const {
  std::optional<size_t> leader;
  RaftTerm term;
  for (size_t i = 0; i < members_.size(); ++i) {
    if (Running(i) && members_[i].log->state().role == Role::kLeader &&
        members_[i].log->state().term > term) {
      leader = i;
      term = members_[i].log->state().term;
    }
  }
  return leader;
}

// --- network ------------------------------------------------------------------------------------

void RaftCluster::Isolate(size_t member) {
  for (size_t i = 0; i < members_.size(); ++i) {
    cut_[member][i] = cut_[i][member] = i != member;
  }
}

void RaftCluster::HealNetwork() {
  for (std::vector<bool>& row : cut_) {
    row.assign(row.size(), false);
  }
}

void RaftCluster::Deliver(size_t from, size_t to, const std::string& bytes) {
  if (cut_[from][to] || rng().Below(1000) < profile_.loss_per_mille) {
    return;
  }
  const int copies = rng().Below(1000) < profile_.duplicate_per_mille ? 2 : 1;
  for (int i = 0; i < copies; ++i) {
    // Mostly quick, sometimes so late that others overtake it.
    const absl::Duration most = rng().OneIn(20) ? 10 * profile_.delay_max : profile_.delay_max;
    const absl::Duration delay =
        absl::Microseconds(100 + rng().Below(absl::ToInt64Microseconds(most) + 1));
    sim_.At(delay, [this, from, to, bytes] {
      if (!Running(to) || cut_[from][to]) {
        return;
      }
      Trace(absl::StrCat(from, ">", to, " ", ComputeCrc32c(bytes).value));
      Member& m = members_[to];
      m.owner->Post(
          [transport = m.transport.get(), from, bytes] { transport->Receive(from, bytes); });
    });
  }
}

// --- oracles ------------------------------------------------------------------------------------

void RaftCluster::Violate(const std::string& what) {
  if (violation_.empty()) {
    violation_ = absl::StrCat("seed ", seed_, " at ",
                              absl::FormatDuration(sim_.SteadyNow().SinceOrigin()), ": ", what);
  }
}

void RaftCluster::Trace(absl::string_view event) {
  const std::string line =
      absl::StrCat(absl::ToInt64Nanoseconds(sim_.SteadyNow().SinceOrigin()), " ", event);
  trace_ = ExtendCrc32c(Crc32c{trace_}, line).value;
}

void RaftCluster::OnApplied(uint64_t index, absl::string_view command) {
  const auto [it, added] = applied_.emplace(index, command);
  if (!added && it->second != command) {
    Violate(absl::StrCat("two commands were applied at index ", index));
  }
  if (refused_.count(SetMachine::IdOf(command)) > 0) {
    Violate(absl::StrCat("command ", SetMachine::IdOf(command),
                         " was refused as not written, and applied"));
  }
}

void RaftCluster::OnRole(size_t member, const ReplicatedLog::State& state) {
  if (state.role != Role::kLeader) {
    return;
  }
  const auto [it, added] = leader_of_term_.emplace(state.term.value(), member + 1);
  if (!added && it->second != member + 1) {
    Violate(absl::StrCat("two leaders in term ", state.term.value()));
  }
  for (const auto& [term, index] : acknowledged_by_term_) {
    if (term < state.term.value() && index > state.applied.value()) {
      Violate(absl::StrCat("the leader of term ", state.term.value(), " has applied ",
                           state.applied.value(), ", but ", index, " was acknowledged in term ",
                           term));
    }
  }
}

void RaftCluster::CheckLeaders() {
  for (const Member& m : members_) {
    if (m.log == nullptr || !m.log->state().leader.has_value()) {
      continue;
    }
    const ReplicatedLog::State state = m.log->state();
    const auto [it, added] = leader_of_term_.emplace(state.term.value(), state.leader->value());
    if (!added && it->second != state.leader->value()) {
      Violate(absl::StrCat("members name two leaders of term ", state.term.value()));
    }
  }
}

// --- clients ------------------------------------------------------------------------------------

void RaftCluster::Propose(size_t member, size_t padding) {
  const uint64_t id = next_id_++;
  members_[member].log->Propose(
      SetMachine::Add(id, padding),
      [this, id, member](absl::StatusOr<ReplicatedLog::Applied> applied) {
        if (applied.ok()) {
          Trace(absl::StrCat("acknowledged ", id));
          acknowledged_.insert(id);
          index_seen_ = std::max(index_seen_, applied->index.value());
          const uint64_t term = members_[member].log->state().term.value();
          uint64_t& highest = acknowledged_by_term_[term];
          highest = std::max(highest, applied->index.value());
          if (applied->result != absl::StrCat("added ", id)) {
            Violate(absl::StrCat("command ", id, " got the result of another"));
          }
        } else if (ReasonOf(applied.status()) == v1::REASON_NOT_LEADER ||
                   ReasonOf(applied.status()) == v1::REASON_OVERLOADED) {
          refused_.insert(id);
        } else if (ReasonOf(applied.status()) != v1::REASON_OUTCOME_UNKNOWN) {
          Violate(absl::StrCat("a proposal got ", applied.status().ToString()));
        }
      });
}

void RaftCluster::Read(size_t member) {
  members_[member].log->ReadBarrier([this, member, seen = index_seen_](absl::Status status) {
    if (!status.ok()) {
      return;
    }
    const uint64_t applied = members_[member].log->state().applied.value();
    if (applied < seen) {
      Violate(absl::StrCat("stale read: applied ", applied, ", but ", seen,
                           " was acknowledged or read before"));
    }
    index_seen_ = std::max(index_seen_, applied);
    ++reads_served_;
    Trace("read");
  });
}

void RaftCluster::ClientTick() {
  if (!faults_) {
    return;
  }
  const std::optional<size_t> leader = Leader();
  const size_t member =
      leader.has_value() && !rng().OneIn(6) ? *leader : rng().Below(members_.size());
  if (Running(member)) {
    for (uint64_t n = rng().Below(4); n > 0; --n) {
      Propose(member, rng().Below(60));
    }
    if (rng().OneIn(2)) {
      Read(member);
    }
  }
  // A deposed leader that has not noticed is where stale reads and lost entries come from.
  for (size_t i = 0; i < members_.size(); ++i) {
    if (Running(i) && members_[i].log->state().role == Role::kLeader && i != member) {
      Read(i);
      Propose(i);
    }
  }
  CheckLeaders();
  sim_.At(absl::Microseconds(200 + rng().Below(6000)), [this] { ClientTick(); });
}

bool RaftCluster::ProposeUntilAcknowledged(size_t count, absl::Duration limit) {
  const uint64_t goal = acknowledged() + count;
  const absl::Duration end = sim_.SteadyNow().SinceOrigin() + limit;
  while (acknowledged() < goal && sim_.SteadyNow().SinceOrigin() < end) {
    if (const std::optional<size_t> leader = Leader()) {
      Propose(*leader);
    }
    sim_.RunFor(absl::Milliseconds(2));
  }
  return acknowledged() >= goal;
}

// --- faults -------------------------------------------------------------------------------------

// A leader writes entries that nobody gets, is replaced, comes back while its disk may still be
// busy with them, and dies soon after it was corrected.
void RaftCluster::DeposeLeaderAndCrashIt(size_t leader) {
  if (!Running(leader)) {
    return;
  }
  Isolate(leader);
  members_[leader].disk_jitter = absl::Milliseconds(rng().Between(1, 900));
  for (uint64_t n = 1 + rng().Below(8); n > 0; --n) {
    Propose(leader);
  }
  const absl::Duration healed = absl::Milliseconds(rng().Between(100, 600));
  sim_.At(healed, [this] { HealNetwork(); });
  sim_.At(healed + absl::Milliseconds(rng().Below(80)), [this, leader] {
    if (faults_ && Running(leader)) {
      Crash(leader);
    }
  });
}

void RaftCluster::OneFault(bool harsh) {
  const size_t some = rng().Below(members_.size());
  const size_t victim = rng().OneIn(2) ? Leader().value_or(some) : some;
  switch (rng().Below(harsh ? 12 : 8)) {
    case 0:
    case 1:
      if (Running(victim)) {
        Crash(victim);
      }
      break;
    case 2:
      if (Running(victim)) {
        CrashSoon(victim);
      }
      break;
    case 3:
      Isolate(victim);
      break;
    case 4:
      Cut(victim, some);
      break;
    case 5:
      HealNetwork();
      break;
    case 6:
      if (Running(some)) {
        members_[some].log->TakeSnapshot([](absl::Status) {});
      }
      break;
    case 7:
      if (Running(victim)) {
        members_[victim].log->TransferLeadership();
      }
      break;
    case 8:
    case 9:
      DeposeLeaderAndCrashIt(victim);
      break;
    case 10:
      profile_.loss_per_mille = static_cast<uint32_t>(rng().Below(200));
      profile_.duplicate_per_mille = static_cast<uint32_t>(rng().Below(200));
      profile_.delay_max = absl::Milliseconds(rng().Between(1, 30));
      break;
    default:
      profile_.disk_jitter =
          absl::Milliseconds(rng().OneIn(3) ? rng().Between(50, 400) : rng().Between(1, 10));
      break;
  }
  // The dead come back, sooner or later.
  for (size_t i = 0; i < members_.size(); ++i) {
    if (!Running(i) && rng().OneIn(2)) {
      Start(i);
    }
  }
}

void RaftCluster::RunFaults(absl::Duration span, bool harsh) {
  faults_ = true;
  ClientTick();
  const absl::Duration end = sim_.SteadyNow().SinceOrigin() + span;
  while (sim_.SteadyNow().SinceOrigin() < end && violation_.empty()) {
    sim_.RunFor(absl::Milliseconds(rng().Between(10, harsh ? 150 : 400)));
    OneFault(harsh);
  }
  faults_ = false;
}

std::string RaftCluster::States() const {
  std::string text;
  for (size_t i = 0; i < members_.size(); ++i) {
    if (Running(i)) {
      const ReplicatedLog::State state = members_[i].log->state();
      absl::StrAppend(&text, "; member ", i, state.role == Role::kLeader ? " leads" : "", " term ",
                      state.term.value(), " applied ", state.applied.value(), " committed ",
                      state.committed.value(), " last ", state.last.value());
    }
  }
  return text;
}

template <typename Condition>
void RaftCluster::Await(const char* what, Condition condition) {
  if (violation_.empty() && !sim_.RunUntilTrue(condition, absl::Seconds(20))) {
    Violate(absl::StrCat("does not converge: ", what, States()));
  }
}

void RaftCluster::Converge() {
  HealNetwork();
  profile_.loss_per_mille = profile_.duplicate_per_mille = 0;
  profile_.delay_max = absl::Milliseconds(2);
  profile_.disk_jitter = absl::Milliseconds(2);
  sim_.RunFor(absl::Milliseconds(20));  // whoever is to die soon does
  for (size_t i = 0; i < members_.size(); ++i) {
    // With a sync longer than an election nobody could be elected.
    members_[i].disk_jitter = profile_.disk_jitter;
    if (Running(i) && !members_[i].failure.ok()) {
      Crash(i);
    }
    if (!Running(i)) {
      Start(i);
    }
  }
  if (!violation_.empty()) {
    return;
  }
  Await("no leader", [this] { return Leader().has_value(); });
  if (violation_.empty() && !ProposeUntilAcknowledged(3, absl::Seconds(20))) {
    Violate("does not converge: nothing is acknowledged any more" + States());
  }
  Await("members differ", [this] {
    for (const Member& m : members_) {
      if (m.log->state().applied.value() < applied_.rbegin()->first ||
          m.machine->set.Fingerprint() != members_[0].machine->set.Fingerprint()) {
        return false;
      }
    }
    return true;
  });
  for (size_t i = 0; i < members_.size() && violation_.empty(); ++i) {
    for (const uint64_t id : acknowledged_) {
      if (!members_[i].machine->set.Has(id)) {
        Violate(absl::StrCat("acknowledged command ", id, " is not on member ", i));
      }
    }
  }
  CheckLeaders();
}

}  // namespace ballast::testing
