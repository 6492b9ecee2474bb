// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "client/cancellation.h"
#include "protos/master_service.pb.h"

namespace ballast::client {

struct CallContext {
  absl::Duration timeout = absl::Seconds(5);
  Cancellation* cancel = nullptr;  // ends the call with CANCELLED
};

// One try of one metadata call to one master: the seam between the client's logic and gRPC. Which
// call it is follows from the request's type; master_service.proto says what each does.
//
// Concurrency: thread-safe; a call blocks its thread until the answer or the deadline.
// Failure: the server's status with its ErrorDetail, or the transport's. `response` is then
// unspecified.
class MasterApi {
 public:
  virtual ~MasterApi() = default;

#define BALLAST_MASTER_CALL(Method)                                                 \
  virtual absl::Status Call(const std::string& address, const CallContext& context, \
                            const v1::Method##Request& request,                     \
                            v1::Method##Response* response) = 0
  BALLAST_MASTER_CALL(OpenSessions);
  BALLAST_MASTER_CALL(CloseSessions);
  BALLAST_MASTER_CALL(Batch);
  BALLAST_MASTER_CALL(StatObject);
  BALLAST_MASTER_CALL(GetObject);
  BALLAST_MASTER_CALL(GetChunks);
  BALLAST_MASTER_CALL(ListObjects);
  BALLAST_MASTER_CALL(PutInline);
  BALLAST_MASTER_CALL(DeleteObject);
  BALLAST_MASTER_CALL(BeginWrite);
  BALLAST_MASTER_CALL(AllocateChunks);
  BALLAST_MASTER_CALL(SealChunks);
  BALLAST_MASTER_CALL(CommitObject);
  BALLAST_MASTER_CALL(AbortWrite);
  BALLAST_MASTER_CALL(SetReplication);
  BALLAST_MASTER_CALL(MoveReplicas);
  BALLAST_MASTER_CALL(CheckBalance);
  BALLAST_MASTER_CALL(GetMaintenance);
  BALLAST_MASTER_CALL(PlanRebalance);
  BALLAST_MASTER_CALL(StartRebalance);
  BALLAST_MASTER_CALL(StopRebalance);
  BALLAST_MASTER_CALL(ReleaseLossBreaker);
  BALLAST_MASTER_CALL(Explain);
  BALLAST_MASTER_CALL(Fsck);
  BALLAST_MASTER_CALL(PurgeQuarantined);
  BALLAST_MASTER_CALL(ReportBadReplica);
  BALLAST_MASTER_CALL(ListServers);
  BALLAST_MASTER_CALL(GetGroupStatus);
#undef BALLAST_MASTER_CALL
};

}  // namespace ballast::client
