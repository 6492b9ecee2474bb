// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/status/status.h"
#include "protos/chunkserver_control_service.pb.h"

namespace ballast::chunkserver {

// One heartbeat stream to one master.
//
// Concurrency: used by one thread at a time; events come on any thread.
// Lifetime: destroying it ends the stream, but takes back nothing that was sent before CloseSends;
// events may still come then, and their receivers must bear it.
class MasterStream {
 public:
  virtual ~MasterStream() = default;

  // Queues a message; never blocks. The caller bounds how many are unanswered.
  virtual void Send(v1::Heartbeat heartbeat) = 0;

  // Sends what is queued and ends the stream from this side. Nothing may be sent afterwards.
  virtual void CloseSends() = 0;
};

struct MasterStreamEvents {
  absl::AnyInvocable<void(v1::HeartbeatReply)> on_reply;
  // Once, last: the stream has ended. OK: the master ended it without a reason.
  absl::AnyInvocable<void(absl::Status)> on_end;
};

// Opens streams; the seam between the heartbeater and the network.
class MasterStreams {
 public:
  virtual ~MasterStreams() = default;
  // Never fails: what is wrong with the address comes as on_end.
  virtual std::unique_ptr<MasterStream> Open(const std::string& address,
                                             MasterStreamEvents events) = 0;
};

}  // namespace ballast::chunkserver
