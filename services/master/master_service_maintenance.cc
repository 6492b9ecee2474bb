// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "common/types/error.h"
#include "common/types/key.h"
#include "services/master/control/object_reads.h"
#include "services/master/core/requests.h"
#include "services/master/master_service.h"
#include "services/master/master_service_calls.h"

// What people ask and say about repair, rebalancing and single chunks.

namespace ballast::master {
namespace {

constexpr uint32_t kMovesShownMax = 1000;
constexpr uint32_t kChunksExplainedMax = 64;

absl::Status CheckMovesShown(uint32_t shown) {
  return shown <= kMovesShownMax ? absl::OkStatus()
                                 : InvalidArgument("moves_shown is at most 1000");
}

absl::Status Check(const v1::ExplainRequest& request) {
  switch (request.what_case()) {
    case v1::ExplainRequest::kKey:
      return ValidateKey(request.key());
    case v1::ExplainRequest::kHandle:
    case v1::ExplainRequest::kServerId:
      return absl::OkStatus();
    case v1::ExplainRequest::WHAT_NOT_SET:
      break;
  }
  return InvalidArgument("name a key, a handle or a server_id");
}

}  // namespace

MasterService::Reactor* MasterService::GetMaintenance(Context* context,
                                                      const v1::GetMaintenanceRequest* request,
                                                      v1::GetMaintenanceResponse* response) {
  return AsLeader(context, CheckMovesShown(request->moves_shown()),
                  [this, request, response](UnaryAnswer answer) {
                    *response = maintainer_.State(request->moves_shown());
                    answer.Finish(absl::OkStatus());
                  });
}

MasterService::Reactor* MasterService::PlanRebalance(Context* context,
                                                     const v1::PlanRebalanceRequest* request,
                                                     v1::PlanRebalanceResponse* response) {
  return AsLeader(context, CheckMovesShown(request->moves_shown()),
                  [this, request, response](UnaryAnswer answer) mutable {
                    maintainer_.PlanRebalance(request->moves_shown(),
                                              [this, response, answer = std::move(answer)](
                                                  absl::StatusOr<v1::RebalanceState> plan) mutable {
                                                if (plan.ok())
                                                  *response->mutable_plan() = *std::move(plan);
                                                answer.Finish(WithHint(plan.status()));
                                              });
                  });
}

MasterService::Reactor* MasterService::StartRebalance(Context* context,
                                                      const v1::StartRebalanceRequest*,
                                                      v1::StartRebalanceResponse* response) {
  return AsLeader(context, absl::OkStatus(), [this, response](UnaryAnswer answer) {
    *response->mutable_state() = maintainer_.StartRebalance();
    answer.Finish(absl::OkStatus());
  });
}

MasterService::Reactor* MasterService::StopRebalance(Context* context,
                                                     const v1::StopRebalanceRequest*,
                                                     v1::StopRebalanceResponse* response) {
  return AsLeader(context, absl::OkStatus(), [this, response](UnaryAnswer answer) {
    *response->mutable_state() = maintainer_.StopRebalance();
    answer.Finish(absl::OkStatus());
  });
}

MasterService::Reactor* MasterService::ReleaseLossBreaker(Context* context,
                                                          const v1::ReleaseLossBreakerRequest*,
                                                          v1::ReleaseLossBreakerResponse*) {
  return AsLeader(context, absl::OkStatus(), [this](UnaryAnswer answer) {
    maintainer_.ReleaseLossBreaker();
    answer.Finish(absl::OkStatus());
  });
}

MasterService::Reactor* MasterService::Explain(Context* context, const v1::ExplainRequest* request,
                                               v1::ExplainResponse* response) {
  return ReadAsLeader(context, Check(*request), [this, request, response]() -> absl::Status {
    if (request->what_case() == v1::ExplainRequest::kServerId) {
      const auto explained = maintainer_.ExplainServer(request->server_id());
      if (explained.ok()) *response = *explained;
      return explained.status();
    }
    std::vector<uint64_t> handles = {request->handle()};
    if (request->what_case() == v1::ExplainRequest::kKey) {
      const auto object = machine_.FindObject(request->key());
      if (!object.ok()) return object.status();
      FillInfo(**object, *response->mutable_object());
      v1::GetChunksRequest page;
      page.set_key(request->key());
      page.set_generation(response->object().generation());
      page.set_first_position(request->first_position());
      page.set_count(kChunksExplainedMax);
      v1::GetChunksResponse chunks;
      if (response->object().chunk_count() > 0) {
        const absl::Status read = ReadChunks(machine_, view_, page, chunks);
        if (!read.ok()) return read;
      }
      handles.clear();
      for (const v1::ChunkInfo& chunk : chunks.chunks()) handles.push_back(chunk.handle());
    }
    for (const uint64_t handle : handles) {
      auto explained = maintainer_.ExplainChunk(ChunkHandle(handle));
      if (!explained.ok()) return explained.status();
      *response->add_chunks() = *std::move(explained);
    }
    return absl::OkStatus();
  });
}

MasterService::Reactor* MasterService::Fsck(Context* context, const v1::FsckRequest* request,
                                            v1::FsckResponse* response) {
  return ReadAsLeader(context, absl::OkStatus(), [this, request, response] {
    *response = maintainer_.Fsck(ChunkHandle(request->after_handle()));
    return absl::OkStatus();
  });
}

MasterService::Reactor* MasterService::PurgeQuarantined(Context* context,
                                                        const v1::PurgeQuarantinedRequest* request,
                                                        v1::PurgeQuarantinedResponse*) {
  return ReadAsLeader(context, absl::OkStatus(), [this, request] {
    return maintainer_.PurgeQuarantined(ChunkHandle(request->handle()), request->server_id());
  });
}

}  // namespace ballast::master
