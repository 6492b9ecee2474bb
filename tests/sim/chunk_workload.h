// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "common/rpc/retry_policy.h"
#include "tests/sim/chunk_world.h"

namespace ballast::testing {

// A client of a simulated cluster: puts, overwrites, deletes and reads, one operation at a time, as
// the client library does them: sessions, retries with the same identity, new handles for chunks
// whose chain failed, drafts that are abandoned. It writes keys of its own only, so it knows what
// each must be; it reads everybody's and checks every byte.
//
// Concurrency: one thread. Ownership: world outlives it.
class SimClient {
 public:
  SimClient(ChunkWorld& world, size_t number, std::vector<std::string> masters);
  ~SimClient();

  // Works until Stop.
  void Start();
  void Stop() { working_ = false; }
  bool idle() const { return !busy_; }

  // Reads each of its own keys once. `done` gets what could not be read; empty if all could.
  void ReadAll(std::function<void(std::string)> done);
  // What the committed log says of its keys, compared with what it was told.
  void CheckKeys() const;

  uint64_t puts() const { return puts_; }
  uint64_t failures() const { return failures_; }

 private:
  // Checksums of values that a key may have now; 0: it may be absent. Exactly one unless an
  // operation's outcome is unknown.
  using Possible = std::set<uint32_t>;
  struct Put;
  using Done = std::function<void(const MasterAnswer&)>;

  void Later(absl::Duration delay, std::function<void()> task);
  std::function<void(MasterAnswer)> Guard(std::function<void(const MasterAnswer&)> callback);
  void Next();
  void EndOperation();

  // Until there is an answer that further tries would not change, or too many were made; then
  // status DEADLINE_EXCEEDED, and the outcome is unknown.
  void Call(MasterRequest request, Done done);
  void Try(std::shared_ptr<MasterRequest> request, int tries, Done done);
  void WithSession(const std::string& key, std::function<void(uint64_t session)> go);
  v1::RequestId NewRequest(uint64_t session);

  void StartPut();
  void WriteNextChunk(std::shared_ptr<Put> put);
  void WriteChunk(std::shared_ptr<Put> put, const v1::ChunkPlacement& placement, int tries);
  void Seal(std::shared_ptr<Put> put);
  void Commit(std::shared_ptr<Put> put);
  void GiveUp(std::shared_ptr<Put> put);
  void StartDelete();
  void Read(const std::string& key, std::function<void(std::string)> done);
  // From this replica on; `why` the ones before did not do.
  void ReadChunk(std::shared_ptr<v1::GetObjectResponse> object, int chunk, int replica,
                 std::string why, std::function<void(std::string)> done);
  std::string SomeKey(size_t client);
  std::string SomeBytes(uint64_t length);

  ChunkWorld& world_;
  const size_t number_;
  const NetNode node_;
  const std::shared_ptr<SimClient*> alive_;
  LeaderRoute route_;
  bool working_ = false;
  bool busy_ = false;
  std::map<uint32_t, uint64_t> sessions_;   // by shard
  std::map<uint64_t, uint64_t> sequences_;  // by session
  std::map<std::string, Possible> keys_;
  uint64_t puts_ = 0;
  uint64_t failures_ = 0;
};

}  // namespace ballast::testing
