// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstddef>
#include <cstdint>

#include "common/base/byte_units.h"

// Every size and bound of the system. What must agree across a cluster is part of a format or
// protocol; changing such a number means a new format version.

namespace ballast {

// --- formats (must agree across the cluster) ---------------------------------------------------
inline constexpr uint64_t kChunkBytesMax = MiB(64);
inline constexpr uint64_t kBlockBytes = KiB(64);
inline constexpr uint64_t kBlocksPerChunkMax = kChunkBytesMax / kBlockBytes;
inline constexpr uint64_t kChunksPerObjectMax = KiB(64);
inline constexpr uint64_t kObjectBytesMax = kChunksPerObjectMax * kChunkBytesMax;
inline constexpr size_t kKeyBytesMax = 1024;
inline constexpr size_t kUserMetadataBytesMax = KiB(4);
inline constexpr uint32_t kReplicasMax = 5;
inline constexpr uint32_t kReplicasDefault = 3;
inline constexpr uint32_t kMinReplicasDefault = 2;
inline constexpr uint32_t kShardsDefault = 256;
inline constexpr uint32_t kShardsMax = 65536;
inline constexpr uint32_t kServerIndexMax = 65535;
inline constexpr size_t kZoneBytesMax = 64;

// --- messages -----------------------------------------------------------------------------------
// Payload of one bulk message: whole blocks, so that each carries its checksums.
inline constexpr uint64_t kBulkPayloadBytesMax = MiB(1);
inline constexpr size_t kInlineBytesDefault = KiB(4);
inline constexpr size_t kInlineBytesMax = KiB(64);
inline constexpr size_t kMessageBytesMax = MiB(4);
inline constexpr size_t kBatchOperationsMax = 1024;
inline constexpr size_t kListPageMax = 1000;
inline constexpr size_t kChunkPageMax = 1024;
inline constexpr size_t kAllocateChunksMax = 256;
inline constexpr size_t kReportPageChunksMax = 8192;

// --- replicated log -----------------------------------------------------------------------------
inline constexpr size_t kLogEntryBytesMax = MiB(1);
inline constexpr uint64_t kLogSegmentBytes = MiB(64);

// --- relations ----------------------------------------------------------------------------------
static_assert(kChunkBytesMax % kBlockBytes == 0);
static_assert(kBlocksPerChunkMax == 1024);
static_assert(kObjectBytesMax == TiB(4));
static_assert(kBulkPayloadBytesMax % kBlockBytes == 0);
static_assert(kMessageBytesMax >= kBulkPayloadBytesMax + KiB(64), "payload and header must fit");
static_assert(kInlineBytesDefault <= kInlineBytesMax);
static_assert(kInlineBytesMax + kKeyBytesMax + kUserMetadataBytesMax + KiB(4) <= kLogEntryBytesMax);
static_assert(kMinReplicasDefault <= kReplicasDefault && kReplicasDefault <= kReplicasMax);

}  // namespace ballast
