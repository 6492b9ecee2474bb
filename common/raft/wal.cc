// SPDX-License-Identifier: Apache-2.0
#include "common/raft/wal.h"

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/check.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/types/error.h"

namespace ballast {
namespace {

constexpr absl::string_view kPrefix = "wal-";
constexpr absl::string_view kSuffix = ".log";
constexpr absl::string_view kTemporarySuffix = ".log.tmp";

std::string SegmentName(uint64_t number) { return absl::StrFormat("wal-%016x.log", number); }

// 0 if the name is not that of a segment.
uint64_t NumberOf(const std::string& name) {
  uint64_t number = 0;
  if (name.size() != SegmentName(1).size() || !absl::StartsWith(name, kPrefix) ||
      !absl::EndsWith(name, kSuffix) ||
      !absl::SimpleHexAtoi(name.substr(kPrefix.size(), 16), &number) ||
      SegmentName(number) != name) {
    return 0;
  }
  return number;
}

// Writes a whole segment under a temporary name and makes it durable under its own, so that a
// segment that can be seen has a whole header and base record.
absl::StatusOr<std::unique_ptr<File>> MakeSegment(FileSystem& fs, const std::string& folder,
                                                  uint64_t number, uint64_t segment_bytes,
                                                  absl::string_view content) {
  const std::string path = JoinPath(folder, SegmentName(number));
  const std::string temporary = path + ".tmp";
  ASSIGN_OR_RETURN(std::unique_ptr<File> file, fs.Open(temporary, OpenMode::kCreate));
  RETURN_IF_ERROR(file->Truncate(0));
  RETURN_IF_ERROR(file->Allocate(std::max<uint64_t>(segment_bytes, content.size())));
  RETURN_IF_ERROR(file->WriteAt(0, content));
  RETURN_IF_ERROR(file->Sync());
  RETURN_IF_ERROR(fs.Rename(temporary, path));
  RETURN_IF_ERROR(fs.SyncDir(folder));
  return file;
}

void AddToState(const WalRecord& record, WalBase* state) {
  if (const auto* hard = std::get_if<WalHard>(&record)) {
    state->term = hard->term;
    state->vote = hard->vote;
  } else if (const auto* entries = std::get_if<WalEntries>(&record)) {
    state->last = entries->first + entries->entries.size() - 1;
  } else if (const auto* reset = std::get_if<WalReset>(&record)) {
    state->trim_index = state->last = reset->index;
    state->trim_term = reset->term;
  } else if (const auto* trim = std::get_if<WalTrim>(&record)) {
    if (trim->index > state->trim_index) {
      state->trim_index = trim->index;
      state->trim_term = trim->term;
    }
  }
}

}  // namespace

std::string Wal::SegmentPath(uint64_t number) const {
  return JoinPath(folder_, SegmentName(number));
}

absl::Status Wal::Create(FileSystem& fs, const std::string& folder, const Options& options,
                         const std::vector<WalRecord>& records) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, fs.List(folder));
  for (const std::string& name : names) {
    if (NumberOf(name) != 0) {
      return absl::AlreadyExistsError(absl::StrCat(folder, " already holds a log"));
    }
  }
  const WalHeader header{.cluster_id = options.cluster_id,
                         .group = options.group,
                         .segment = 1,
                         .first_lsn = 1,
                         .salt = options.salt};
  std::string content = EncodeWalHeader(header);
  WalPosition position{.lsn = 1, .batch = 1};
  AppendWalRecord(header, position, WalBase{}, &content);
  for (const WalRecord& record : records) {
    ++position.lsn;
    AppendWalRecord(header, position, record, &content);
  }
  return MakeSegment(fs, folder, 1, content.size(), content).status();
}

absl::StatusOr<std::unique_ptr<Wal>> Wal::Open(FileSystem& fs, const std::string& folder,
                                               const Options& options, WalReplay* replay) {
  auto wal = std::unique_ptr<Wal>(new Wal(fs, folder, options));
  RETURN_IF_ERROR(wal->Recover(replay));
  wal->state_ = WalBase{.term = replay->term(),
                        .vote = replay->vote(),
                        .trim_index = replay->log().base_index(),
                        .trim_term = replay->log().base_term(),
                        .last = replay->log().last_index()};
  RETURN_IF_ERROR(wal->StartSegment());
  return wal;
}

absl::Status Wal::Recover(WalReplay* replay) {
  ASSIGN_OR_RETURN(const std::vector<std::string> names, fs_.List(folder_));
  std::vector<uint64_t> numbers;
  std::vector<std::string> unneeded;  // removed once all else is known to be whole
  for (const std::string& name : names) {
    if (const uint64_t number = NumberOf(name); number != 0) {
      numbers.push_back(number);
    } else if (absl::StartsWith(name, kPrefix) && absl::EndsWith(name, kTemporarySuffix)) {
      unneeded.push_back(name);
    }
  }
  std::sort(numbers.begin(), numbers.end());
  if (numbers.empty()) {
    return absl::NotFoundError(absl::StrCat(folder_, " holds no log"));
  }
  // Removals need not become durable in order: segments before a gap were removed.
  for (const uint64_t number : numbers) {
    if (!segments_.empty() && number != segments_.back().number + 1) {
      for (const Segment& removed : segments_) {
        unneeded.push_back(SegmentName(removed.number));
      }
      segments_.clear();
    }
    segments_.push_back(Segment{.number = number});
  }
  for (size_t i = 0; i < segments_.size(); ++i) {
    RETURN_IF_ERROR(ReadSegment(segments_[i], i + 1 == segments_.size(), replay));
    segments_[i].index_max = replay->log().last_index();
  }
  RETURN_IF_ERROR(replay->Finish());
  // Whole: now the disk may be changed. Everything read counts as durable from here on, also what
  // a killed process wrote and never synced.
  ASSIGN_OR_RETURN(file_, fs_.Open(SegmentPath(segments_.back().number), OpenMode::kReadWrite));
  RETURN_IF_ERROR(file_->Truncate(offset_));
  RETURN_IF_ERROR(file_->Sync());
  for (const std::string& name : unneeded) {
    RETURN_IF_ERROR(fs_.Remove(JoinPath(folder_, name)));
  }
  return unneeded.empty() ? absl::OkStatus() : fs_.SyncDir(folder_);
}

absl::Status Wal::ReadSegment(const Segment& segment, bool last, WalReplay* replay) {
  const std::string path = SegmentPath(segment.number);
  const auto damaged = [&path](absl::string_view what) {
    return absl::DataLossError(absl::StrCat(path, ": ", what));
  };
  ASSIGN_OR_RETURN(const std::string content, ReadFile(fs_, path));
  absl::StatusOr<WalHeader> header = DecodeWalHeader(content);
  if (!header.ok()) {
    return damaged(header.status().message());
  }
  if (header->cluster_id != options_.cluster_id || header->group != options_.group) {
    return MakeError(v1::REASON_WRONG_CLUSTER,
                     absl::StrCat(path, " belongs to group ", header->group, " of cluster ",
                                  header->cluster_id));
  }
  if (header->segment != segment.number ||
      (header_.segment != 0 && header->first_lsn > next_lsn_)) {
    return damaged("a segment of this log is missing or renamed");
  }
  if (header_.segment != 0 && header->first_lsn < next_lsn_) {
    return damaged("two segments hold the same records");
  }
  header_ = *header;
  next_lsn_ = header->first_lsn;
  // Where this segment must end, if a later one says so.
  uint64_t end_lsn = 0;
  if (!last) {
    ASSIGN_OR_RETURN(std::unique_ptr<File> next,
                     fs_.Open(SegmentPath(segment.number + 1), OpenMode::kRead));
    std::string bytes(kWalHeaderBytes, '\0');
    ASSIGN_OR_RETURN(const size_t read, next->ReadAt(0, bytes.size(), bytes.data()));
    bytes.resize(read);
    absl::StatusOr<WalHeader> next_header = DecodeWalHeader(bytes);
    if (!next_header.ok()) {
      return absl::DataLossError(
          absl::StrCat(SegmentPath(segment.number + 1), ": ", next_header.status().message()));
    }
    end_lsn = next_header->first_lsn;
  }
  size_t at = kWalHeaderBytes;
  while (next_lsn_ != end_lsn) {
    const absl::string_view rest = absl::string_view(content).substr(std::min(at, content.size()));
    const absl::StatusOr<WalFrame> frame = DecodeWalFrame(header_, rest);
    if (!frame.ok() || frame->position.lsn != next_lsn_) {
      if (!last || next_lsn_ == header_.first_lsn) {
        return damaged(absl::StrCat("record ", next_lsn_, " at byte ", at, " is damaged"));
      }
      if (HasLaterBatch(header_, next_lsn_, rest)) {
        return damaged(absl::StrCat("record ", next_lsn_, " at byte ", at,
                                    " is damaged, and records behind it are whole"));
      }
      break;  // the end, perhaps torn
    }
    absl::StatusOr<WalRecord> record = DecodeWalRecord(*frame);
    const absl::Status applied = record.ok() ? replay->Apply(*record) : record.status();
    if (!applied.ok()) {
      return damaged(absl::StrCat("record ", next_lsn_, ": ", applied.message()));
    }
    at += frame->bytes;
    ++next_lsn_;
  }
  offset_ = at;
  return absl::OkStatus();
}

absl::Status Wal::StartSegment() {
  const uint64_t number = segments_.empty() ? 1 : segments_.back().number + 1;
  header_ = WalHeader{.cluster_id = options_.cluster_id,
                      .group = options_.group,
                      .segment = number,
                      .first_lsn = next_lsn_,
                      .salt = options_.salt};
  std::string content = EncodeWalHeader(header_);
  AppendWalRecord(header_, WalPosition{.lsn = next_lsn_, .batch = next_lsn_}, state_, &content);
  ++next_lsn_;
  ASSIGN_OR_RETURN(file_, MakeSegment(fs_, folder_, number, options_.segment_bytes, content));
  ++syncs_;
  offset_ = content.size();
  segments_.push_back(Segment{.number = number});
  return absl::OkStatus();
}

absl::Status Wal::Write(const std::vector<WalRecord>& records) {
  RETURN_IF_ERROR(failed_);
  const absl::Status written = WriteAll(records);
  if (!written.ok()) {
    failed_ = absl::FailedPreconditionError(
        absl::StrCat("the log stopped after a failed write: ", written.message()));
  }
  return written;
}

absl::Status Wal::WriteAll(const std::vector<WalRecord>& records) {
  buffer_.clear();
  for (const WalRecord& record : records) {
    const auto* entries = std::get_if<WalEntries>(&record);
    if (entries == nullptr) {
      RETURN_IF_ERROR(Add(record));
      continue;
    }
    CHECK(!entries->entries.empty());
    WalEntries part{.first = entries->first, .entries = {}};
    size_t bytes = 0;
    for (const LogEntry& entry : entries->entries) {
      if (bytes > 0 && bytes + entry.bytes() > kWalBodyBytesTarget) {
        const uint64_t next = part.first + part.entries.size();
        RETURN_IF_ERROR(Add(part));
        part = WalEntries{.first = next, .entries = {}};
        bytes = 0;
      }
      part.entries.push_back(entry);
      bytes += entry.bytes();
    }
    RETURN_IF_ERROR(Add(std::move(part)));
  }
  RETURN_IF_ERROR(Flush());
  return trimmed_ ? RemoveUnneeded() : absl::OkStatus();
}

absl::Status Wal::Add(const WalRecord& record) {
  const size_t begin = buffer_.size();
  if (begin == 0) {
    batch_ = next_lsn_;
  }
  AppendWalRecord(header_, WalPosition{.lsn = next_lsn_, .batch = batch_}, record, &buffer_);
  if (offset_ + buffer_.size() > options_.segment_bytes) {
    // It goes to the next segment, behind all before it.
    buffer_.resize(begin);
    RETURN_IF_ERROR(Flush());
    RETURN_IF_ERROR(StartSegment());
    batch_ = next_lsn_;
    AppendWalRecord(header_, WalPosition{.lsn = next_lsn_, .batch = batch_}, record, &buffer_);
  }
  ++next_lsn_;
  Note(record);
  return absl::OkStatus();
}

void Wal::Note(const WalRecord& record) {
  AddToState(record, &state_);
  if (std::holds_alternative<WalReset>(record)) {
    for (Segment& segment : segments_) {
      segment.index_max = 0;  // all its entries are dropped
    }
    trimmed_ = true;
  } else if (std::holds_alternative<WalTrim>(record)) {
    trimmed_ = true;
  } else if (std::holds_alternative<WalEntries>(record)) {
    segments_.back().index_max = std::max(segments_.back().index_max, state_.last);
  }
}

absl::Status Wal::Flush() {
  if (buffer_.empty()) {
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(file_->WriteAt(offset_, buffer_));
  RETURN_IF_ERROR(file_->Sync());
  ++syncs_;
  offset_ += buffer_.size();
  buffer_.clear();
  return absl::OkStatus();
}

absl::Status Wal::RemoveUnneeded() {
  trimmed_ = false;
  bool removed = false;
  while (segments_.size() > 1 && segments_.front().index_max <= state_.trim_index) {
    RETURN_IF_ERROR(fs_.Remove(SegmentPath(segments_.front().number)));
    segments_.pop_front();
    removed = true;
  }
  return removed ? fs_.SyncDir(folder_) : absl::OkStatus();
}

}  // namespace ballast
