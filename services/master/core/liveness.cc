// SPDX-License-Identifier: Apache-2.0
#include "services/master/core/liveness.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/types/error.h"

namespace ballast::master {

Liveness::Liveness(LivenessLimits limits, SteadyTime now) : limits_(limits), last_tick_(now) {}

void Liveness::SetLimits(LivenessLimits limits) {
  const bool shorter = limits.window() < limits_.window();
  limits_ = limits;
  for (auto& [index, server] : servers_) {
    if (shorter && server.state != LivenessState::kDead) {
      server.silent_since = observed_;
      server.overdue = false;
    }
  }
}

absl::Duration Liveness::ObservedAt(SteadyTime now) const {
  return observed_ + std::clamp(now - last_tick_, absl::ZeroDuration(), limits_.tick_gap_max());
}

void Liveness::Change(ServerIndex index, Server& server, LivenessState to) {
  if (server.state != to) {
    transitions_.push_back({index, server.state, to});
    ++transition_count_;
    server.state = to;
  }
}

void Liveness::OnRegistered(ServerIndex index, uint64_t boot_epoch, SteadyTime now) {
  const auto [it, is_new] = servers_.try_emplace(index);
  it->second.registered_epoch = std::max(it->second.registered_epoch, boot_epoch);
  if (is_new) {
    it->second.silent_since = ObservedAt(now);
  }
}

bool Liveness::OnRemoved(ServerIndex index) { return servers_.erase(index) > 0; }

absl::Status Liveness::CheckHolder(Server& server, Holder sender, SteadyTime now) const {
  const uint64_t known_epoch =
      server.holder.has_value() ? server.holder->boot_epoch : server.registered_epoch;
  if (sender.boot_epoch < known_epoch) {
    return MakeError(v1::REASON_STALE_BOOT,
                     absl::StrCat("boot epoch ", sender.boot_epoch,
                                  " of this server is over: ", known_epoch, " has been seen"));
  }
  if (!server.holder.has_value() || sender.incarnation == server.holder->incarnation) {
    return absl::OkStatus();
  }
  if (sender.boot_epoch == server.holder->boot_epoch) {
    return server.state == LivenessState::kDead
               ? absl::OkStatus()
               : MakeError(v1::REASON_DUPLICATE_SERVER,
                           "another live process holds this server id with the same boot epoch: "
                           "this folder is a copy");
  }
  if (server.state != LivenessState::kAlive) {
    return absl::OkStatus();
  }
  if (server.rival != sender) {
    server.rival = sender;
    server.rival_since = now;
  }
  if (server.heartbeat_at >= server.rival_since + limits_.interval) {
    return MakeError(v1::REASON_DUPLICATE_SERVER, "another live process holds this server id");
  }
  return NotReadyError("another process held this server id a moment ago; waiting for its silence",
                       limits_.interval / 10);
}

absl::Status Liveness::OnHeartbeat(ServerIndex index, const Beat& beat, SteadyTime now) {
  const auto it = servers_.find(index);
  CHECK(it != servers_.end()) << " server " << index;
  CHECK_GE(beat.age, absl::ZeroDuration());
  Server& server = it->second;
  if (absl::Status status = CheckHolder(server, beat.sender, now); !status.ok()) {
    return status;
  }
  const bool is_first = !server.holder.has_value();
  if (server.holder != beat.sender) {
    server.rival.reset();
  }
  server.holder = beat.sender;
  server.stream = beat.stream;
  server.heartbeat_count += beat.tells_chunks ? 1 : 0;
  const SteadyTime spoken_at = now - beat.age;
  if (!is_first && spoken_at < server.heartbeat_at) {
    return absl::OkStatus();
  }
  server.heartbeat_at = spoken_at;
  const absl::Duration observed = ObservedAt(now);
  server.silent_since = std::max(server.silent_since, observed - beat.age);
  const absl::Duration silence = observed - server.silent_since;
  if (silence >= limits_.window()) {
    return absl::OkStatus();  // as if it had not been heard: a dead server stays so, ticks see the
                              // rest
  }
  server.overdue = false;
  const bool late = silence >= limits_.late_after();
  Change(index, server, beat.stopping || late ? LivenessState::kSuspect : LivenessState::kAlive);
  return absl::OkStatus();
}

absl::Status Liveness::OnNoBeat(ServerIndex index, Holder sender, uint64_t stream) {
  const auto it = servers_.find(index);
  CHECK(it != servers_.end()) << " server " << index;
  if (it->second.holder != sender) {
    return MakeError(v1::REASON_NOT_HOLDER,
                     "this process has sent no heartbeat that counts; begin with one");
  }
  it->second.stream = stream;
  return absl::OkStatus();
}

void Liveness::OnStreamBroken(ServerIndex index, uint64_t stream, SteadyTime) {
  const auto it = servers_.find(index);
  if (it == servers_.end() || stream == 0 || it->second.stream != stream) {
    return;
  }
  it->second.stream = 0;
  if (it->second.state == LivenessState::kAlive) {
    Change(index, it->second, LivenessState::kSuspect);
  }
}

void Liveness::Tick(SteadyTime now) {
  const absl::Duration gap = now - last_tick_;
  observed_ = ObservedAt(now);
  last_tick_ = std::max(last_tick_, now);
  const bool paused = gap > limits_.tick_gap_max();
  const bool full_window_for_all = gap >= limits_.pause();
  for (auto& [index, server] : servers_) {
    if (server.state == LivenessState::kDead) {
      continue;
    }
    if (full_window_for_all) {
      server.silent_since = observed_;
    }
    const absl::Duration silence = observed_ - server.silent_since;
    if (silence < limits_.window()) {
      server.overdue = false;
      if (server.state == LivenessState::kAlive && silence >= limits_.late_after()) {
        Change(index, server, LivenessState::kSuspect);
      }
    } else if (server.overdue && !paused) {
      Change(index, server, LivenessState::kDead);
    } else {
      server.overdue = true;
      if (server.state == LivenessState::kAlive) {
        Change(index, server, LivenessState::kSuspect);
      }
    }
  }
}

std::vector<Liveness::Transition> Liveness::TakeTransitions() {
  return std::exchange(transitions_, {});
}

LivenessState Liveness::state(ServerIndex index) const {
  const auto it = servers_.find(index);
  return it == servers_.end() ? LivenessState::kDead : it->second.state;
}

std::optional<Liveness::Holder> Liveness::holder(ServerIndex index) const {
  const auto it = servers_.find(index);
  return it == servers_.end() ? std::nullopt : it->second.holder;
}

std::optional<absl::Duration> Liveness::SinceHeartbeat(ServerIndex index, SteadyTime now) const {
  const auto it = servers_.find(index);
  if (it == servers_.end() || !it->second.holder.has_value()) {
    return std::nullopt;
  }
  return std::max(now - it->second.heartbeat_at, absl::ZeroDuration());
}

uint64_t Liveness::heartbeat_count(ServerIndex index) const {
  const auto it = servers_.find(index);
  return it == servers_.end() ? 0 : it->second.heartbeat_count;
}

absl::string_view LivenessName(LivenessState state) {
  switch (state) {
    case LivenessState::kUnknown:
      return "unknown";
    case LivenessState::kAlive:
      return "alive";
    case LivenessState::kSuspect:
      return "suspect";
    case LivenessState::kDead:
      return "dead";
  }
  return "?";
}

}  // namespace ballast::master
