// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/synchronization/mutex.h"
#include "gateway/cluster_backend.h"

namespace ballast::gateway {

// A cluster that writes down what it is asked and answers from its public fields; values by key it
// really keeps. With `failure` set, every call fails with it.
class FakeBackend : public ClusterBackend {
 public:
  absl::Status failure;
  HeartbeatOrders orders;
  std::vector<ServerRow> rows;
  BalanceReport report;
  std::vector<MoveOutcome> outcomes;  // of the next moves; if too few, 64 MiB each
  UpdateOutcome update;
  std::vector<std::string> pool;
  std::map<std::string, std::string> values;

  std::vector<std::string> calls() const {
    absl::MutexLock lock(&mutex_);
    return calls_;
  }

  absl::StatusOr<HeartbeatOrders> Heartbeat(const ServerHeartbeat& heartbeat,
                                            absl::Duration age) override {
    Note(absl::StrCat("heartbeat ", heartbeat.server, " [", absl::StrJoin(heartbeat.chunks, ","),
                      "] ", heartbeat.disk_usage_pct, "% '", heartbeat.health, "' ",
                      absl::FormatDuration(age), " ago"));
    return Or(orders);
  }
  void Touch(const std::string& server) override { Note(absl::StrCat("touch ", server)); }
  absl::StatusOr<std::vector<ServerRow>> Servers() override {
    Note("servers");
    return Or(rows);
  }
  absl::StatusOr<BalanceReport> CheckBalance() override {
    Note("check");
    return Or(report);
  }
  absl::StatusOr<std::vector<MoveOutcome>> Move(absl::Span<const ChunkMove> moves) override {
    std::string call = "move";
    for (const ChunkMove& move : moves) {
      absl::StrAppend(&call, " ", move.chunk, ":", move.from, ">", move.to);
    }
    Note(call);
    OnMove();
    outcomes.resize(moves.size(), MoveOutcome{absl::OkStatus(), uint64_t{64} << 20});
    return Or(std::exchange(outcomes, {}));
  }
  absl::Status SetConfig(const GroupConfiguration& config) override {
    Note(absl::StrCat("set_config ", Text(config)));
    return failure;
  }
  absl::StatusOr<UpdateOutcome> UpdateConfig(const GroupConfiguration& config) override {
    Note(absl::StrCat("config_update ", Text(config)));
    return Or(update);
  }
  absl::StatusOr<std::string> Read(const std::string& key) override {
    Note(absl::StrCat("read ", key));
    const auto it = values.find(key);
    if (failure.ok() && it == values.end()) {
      return absl::NotFoundError(absl::StrCat("no key '", key, "'"));
    }
    return Or(it == values.end() ? "" : it->second);
  }
  absl::Status Write(const std::string& key, const std::string& value) override {
    Note(absl::StrCat("write ", key, "=", value.substr(0, 100)));
    values[key] = value;
    return failure;
  }
  absl::Status CompareAndSet(const std::string& key, const std::string& from,
                             const std::string& to) override {
    Note(absl::StrCat("cas ", key, " ", from, ">", to));
    const auto it = values.find(key);
    if (it == values.end()) {
      return absl::NotFoundError(absl::StrCat("no key '", key, "'"));
    }
    if (it->second != from) {
      return absl::FailedPreconditionError(absl::StrCat("the value is ", it->second));
    }
    it->second = to;
    return failure;
  }
  absl::StatusOr<std::vector<std::string>> AddServer(const std::string& server,
                                                     std::optional<double> weight) override {
    Note(absl::StrCat("add ", server, " ", weight.has_value() ? absl::StrCat(*weight) : "-"));
    pool.push_back(server);
    return Or(pool);
  }
  absl::StatusOr<std::vector<std::string>> RemoveServer(const std::string& server) override {
    Note(absl::StrCat("remove ", server));
    std::erase(pool, server);
    return Or(pool);
  }
  absl::StatusOr<std::vector<std::string>> Route(const std::string& key) override {
    Note(absl::StrCat("route ", key));
    return Or(pool);
  }

 protected:
  virtual void OnMove() {}

 private:
  template <typename T>
  absl::StatusOr<T> Or(T answer) const {
    return failure.ok() ? absl::StatusOr<T>(std::move(answer)) : failure;
  }
  absl::StatusOr<std::string> Or(const char* answer) const { return Or(std::string(answer)); }
  static std::string Text(const GroupConfiguration& config) {
    return absl::StrCat(config.version, " [", absl::StrJoin(config.shards, ","), "]");
  }
  void Note(std::string call) {
    absl::MutexLock lock(&mutex_);
    calls_.push_back(std::move(call));
  }

  mutable absl::Mutex mutex_;
  std::vector<std::string> calls_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace ballast::gateway
