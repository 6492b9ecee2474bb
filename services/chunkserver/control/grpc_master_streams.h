// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "services/chunkserver/control/master_stream.h"

namespace ballast::chunkserver {

// Heartbeat streams over gRPC, each on a connection of its own with keepalive, so that neither bulk
// bytes nor another master's silence delay it. Thread-safe.
class GrpcMasterStreams final : public MasterStreams {
 public:
  explicit GrpcMasterStreams(std::string cluster_id);
  // Waits until the last stream it opened is gone. Those that were ended by CloseSends may take a
  // second until the master has read what was queued and has ended them, though their objects are
  // gone; then they are cancelled.
  ~GrpcMasterStreams() override;
  std::unique_ptr<MasterStream> Open(const std::string& address,
                                     MasterStreamEvents events) override;

 private:
  struct Shared;
  const std::shared_ptr<Shared> shared_;
};

}  // namespace ballast::chunkserver
