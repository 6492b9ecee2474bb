// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "common/env/executor.h"
#include "common/raft/transport.h"
#include "common/types/ids.h"

namespace grpc {
class Service;
}

namespace ballast {

struct GrpcRaftTransportOptions {
  std::string cluster_id;
  GroupId group;
  NodeId self;
  std::map<NodeId, std::string> peers;  // the other voters' "host:port"
  size_t queue_messages_max = 4096;     // waiting for one peer; then the oldest are dropped
  uint64_t queue_bytes_max = uint64_t{64} << 20;
  absl::Duration backoff_min = absl::Milliseconds(20);  // pause after a broken stream, doubled
  absl::Duration backoff_max = absl::Seconds(1);        // up to this
};

// RaftTransport over protos/raft_service.proto: one ordered stream per (sender, receiver), on
// connections of their own. When a stream breaks, everything that waited for it is discarded, and
// so is what a newer stream of the same sender has overtaken.
//
// Concurrency: Send and SetReceiver on `executor`; the receiver is called there. Construct and
// destroy on another thread.
// Lifetime: register service() with a server before it starts; shut the server down, then destroy
// the transport, then the executor. Receiving stops when the log that set the receiver is gone.
// Failure: a message of another cluster, group, sender or receiver, or one that does not fit its
// checksum, ends its stream and is logged.
class GrpcRaftTransport final : public RaftTransport {
 public:
  GrpcRaftTransport(GrpcRaftTransportOptions options, Executor& executor);
  ~GrpcRaftTransport() override;

  grpc::Service* service();

  void Send(NodeId to, std::string envelope) override;
  void SetReceiver(Receiver receiver) override;

 private:
  class Link;
  class Service;

  const GrpcRaftTransportOptions options_;
  std::map<NodeId, std::shared_ptr<Link>> links_;
  std::unique_ptr<Service> service_;
};

}  // namespace ballast
