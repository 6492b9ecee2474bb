// SPDX-License-Identifier: Apache-2.0
// Metadata load against a running cluster: closed-loop clients over real gRPC, durable puts and
// linearizable gets of small values. bench/meta.sh starts the cluster, adds the raw references and
// prints the table; docs/performance.md holds the results.
#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/time/clock.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"
#include "common/base/rng.h"
#include "common/cli/command_line.h"
#include "common/routing/shard_router.h"
#include "common/rpc/channel_pool.h"
#include "common/rpc/shardctl_client.h"
#include "common/rpc/status_bridge.h"
#include "common/types/limits.h"
#include "protos/master_service.grpc.pb.h"

namespace ballast {
namespace {

struct Options {
  std::string cluster = "127.0.0.1:7400";
  std::string operation = "put";
  uint32_t clients = 64;
  uint32_t connections = 4;
  uint64_t value_bytes = 100;
  uint64_t keys = 100000;
  absl::Duration time = absl::Seconds(5);
  uint32_t batch = 512;
};

struct Target {
  std::string cluster_id;
  uint32_t shard_count = 0;
  std::string master;
};

[[noreturn]] void Fail(const absl::Status& status, absl::string_view what) {
  std::fprintf(stderr, "meta_bench: %s: %s\n", std::string(what).c_str(),
               status.ToString().c_str());
  std::exit(1);
}

Target FindTarget(const Options& options) {
  ShardctlClientOptions shardctl_options;
  shardctl_options.addresses = {options.cluster};
  ShardctlClient shardctl(shardctl_options);
  const auto cluster = shardctl.GetCluster();
  if (!cluster.ok()) {
    Fail(cluster.status(), "no cluster");
  }
  const auto query = shardctl.Query(v1::QueryRequest());
  if (!query.ok() || query->configuration().groups_size() == 0) {
    Fail(query.status(), "no group has joined");
  }
  return {cluster->cluster_id(), cluster->shard_count(),
          query->configuration().groups(0).masters(0).address()};
}

// One closed-loop client: the next call starts when the previous one was answered.
class LoadClient {
 public:
  LoadClient(const Options& options, const Target& target, std::shared_ptr<grpc::Channel> channel,
             uint64_t seed, std::atomic<bool>* stop, absl::BlockingCounter* left)
      : options_(options),
        target_(target),
        stub_(v1::Master::NewStub(std::move(channel))),
        rng_(seed),
        stop_(stop),
        left_(left),
        value_(options.value_bytes, 'v'),
        crc_(ComputeCrc32c(value_)) {}

  // One session on every shard. Blocks.
  void OpenSessions() {
    v1::OpenSessionsRequest request;
    for (uint32_t shard = 0; shard < target_.shard_count; ++shard) {
      request.add_shards(shard);
    }
    grpc::ClientContext context;
    PrepareContext(context, target_.cluster_id, absl::Seconds(30));
    v1::OpenSessionsResponse response;
    const grpc::Status status = stub_->OpenSessions(&context, request, &response);
    if (!status.ok()) {
      Fail(FromGrpc(status), "OpenSessions");
    }
    sessions_.assign(response.session_ids().begin(), response.session_ids().end());
    sequences_.assign(sessions_.size(), 0);
  }

  void Start() { Next(); }

  // Puts keys [begin, end) in batches. Blocks.
  void Load(uint64_t begin, uint64_t end) {
    while (begin < end) {
      v1::BatchRequest request;
      for (uint32_t i = 0; i < options_.batch && begin < end; ++i, ++begin) {
        FillPut(KeyOf(begin), *request.add_operations()->mutable_put_inline());
      }
      grpc::ClientContext context;
      PrepareContext(context, target_.cluster_id, absl::Seconds(30));
      v1::BatchResponse response;
      const grpc::Status status = stub_->Batch(&context, request, &response);
      if (!status.ok()) {
        Fail(FromGrpc(status), "Batch");
      }
      for (const auto& outcome : response.outcomes()) {
        CHECK_EQ(outcome.code(), 0u) << outcome.text();
      }
    }
  }

  const std::vector<float>& latencies_us() const { return latencies_us_; }

 private:
  std::string KeyOf(uint64_t n) const { return absl::StrFormat("bench/%012d", n); }

  void FillPut(const std::string& key, v1::PutInlineRequest& put) {
    const uint32_t shard = ShardOfKey(key, target_.shard_count).value();
    const uint64_t sequence = ++sequences_[shard];
    put.mutable_request()->set_session_id(sessions_[shard]);
    put.mutable_request()->set_sequence(sequence);
    // Operations of one batch are answered together, so earlier ones of it are still incomplete.
    put.mutable_request()->set_first_incomplete(
        sequence > options_.batch ? sequence - options_.batch : 1);
    put.set_key(key);
    put.set_value(value_);
    put.set_crc32c(crc_.value);
  }

  void Next() {
    if (stop_->load(std::memory_order_relaxed)) {
      left_->DecrementCount();
      return;
    }
    context_ = std::make_unique<grpc::ClientContext>();
    PrepareContext(*context_, target_.cluster_id, absl::Seconds(30));
    const std::string key = KeyOf(rng_.Below(options_.keys));
    begun_ = absl::Now();
    if (options_.operation == "put") {
      put_.Clear();
      FillPut(key, put_);
      put_.mutable_request()->set_first_incomplete(put_.request().sequence());
      stub_->async()->PutInline(context_.get(), &put_, &put_reply_,
                                [this](grpc::Status status) { Done(status); });
    } else {
      get_.set_key(key);
      stub_->async()->GetObject(context_.get(), &get_, &get_reply_,
                                [this](grpc::Status status) { Done(status); });
    }
  }

  void Done(const grpc::Status& status) {
    if (!status.ok()) {
      Fail(FromGrpc(status), options_.operation);
    }
    latencies_us_.push_back(static_cast<float>(absl::ToDoubleMicroseconds(absl::Now() - begun_)));
    Next();
  }

  const Options& options_;
  const Target& target_;
  const std::unique_ptr<v1::Master::Stub> stub_;
  Rng rng_;
  std::atomic<bool>* const stop_;
  absl::BlockingCounter* const left_;
  const std::string value_;
  const Crc32c crc_;
  std::vector<uint64_t> sessions_;
  std::vector<uint64_t> sequences_;
  std::unique_ptr<grpc::ClientContext> context_;
  v1::PutInlineRequest put_;
  v1::PutInlineResponse put_reply_;
  v1::GetObjectRequest get_;
  v1::GetObjectResponse get_reply_;
  absl::Time begun_;
  std::vector<float> latencies_us_;
};

uint64_t WalSyncs(const Target& target, const std::shared_ptr<grpc::Channel>& channel) {
  grpc::ClientContext context;
  PrepareContext(context, target.cluster_id, absl::Seconds(10));
  v1::GetGroupStatusResponse response;
  const grpc::Status status = v1::Master::NewStub(channel)->GetGroupStatus(
      &context, v1::GetGroupStatusRequest(), &response);
  if (!status.ok()) {
    Fail(FromGrpc(status), "GetGroupStatus");
  }
  return response.wal_syncs();
}

int Main(int argc, char** argv) {
  Options options;
  CommandLine line("meta_bench", "Small durable puts and linearizable gets, closed loop.",
                   "BALLAST_BENCH");
  line.global()
      .String("--cluster", &options.cluster, "Address of shardctl.")
      .String("--operation", &options.operation, "put, get or load (fills --keys by batches).")
      .Uint("--clients", &options.clients, "Clients, each with one call under way.")
      .Uint("--connections", &options.connections, "Connections that the clients share.")
      .Uint("--keys", &options.keys, "Number of different keys.")
      .Uint("--batch", &options.batch, "Operations per call of load.")
      .Bytes("--value-bytes", &options.value_bytes, "Length of a value.")
      .Duration("--time", &options.time, "How long to measure.");
  line.ParseOrExit(argc, argv);
  const Target target = FindTarget(options);

  std::vector<std::shared_ptr<grpc::Channel>> channels;
  for (uint32_t i = 0; i < std::min(options.connections, options.clients); ++i) {
    channels.push_back(MakeChannel(target.master));
  }
  std::atomic<bool> stop{false};
  absl::BlockingCounter left(static_cast<int>(options.clients));
  std::vector<std::unique_ptr<LoadClient>> clients;
  for (uint32_t i = 0; i < options.clients; ++i) {
    clients.push_back(std::make_unique<LoadClient>(options, target, channels[i % channels.size()],
                                                   i + 1, &stop, &left));
    if (options.operation != "get") {
      clients.back()->OpenSessions();
    }
  }
  nlohmann::ordered_json out;
  out["operation"] = options.operation;
  out["clients"] = options.clients;
  out["value_bytes"] = options.value_bytes;
  const uint64_t syncs_before = WalSyncs(target, channels[0]);
  const absl::Time begun = absl::Now();
  if (options.operation == "load") {
    clients[0]->Load(0, options.keys);
    const double seconds = absl::ToDoubleSeconds(absl::Now() - begun);
    out["objects"] = options.keys;
    out["per_second"] = static_cast<double>(options.keys) / seconds;
  } else {
    for (auto& client : clients) {
      client->Start();
    }
    absl::SleepFor(options.time);
    stop = true;
    left.Wait();
    const double seconds = absl::ToDoubleSeconds(absl::Now() - begun);
    std::vector<float> all;
    for (const auto& client : clients) {
      all.insert(all.end(), client->latencies_us().begin(), client->latencies_us().end());
    }
    CHECK(!all.empty());
    std::sort(all.begin(), all.end());
    out["per_second"] = static_cast<double>(all.size()) / seconds;
    out["p50_us"] = all[all.size() / 2];
    out["p99_us"] = all[all.size() * 99 / 100];
    if (options.operation == "put") {
      out["syncs_per_put"] = static_cast<double>(WalSyncs(target, channels[0]) - syncs_before) /
                             static_cast<double>(all.size());
    }
  }
  std::printf("%s\n", out.dump().c_str());
  return 0;
}

}  // namespace
}  // namespace ballast

int main(int argc, char** argv) { return ballast::Main(argc, argv); }
