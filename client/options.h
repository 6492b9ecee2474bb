// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/retry_policy.h"
#include "common/base/byte_units.h"
#include "common/types/limits.h"

namespace ballast::client {

// Which replica of a chunk is read first. Failed ones are always replaced by the next in the
// master's order.
enum class ReplicaChoice {
  // The one that the masters name first, to every client the same: one server has the chunk in its
  // memory, and the memories of all servers add up.
  kPreferred,
  // Any, drawn anew for each piece: a few chunks that very many readers want at once are sent by
  // all
  // servers that have them, each of which caches them. Servers that the masters suspect are drawn
  // too; one that is silent costs `stall_timeout` once.
  kRandom,
};

// Set once, when the client is made.
struct ClientOptions {
  // host:port of the shardctl processes, at least one.
  std::vector<std::string> cluster;
  // The cluster that must answer; empty: whichever does, fixed from then on.
  std::string cluster_id;

  // Deadline of one try of one metadata call. Shorter finds dead masters sooner; longer bears
  // with slow disks.
  absl::Duration rpc_timeout = absl::Seconds(5);
  // How long an operation's metadata calls are tried in all.
  RetryLimits retry;
  // How long Connect goes on trying to reach the shard controller.
  absl::Duration connect_timeout = absl::Seconds(10);

  // Length of all chunks but the last of a stored file: a multiple of 64 KiB, 64 KiB..64 MiB.
  // Smaller ones are for tests; they cost metadata and limit an object to 65,536 of them.
  uint64_t chunk_bytes = kChunkBytesMax;
  // The same for sources that cannot be read twice (pipes). Each of `puts_in_flight` chunks is held
  // in memory until it is stored, since a failed chunk is sent again: this times that must stay
  // below 64 MiB. An object stored from a pipe is at most 65,536 of these (1 TiB by default). A
  // copy of a larger one knows its size and takes longer chunks, up to 64 MiB, and their memory.
  uint64_t stream_chunk_bytes = MiB(16);
  // Chunks of one Put that are on their way at once.
  int puts_in_flight = 3;
  // Times one chunk is tried before its Put fails, each on a new handle, the servers that failed
  // avoided, with growing waits: some 20 s with these limits.
  RetryLimits chunk_write_retry = {.total = absl::Minutes(2),
                                   .first_wait = absl::Milliseconds(50),
                                   .wait_max = absl::Seconds(4),
                                   .tries_max = 12};

  // Pieces of one Get that are on their way at once.
  int gets_in_flight = 3;
  // Bytes of one piece for sinks that take bytes in order only (pipes, callbacks): whole blocks.
  // Memory of such a Get is at most this times (gets_in_flight + 1).
  uint64_t ordered_piece_bytes = MiB(4);
  // How long a chunk may stay unreadable (no live replica, all fail) before its Get fails.
  RetryLimits chunk_read_retry = {.total = absl::Minutes(2),
                                  .first_wait = absl::Milliseconds(50),
                                  .wait_max = absl::Seconds(4)};
  // A replica that sends nothing for this long is given up for the next one.
  absl::Duration stall_timeout = absl::Seconds(3);
  // A server that failed is asked last for this long.
  absl::Duration avoid_failed_server = absl::Seconds(30);

  // Called when an operation has been waiting for the cluster for longer than a second, at most
  // every five seconds: text for people ("no leader ... retrying"). Any thread; must not block.
  std::function<void(absl::string_view)> on_waiting;
};

}  // namespace ballast::client
