// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "common/base/steady_time.h"
#include "common/types/ids.h"

namespace ballast::master {

// How a leader sees a chunk server.
//
//              heartbeat             stream broken, heartbeat late, STOPPING
//   unknown -------------> alive ------------------------------------------> suspect
//      |                     ^ \_______________ heartbeat ____________________/ |
//      |                     |                                                  |
//      | window over         | heartbeat                                        | window over
//      +------------------> dead <----------------------------------------------+
enum class LivenessState {
  kUnknown,  // not heard of since this leader began, and its window is not over
  kAlive,
  kSuspect,  // gets no new replicas, is read last, still counts
  kDead,     // silent for a full window: its replicas do not count
};

struct LivenessLimits {
  absl::Duration interval = absl::Seconds(5);  // between a server's heartbeats
  int missed_max = 3;                          // this many missed: dead

  // A server that says nothing for this long is dead.
  absl::Duration window() const { return interval * missed_max; }
  // A heartbeat is late when it has not come after this time.
  absl::Duration late_after() const { return interval * 3 / 2; }
  // How often Tick should be called. Two ticks confirm a death, so at an interval of 5 s it is
  // declared 15.0 to 15.25 s after the last heartbeat.
  absl::Duration tick() const { return std::max(interval / 40, absl::Milliseconds(5)); }
  // More time than this between two ticks is a pause of the master and does not count as silence.
  absl::Duration tick_gap_max() const { return tick() * 4; }
  // A pause this long gives every server a full window.
  absl::Duration pause() const { return interval; }
};

// Decides which chunk servers live, and which process may speak for a server id.
//
// Time. Silence is measured in *observed* time: the time between two ticks, but at most
// tick_gap_max for each pair. A master that was stopped, starved or swapped out has not observed
// silence, it has observed nothing; after a pause of a whole interval, or when it becomes leader
// (a new instance), everybody gets a full window.
//
// Guarantees
//   * No server is dead before it was silent for a full window of observed time, nor unless two
//     ticks in a row, without a pause between, found it so: what had arrived by the first has been
//     handled by the second.
//   * With ticks on time, a silent server is dead within two ticks after its window.
//   * At most one process holds a server id: see OnHeartbeat.
//
// Concurrency: none. Never fails; refusals are statuses.
class Liveness {
 public:
  // The process that speaks for a server.
  struct Holder {
    uint64_t boot_epoch = 0;
    uint64_t incarnation = 0;
    friend bool operator==(const Holder&, const Holder&) = default;
  };
  struct Transition {
    ServerIndex server;
    LivenessState from;
    LivenessState to;
  };

  // The master became leader at `now`.
  Liveness(LivenessLimits limits, SteadyTime now);

  // New times; windows that run are measured by them from now on. If they are shorter, everybody
  // gets a full one: servers keep to the old times until they hear of the new ones.
  void SetLimits(LivenessLimits limits);
  const LivenessLimits& limits() const { return limits_; }

  // The registry names this server, whose highest registered boot epoch is `boot_epoch`. New ones
  // are unknown with a full window. A known one keeps its state.
  void OnRegistered(ServerIndex server, uint64_t boot_epoch, SteadyTime now);
  // The registry no longer names it, or as removed. False if it was not registered here.
  bool OnRemoved(ServerIndex server);

  // A heartbeat as it came in.
  struct Beat {
    Holder sender;
    uint64_t stream = 0;  // 0: unary
    bool stopping = false;
    bool tells_chunks = true;  // its lists, or that they have not changed
    // Somebody relays it: the server spoke this long before.
    absl::Duration age = absl::ZeroDuration();
  };

  // A heartbeat came in. Requires: OnRegistered; age >= 0.
  //
  // It counts from when the server spoke, `age` ago. One that was spoken before the latest one
  // changes neither times nor state. Otherwise the state is what it would be had it come at once:
  // alive, or suspect if it is late by now; a dead server stays dead if the window is over since.
  // Windows that this leader granted (its start, its pauses) are not shortened.
  //   OK                  alive, or suspect if it is stopping or late
  //   STALE_BOOT          its boot epoch is below one that has reported or, at first contact, below
  //                       the registered one
  //   DUPLICATE_SERVER    another process than the holder, and both live: same boot epoch (a copied
  //                       folder) and the holder is not dead; or a higher epoch, and the holder
  //                       was heard an interval and more after this sender first came
  //   NOT_READY           a higher boot epoch while the holder seems alive: a restart whose old
  //                       stream is not seen to be broken yet, or a copy; time will tell
  // A higher epoch supersedes a suspect or dead holder. A refusal leaves the holder as it was.
  absl::Status OnHeartbeat(ServerIndex server, const Beat& beat, SteadyTime now);

  // A message of `sender` that is no sign of life: changes no time and no state. Requires:
  // OnRegistered.
  //   NOT_HOLDER   the server id is not held by this very process
  absl::Status OnNoBeat(ServerIndex server, Holder sender, uint64_t stream);

  // A stream ended, however. Suspect if it was the server's latest.
  void OnStreamBroken(ServerIndex server, uint64_t stream, SteadyTime now);

  // To be called every limits().tick().
  void Tick(SteadyTime now);

  // Changes since the last call, in order.
  std::vector<Transition> TakeTransitions();
  // How many changes there have been.
  uint64_t transition_count() const { return transition_count_; }

  // kDead for servers that were never registered: they do not count.
  LivenessState state(ServerIndex server) const;
  std::optional<Holder> holder(ServerIndex server) const;
  // Real time since the latest heartbeat was spoken; none if never heard.
  std::optional<absl::Duration> SinceHeartbeat(ServerIndex server, SteadyTime now) const;
  // Heartbeats accepted from the server since this leader began, of those that tell its chunks.
  uint64_t heartbeat_count(ServerIndex server) const;

 private:
  struct Server {
    LivenessState state = LivenessState::kUnknown;
    uint64_t registered_epoch = 0;
    std::optional<Holder> holder;
    uint64_t stream = 0;          // latest; 0 = unary or broken
    absl::Duration silent_since;  // observed time of the last heartbeat, or of the window's start
    SteadyTime heartbeat_at;      // when it was spoken; meaningful if there is a holder
    uint64_t heartbeat_count = 0;
    bool overdue = false;         // the last tick found the window over
    std::optional<Holder> rival;  // of a higher epoch, refused since rival_since
    SteadyTime rival_since;
  };
  absl::Duration ObservedAt(SteadyTime now) const;
  absl::Status CheckHolder(Server& server, Holder sender, SteadyTime now) const;
  void Change(ServerIndex index, Server& server, LivenessState to);

  LivenessLimits limits_;
  SteadyTime last_tick_;
  absl::Duration observed_ = absl::ZeroDuration();  // at last_tick_
  absl::btree_map<ServerIndex, Server> servers_;
  std::vector<Transition> transitions_;
  uint64_t transition_count_ = 0;
};

absl::string_view LivenessName(LivenessState state);

}  // namespace ballast::master
