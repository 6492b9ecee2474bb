// SPDX-License-Identifier: Apache-2.0
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/routing/shard_router.h"
#include "common/types/key.h"
#include "common/types/limits.h"
#include "services/master/core/commands.h"
#include "services/master/core/image_records.h"
#include "services/master/core/shard.h"

// A shard's image: export, and import of bytes that nobody vouches for.

namespace ballast::master {
namespace {

constexpr uint32_t kShardImageFormat = 1;

void ExportObject(const ObjectRecord& record, mlog::Object& out) {
  out.set_key(std::string(record.key()));
  out.set_generation(record.generation().value());
  out.set_size_bytes(record.size_bytes());
  out.set_crc32c(record.crc32c().value);
  out.set_wanted_replicas(record.wanted_replicas());
  out.set_modified_unix_ms(record.modified_unix_ms());
  for (auto& [name, value] : record.metadata()) {
    mlog::Metadata& entry = *out.add_metadata();
    entry.set_name(name);
    entry.set_value(value);
  }
  out.set_is_inline(record.is_inline());
  out.set_inline_data(std::string(record.inline_data()));
  for (const Run& run : record.chunks()) {
    mlog::Run& part = *out.add_chunks();
    part.set_first_sequence(run.first);
    part.set_count(run.count);
  }
}

void ExportChunks(const ChunkTable& table, ImageWriter& writer) {
  mlog::ImageRecord record;
  mlog::ChunkPage& page = *record.mutable_chunk_page();
  uint64_t next = 0;  // sequence that the page's next column stands for
  const auto flush = [&] {
    if (page.length_bytes_size() > 0) writer.Append(record);
    page.Clear();
  };
  table.ForEach(
      0, std::numeric_limits<uint64_t>::max(), [&](uint64_t sequence, const ChunkRecord& chunk) {
        const bool fits =
            page.length_bytes_size() > 0 && sequence - page.first_sequence() < kChunkPageMax;
        if (!fits) {
          flush();
          page.set_first_sequence(sequence);
          next = sequence;
        }
        for (; next < sequence; ++next) {
          page.add_length_bytes(0);
          page.add_crc32c(0);
          page.add_wanted_replicas(0);
          page.add_server_count(0);
        }
        const ServerList servers = chunk.LoggedServers();
        page.add_length_bytes(chunk.length_bytes());
        page.add_crc32c(chunk.crc32c().value);
        page.add_wanted_replicas(chunk.wanted_replicas());
        page.add_server_count(static_cast<uint32_t>(servers.size()));
        for (ServerIndex server : servers) page.add_server_indexes(server.value());
        ++next;
      });
  flush();
}

}  // namespace

std::string Shard::Export(const ImageStamp& stamp) const {
  ImageWriter writer;
  mlog::ImageRecord record;
  mlog::ShardHeader& header = *record.mutable_shard_header();
  header.set_format(kShardImageFormat);
  header.set_shard(id_.value());
  header.set_applied_index(stamp.applied.value());
  header.set_group_time_ms(stamp.group_time_ms);
  header.set_state(state_);
  header.set_acquired_config_version(acquired_version_.value());
  header.set_allocated_mark(allocated_mark_);
  header.set_last_draft(last_draft_);
  header.set_last_session(last_session_);
  header.set_last_generation(last_generation_);
  header.set_quarantined_below(quarantined_below_);
  writer.Append(record);
  objects_.Scan("", "", [&](const ObjectRecord& object) {
    record.Clear();
    ExportObject(object, *record.mutable_object());
    writer.Append(record);
    return true;
  });
  ExportChunks(chunks_, writer);
  drafts_.Export([&](mlog::Draft draft) {
    record.Clear();
    *record.mutable_draft() = std::move(draft);
    writer.Append(record);
  });
  doomed_.Export([&](mlog::Doomed doomed) {
    record.Clear();
    *record.mutable_doomed() = std::move(doomed);
    writer.Append(record);
  });
  trims_.ForEach([&](uint64_t sequence, ServerIndex server, uint32_t keep) {
    record.Clear();
    record.mutable_trim()->set_handle(ChunkHandle(id_, sequence).value());
    record.mutable_trim()->set_server_index(server.value());
    record.mutable_trim()->set_keep_replicas(keep);
    writer.Append(record);
  });
  sessions_.Export([&](mlog::Session session) {
    record.Clear();
    *record.mutable_session() = std::move(session);
    writer.Append(record);
  });
  return writer.Finish();
}

// Builds a new shard from records in their order; the caller throws it away on any error.
class Shard::Importer {
 public:
  explicit Importer(Shard& shard) : shard_(shard) {}

  absl::StatusOr<ImageStamp> ImportHeader(const mlog::ImageRecord& record);
  absl::Status Import(const mlog::ImageRecord& record);
  // Proves what only the whole can show.
  absl::Status Finish();

 private:
  bool ImportObject(const mlog::Object& proto);
  bool ImportPage(const mlog::ChunkPage& page);
  bool ImportTrim(const mlog::TrimRecord& proto);
  bool ImportRecord(const mlog::ImageRecord& record);
  // A counter's id of this shard that has been given out.
  bool IsIssued(uint64_t id, uint64_t last) const {
    const ChunkHandle parts(id);
    return parts.shard() == shard_.id_ && parts.sequence() > 0 && parts.sequence() <= last;
  }
  // Marks an object's chunks; false if they are not its own or do not add up.
  bool ClaimChunks(const ObjectRecord& object);

  Shard& shard_;
  std::string last_key_;
  uint64_t next_sequence_ = 1;
  int last_case_ = mlog::ImageRecord::kShardHeader;
};

absl::StatusOr<Shard::ImageStamp> Shard::Importer::ImportHeader(const mlog::ImageRecord& record) {
  const mlog::ShardHeader& header = record.shard_header();
  if (!record.has_shard_header()) return absl::DataLossError("not a shard image");
  if (header.format() != kShardImageFormat) {
    return absl::DataLossError(absl::StrCat("shard image of unknown format ", header.format()));
  }
  if (header.shard() != shard_.id_.value()) {
    return absl::DataLossError(
        absl::StrCat("image is of shard ", header.shard(), ", not ", shard_.id_.value()));
  }
  constexpr uint64_t kMax = ChunkHandle::kSequenceMax;
  if (header.state() < mlog::SHARD_STATE_NONE || header.state() > mlog::SHARD_STATE_FROZEN ||
      header.allocated_mark() > kMax || header.last_draft() > kMax ||
      header.last_session() > kMax || header.quarantined_below() > header.allocated_mark()) {
    return absl::DataLossError("shard image: header out of range");
  }
  shard_.state_ = header.state();
  shard_.acquired_version_ = ConfigVersion(header.acquired_config_version());
  shard_.allocated_mark_ = header.allocated_mark();
  shard_.last_draft_ = header.last_draft();
  shard_.last_session_ = header.last_session();
  shard_.last_generation_ = header.last_generation();
  shard_.quarantined_below_ = header.quarantined_below();
  return ImageStamp{RaftIndex(header.applied_index()), header.group_time_ms()};
}

bool Shard::Importer::ImportObject(const mlog::Object& proto) {
  if (proto.key() <= last_key_ || !shard_.CheckKey(proto.key()).ok()) return false;
  if (proto.generation() == 0 || proto.generation() > shard_.last_generation_) return false;
  absl::StatusOr<MetadataList> metadata = CheckedMetadata(proto.metadata());
  if (!metadata.ok()) return false;
  if (proto.is_inline()) {
    if (proto.inline_data().size() > kInlineBytesMax ||
        proto.inline_data().size() != proto.size_bytes() ||
        ComputeCrc32c(proto.inline_data()).value != proto.crc32c() ||
        proto.wanted_replicas() != 0 || proto.chunks_size() != 0) {
      return false;
    }
  } else if (!proto.inline_data().empty() || proto.wanted_replicas() == 0 ||
             proto.wanted_replicas() > kReplicasMax) {
    return false;
  }
  last_key_ = proto.key();
  ObjectFacts facts;
  facts.key = proto.key();
  facts.generation = Generation(proto.generation());
  facts.size_bytes = proto.size_bytes();
  facts.crc32c = Crc32c{proto.crc32c()};
  facts.modified_unix_ms = proto.modified_unix_ms();
  facts.is_inline = proto.is_inline();
  facts.inline_data = proto.inline_data();
  facts.wanted_replicas = proto.wanted_replicas();
  uint64_t count = 0;
  for (const mlog::Run& run : proto.chunks()) {
    if (run.count() == 0 || run.count() > kChunksPerObjectMax - count) return false;
    count += run.count();
    facts.chunks.push_back({run.first_sequence(), run.count()});
  }
  facts.metadata = *std::move(metadata);
  shard_.objects_.Put(ObjectRecord(facts));
  return true;
}

bool Shard::Importer::ImportPage(const mlog::ChunkPage& page) {
  const int count = page.length_bytes_size();
  const uint64_t first = page.first_sequence();
  if (count == 0 || static_cast<size_t>(count) > kChunkPageMax || first < next_sequence_ ||
      first > shard_.allocated_mark_ ||
      static_cast<uint64_t>(count) - 1 > shard_.allocated_mark_ - first ||
      page.crc32c_size() != count || page.wanted_replicas_size() != count ||
      page.server_count_size() != count) {
    return false;
  }
  int at = 0;  // in server_indexes
  for (int i = 0; i < count; ++i) {
    const ChunkFacts facts{page.length_bytes(i), Crc32c{page.crc32c(i)}, page.wanted_replicas(i)};
    const uint32_t server_count = page.server_count(i);
    if (server_count > kReplicasMax ||
        server_count > static_cast<uint32_t>(page.server_indexes_size() - at)) {
      return false;
    }
    if (facts.length_bytes == 0) {
      if (server_count != 0) return false;
      continue;
    }
    if (facts.length_bytes > kChunkBytesMax || facts.wanted_replicas == 0 ||
        facts.wanted_replicas > kReplicasMax) {
      return false;
    }
    ServerList servers;
    for (uint32_t k = 0; k < server_count; ++k) {
      const ServerIndex server(page.server_indexes(at++));
      if (server.value() == 0 || server.value() > kServerIndexMax ||
          (!servers.empty() && servers.back() >= server)) {
        return false;
      }
      servers.push_back(server);
    }
    shard_.chunks_.Insert(first + i, facts, servers);
  }
  next_sequence_ = first + count;
  return at == page.server_indexes_size();
}

bool Shard::Importer::ImportTrim(const mlog::TrimRecord& proto) {
  const ChunkHandle handle(proto.handle());
  const ServerIndex server(proto.server_index());
  if (handle.shard() != shard_.id_ || shard_.chunks_.Find(handle.sequence()) == nullptr ||
      server.value() == 0 || server.value() > kServerIndexMax ||
      proto.keep_replicas() > kReplicasMax || !shard_.trims_.IsLast(handle.sequence(), server) ||
      shard_.trims_.size() >= kTrimsPerShardMax) {
    return false;
  }
  return shard_.trims_.Add(handle.sequence(), server, proto.keep_replicas());
}

bool Shard::Importer::ImportRecord(const mlog::ImageRecord& record) {
  switch (record.record_case()) {
    case mlog::ImageRecord::kObject:
      return ImportObject(record.object());
    case mlog::ImageRecord::kChunkPage:
      return ImportPage(record.chunk_page());
    case mlog::ImageRecord::kDraft:
      return IsIssued(record.draft().draft_id(), shard_.last_draft_) &&
             shard_.CheckKey(record.draft().key()).ok() &&
             shard_.drafts_.Import(record.draft(), shard_.allocated_mark_, shard_.chunks_);
    case mlog::ImageRecord::kDoomed:
      return shard_.CheckKey(record.doomed().key()).ok() &&
             shard_.doomed_.Import(record.doomed(), shard_.last_generation_, shard_.chunks_);
    case mlog::ImageRecord::kTrim:
      return ImportTrim(record.trim());
    case mlog::ImageRecord::kSession:
      return IsIssued(record.session().session_id(), shard_.last_session_) &&
             shard_.sessions_.Import(record.session());
    default:
      return false;
  }
}

absl::Status Shard::Importer::Import(const mlog::ImageRecord& record) {
  const int kind = record.record_case();
  if (kind < last_case_ || !ImportRecord(record)) {
    return absl::DataLossError(
        absl::StrCat("image of shard ", shard_.id_.value(), ": bad record of kind ", kind));
  }
  last_case_ = kind;
  return absl::OkStatus();
}

bool Shard::Importer::ClaimChunks(const ObjectRecord& object) {
  uint64_t bytes = 0;
  uint32_t first_length = 0;
  uint32_t last_length = 0;
  for (const Run& run : object.chunks()) {
    for (uint64_t i = 0; i < run.count; ++i) {
      if (!shard_.chunks_.Mark(run.first + i)) return false;
      const uint32_t length = shard_.chunks_.Find(run.first + i)->length_bytes();
      if (first_length == 0) {
        first_length = length;
      } else if (last_length != first_length || length > first_length) {
        return false;
      }
      last_length = length;
      bytes += length;
    }
  }
  return object.is_inline() || bytes == object.size_bytes();
}

absl::Status Shard::Importer::Finish() {
  const auto damaged = [this](absl::string_view what) {
    return absl::DataLossError(absl::StrCat("image of shard ", shard_.id_.value(), ": ", what));
  };
  uint64_t claimed = shard_.doomed_.handle_count();
  shard_.drafts_.ForEach([&claimed](const Draft& draft) { claimed += draft.sealed_count(); });
  bool good = true;
  shard_.objects_.Scan("", "", [&](const ObjectRecord& object) {
    good = ClaimChunks(object);
    claimed += object.chunk_count();
    return good;
  });
  if (!good) return damaged("an object's chunks do not add up");
  if (claimed != shard_.chunks_.size()) return damaged("chunks that belong to nothing");
  shard_.chunks_.ClearMarks();
  return absl::OkStatus();
}

absl::StatusOr<Shard::Imported> Shard::Import(ShardId id, uint32_t shard_count,
                                              absl::string_view image) {
  Imported imported{Shard(id, shard_count), {}};
  Importer importer(imported.shard);
  ImageReader reader(image);
  mlog::ImageRecord record;
  ASSIGN_OR_RETURN(bool more, reader.Next(record));
  if (!more) return absl::DataLossError("shard image without a header");
  ASSIGN_OR_RETURN(imported.stamp, importer.ImportHeader(record));
  while (true) {
    ASSIGN_OR_RETURN(more, reader.Next(record));
    if (!more) break;
    RETURN_IF_ERROR(importer.Import(record));
  }
  RETURN_IF_ERROR(importer.Finish());
  return imported;
}

}  // namespace ballast::master
