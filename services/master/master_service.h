// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "common/env/clock.h"
#include "common/env/executor.h"
#include "common/rpc/unary_answer.h"
#include "common/types/ids.h"
#include "protos/master_service.grpc.pb.h"
#include "protos/shardctl_service.pb.h"
#include "services/master/control/proposer.h"
#include "services/master/core/commands.h"
#include "services/master/core/maintainer.h"
#include "services/master/core/master_machine.h"
#include "services/master/core/placement_view.h"
#include "services/master/core/replica_mover.h"

namespace ballast::master {

struct MasterServiceFacts {
  std::string cluster_id;
  NodeId node;
  std::map<NodeId, std::string> addresses;  // of all members of the group, for NOT_LEADER hints
};

// The Master RPCs (protos/master_service.proto) on a machine that a replicated log drives.
//
// A call is checked on gRPC's thread, with all that needs no state: form, fingerprint, command. The
// executor does the rest: is this the leader, is the shard served here, read barrier or proposal.
// Mutations are answered when committed and applied, reads after a barrier. gRPC's threads never
// block; every call is finished exactly once, also when the log drops it.
//
// Concurrency: RPC methods on gRPC's threads; SetSettings on any.
// The machine is not touched before the proposer has a log.
// Ownership: all references outlive the service; `executor` must run until the gRPC server has shut
// down, and have ended before the service is destroyed.
class MasterService final : public v1::Master::CallbackService {
 public:
  MasterService(Executor& executor, Clock& clock, const MasterMachine& machine, Proposer& proposer,
                PlacementView& view, ReplicaMover& mover, Maintainer& maintainer,
                MasterServiceFacts facts);

  // The cluster's settings as shardctl tells them; until then the defaults hold.
  void SetSettings(const v1::Settings& settings);

  using Reactor = grpc::ServerUnaryReactor;
  using Context = grpc::CallbackServerContext;

  Reactor* OpenSessions(Context* context, const v1::OpenSessionsRequest* request,
                        v1::OpenSessionsResponse* response) override;
  Reactor* CloseSessions(Context* context, const v1::CloseSessionsRequest* request,
                         v1::CloseSessionsResponse* response) override;
  Reactor* Batch(Context* context, const v1::BatchRequest* request,
                 v1::BatchResponse* response) override;
  Reactor* StatObject(Context* context, const v1::StatObjectRequest* request,
                      v1::StatObjectResponse* response) override;
  Reactor* GetObject(Context* context, const v1::GetObjectRequest* request,
                     v1::GetObjectResponse* response) override;
  Reactor* GetChunks(Context* context, const v1::GetChunksRequest* request,
                     v1::GetChunksResponse* response) override;
  Reactor* ListObjects(Context* context, const v1::ListObjectsRequest* request,
                       v1::ListObjectsResponse* response) override;
  Reactor* PutInline(Context* context, const v1::PutInlineRequest* request,
                     v1::PutInlineResponse* response) override;
  Reactor* DeleteObject(Context* context, const v1::DeleteObjectRequest* request,
                        v1::DeleteObjectResponse* response) override;
  Reactor* BeginWrite(Context* context, const v1::BeginWriteRequest* request,
                      v1::BeginWriteResponse* response) override;
  Reactor* AllocateChunks(Context* context, const v1::AllocateChunksRequest* request,
                          v1::AllocateChunksResponse* response) override;
  Reactor* SealChunks(Context* context, const v1::SealChunksRequest* request,
                      v1::SealChunksResponse* response) override;
  Reactor* CommitObject(Context* context, const v1::CommitObjectRequest* request,
                        v1::CommitObjectResponse* response) override;
  Reactor* AbortWrite(Context* context, const v1::AbortWriteRequest* request,
                      v1::AbortWriteResponse* response) override;
  Reactor* SetReplication(Context* context, const v1::SetReplicationRequest* request,
                          v1::SetReplicationResponse* response) override;
  Reactor* MoveReplicas(Context* context, const v1::MoveReplicasRequest* request,
                        v1::MoveReplicasResponse* response) override;
  Reactor* CheckBalance(Context* context, const v1::CheckBalanceRequest* request,
                        v1::CheckBalanceResponse* response) override;
  Reactor* GetMaintenance(Context* context, const v1::GetMaintenanceRequest* request,
                          v1::GetMaintenanceResponse* response) override;
  Reactor* PlanRebalance(Context* context, const v1::PlanRebalanceRequest* request,
                         v1::PlanRebalanceResponse* response) override;
  Reactor* StartRebalance(Context* context, const v1::StartRebalanceRequest* request,
                          v1::StartRebalanceResponse* response) override;
  Reactor* StopRebalance(Context* context, const v1::StopRebalanceRequest* request,
                         v1::StopRebalanceResponse* response) override;
  Reactor* ReleaseLossBreaker(Context* context, const v1::ReleaseLossBreakerRequest* request,
                              v1::ReleaseLossBreakerResponse* response) override;
  Reactor* Explain(Context* context, const v1::ExplainRequest* request,
                   v1::ExplainResponse* response) override;
  Reactor* Fsck(Context* context, const v1::FsckRequest* request,
                v1::FsckResponse* response) override;
  Reactor* PurgeQuarantined(Context* context, const v1::PurgeQuarantinedRequest* request,
                            v1::PurgeQuarantinedResponse* response) override;
  Reactor* ReportBadReplica(Context* context, const v1::ReportBadReplicaRequest* request,
                            v1::ReportBadReplicaResponse* response) override;
  Reactor* ListServers(Context* context, const v1::ListServersRequest* request,
                       v1::ListServersResponse* response) override;
  Reactor* GetGroupStatus(Context* context, const v1::GetGroupStatusRequest* request,
                          v1::GetGroupStatusResponse* response) override;

 private:
  // Runs `work` (absl::AnyInvocable<void(UnaryAnswer)>) on the executor if this node leads and the
  // call is of this cluster and `checked` is OK; otherwise answers why not.
  template <typename Work>
  Reactor* AsLeader(Context* context, const absl::Status& checked, Work work);
  // Answers with read(), called behind a read barrier.
  template <typename Read>
  Reactor* ReadAsLeader(Context* context, const absl::Status& checked, Read read);
  // Proposes make_command() for a shard that is served here; answers with fill(result) once it was
  // executed with success.
  template <typename MakeCommand, typename Fill>
  Reactor* Mutate(Context* context, const absl::Status& checked, MakeCommand make_command,
                  Fill fill);
  template <typename Fill>
  void Propose(mlog::Command command, UnaryAnswer answer, Fill fill);

  // OK while this node leads and may serve.
  absl::Status CheckLeading() const;
  std::string LeaderAddress() const;
  // With a hint to the leader, if the log said NOT_LEADER.
  absl::Status WithHint(const absl::Status& status) const;

  v1::Settings settings() const;
  CommandContext ContextNow() const;

  Executor& executor_;
  Clock& clock_;
  const MasterMachine& machine_;  // on the executor; group and shard count never change
  Proposer& proposer_;            // on the executor
  PlacementView& view_;           // on the executor
  ReplicaMover& mover_;           // on the executor
  Maintainer& maintainer_;        // on the executor
  const MasterServiceFacts facts_;

  mutable absl::Mutex mu_;
  v1::Settings settings_ ABSL_GUARDED_BY(mu_);
};

}  // namespace ballast::master
