// SPDX-License-Identifier: Apache-2.0
// Chunk servers as far as heartbeats go, many in one process, against a running master; and a bare
// gRPC server that answers them, for reference. bench/heartbeats.py starts all, reads the other
// side's processor time and prints the table. It is told of each phase by one JSON object a line,
// and answers with an empty line.
#include "bench/heartbeats_bench.h"

#include <grpcpp/grpcpp.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "common/base/check.h"
#include "common/cli/command_line.h"
#include "common/rpc/channel_pool.h"
#include "common/rpc/shardctl_client.h"
#include "common/rpc/status_bridge.h"
#include "protos/chunkserver_control_service.grpc.pb.h"
#include "protos/shardctl_service.grpc.pb.h"

namespace ballast {

void Fail(const absl::Status& status, absl::string_view what) {
  std::fprintf(stderr, "heartbeats_bench: %s: %s\n", std::string(what).c_str(),
               status.ToString().c_str());
  std::exit(1);
}

HeartbeatsTarget FindTarget(const HeartbeatsOptions& options) {
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

std::string ServerIdOf(uint32_t n) {
  return absl::StrFormat("%08x-0000-4000-8000-000000000001", n);
}

namespace {

void RegisterOne(v1::ShardControl::Stub& stub, const std::string& cluster_id, uint32_t n,
                 std::atomic<uint32_t>& first_index) {
  v1::RegisterChunkServerRequest request;
  request.set_server_id(ServerIdOf(n));
  request.set_address(absl::StrFormat("127.0.0.1:%d", 20000 + n % 20000));
  request.set_zone(absl::StrFormat("zone-%d", n % 16));
  request.set_boot_epoch(1);
  while (true) {
    grpc::ClientContext context;
    PrepareContext(context, cluster_id, absl::Seconds(30));
    context.set_wait_for_ready(true);  // a first connection may fail for no good reason
    v1::RegisterChunkServerResponse response;
    const absl::Status status = FromGrpc(stub.RegisterChunkServer(&context, request, &response));
    if (status.ok()) {
      if (n == 0) {
        first_index = response.server_index();
      }
      return;
    }
    if (status.code() != absl::StatusCode::kResourceExhausted) {
      Fail(status, "RegisterChunkServer");
    }
    absl::SleepFor(absl::Milliseconds(20));
  }
}

}  // namespace

uint32_t Register(const HeartbeatsOptions& options, uint32_t count) {
  constexpr uint32_t kThreads = 32;
  const HeartbeatsTarget target = FindTarget(options);
  std::atomic<uint32_t> next{0};
  std::atomic<uint32_t> first_index{0};
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < std::min(kThreads, count); ++i) {
    threads.emplace_back([&] {
      const auto stub = v1::ShardControl::NewStub(MakeChannel(options.cluster));
      for (uint32_t n = next++; n < count; n = next++) {
        RegisterOne(*stub, target.cluster_id, n, first_index);
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  return first_index;
}

v1::Heartbeat IdleHeartbeat() {
  v1::Heartbeat heartbeat;
  heartbeat.set_config_version(1);
  heartbeat.set_capacity_bytes(uint64_t{16} << 40);
  heartbeat.set_used_bytes(uint64_t{9} << 40);
  heartbeat.set_disk_utilization_pct(56.25);
  heartbeat.set_health(v1::SERVER_HEALTH_OK);
  return heartbeat;
}

v1::Heartbeat FirstHeartbeat(const HeartbeatsTarget& target, uint32_t server) {
  v1::Heartbeat heartbeat = IdleHeartbeat();
  heartbeat.set_cluster_id(target.cluster_id);
  heartbeat.set_server_id(ServerIdOf(server));
  heartbeat.set_boot_epoch(1);
  heartbeat.set_incarnation(uint64_t{0x1234567890} + server);
  heartbeat.set_zone(absl::StrFormat("zone-%d", server % 16));
  heartbeat.set_address(absl::StrFormat("127.0.0.1:%d", 20000 + server % 20000));
  return heartbeat;
}

void Say(const std::string& json) {
  std::printf("%s\n", json.c_str());
  std::fflush(stdout);
}

void Await() {
  std::string line;
  if (!std::getline(std::cin, line)) {
    std::exit(0);
  }
}

namespace {

struct Counts {
  std::atomic<uint64_t> sent{0};
  std::atomic<uint64_t> answered{0};
  std::atomic<uint64_t> missed{0};  // was due while the last one had not left
  std::atomic<uint64_t> broken{0};
  std::atomic<uint64_t> ready{0};  // streams whose first heartbeat was answered
};

// One server's stream. Opened again while it is refused at the beginning (the master may not have
// heard of the server yet); later ends are counted.
class Beater final : public grpc::ClientBidiReactor<v1::Heartbeat, v1::HeartbeatReply> {
 public:
  Beater(std::shared_ptr<grpc::Channel> channel, const HeartbeatsTarget& target, uint32_t server,
         Counts& counts)
      : stub_(v1::ChunkServerControl::NewStub(std::move(channel))),
        target_(target),
        server_(server),
        counts_(counts) {}

  void Open() {
    context_ = std::make_unique<grpc::ClientContext>();
    PrepareContext(*context_, target_.cluster_id, absl::InfiniteDuration());
    stub_->async()->HeartbeatStream(context_.get(), this);
    heartbeat_ = FirstHeartbeat(target_, server_);
    for (uint32_t shard = 0; shard < target_.shard_count; ++shard) {
      v1::ShardReport& list = *heartbeat_.add_shards();
      list.set_shard(shard);
      list.set_full_begin(true);
      list.set_full_end(true);
    }
    heartbeat_.set_lists_digest(0);
    heartbeat_.set_sequence(++sequence_);
    writing_ = true;
    StartWrite(&heartbeat_);
    StartRead(&reply_);
    StartCall();
  }
  // Due now. One thread.
  void Beat() {
    if (!ready_) {
      if (ended_.exchange(false)) {
        Open();
      }
      return;
    }
    if (writing_.exchange(true)) {
      ++counts_.missed;
      return;
    }
    heartbeat_ = IdleHeartbeat();
    heartbeat_.set_lists_digest(0);
    heartbeat_.set_sequence(++sequence_);
    ++counts_.sent;
    StartWrite(&heartbeat_);
  }
  size_t bytes() const { return heartbeat_.ByteSizeLong(); }

  void OnWriteDone(bool) override { writing_ = false; }
  void OnReadDone(bool ok) override {
    if (!ok) {
      return;
    }
    if (!ready_.exchange(true)) {
      ++counts_.ready;
    } else {
      ++counts_.answered;
    }
    StartRead(&reply_);
  }
  void OnDone(const grpc::Status& status) override {
    if (ready_) {
      if (counts_.broken++ == 0) {
        std::fprintf(stderr, "heartbeats_bench: a stream ended: %s\n",
                     FromGrpc(status).ToString().c_str());
      }
      return;
    }
    ended_ = true;
  }

 private:
  const std::unique_ptr<v1::ChunkServerControl::Stub> stub_;
  const HeartbeatsTarget& target_;
  const uint32_t server_;
  Counts& counts_;
  std::unique_ptr<grpc::ClientContext> context_;
  v1::Heartbeat heartbeat_;
  v1::HeartbeatReply reply_;
  uint64_t sequence_ = 0;
  std::atomic<bool> writing_{false};
  std::atomic<bool> ready_{false};
  std::atomic<bool> ended_{false};
};

std::string Phase(const char* name, const Counts& counts, size_t bytes) {
  nlohmann::ordered_json out;
  out["phase"] = name;
  out["sent"] = counts.sent.load();
  out["answered"] = counts.answered.load();
  out["missed"] = counts.missed.load();
  out["broken"] = counts.broken.load();
  out["idle_bytes"] = bytes;
  return out.dump();
}

// Every server beats once an interval, spread evenly over it, until the driver has seen enough.
void RunBeat(const HeartbeatsOptions& options) {
  HeartbeatsTarget target = FindTarget(options);
  if (!options.address.empty()) {
    target.master = options.address;
  } else {
    Register(options, options.servers);
    // The first ones have been silent for long by now.
    Say(nlohmann::json{{"phase", "registered"}}.dump());
    Await();
  }
  Counts counts;
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  for (uint32_t i = 0; i < std::min(options.connections, options.servers); ++i) {
    channels.push_back(MakeChannel(target.master));
  }
  // Leaked: their streams end with the process.
  auto& beaters = *new std::vector<std::unique_ptr<Beater>>();
  const absl::Time begun = absl::Now();
  for (uint32_t i = 0; i < options.servers; ++i) {
    beaters.push_back(std::make_unique<Beater>(channels[i % channels.size()], target, i, counts));
    beaters.back()->Open();
    absl::SleepFor(begun + options.interval / options.servers * i - absl::Now());
  }
  std::atomic<bool> stop{false};
  std::thread clock([&] {
    absl::Time round = absl::Now();
    while (!stop) {
      for (uint32_t i = 0; i < options.servers && !stop; ++i) {
        absl::SleepFor(round + options.interval / options.servers * i - absl::Now());
        beaters[i]->Beat();
      }
      round += options.interval;
    }
  });
  while (counts.ready < options.servers) {
    absl::SleepFor(absl::Milliseconds(100));
  }
  absl::SleepFor(2 * options.interval);
  Say(Phase("steady", counts, beaters[0]->bytes()));
  Await();
  Say(Phase("measured", counts, beaters[0]->bytes()));
  Await();
  stop = true;
  clock.join();
}

// The least that a server can do with a heartbeat: read it, answer it.
class EchoService final : public v1::ChunkServerControl::CallbackService {
 public:
  grpc::ServerBidiReactor<v1::Heartbeat, v1::HeartbeatReply>* HeartbeatStream(
      grpc::CallbackServerContext*) override {
    class Echo final : public grpc::ServerBidiReactor<v1::Heartbeat, v1::HeartbeatReply> {
     public:
      Echo() { StartRead(&heartbeat_); }
      void OnReadDone(bool ok) override {
        if (!ok) {
          Finish(grpc::Status::OK);
          return;
        }
        reply_.set_sequence(heartbeat_.sequence());
        reply_.set_config_version(1);
        StartWrite(&reply_);
      }
      void OnWriteDone(bool ok) override {
        if (ok) {
          StartRead(&heartbeat_);
        } else {
          Finish(grpc::Status::OK);
        }
      }
      void OnDone() override { delete this; }

     private:
      v1::Heartbeat heartbeat_;
      v1::HeartbeatReply reply_;
    };
    return new Echo();
  }
};

void RunEcho() {
  EchoService service;
  grpc::ServerBuilder builder;
  int port = 0;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port);
  builder.RegisterService(&service);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1000);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  CHECK(server != nullptr);
  Say(nlohmann::json{{"phase", "serving"}, {"address", absl::StrFormat("127.0.0.1:%d", port)}}
          .dump());
  Await();
}

int Main(int argc, char** argv) {
  HeartbeatsOptions options;
  CommandLine line("heartbeats_bench", "Simulated chunk servers' heartbeats; see heartbeats.py.",
                   "BALLAST_BENCH");
  line.global()
      .String("--cluster", &options.cluster, "Address of shardctl.")
      .String("--operation", &options.operation, "beat, report or echo (a bare server).")
      .String("--address", &options.address, "Whom to beat at; empty: the master.")
      .Uint("--servers", &options.servers, "Simulated servers, each with a stream.")
      .Uint("--connections", &options.connections, "Connections that their streams share.")
      .Uint("--chunks", &options.chunks, "Chunks in the full report.")
      .Duration("--interval", &options.interval, "Between two heartbeats of a server.");
  line.ParseOrExit(argc, argv);
  if (options.operation == "beat") {
    RunBeat(options);
  } else if (options.operation == "report") {
    RunReport(options);
  } else if (options.operation == "echo") {
    RunEcho();
  } else {
    Fail(absl::InvalidArgumentError(options.operation), "no such operation");
  }
  std::fflush(stdout);
  std::_Exit(0);  // streams are open
}

}  // namespace
}  // namespace ballast

int main(int argc, char** argv) { return ballast::Main(argc, argv); }
