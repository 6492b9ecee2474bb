// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>
#include <string>

#include "common/rpc/bulk_channel.h"
#include "services/chunkserver/control/chunk_source.h"

namespace ballast::chunkserver {

// Reads chunks from other chunk servers by ReadChunk, each over a connection of its own while it
// runs. Thread-safe. Lifetime: it and `channels` outlive all streams.
class GrpcChunkSources final : public ChunkSources {
 public:
  GrpcChunkSources(BulkChannelPool& channels, std::string cluster_id)
      : channels_(channels), cluster_id_(std::move(cluster_id)) {}

  std::shared_ptr<SourceStream> Open(const SourceRequest& request, SourceEvents events) override;

 private:
  BulkChannelPool& channels_;
  const std::string cluster_id_;
};

}  // namespace ballast::chunkserver
