// SPDX-License-Identifier: Apache-2.0
#include "client/object_writer.h"

#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "client/draft_writer.h"
#include "common/base/status_macros.h"
#include "common/types/error.h"
#include "common/types/key.h"
#include "common/types/limits.h"

namespace ballast::client {
namespace {

absl::Status ValidatePut(const std::string& key, const Source& source, const PutOptions& put,
                         const ClientOptions& options) {
  RETURN_IF_ERROR(ValidateKey(key));
  if (put.replicas > kReplicasMax) {
    return InvalidArgument(absl::StrCat("replicas must be 1..", kReplicasMax));
  }
  size_t metadata_bytes = 0;
  absl::flat_hash_set<absl::string_view> names;
  for (const auto& [name, value] : put.metadata) {
    if (name.empty() || !IsValidUtf8(name) || !IsValidUtf8(value)) {
      return InvalidArgument("metadata must be UTF-8, its names not empty");
    }
    if (!names.insert(name).second) {
      return InvalidArgument(absl::StrCat("metadata names '", name, "' twice"));
    }
    metadata_bytes += name.size() + value.size();
  }
  if (metadata_bytes > kUserMetadataBytesMax) {
    return InvalidArgument(absl::StrCat("metadata has ", metadata_bytes, " bytes; at most ",
                                        kUserMetadataBytesMax, " fit"));
  }
  if (source.size_bytes().value_or(0) > options.chunk_bytes * kChunksPerObjectMax) {
    return InvalidArgument(absl::StrCat("an object has at most ", kChunksPerObjectMax,
                                        " chunks of ", FormatBytes(options.chunk_bytes)));
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<PutResult> ObjectWriter::Put(const std::string& key, Source& source,
                                            const PutOptions& put, uint64_t inline_bytes) {
  RETURN_IF_ERROR(ValidatePut(key, source, put, options_));
  if (put.progress != nullptr) {
    put.progress->bytes_total = source.size_bytes().value_or(0);
  }
  static const Cancellation* const kNever = new Cancellation;
  const Cancellation& stop = put.cancel != nullptr ? *put.cancel : *kNever;

  // A source that can be read once only must be read to learn whether it is small.
  std::string head;
  const bool read_once = !source.rereadable();
  if (read_once || *source.size_bytes() <= inline_bytes) {
    head.resize(inline_bytes + 1);
    ASSIGN_OR_RETURN(const size_t n, source.ReadAt(0, head.data(), head.size(), stop));
    head.resize(n);
    if (n <= inline_bytes) {
      RETURN_IF_ERROR(source.CheckUnchanged());
      auto stored = PutInline(key, head, put);
      if (head.empty() || ReasonOf(stored.status()) != v1::REASON_INVALID_ARGUMENT) {
        return stored;
      }
      // The cluster's limit may be lower by now than it was said to be: store a chunk.
    }
    if (!read_once) {
      head.clear();  // rereadable: the draft reads it again
    }
  }

  if (put.if_generation_match.has_value()) {
    // The commit decides; this only saves sending what is bound to be refused.
    const auto stat = metadata_.Stat(key, CallControl{put.cancel, {}});
    const bool missing = ReasonOf(stat.status()) == v1::REASON_OBJECT_NOT_FOUND;
    if (stat.ok() || missing) {
      const uint64_t generation = missing ? 0 : stat->object().generation();
      if (generation != *put.if_generation_match) {
        return MakeError(v1::REASON_GENERATION_MISMATCH,
                         generation == 0 ? absl::StrCat("'", key, "' does not exist")
                                         : absl::StrCat("'", key, "' has generation ", generation));
      }
    }
  }
  DraftWriter writer(metadata_, transport_, health_, options_, key, source, std::move(head), put);
  return writer.Run();
}

absl::StatusOr<PutResult> ObjectWriter::PutInline(const std::string& key, const std::string& value,
                                                  const PutOptions& put) {
  PutResult result;
  result.size_bytes = value.size();
  result.crc32c = ComputeCrc32c(value);
  v1::PutInlineRequest request;
  request.set_key(key);
  request.set_value(value);
  request.set_crc32c(result.crc32c.value);
  if (put.if_generation_match.has_value()) {
    request.mutable_precondition()->set_if_generation_match(*put.if_generation_match);
  }
  for (const auto& [name, text] : put.metadata) {
    v1::UserMetadata* const entry = request.add_metadata();
    entry->set_name(name);
    entry->set_value(text);
  }
  ASSIGN_OR_RETURN(const auto response,
                   metadata_.PutInline(std::move(request), CallControl{put.cancel, {}}));
  if (put.progress != nullptr) {
    put.progress->bytes_done = value.size();
  }
  result.generation = response.generation();
  return result;
}

}  // namespace ballast::client
