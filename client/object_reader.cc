// SPDX-License-Identifier: Apache-2.0
#include "client/object_reader.h"

#include <algorithm>
#include <map>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/chunk_pages.h"
#include "client/chunk_reader.h"
#include "common/base/status_macros.h"
#include "common/types/error.h"

namespace ballast::client {
namespace {

// One Get of an object with chunks: workers fetch pieces, in any order into an unordered sink, or
// into buffers that the calling thread hands to an ordered one.
//
// Lock order: plan_mu_, then mu_.
class RangeReader {
 public:
  RangeReader(MetadataClient& metadata, ChunkTransport& transport, ServerHealth& health,
              const ClientOptions& options, const v1::GetObjectResponse& object, uint64_t begin,
              uint64_t end, Sink& sink, const GetOptions& get)
      : options_(options),
        sink_(sink),
        get_(get),
        end_(end),
        pages_(metadata, object, CallControl{&stop_, {}}),
        reader_(metadata, transport, health, options, get.replica_choice, pages_, stop_),
        begin_(begin),
        next_(begin) {}

  absl::Status Run() {
    const Cancellation::Hook hook(get_.cancel, [this] { stop_.Cancel(); });
    RETURN_IF_ERROR(pages_.Check());
    std::vector<std::thread> threads;
    const uint64_t pieces =
        CeilDiv(end_ - begin_, std::min(PieceBytes(), pages_.chunk_bytes())) + 1;
    const uint64_t count =
        std::min<uint64_t>(pieces, static_cast<uint64_t>(std::max(options_.gets_in_flight, 1)));
    {
      absl::MutexLock lock(&mu_);
      workers_ = static_cast<int>(count);
    }
    for (uint64_t i = 0; i < count; ++i) {
      threads.emplace_back([this] { WorkerMain(); });
    }
    if (!sink_.unordered()) {
      DeliverInOrder();
    }
    for (std::thread& thread : threads) {
      thread.join();
    }
    absl::MutexLock lock(&mu_);
    return failure_;
  }

 private:
  struct Buffer {
    std::unique_ptr<char[]> bytes;
    uint64_t length = 0;
    bool filled = false;
    Piece piece;
    Crc32c crc32c;
  };

  uint64_t PieceBytes() const {
    return sink_.unordered() ? kChunkBytesMax : options_.ordered_piece_bytes;
  }

  // The next piece in order and its number; false at the end or after a failure.
  absl::StatusOr<bool> NextPiece(Piece* piece, uint64_t* index) {
    absl::MutexLock plan_lock(&plan_mu_);
    if (next_ >= end_ || stop_.cancelled()) {
      return false;
    }
    *index = next_index_;
    if (!sink_.unordered() && !WaitForRoom(*index)) {
      return false;
    }
    const uint64_t position = next_ / pages_.chunk_bytes();
    ASSIGN_OR_RETURN(piece->chunk, pages_.At(position));
    piece->begin = next_ - piece->chunk.offset_bytes();
    // Pieces end at multiples of their size in the chunk, so that they are whole blocks.
    const uint64_t boundary = (piece->begin / PieceBytes() + 1) * PieceBytes();
    piece->end = std::min(
        {boundary, uint64_t{piece->chunk.length_bytes()}, end_ - piece->chunk.offset_bytes()});
    piece->out_offset = next_ - begin_;
    next_ += piece->length();
    ++next_index_;
    return true;
  }

  // Ordered sinks: at most gets_in_flight + 1 pieces exist at once. False: stopped.
  bool WaitForRoom(uint64_t index) {
    absl::MutexLock lock(&mu_);
    const uint64_t window = static_cast<uint64_t>(std::max(options_.gets_in_flight, 1)) + 1;
    const auto room = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
      return !failure_.ok() || index < next_delivery_ + window;
    };
    mu_.Await(absl::Condition(&room));
    return failure_.ok();
  }

  void WorkerMain() {
    while (true) {
      Piece piece;
      uint64_t index = 0;
      const auto more = NextPiece(&piece, &index);
      if (!more.ok()) {
        Fail(more.status());
        break;
      }
      if (!*more) {
        break;
      }
      const absl::Status status =
          sink_.unordered() ? ReadIntoSink(piece) : ReadIntoBuffer(std::move(piece), index);
      if (!status.ok()) {
        Fail(status);
        break;
      }
    }
    if (get_.cancel != nullptr && get_.cancel->cancelled()) {
      Fail(absl::CancelledError("cancelled"));
    }
    absl::MutexLock lock(&mu_);
    --workers_;
  }

  absl::Status ReadIntoSink(const Piece& piece) {
    uint64_t counted = 0;
    return reader_
        .Read(piece,
              [&](uint64_t offset, absl::string_view bytes) {
                if (offset < counted) {
                  Progressed(offset - counted);  // delivered anew; wraps on purpose
                }
                counted = offset + bytes.size();
                Progressed(bytes.size());
                return sink_.WriteAt(piece.out_offset + offset, bytes);
              })
        .status();
  }

  absl::Status ReadIntoBuffer(Piece piece, uint64_t index) {
    Buffer buffer = TakeBuffer(piece.length());
    ASSIGN_OR_RETURN(buffer.crc32c,
                     reader_.Read(piece, [&](uint64_t offset, absl::string_view bytes) {
                       std::copy(bytes.begin(), bytes.end(), buffer.bytes.get() + offset);
                       return absl::OkStatus();
                     }));
    buffer.filled = true;
    buffer.piece = std::move(piece);
    absl::MutexLock lock(&mu_);
    ready_[index] = std::move(buffer);
    return absl::OkStatus();
  }

  Buffer TakeBuffer(uint64_t length) {
    Buffer buffer;
    {
      absl::MutexLock lock(&mu_);
      if (!spare_.empty()) {
        buffer.bytes = std::move(spare_.back());
        spare_.pop_back();
      }
    }
    if (buffer.bytes == nullptr) {
      buffer.bytes.reset(new char[PieceBytes()]);
    }
    buffer.length = length;
    return buffer;
  }

  void DeliverInOrder() {
    Crc32c chunk_crc;
    bool from_start = false;  // chunk_crc covers the chunk from its first byte
    for (uint64_t offset = begin_; offset < end_;) {
      Buffer buffer;
      {
        absl::MutexLock lock(&mu_);
        const auto ready = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) {
          return !failure_.ok() || ready_.contains(next_delivery_) || workers_ == 0;
        };
        mu_.Await(absl::Condition(&ready));
        const auto it = ready_.find(next_delivery_);
        if (!failure_.ok() || it == ready_.end()) {
          return;
        }
        buffer = std::move(it->second);
        ready_.erase(it);
      }
      if (buffer.piece.begin == 0) {
        chunk_crc = Crc32c();
        from_start = true;
      }
      chunk_crc = ConcatCrc32c(chunk_crc, buffer.crc32c, buffer.length);
      if (from_start && buffer.piece.end == buffer.piece.chunk.length_bytes() &&
          chunk_crc.value != buffer.piece.chunk.crc32c()) {
        // Its last piece at least is withheld.
        return Fail(MakeError(
            v1::REASON_CHECKSUM_MISMATCH,
            absl::StrCat(
                "chunk ", ChunkHandle(buffer.piece.chunk.handle()).ToString(),
                " does not have its checksum; read into a file, which tries all replicas")));
      }
      const absl::Status written =
          sink_.WriteAt(buffer.piece.out_offset, {buffer.bytes.get(), buffer.length});
      if (!written.ok()) {
        return Fail(written);
      }
      Progressed(buffer.length);
      offset += buffer.length;
      absl::MutexLock lock(&mu_);
      spare_.push_back(std::move(buffer.bytes));
      ++next_delivery_;
    }
  }

  void Progressed(uint64_t bytes) {
    if (get_.progress != nullptr) {
      get_.progress->bytes_done += bytes;
    }
  }

  void Fail(const absl::Status& status) {
    {
      absl::MutexLock lock(&mu_);
      if (failure_.ok()) {
        failure_ = status;
      }
    }
    stop_.Cancel();
  }

  const ClientOptions& options_;
  Sink& sink_;
  const GetOptions& get_;
  const uint64_t end_;  // of the range, in the object

  Cancellation stop_;  // the caller's cancellation, or the first failure
  ChunkPages pages_;
  ChunkReader reader_;

  absl::Mutex plan_mu_;  // held while a page of the chunk list is fetched
  const uint64_t begin_;
  uint64_t next_ ABSL_GUARDED_BY(plan_mu_);
  uint64_t next_index_ ABSL_GUARDED_BY(plan_mu_) = 0;

  absl::Mutex mu_;
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
  int workers_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t next_delivery_ ABSL_GUARDED_BY(mu_) = 0;
  std::map<uint64_t, Buffer> ready_ ABSL_GUARDED_BY(mu_);
  std::vector<std::unique_ptr<char[]>> spare_ ABSL_GUARDED_BY(mu_);
};

absl::Status DeliverInline(const v1::GetObjectResponse& object, uint64_t begin, uint64_t end,
                           Sink& sink, const GetOptions& get) {
  const std::string& value = object.inline_data();
  if (value.size() != object.object().size_bytes() ||
      ComputeCrc32c(value).value != object.object().crc32c()) {
    return MakeError(v1::REASON_CHECKSUM_MISMATCH, "the value does not have its checksum");
  }
  if (begin < end) {
    RETURN_IF_ERROR(sink.WriteAt(0, absl::string_view(value).substr(begin, end - begin)));
  }
  if (get.progress != nullptr) {
    get.progress->bytes_done = end - begin;
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<GetResult> ObjectReader::Get(const std::string& key, Sink& sink,
                                            const GetOptions& get) {
  ASSIGN_OR_RETURN(const auto object, metadata_.GetObject(key, CallControl{get.cancel, {}}));
  const uint64_t size = object.object().size_bytes();
  const uint64_t begin = get.offset_bytes;
  if (begin > 0 && begin >= size) {
    return MakeError(v1::REASON_OUT_OF_RANGE,
                     absl::StrCat("the range begins at byte ", begin, ", '", key, "' has ", size));
  }
  const uint64_t end = begin + std::min(get.length_bytes.value_or(size), size - begin);
  if (get.progress != nullptr) {
    get.progress->bytes_total = end - begin;
  }
  if (object.object().is_inline()) {
    RETURN_IF_ERROR(DeliverInline(object, begin, end, sink, get));
  } else if (begin < end) {
    RangeReader reader(metadata_, transport_, health_, options_, object, begin, end, sink, get);
    RETURN_IF_ERROR(reader.Run());
  }
  RETURN_IF_ERROR(sink.Finish());
  GetResult result;
  result.object = object.object();
  result.delivered_bytes = end - begin;
  return result;
}

}  // namespace ballast::client
