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
inline constexpr size_t kServerNameBytesMax = 256;
// All registered servers together: the registry travels in one message.
inline constexpr size_t kRegistryBytesMax = MiB(3);

// --- settings -----------------------------------------------------------------------------------
inline constexpr uint32_t kMbpsMax = 1'000'000;  // MB/s of copies
inline constexpr uint32_t kRepairServerMbpsDefault = 200;
inline constexpr uint32_t kRebalanceServerMbpsDefault = 50;
inline constexpr uint32_t kScrubDaysDefault = 7;

// --- messages -----------------------------------------------------------------------------------
// Payload of one bulk message: whole blocks, so that each carries its checksums.
inline constexpr uint64_t kBulkPayloadBytesMax = MiB(1);
inline constexpr size_t kInlineBytesDefault = KiB(4);
inline constexpr size_t kInlineBytesMax = KiB(64);
inline constexpr size_t kMessageBytesMax = MiB(4);
inline constexpr size_t kBatchOperationsMax = 1024;
// Chunks that all writes begun in one batch may ask for; and of these, how many with placement.
inline constexpr size_t kBatchHandlesMax = 16384;
inline constexpr size_t kBatchPlacementsMax = 1024;
inline constexpr size_t kListPageMax = 1000;
inline constexpr size_t kChunkPageMax = 1024;
inline constexpr size_t kAllocateChunksMax = 256;
inline constexpr size_t kReportPageChunksMax = 8192;

// --- replicated log -----------------------------------------------------------------------------
inline constexpr size_t kLogEntryBytesMax = MiB(1);
inline constexpr uint64_t kLogSegmentBytes = MiB(64);

// --- master leader ------------------------------------------------------------------------------
// Commands proposed and not yet applied; more are refused (OVERLOADED).
inline constexpr size_t kCommandsInFlightMax = 16384;
// Page replies stop growing here, so that with the last element added they fit a message.
inline constexpr size_t kReplyBytesTarget = MiB(3);

// --- master state (enforced at apply: every replica must agree) ---------------------------------
// Replies kept for one session; a client with more unanswered requests is refused further ones.
inline constexpr size_t kSessionRepliesMax = 4096;
inline constexpr size_t kSessionsPerShardMax = 65536;
inline constexpr size_t kOpenSessionsMax = 1024;
inline constexpr size_t kDraftsPerShardMax = 16384;
// Handles of one draft: those of the largest object, and as many again for retried chunk writes.
inline constexpr uint64_t kDraftHandlesMax = 2 * kChunksPerObjectMax;
inline constexpr size_t kSealChunksMax = 256;
// Most that one command may name or remove, so that no single entry holds a leader up.
inline constexpr size_t kExpireMax = 1024;
inline constexpr size_t kRemoveDoomedMax = 16384;
inline constexpr size_t kUpdateLocationsMax = 4096;
inline constexpr size_t kTrimsPerShardMax = 1 << 20;
inline constexpr size_t kEntryCommandsMax = 1024;
// Configurations whose log index a group remembers.
inline constexpr size_t kAcceptedConfigurationsMax = 4096;
// Longest record of an image.
inline constexpr size_t kImageRecordBytesMax = MiB(8);

// --- relations ----------------------------------------------------------------------------------
static_assert(kChunkBytesMax % kBlockBytes == 0);
static_assert(kBlocksPerChunkMax == 1024);
static_assert(kObjectBytesMax == TiB(4));
static_assert(kBulkPayloadBytesMax % kBlockBytes == 0);
static_assert(kMessageBytesMax >= kBulkPayloadBytesMax + KiB(64), "payload and header must fit");
static_assert(kRegistryBytesMax + KiB(64) <= kMessageBytesMax);
static_assert(kReplyBytesTarget + KiB(512) <= kMessageBytesMax);
static_assert(kInlineBytesDefault <= kInlineBytesMax);
static_assert(kAllocateChunksMax <= kDraftHandlesMax && kSealChunksMax * 64 <= kLogEntryBytesMax);
static_assert(kInlineBytesMax + kKeyBytesMax + kUserMetadataBytesMax + KiB(4) <= kLogEntryBytesMax);
static_assert(kMinReplicasDefault <= kReplicasDefault && kReplicasDefault <= kReplicasMax);

}  // namespace ballast
