// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "common/env/executor.h"
#include "protos/chunkserver_control_service.grpc.pb.h"
#include "services/master/control/heartbeat_intake.h"

namespace ballast::master {

// The ChunkServerControl RPCs: hands every message to the intake on the master's executor and sends
// what comes back. One read and one write of a stream are under way at a time; a stream's next
// heartbeat is read when the last one is answered, so a flood of heartbeats waits in the network.
// Heartbeats without news may wait some milliseconds for others to be handed over together.
//
// Concurrency: methods on gRPC's threads.
// Ownership and lifetime: references outlive the service, but `executor`, which must run until the
// gRPC server has shut down and end before the service; before that, the intake ends all streams
// (DropAll).
class HeartbeatService final : public v1::ChunkServerControl::CallbackService {
 public:
  HeartbeatService(Executor& executor, HeartbeatIntake& intake, std::string cluster_id);
  ~HeartbeatService() override;

  grpc::ServerBidiReactor<v1::Heartbeat, v1::HeartbeatReply>* HeartbeatStream(
      grpc::CallbackServerContext* context) override;
  grpc::ServerUnaryReactor* SendHeartbeat(grpc::CallbackServerContext* context,
                                          const v1::Heartbeat* request,
                                          v1::HeartbeatReply* response) override;

 private:
  class IdleBatch;
  class StreamReactor;

  Executor& executor_;
  HeartbeatIntake& intake_;
  const std::string cluster_id_;
  const std::unique_ptr<IdleBatch> idle_;
};

}  // namespace ballast::master
