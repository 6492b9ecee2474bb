// SPDX-License-Identifier: Apache-2.0
#include "client/grpc_master_api.h"

#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "client/retry_loop.h"
#include "common/rpc/channel_pool.h"
#include "common/rpc/status_bridge.h"
#include "common/types/error.h"
#include "protos/master_service.grpc.pb.h"

namespace ballast::client {
namespace {

class GrpcMasterApi final : public MasterApi {
 public:
  explicit GrpcMasterApi(std::string cluster_id) : cluster_id_(std::move(cluster_id)) {}

#define BALLAST_MASTER_CALL(Method)                                                                \
  absl::Status Call(const std::string& address, const CallContext& context,                        \
                    const v1::Method##Request& request, v1::Method##Response* response) override { \
    return Run(address, context, [&](v1::Master::Stub& stub, grpc::ClientContext* call) {          \
      return stub.Method(call, request, response);                                                 \
    });                                                                                            \
  }
  BALLAST_MASTER_CALL(OpenSessions)
  BALLAST_MASTER_CALL(CloseSessions)
  BALLAST_MASTER_CALL(Batch)
  BALLAST_MASTER_CALL(StatObject)
  BALLAST_MASTER_CALL(GetObject)
  BALLAST_MASTER_CALL(GetChunks)
  BALLAST_MASTER_CALL(ListObjects)
  BALLAST_MASTER_CALL(PutInline)
  BALLAST_MASTER_CALL(DeleteObject)
  BALLAST_MASTER_CALL(BeginWrite)
  BALLAST_MASTER_CALL(AllocateChunks)
  BALLAST_MASTER_CALL(SealChunks)
  BALLAST_MASTER_CALL(CommitObject)
  BALLAST_MASTER_CALL(AbortWrite)
  BALLAST_MASTER_CALL(SetReplication)
  BALLAST_MASTER_CALL(MoveReplicas)
  BALLAST_MASTER_CALL(CheckBalance)
  BALLAST_MASTER_CALL(GetMaintenance)
  BALLAST_MASTER_CALL(PlanRebalance)
  BALLAST_MASTER_CALL(StartRebalance)
  BALLAST_MASTER_CALL(StopRebalance)
  BALLAST_MASTER_CALL(ReleaseLossBreaker)
  BALLAST_MASTER_CALL(Explain)
  BALLAST_MASTER_CALL(Fsck)
  BALLAST_MASTER_CALL(PurgeQuarantined)
  BALLAST_MASTER_CALL(ReportBadReplica)
  BALLAST_MASTER_CALL(ListServers)
  BALLAST_MASTER_CALL(GetGroupStatus)
#undef BALLAST_MASTER_CALL

 private:
  template <typename Rpc>
  absl::Status Run(const std::string& address, const CallContext& context, Rpc rpc) {
    grpc::ClientContext call;
    PrepareContext(call, cluster_id_, context.timeout);
    const Cancellation::Hook hook(context.cancel, [&call] { call.TryCancel(); });
    const absl::Status status = FromGrpc(rpc(StubOf(address), &call));
    if (!status.ok() && ReasonOf(status) == v1::REASON_UNSPECIFIED) {
      return Annotate(status, absl::StrCat("master at ", address, ": "));
    }
    return status;
  }

  v1::Master::Stub& StubOf(const std::string& address) {
    absl::MutexLock lock(&mu_);
    std::unique_ptr<v1::Master::Stub>& stub = stubs_[address];
    if (stub == nullptr) {
      stub = v1::Master::NewStub(channels_.Get(address));
    }
    return *stub;
  }

  const std::string cluster_id_;
  ChannelPool channels_;
  absl::Mutex mu_;
  std::map<std::string, std::unique_ptr<v1::Master::Stub>> stubs_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

std::unique_ptr<MasterApi> MakeGrpcMasterApi(const std::string& cluster_id) {
  return std::make_unique<GrpcMasterApi>(cluster_id);
}

}  // namespace ballast::client
