// SPDX-License-Identifier: Apache-2.0
#include "tests/sim/chunk_workload.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/routing/shard_router.h"
#include "common/types/error.h"
#include "tests/sim/sim_chunk_server.h"
#include "tests/sim/sim_master.h"

namespace ballast::testing {
namespace {

constexpr size_t kKeysPerClient = 5;
constexpr int kTriesMax = 12;
constexpr int kChunkTriesMax = 4;
constexpr absl::Duration kCallTimeout = absl::Milliseconds(1500);
constexpr absl::Duration kChunkTimeout = absl::Seconds(6);

MasterAnswer Failed(const absl::Status& status) {
  MasterAnswer answer;
  answer.status = status;
  return answer;
}

bool WorthAnotherTry(const absl::Status& status) {
  switch (ReasonOf(status)) {
    case v1::REASON_NOT_LEADER:
    case v1::REASON_NOT_READY:
    case v1::REASON_OVERLOADED:
    case v1::REASON_OUTCOME_UNKNOWN:
    case v1::REASON_WRONG_GROUP:
      return true;
    default:
      return !IsDefinite(status);
  }
}

}  // namespace

struct SimClient::Put {
  std::string key;
  uint64_t session = 0;
  uint64_t draft = 0;
  std::vector<std::shared_ptr<const std::string>> parts;
  std::vector<v1::ChunkPlacement> placements;  // of chunks not written yet, next one last
  std::vector<v1::SealedChunk> sealed;
  Crc32c crc;
  uint64_t bytes = 0;
};

SimClient::SimClient(ChunkWorld& world, size_t number, std::vector<std::string> masters)
    : world_(world),
      number_(number),
      node_(world.network.AddNode()),
      alive_(std::make_shared<SimClient*>(this)),
      route_(std::move(masters)) {}

SimClient::~SimClient() = default;

void SimClient::Later(absl::Duration delay, std::function<void()> task) {
  world_.sim.At(delay, [weak = std::weak_ptr<SimClient*>(alive_), task = std::move(task)] {
    if (weak.lock() != nullptr) {
      task();
    }
  });
}

// Runs the callback once, and only while this client is there.
std::function<void(MasterAnswer)> SimClient::Guard(
    std::function<void(const MasterAnswer&)> callback) {
  auto once = std::make_shared<std::function<void(const MasterAnswer&)>>(std::move(callback));
  return [weak = std::weak_ptr<SimClient*>(alive_), once](const MasterAnswer& answer) {
    if (weak.lock() != nullptr && *once) {
      std::exchange(*once, nullptr)(answer);
    }
  };
}

// --- calls --------------------------------------------------------------------------------------

void SimClient::Call(MasterRequest request, Done done) {
  Try(std::make_shared<MasterRequest>(std::move(request)), 1, std::move(done));
}

void SimClient::Try(std::shared_ptr<MasterRequest> request, int tries, Done done) {
  const std::string address = route_.current();
  const auto answered = Guard([this, request, tries, done](const MasterAnswer& answer) {
    if (answer.status.ok() || !WorthAnotherTry(answer.status)) {
      route_.OnSuccess();
      if (ReasonOf(answer.status) == v1::REASON_SESSION_EXPIRED) {
        sessions_.clear();
      }
      done(answer);
      return;
    }
    if (tries >= kTriesMax) {
      done(Failed(absl::DeadlineExceededError("tried too often")));
      return;
    }
    const bool at_once = route_.OnFailure(answer.status);
    Later(absl::Milliseconds(at_once ? 1 : world_.rng().Between(50, 600)),
          [this, request, tries, done] { Try(request, tries + 1, done); });
  });
  Later(kCallTimeout, [answered] { answered(Failed(absl::UnavailableError("no answer"))); });
  SimMaster* const there = world_.master_at(address);
  if (there == nullptr) {
    Later(absl::Milliseconds(1),
          [answered] { answered(Failed(absl::UnavailableError("connection refused"))); });
    return;
  }
  const NetNode node = there->place().node;
  const auto arrive = [this, node, address, request, answered] {
    if (SimMaster* const master = world_.master_at(address)) {
      master->Handle(*request, [this, node, answered](const MasterAnswer& answer) {
        world_.network.Send(node, node_, [answered, answer] { answered(answer); });
      });
    }
  };
  world_.network.Send(node_, node, arrive);
  if (world_.rng().OneIn(20)) {  // once more, some operations later
    Later(absl::Milliseconds(world_.rng().Between(100, 8000)),
          [this, node, arrive] { world_.network.Send(node_, node, arrive); });
  }
}

void SimClient::WithSession(const std::string& key, std::function<void(uint64_t)> go) {
  const ShardId shard = ShardOfKey(key, world_.checker.log().shard_count());
  const auto known = sessions_.find(shard.value());
  if (known != sessions_.end()) {
    go(known->second);
    return;
  }
  Call({OpenSession{shard}}, [this, shard, go = std::move(go)](const MasterAnswer& answer) {
    if (!answer.status.ok()) {
      EndOperation();
      return;
    }
    sessions_[shard.value()] = answer.result.session_id();
    go(answer.result.session_id());
  });
}

v1::RequestId SimClient::NewRequest(uint64_t session) {
  v1::RequestId id;
  id.set_session_id(session);
  id.set_sequence(++sequences_[session]);
  id.set_first_incomplete(id.sequence());  // one at a time
  return id;
}

// --- operations ---------------------------------------------------------------------------------

void SimClient::Start() {
  working_ = true;
  if (!busy_) {
    busy_ = true;
    EndOperation();
  }
}

void SimClient::EndOperation() {
  Later(absl::Milliseconds(world_.rng().Between(20, 700)), [this] { Next(); });
}

void SimClient::Next() {
  if (!working_) {
    busy_ = false;
    return;
  }
  const uint64_t dice = world_.rng().Below(20);
  if (dice < 10) {
    StartPut();
  } else if (dice < 12) {
    StartDelete();
  } else {
    Read(SomeKey(world_.rng().Below(number_ + 2)), [this](const std::string&) { EndOperation(); });
  }
}

std::string SimClient::SomeKey(size_t client) {
  return absl::StrCat("client", client, "/key", world_.rng().Below(kKeysPerClient));
}

std::string SimClient::SomeBytes(uint64_t length) {
  std::string bytes(length, '\0');
  Rng rng(world_.rng().Next());
  for (char& byte : bytes) {
    byte = static_cast<char>(rng.Next());
  }
  return bytes;
}

void SimClient::StartPut() {
  auto put = std::make_shared<Put>();
  Rng& rng = world_.rng();
  put->key = SomeKey(number_);
  const uint64_t count = rng.Between(1, 3);
  const uint64_t length = rng.OneIn(8) ? rng.Between(60000, 140000) : rng.Between(1, 4000);
  for (uint64_t i = 0; i < count; ++i) {
    const uint64_t bytes = i + 1 < count ? length : rng.Between(1, length);
    put->parts.push_back(std::make_shared<const std::string>(SomeBytes(bytes)));
    put->crc = ExtendCrc32c(put->crc, *put->parts.back());
    put->bytes += bytes;
  }
  WithSession(put->key, [this, put, length](uint64_t session) {
    put->session = session;
    v1::BeginWriteRequest begin;
    *begin.mutable_request() = NewRequest(session);
    begin.set_key(put->key);
    begin.set_wanted_replicas(world_.rng().OneIn(40) ? 1 : (world_.rng().OneIn(5) ? 2 : 0));
    begin.set_chunk_count(put->parts.size());
    begin.set_chunk_bytes(static_cast<uint32_t>(length));
    Call({begin}, [this, put](const MasterAnswer& answer) {
      if (!answer.status.ok() ||
          answer.placed.chunks_size() != static_cast<int>(put->parts.size())) {
        GiveUp(put);
        return;
      }
      put->draft = answer.result.draft_id();
      put->placements.assign(answer.placed.chunks().rbegin(), answer.placed.chunks().rend());
      WriteNextChunk(put);
    });
  });
}

void SimClient::WriteNextChunk(std::shared_ptr<Put> put) {
  if (put->placements.empty()) {
    Seal(put);
    return;
  }
  if (world_.rng().OneIn(40)) {
    EndOperation();  // this writer dies; its draft will expire
    return;
  }
  const v1::ChunkPlacement placement = put->placements.back();
  put->placements.pop_back();
  WriteChunk(put, placement, 1);
}

void SimClient::WriteChunk(std::shared_ptr<Put> put, const v1::ChunkPlacement& placement,
                           int tries) {
  const ChunkHandle handle(placement.handle());
  const std::shared_ptr<const std::string> bytes = put->parts[put->sealed.size()];
  world_.checker.OnChunkMade(handle, bytes);
  const auto answered =
      Guard([this, put, placement, handle, bytes, tries](const MasterAnswer& answer) {
        if (answer.status.ok()) {
          world_.checker.OnChunkAcked(handle);
          v1::SealedChunk& sealed = put->sealed.emplace_back();
          sealed.set_handle(handle.value());
          sealed.set_position(put->sealed.size() - 1);
          sealed.set_length_bytes(static_cast<uint32_t>(bytes->size()));
          sealed.set_crc32c(ComputeCrc32c(*bytes).value);
          for (const v1::ReplicaLocation& server : placement.servers()) {
            sealed.add_server_indexes(server.server_index());
          }
          WriteNextChunk(put);
          return;
        }
        if (tries >= kChunkTriesMax) {
          GiveUp(put);
          return;
        }
        v1::AllocateChunksRequest more;
        *more.mutable_request() = NewRequest(put->session);
        more.set_draft_id(put->draft);
        more.set_chunk_count(1);
        more.set_chunk_bytes(static_cast<uint32_t>(bytes->size()));
        for (const v1::ReplicaLocation& server : placement.servers()) {
          if (world_.rng().OneIn(2)) {
            more.add_avoid_server_ids(server.server_id());
          }
        }
        Call({more}, [this, put, tries](const MasterAnswer& allocated) {
          if (allocated.status.ok() && allocated.placed.chunks_size() == 1) {
            WriteChunk(put, allocated.placed.chunks(0), tries + 1);
          } else {
            GiveUp(put);
          }
        });
      });
  Later(kChunkTimeout, [answered] { answered(Failed(absl::UnavailableError("no answer"))); });
  std::vector<std::string> chain;
  for (const v1::ReplicaLocation& server : placement.servers()) {
    chain.push_back(server.address());
  }
  const std::string first = chain.front();
  chain.erase(chain.begin());
  SimChunkServer* const there = world_.server_at(first);
  if (there == nullptr) {
    Later(absl::Milliseconds(1),
          [answered] { answered(Failed(absl::UnavailableError("connection refused"))); });
    return;
  }
  const NetNode node = there->place().node;
  world_.network.Send(node_, node, [this, node, first, chain, handle, bytes, answered] {
    if (SimChunkServer* const server = world_.server_at(first)) {
      server->Write(handle, bytes, chain, [this, node, answered](const absl::Status& status) {
        world_.network.Send(node, node_, [answered, status] { answered(Failed(status)); });
      });
    }
  });
}

void SimClient::Seal(std::shared_ptr<Put> put) {
  v1::SealChunksRequest seal;
  *seal.mutable_request() = NewRequest(put->session);
  seal.set_draft_id(put->draft);
  for (const v1::SealedChunk& chunk : put->sealed) {
    *seal.add_chunks() = chunk;
  }
  Call({seal}, [this, put](const MasterAnswer& answer) {
    if (answer.status.ok() && !world_.rng().OneIn(40)) {
      Commit(put);
    } else {
      GiveUp(put);
    }
  });
}

void SimClient::Commit(std::shared_ptr<Put> put) {
  v1::CommitObjectRequest commit;
  *commit.mutable_request() = NewRequest(put->session);
  commit.set_key(put->key);
  commit.set_draft_id(put->draft);
  commit.set_size_bytes(put->bytes);
  commit.set_crc32c(put->crc.value);
  commit.set_chunk_count(put->sealed.size());
  Call({commit}, [this, put](const MasterAnswer& answer) {
    Possible& possible = keys_.try_emplace(put->key, Possible{0}).first->second;
    if (answer.status.ok()) {
      possible = {put->crc.value};
      ++puts_;
    } else if (absl::IsDeadlineExceeded(answer.status) ||
               ReasonOf(answer.status) == v1::REASON_SESSION_EXPIRED) {
      possible.insert(put->crc.value);
    }
    if (answer.status.ok()) {
      EndOperation();
    } else {
      GiveUp(put);
    }
  });
}

void SimClient::GiveUp(std::shared_ptr<Put> put) {
  ++failures_;
  if (put->draft == 0 || world_.rng().OneIn(3)) {
    EndOperation();
    return;
  }
  v1::AbortWriteRequest abort;
  *abort.mutable_request() = NewRequest(put->session);
  abort.set_draft_id(put->draft);
  Call({abort}, [this](const MasterAnswer&) { EndOperation(); });
}

void SimClient::StartDelete() {
  const std::string key = SomeKey(number_);
  WithSession(key, [this, key](uint64_t session) {
    v1::DeleteObjectRequest remove;
    *remove.mutable_request() = NewRequest(session);
    remove.set_key(key);
    Call({remove}, [this, key](const MasterAnswer& answer) {
      Possible& possible = keys_.try_emplace(key, Possible{0}).first->second;
      if (answer.status.ok() || ReasonOf(answer.status) == v1::REASON_OBJECT_NOT_FOUND) {
        possible = {0};
      } else {
        possible.insert(0);
      }
      EndOperation();
    });
  });
}

// --- reads --------------------------------------------------------------------------------------

void SimClient::Read(const std::string& key, std::function<void(std::string)> done) {
  v1::GetObjectRequest get;
  get.set_key(key);
  Call({get}, [this, key, done = std::move(done)](const MasterAnswer& answer) {
    if (ReasonOf(answer.status) == v1::REASON_OBJECT_NOT_FOUND) {
      done("");
    } else if (!answer.status.ok()) {
      done(absl::StrCat(key, ": ", answer.status.ToString()));
    } else {
      ReadChunk(std::make_shared<v1::GetObjectResponse>(answer.object), 0, 0, "", done);
    }
  });
}

void SimClient::ReadChunk(std::shared_ptr<v1::GetObjectResponse> object, int chunk, int replica,
                          std::string why, std::function<void(std::string)> done) {
  if (chunk == object->chunks_size()) {
    done("");
    return;
  }
  const v1::ChunkInfo& info = object->chunks(chunk);
  const ChunkHandle handle(info.handle());
  if (replica == info.replicas_size()) {
    done(absl::StrCat(object->object().key(), ": chunk ", handle.ToString(),
                      " could not be read:", why));
    return;
  }
  const v1::ReplicaLocation location = info.replicas(replica);
  const auto answered = Guard([=, this](const MasterAnswer& answer) {
    if (answer.status.ok()) {
      ReadChunk(object, chunk + 1, 0, "", done);
      return;
    }
    if (absl::IsDataLoss(answer.status) || absl::IsNotFound(answer.status)) {
      v1::ReportBadReplicaRequest bad;
      bad.set_handle(handle.value());
      bad.set_server_id(location.server_id());
      bad.set_problem(v1::ReportBadReplicaRequest::PROBLEM_CHECKSUM);
      Call({bad}, [](const MasterAnswer&) {});
    }
    ReadChunk(object, chunk, replica + 1,
              absl::StrCat(why, " ", location.server_index(), "=", answer.status.message()), done);
  });
  Later(kCallTimeout, [answered] { answered(Failed(absl::UnavailableError("no answer"))); });
  SimChunkServer* const there = world_.server_at(location.address());
  if (there == nullptr) {
    Later(absl::Milliseconds(1),
          [answered] { answered(Failed(absl::UnavailableError("connection refused"))); });
    return;
  }
  const NetNode node = there->place().node;
  world_.network.Send(node_, node, [this, node, location, handle, answered] {
    if (SimChunkServer* const server = world_.server_at(location.address())) {
      server->Read(handle, [this, node, handle, answered](const absl::StatusOr<std::string>& got) {
        if (got.ok()) {
          world_.checker.OnRead(handle, *got);
        }
        world_.network.Send(node, node_,
                            [answered, status = got.status()] { answered(Failed(status)); });
      });
    }
  });
}

void SimClient::ReadAll(std::function<void(std::string)> done) {
  auto missing = std::make_shared<std::string>();
  auto left = std::make_shared<size_t>(keys_.size());
  if (keys_.empty()) {
    Later(absl::ZeroDuration(), [done] { done(""); });
  }
  for (const auto& [key, possible] : keys_) {
    Read(key, [missing, left, done](const std::string& problem) {
      if (!problem.empty()) {
        absl::StrAppend(missing.get(), "\n  ", problem);
      }
      if (--*left == 0) {
        done(*missing);
      }
    });
  }
}

void SimClient::CheckKeys() const {
  for (const auto& [key, possible] : keys_) {
    const auto object = world_.checker.log().FindObject(key);
    const uint32_t crc = object.ok() ? (*object)->crc32c().value : 0;
    if (!possible.contains(crc)) {
      world_.checker.Violate(absl::StrCat("I1: ", key,
                                          object.ok() ? " has another value than" : " is gone, not",
                                          " what was acknowledged"));
    }
  }
}

}  // namespace ballast::testing
