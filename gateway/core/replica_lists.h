// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "absl/types/span.h"
#include "common/routing/replica_digest.h"
#include "gateway/core/adopted_chunks.h"
#include "protos/chunkserver_control_service.pb.h"

namespace ballast::gateway {

// Writes a server's whole list into a heartbeat: a full list, with its digest, for each shard that
// has a replica. A unary heartbeat says of all other shards that they are empty.
// `held` ascends. All replicas have these facts; what is not corrupt is verified.
void FillLists(absl::Span<const HeldReplica> held, const ReplicaFacts& facts,
               google::protobuf::RepeatedPtrField<v1::ShardReport>* lists);

}  // namespace ballast::gateway
