// SPDX-License-Identifier: Apache-2.0
#include "tests/unit/client/fake_chunks.h"

#include <algorithm>

#include "common/types/error.h"
#include "common/types/limits.h"

namespace ballast::client {
namespace {

// What a first server answers about itself, or about a later one.
absl::Status FailureOf(v1::Reason reason, const std::string& server_id) {
  v1::ErrorDetail detail;
  detail.set_reason(reason);
  detail.set_server_id(server_id);
  return MakeError(detail, absl::StrCat("server ", server_id, " failed"));
}

}  // namespace

absl::StatusOr<ChunkWriteResult> FakeChunks::WriteChunk(const ChunkWriteRequest& request,
                                                        ChunkSource source) {
  {
    absl::MutexLock lock(&mu_);
    writes_.push_back(request);
    writing_max_ = std::max(writing_max_, ++writing_);
  }
  const auto failure = [&](uint64_t given) -> absl::Status {
    absl::MutexLock lock(&mu_);
    for (size_t i = 0; i < request.chain.size(); ++i) {
      const std::string& id = request.chain[i].server_id();
      Faults& faults = servers_[id].faults;
      if (faults.dies_in_write_after.has_value() && given > *faults.dies_in_write_after) {
        faults.down = true;
      }
      if (faults.full) {
        return FailureOf(v1::REASON_NO_SPACE, id);
      }
      if (faults.down) {
        return i == 0 ? absl::UnavailableError("connection refused")
                      : FailureOf(v1::REASON_CHAIN_FAILED, id);
      }
    }
    return absl::OkStatus();
  };
  std::string data;
  absl::Status status = failure(0);
  std::string buffer(kBlockBytes, '\0');
  while (status.ok()) {
    const auto n = source(buffer.data(), buffer.size());
    if (!n.ok()) {
      status = n.status();
      break;
    }
    data.append(buffer, 0, *n);
    status = failure(data.size());
    if (*n < buffer.size()) {
      break;
    }
  }
  absl::MutexLock lock(&mu_);
  --writing_;
  if (!status.ok()) {
    return status;
  }
  ChunkWriteResult result;
  result.length_bytes = static_cast<uint32_t>(data.size());
  result.crc32c = ComputeCrc32c(data);
  for (const v1::ReplicaLocation& server : request.chain) {
    servers_[server.server_id()].chunks[request.handle] = data;
    result.server_ids.push_back(server.server_id());
  }
  return result;
}

ChunkReadResult FakeChunks::ReadChunk(const ChunkReadRequest& request, ChunkSink sink) {
  const std::string& id = request.replica.server_id();
  std::function<void()> action;
  Faults faults;
  std::string data;
  bool held = false;
  {
    absl::MutexLock lock(&mu_);
    reads_.push_back(request);
    action = on_read_;
    Server& server = servers_[id];
    faults = server.faults;
    if (const auto it = server.chunks.find(request.handle); it != server.chunks.end()) {
      data = it->second;
      held = true;
    }
  }
  if (action) {
    action();
  }
  ChunkReadResult result;
  if (faults.down) {
    result.status = absl::UnavailableError("connection refused");
    return result;
  }
  if (faults.missing || !held) {
    result.status = MakeError(v1::REASON_CHUNK_NOT_FOUND, "no such chunk");
    return result;
  }
  if (faults.corrupt) {
    result.status = MakeError(v1::REASON_CHECKSUM_MISMATCH, "bad block");
    return result;
  }
  if (faults.wrong_bytes) {
    std::fill(data.begin(), data.end(), 'X');
  }
  uint64_t end = std::min<uint64_t>(data.size(), request.offset_bytes + request.length_bytes);
  end -= faults.too_short ? 1 : 0;
  for (uint64_t at = request.offset_bytes; at < end;) {
    if (faults.stalls_in_read_after.has_value() &&
        result.delivered_bytes >= *faults.stalls_in_read_after) {
      result.status = absl::DeadlineExceededError("stalled");
      return result;
    }
    if (faults.dies_in_read_after.has_value() &&
        result.delivered_bytes >= *faults.dies_in_read_after) {
      Set(id, [](Faults& f) { f.down = true; });
      result.status = absl::UnavailableError("connection lost");
      return result;
    }
    const uint64_t n = std::min(end - at, kBlockBytes);
    const absl::string_view bytes = absl::string_view(data).substr(at, n);
    result.status = sink(bytes);
    if (!result.status.ok()) {
      return result;
    }
    result.crc32c = ExtendCrc32c(result.crc32c, bytes);
    result.delivered_bytes += n;
    at += n;
  }
  return result;
}

void FakeChunks::Set(const std::string& server_id, const std::function<void(Faults&)>& change) {
  absl::MutexLock lock(&mu_);
  change(servers_[server_id].faults);
}

void FakeChunks::OnRead(std::function<void()> action) {
  absl::MutexLock lock(&mu_);
  on_read_ = std::move(action);
}

std::vector<ChunkReadRequest> FakeChunks::reads() const {
  absl::MutexLock lock(&mu_);
  return reads_;
}

std::vector<ChunkWriteRequest> FakeChunks::writes() const {
  absl::MutexLock lock(&mu_);
  return writes_;
}

size_t FakeChunks::chunks_on(const std::string& server_id) const {
  absl::MutexLock lock(&mu_);
  const auto it = servers_.find(server_id);
  return it != servers_.end() ? it->second.chunks.size() : 0;
}

int FakeChunks::writes_at_once_max() const {
  absl::MutexLock lock(&mu_);
  return writing_max_;
}

}  // namespace ballast::client
