// SPDX-License-Identifier: Apache-2.0
#include "gateway/core/replica_lists.h"

namespace ballast::gateway {

void FillLists(absl::Span<const HeldReplica> held, const ReplicaFacts& facts,
               google::protobuf::RepeatedPtrField<v1::ShardReport>* lists) {
  for (size_t i = 0; i < held.size();) {
    const ShardId shard = held[i].handle.shard();
    v1::ShardReport* const list = lists->Add();
    list->set_shard(shard.value());
    list->set_full_begin(true);
    list->set_full_end(true);
    ReplicaDigest digest;
    for (; i < held.size() && held[i].handle.shard() == shard; ++i) {
      ReplicaFacts one = facts;
      one.corrupt = facts.corrupt || held[i].corrupt;
      v1::ReplicaReport* const replica = list->add_replicas();
      replica->set_handle(held[i].handle.value());
      replica->set_length_bytes(one.length_bytes);
      replica->set_crc32c(one.crc32c);
      replica->set_corrupt(one.corrupt);
      replica->set_verified(!one.corrupt);
      digest.Add(held[i].handle, one);
    }
    list->set_digest(digest.value());
    list->set_replica_count(static_cast<uint64_t>(list->replicas_size()));
  }
}

}  // namespace ballast::gateway
