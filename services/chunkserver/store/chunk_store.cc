// SPDX-License-Identifier: Apache-2.0
#include "services/chunkserver/store/chunk_store.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/types/error.h"
#include "services/chunkserver/store/chunk_verification.h"

namespace ballast::chunkserver {
namespace {

// Verification reads so much at once.
constexpr uint64_t kVerifyBytes = MiB(1);

absl::Status NoSuchChunk(ChunkHandle handle) {
  return MakeError(v1::REASON_CHUNK_NOT_FOUND,
                   absl::StrCat("chunk ", handle.ToString(), " is not on this server"));
}

absl::Status IsCorrupt(ChunkHandle handle) {
  return MakeError(v1::REASON_CHECKSUM_MISMATCH,
                   absl::StrCat("chunk ", handle.ToString(), " is damaged on this server"));
}

absl::Status NotServing() {
  return NotReadyError("the chunk server is still reading its folder", absl::Milliseconds(500));
}

}  // namespace

std::string StoreLayout::ChunkFolder(ChunkHandle handle) const {
  return JoinPath(ChunksFolder(), absl::StrFormat("%02x", handle.value() & 0xff));
}

std::string StoreLayout::ChunkFile(ChunkHandle handle) const {
  return JoinPath(ChunkFolder(handle), handle.ToString());
}

ChunkStore::ChunkStore(FileSystem& fs, ChunkStoreOptions options)
    : fs_(fs), options_(std::move(options)), layout_(options_.folder) {
  CHECK_GT(options_.open_files_max, 0u);
  CHECK(!options_.capacity_is_nominal || options_.capacity_bytes > 0);
}

ChunkStore::~ChunkStore() {
  absl::MutexLock lock(&mu_);
  CHECK(writing_.empty()) << "writers outlive their store";
}

bool ChunkStore::Adopt(ChunkHandle handle, const ReplicaFacts& facts) {
  CHECK(!serving());
  absl::MutexLock lock(&mu_);
  return index_.Insert(handle, facts);
}

void ChunkStore::Serve() {
  serving_.store(true, std::memory_order_release);
  if (options_.on_news != nullptr) {
    options_.on_news();
  }
}

absl::Status ChunkStore::DiskError(const absl::Status& status) {
  if (status.ok()) {
    return status;
  }
  if (absl::IsResourceExhausted(status)) {
    return MakeError(v1::REASON_NO_SPACE, status.message());
  }
  if (healthy_.exchange(false)) {
    LogError("chunk_store.disk_failed", {{"error", status.ToString()}});
  }
  // Without the code DATA_LOSS, which on the wire says that a chunk is damaged.
  return absl::InternalError(status.message());
}

uint64_t ChunkStore::CapacityBytes(const SpaceInfo& space) const {
  if (options_.capacity_is_nominal) {
    return options_.capacity_bytes;
  }
  return options_.capacity_bytes == 0 ? space.capacity_bytes
                                      : std::min(options_.capacity_bytes, space.capacity_bytes);
}

absl::Status ChunkStore::Reserve(uint64_t more_bytes, Backing backing) {
  ASSIGN_OR_RETURN(const SpaceInfo space, fs_.Space(options_.folder));
  absl::MutexLock lock(&mu_);
  const uint64_t taken = index_.bytes_on_disk() + reserved_bytes_;
  const uint64_t disk_bytes = backing == Backing::kDisk ? more_bytes : 0;
  if (taken + more_bytes > CapacityBytes(space) ||
      disk_bytes + options_.free_bytes_min > space.free_bytes) {
    return MakeError(
        v1::REASON_NO_SPACE,
        absl::StrCat("no room for ", more_bytes, " bytes: ", taken, " of ", CapacityBytes(space),
                     " taken, ", space.free_bytes, " free on the file system"));
  }
  reserved_bytes_ += more_bytes;
  return absl::OkStatus();
}

absl::Status ChunkStore::EnsureFolder(ChunkHandle handle) {
  const size_t number = handle.value() & 0xff;
  {
    absl::MutexLock lock(&mu_);
    if (durable_folders_.test(number)) {
      return absl::OkStatus();
    }
  }
  // Also when it exists: another writer may have made it and not have synced it yet.
  RETURN_IF_ERROR(DiskError(fs_.CreateDir(layout_.ChunkFolder(handle))));
  RETURN_IF_ERROR(DiskError(fs_.SyncDir(layout_.ChunksFolder())));
  absl::MutexLock lock(&mu_);
  durable_folders_.set(number);
  return absl::OkStatus();
}

void ChunkStore::ReleaseWrite(ChunkHandle handle, uint64_t reserved_bytes) {
  absl::MutexLock lock(&mu_);
  reserved_bytes_ -= reserved_bytes;
  writing_.erase(handle);
}

void ChunkStore::Publish(ChunkHandle handle, const ReplicaFacts& facts, uint64_t reserved_bytes) {
  absl::MutexLock lock(&mu_);
  reserved_bytes_ -= reserved_bytes;
  writing_.erase(handle);
  CHECK(index_.Insert(handle, facts)) << handle;
  if (facts.state == ReplicaState::kVerified) {
    index_.SetVerified(handle, verification_clock_s_.load(std::memory_order_relaxed));
  }
  Notify(handle, std::nullopt);
}

absl::StatusOr<std::unique_ptr<ChunkWriter>> ChunkStore::StartWrite(ChunkHandle handle,
                                                                    uint64_t length_hint_bytes) {
  if (!serving()) {
    return NotServing();
  }
  if (handle.value() == 0 || length_hint_bytes > kChunkBytesMax) {
    return InvalidArgument(absl::StrCat("handle ", handle.ToString(), " with length ",
                                        length_hint_bytes, " is no chunk"));
  }
  {
    absl::MutexLock lock(&mu_);
    if (index_.Find(handle).has_value() || !writing_.insert(handle).second) {
      return MakeError(v1::REASON_CHUNK_EXISTS,
                       absl::StrCat("chunk ", handle.ToString(), " is, or is being, stored here"));
    }
  }
  const std::string path = JoinPath(
      layout_.StagingFolder(), absl::StrCat(handle.ToString(), ".", next_staging_.fetch_add(1)));
  absl::StatusOr<std::unique_ptr<File>> file = fs_.Open(path, OpenMode::kCreateExclusive);
  if (!file.ok()) {
    ReleaseWrite(handle, 0);
    return DiskError(file.status());
  }
  // From here on the writer's destructor cleans up.
  std::unique_ptr<ChunkWriter> writer(new ChunkWriter(*this, handle, path, *std::move(file), 0));
  if (length_hint_bytes > 0) {
    const uint64_t bytes = ChunkFileBytesOnDisk(length_hint_bytes);
    RETURN_IF_ERROR(Reserve(bytes, Backing::kDisk));
    writer->reserved_bytes_ = bytes;
    RETURN_IF_ERROR(DiskError(writer->file_->Allocate(bytes)));
  }
  return writer;
}

absl::Status ChunkStore::CreateZeroChunk(ChunkHandle handle, uint64_t length_bytes) {
  if (length_bytes == 0 || length_bytes > kChunkBytesMax) {
    return InvalidArgument(absl::StrCat("no chunk has ", length_bytes, " bytes"));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<ChunkWriter> writer, StartWrite(handle, 0));
  const uint64_t bytes = ChunkFileBytesOnDisk(length_bytes);
  RETURN_IF_ERROR(Reserve(bytes, Backing::kNone));
  writer->reserved_bytes_ = bytes;
  RETURN_IF_ERROR(writer->AppendZeros(length_bytes));
  RETURN_IF_ERROR(writer->Prepare(length_bytes, CombineBlocks(writer->blocks_, length_bytes)));
  return writer->Commit();
}

absl::StatusOr<ReplicaFacts> ChunkStore::FindForUse(ChunkHandle handle) {
  if (!serving()) {
    return NotServing();
  }
  absl::MutexLock lock(&mu_);
  const std::optional<ReplicaFacts> facts = index_.Find(handle);
  if (!facts.has_value() || deleting_.contains(handle)) {
    return NoSuchChunk(handle);
  }
  return *facts;
}

absl::StatusOr<std::shared_ptr<const OpenChunk>> ChunkStore::OpenFile(ChunkHandle handle,
                                                                      const ReplicaFacts& facts) {
  const uint64_t deletes = deletes_.load();
  ASSIGN_OR_RETURN(std::unique_ptr<File> file,
                   fs_.Open(layout_.ChunkFile(handle), OpenMode::kRead));
  ASSIGN_OR_RETURN(const uint64_t file_bytes, file->Size());
  std::string prefix(kChunkPrefixBytes, '\0');
  ASSIGN_OR_RETURN(const size_t got, file->ReadAt(0, prefix.size(), prefix.data()));
  prefix.resize(got);
  ASSIGN_OR_RETURN(ChunkHeader header, DecodeChunkPrefix(prefix, file_bytes));
  if (header.handle != handle || header.cluster_id != options_.cluster_id ||
      header.length_bytes != facts.length_bytes || header.crc32c != facts.crc32c) {
    return MakeError(
        v1::REASON_CHECKSUM_MISMATCH,
        absl::StrCat("the file of chunk ", handle.ToString(), " holds something else"));
  }
  auto open = std::make_shared<OpenChunk>();
  open->header = std::move(header);
  open->file = std::move(file);
  open->deletes = deletes;
  return open;
}

absl::StatusOr<std::shared_ptr<const OpenChunk>> ChunkStore::Open(ChunkHandle handle) {
  ASSIGN_OR_RETURN(const ReplicaFacts facts, FindForUse(handle));
  if (facts.state == ReplicaState::kCorrupt) {
    return IsCorrupt(handle);
  }
  {
    absl::MutexLock lock(&mu_);
    const auto it = open_by_handle_.find(handle);
    if (it != open_by_handle_.end()) {
      open_.splice(open_.begin(), open_, it->second);
      return open_.front();
    }
  }
  absl::StatusOr<std::shared_ptr<const OpenChunk>> opened = OpenFile(handle, facts);
  if (!opened.ok()) {
    if (absl::IsResourceExhausted(opened.status())) {
      return MakeError(v1::REASON_OVERLOADED, opened.status().message());  // out of descriptors
    }
    if (!FindForUse(handle).ok()) {
      return NoSuchChunk(handle);  // deleted meanwhile
    }
    MarkCorrupt(handle, opened.status());
    return IsCorrupt(handle);
  }
  std::shared_ptr<const OpenChunk> evicted;  // closed outside the lock
  absl::MutexLock lock(&mu_);
  if (deleting_.contains(handle) || !index_.Find(handle).has_value()) {
    return NoSuchChunk(handle);
  }
  if (!open_by_handle_.contains(handle)) {
    open_.push_front(*opened);
    open_by_handle_[handle] = open_.begin();
    if (open_.size() > options_.open_files_max) {
      evicted = std::move(open_.back());
      open_by_handle_.erase(evicted->header.handle);
      open_.pop_back();
    }
  }
  return *std::move(opened);
}

absl::StatusOr<size_t> ChunkStore::ReadBlocks(const OpenChunk& chunk, uint64_t first,
                                              uint64_t count, char* out) {
  const ChunkHeader& header = chunk.header;
  CHECK(count > 0 && first + count <= header.blocks.size());
  const uint64_t begin = first * kBlockBytes;
  const uint64_t bytes = std::min(count * kBlockBytes, header.length_bytes - begin);
  absl::Status status = ReadAndVerify(chunk, first, bytes, out);
  if (!status.ok() && deletes_.load() != chunk.deletes &&
      ReadFromSuccessor(chunk, first, bytes, out).ok()) {
    status = absl::OkStatus();
  }
  if (!status.ok()) {
    MarkCorrupt(header.handle, status);
    return IsCorrupt(header.handle);
  }
  return bytes;
}

absl::Status ChunkStore::ReadAndVerify(const OpenChunk& chunk, uint64_t first, uint64_t bytes,
                                       char* out) {
  const absl::StatusOr<size_t> got =
      chunk.file->ReadAt(kChunkPrefixBytes + first * kBlockBytes, bytes, out);
  RETURN_IF_ERROR(DiskError(got.status()));
  if (*got != bytes) {
    return IsCorrupt(chunk.header.handle);
  }
  return VerifyBlocks(chunk.header, first, absl::string_view(out, bytes));
}

absl::Status ChunkStore::ReadFromSuccessor(const OpenChunk& chunk, uint64_t first, uint64_t bytes,
                                           char* out) {
  const ChunkHandle handle = chunk.header.handle;
  ASSIGN_OR_RETURN(const ReplicaFacts facts, FindForUse(handle));
  ASSIGN_OR_RETURN(const std::shared_ptr<const OpenChunk> successor, OpenFile(handle, facts));
  if (successor->header.length_bytes != chunk.header.length_bytes ||
      successor->header.blocks != chunk.header.blocks) {
    return IsCorrupt(handle);
  }
  RETURN_IF_ERROR(ReadAndVerify(*successor, first, bytes, out));
  std::shared_ptr<const OpenChunk> dropped;  // closed outside the lock
  absl::MutexLock lock(&mu_);
  // An Open that lasted longer than the delete may have put the old one there.
  dropped = TakeOpenLocked(handle);
  return absl::OkStatus();
}

absl::StatusOr<ReplicaFacts> ChunkStore::Stat(ChunkHandle handle) { return FindForUse(handle); }

absl::StatusOr<ReplicaFacts> ChunkStore::Verify(ChunkHandle handle) {
  ASSIGN_OR_RETURN(const std::unique_ptr<ChunkVerification> verification,
                   ChunkVerification::Start(*this, handle));
  bool done = false;
  while (!done) {
    ASSIGN_OR_RETURN(done, verification->Step(kVerifyBytes));
  }
  return verification->facts();
}

std::shared_ptr<const OpenChunk> ChunkStore::TakeOpenLocked(ChunkHandle handle) {
  std::shared_ptr<const OpenChunk> taken;
  const auto it = open_by_handle_.find(handle);
  if (it != open_by_handle_.end()) {
    taken = std::move(*it->second);
    open_.erase(it->second);
    open_by_handle_.erase(it);
  }
  return taken;
}

bool ChunkStore::SetVerified(ChunkHandle handle, uint64_t marks) {
  absl::MutexLock lock(&mu_);
  const std::optional<ReplicaFacts> before = index_.Find(handle);
  if (!before.has_value()) {
    return true;  // deleted meanwhile
  }
  if (before->state == ReplicaState::kCorrupt && corrupt_marks_ != marks) {
    return false;
  }
  index_.SetVerified(handle, verification_clock_s_.load(std::memory_order_relaxed));
  if (before->state != ReplicaState::kVerified) {
    Notify(handle, before);
  }
  return true;
}

void ChunkStore::MarkCorrupt(ChunkHandle handle, const absl::Status& why) {
  LogError("chunk_store.corrupt_chunk", {{"chunk", handle.ToString()}, {"error", why.ToString()}});
  std::shared_ptr<const OpenChunk> dropped;  // closed outside the lock
  absl::MutexLock lock(&mu_);
  dropped = TakeOpenLocked(handle);
  ++corrupt_marks_;
  const std::optional<ReplicaFacts> before = index_.Find(handle);
  if (before.has_value() && before->state != ReplicaState::kCorrupt) {
    index_.SetState(handle, ReplicaState::kCorrupt);
    Notify(handle, before);
  }
}

absl::Status ChunkStore::Delete(ChunkHandle handle, uint32_t length_bytes) {
  ASSIGN_OR_RETURN(const ReplicaFacts facts, FindForUse(handle));
  if (length_bytes != 0 && length_bytes != facts.length_bytes) {
    return absl::FailedPreconditionError(absl::StrCat(
        "chunk ", handle.ToString(), " has ", facts.length_bytes, " bytes, not ", length_bytes));
  }
  std::shared_ptr<const OpenChunk> dropped;
  {
    absl::MutexLock lock(&mu_);
    if (!index_.Find(handle).has_value() || !deleting_.insert(handle).second) {
      return NoSuchChunk(handle);
    }
    dropped = TakeOpenLocked(handle);
  }
  const absl::Status removed = fs_.Remove(layout_.ChunkFile(handle));
  const bool gone = removed.ok() || absl::IsNotFound(removed);
  deletes_.fetch_add(gone ? 1 : 0);
  const absl::Status status = DiskError(gone ? fs_.SyncDir(layout_.ChunkFolder(handle)) : removed);
  absl::MutexLock lock(&mu_);
  deleting_.erase(handle);
  if (gone) {
    const std::optional<ReplicaFacts> before = index_.Find(handle);
    index_.Erase(handle);
    Notify(handle, before);
  }
  return status;
}

StoreUsage ChunkStore::Usage() {
  const absl::StatusOr<SpaceInfo> space = fs_.Space(options_.folder);
  absl::MutexLock lock(&mu_);
  StoreUsage usage;
  usage.capacity_bytes = space.ok() ? CapacityBytes(*space) : options_.capacity_bytes;
  usage.used_bytes = index_.bytes_on_disk();
  if (space.ok() && options_.capacity_bytes == 0) {
    // The file system is ours to fill, and whatever else is on it is not free.
    usage.used_bytes = std::max(usage.used_bytes, space->capacity_bytes - space->free_bytes);
  }
  usage.incoming_bytes = reserved_bytes_;
  usage.chunk_count = index_.size();
  usage.corrupt_count = index_.corrupt_count();
  return usage;
}

std::vector<std::pair<ChunkHandle, ReplicaFacts>> ChunkStore::List(ChunkHandle after,
                                                                   size_t chunks_max) {
  std::vector<std::pair<ChunkHandle, ReplicaFacts>> out;
  absl::MutexLock lock(&mu_);
  index_.Visit(after, [&](ChunkHandle handle, const ReplicaFacts& facts) {
    if (out.size() == chunks_max) {
      return false;
    }
    out.emplace_back(handle, facts);
    return true;
  });
  return out;
}

std::vector<ChunkStore::Verification> ChunkStore::ListVerifications(ChunkHandle after,
                                                                    size_t chunks_max) {
  std::vector<Verification> out;
  absl::MutexLock lock(&mu_);
  index_.VisitVerifications(
      after, [&](ChunkHandle handle, const ReplicaFacts& facts, uint32_t verified_s) {
        if (out.size() == chunks_max) {
          return false;
        }
        out.push_back(Verification{.handle = handle, .facts = facts, .verified_s = verified_s});
        return true;
      });
  return out;
}

void ChunkStore::Notify(ChunkHandle handle, const std::optional<ReplicaFacts>& before) {
  for (auto& [id, builder] : reporters_) {
    builder.OnChange(handle, before);
  }
  if (options_.on_news != nullptr) {
    options_.on_news();
  }
}

ChunkStore::ReporterId ChunkStore::AddReporter() {
  absl::MutexLock lock(&mu_);
  const ReporterId id = next_reporter_++;
  reporters_.emplace(id, ReportBuilder(index_));
  return id;
}

void ChunkStore::RemoveReporter(ReporterId id) {
  absl::MutexLock lock(&mu_);
  reporters_.erase(id);
}

void ChunkStore::StartReports(ReporterId id, absl::Span<const ShardId> shards) {
  absl::MutexLock lock(&mu_);
  for (const ShardId shard : shards) {
    reporters_.at(id).Start(shard);
  }
}

void ChunkStore::StopReports(ReporterId id, absl::Span<const ShardId> shards) {
  absl::MutexLock lock(&mu_);
  for (const ShardId shard : shards) {
    reporters_.at(id).Stop(shard);
  }
}

bool ChunkStore::HasNews(ReporterId id) {
  absl::MutexLock lock(&mu_);
  return reporters_.at(id).HasNews();
}

void ChunkStore::AnswerReports(ReporterId id, const v1::HeartbeatReply& reply) {
  absl::MutexLock lock(&mu_);
  reporters_.at(id).OnReply(reply);
}

void ChunkStore::BuildReports(ReporterId id, size_t replicas_max, size_t reports_max,
                              bool with_heat,
                              google::protobuf::RepeatedPtrField<v1::ShardReport>* out) {
  absl::MutexLock lock(&mu_);
  reporters_.at(id).Build(replicas_max, reports_max, with_heat, out);
}

std::optional<ToldLists> ChunkStore::AllTold(ReporterId id) {
  absl::MutexLock lock(&mu_);
  return reporters_.at(id).AllTold();
}

void ChunkStore::CountRead(ChunkHandle handle) {
  absl::MutexLock lock(&mu_);
  for (auto& [id, builder] : reporters_) {
    builder.OnRead(handle);
  }
}

}  // namespace ballast::chunkserver
