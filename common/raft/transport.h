// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/functional/any_invocable.h"
#include "absl/strings/string_view.h"
#include "common/types/ids.h"

namespace ballast {

// Carries the consensus messages of one node. Unreliable by contract: a message may be lost, late,
// duplicated or reordered; bytes are never altered unnoticed (envelopes carry a CRC32C).
//
// Concurrency: Send may be called on the log's executor; the receiver is called on the same.
class RaftTransport {
 public:
  using Receiver = absl::AnyInvocable<void(NodeId from, std::string envelope)>;
  virtual ~RaftTransport() = default;
  // Never blocks; drops the oldest messages to `to` when its queue is full.
  virtual void Send(NodeId to, std::string envelope) = 0;
  virtual void SetReceiver(Receiver receiver) = 0;
};

}  // namespace ballast
