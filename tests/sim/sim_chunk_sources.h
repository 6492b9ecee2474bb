// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "services/chunkserver/control/chunk_source.h"
#include "tests/sim/chunk_world.h"

namespace ballast::testing {

// A piece of a chunk on its way between servers; no data: the chunk ends before it.
struct ChunkPart {
  uint64_t offset = 0;
  std::shared_ptr<std::string> data;
  std::vector<Crc32c> blocks;
};
using ChunkPartReply = std::function<void(absl::StatusOr<ChunkPart>)>;

// Where a simulated chunk server's copier gets its bytes: other servers' stores, over the simulated
// network, the twin of GrpcChunkSources. Messages may be lost, which ends their stream after a
// while, and now and then one arrives with a flipped bit.
//
// Concurrency: one thread.
class SimChunkSources final : public chunkserver::ChunkSources {
 public:
  SimChunkSources(ChunkWorld& world, NetNode node) : world_(world), node_(node) {}

  std::shared_ptr<chunkserver::SourceStream> Open(const chunkserver::SourceRequest& request,
                                                  chunkserver::SourceEvents events) override;

  // Ends every stream now, from within this call: the process is coming to its end.
  void EndAll();

 private:
  class Stream;
  ChunkWorld& world_;
  const NetNode node_;
  std::vector<std::weak_ptr<Stream>> streams_;
};

}  // namespace ballast::testing
