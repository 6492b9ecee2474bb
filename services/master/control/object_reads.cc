// SPDX-License-Identifier: Apache-2.0
#include "services/master/control/object_reads.h"

#include <string>
#include <vector>

#include "common/base/status_macros.h"
#include "common/types/limits.h"
#include "services/master/core/requests.h"

namespace ballast::master {
namespace {

template <typename Response>
void AddChunks(const std::vector<MasterMachine::ChunkView>& chunks, const PlacementView& view,
               Response& response) {
  for (const MasterMachine::ChunkView& chunk : chunks) {
    v1::ChunkInfo& info = *response.add_chunks();
    FillInfo(chunk, info);
    for (v1::ReplicaLocation& replica : view.LiveReplicas(chunk.handle, *chunk.record)) {
      *info.add_replicas() = std::move(replica);
    }
  }
}

}  // namespace

absl::Status ReadObject(const MasterMachine& machine, const PlacementView& view,
                        const v1::GetObjectRequest& request, v1::GetObjectResponse& response) {
  ASSIGN_OR_RETURN(const ObjectRecord* object, machine.FindObject(request.key()));
  FillInfo(*object, *response.mutable_object());
  response.set_inline_data(std::string(object->inline_data()));
  ASSIGN_OR_RETURN(const auto chunks,
                   machine.FindChunks(request.key(), object->generation(), 0, kChunkPageMax));
  AddChunks(chunks, view, response);
  return absl::OkStatus();
}

absl::Status ReadChunks(const MasterMachine& machine, const PlacementView& view,
                        const v1::GetChunksRequest& request, v1::GetChunksResponse& response) {
  ASSIGN_OR_RETURN(const auto chunks,
                   machine.FindChunks(request.key(), Generation(request.generation()),
                                      request.first_position(), request.count()));
  AddChunks(chunks, view, response);
  return absl::OkStatus();
}

void ReadList(const MasterMachine& machine, const v1::ListObjectsRequest& request,
              v1::ListObjectsResponse& response) {
  const size_t limit = request.limit() == 0 ? kListPageMax : request.limit();
  const MasterMachine::Page page = machine.List(request.prefix(), request.start_after(), limit);
  response.set_more(page.more);
  size_t bytes = 0;
  for (const ObjectRecord* object : page.objects) {
    if (bytes > kReplyBytesTarget) {
      response.set_more(true);
      return;
    }
    v1::ObjectInfo& info = *response.add_objects();
    FillInfo(*object, info);
    bytes += info.ByteSizeLong();
  }
}

}  // namespace ballast::master
