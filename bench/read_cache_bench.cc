// SPDX-License-Identifier: Apache-2.0
// The client of bench/read_cache.py: stores objects, then reads whole ones, drawn by a Zipf law, in
// closed loops against a running cluster, with either choice of replicas. Prints one line of JSON.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "client/client.h"
#include "common/base/byte_units.h"
#include "common/base/rng.h"
#include "common/cli/command_line.h"
#include "common/rpc/bulk_channel.h"

namespace ballast::bench {
namespace {

struct Options {
  std::string cluster = "127.0.0.1:7400";
  std::string operation = "read";
  uint64_t objects = 640;
  uint64_t object_bytes = MiB(1);
  uint32_t clients = 8;
  uint64_t reads = 10'000;
  uint32_t replicas = 3;
  std::string zipf = "0.9";
  uint64_t seed = 1;
  bool spread = false;
};

[[noreturn]] void Fail(const absl::Status& status, const std::string& what) {
  std::fprintf(stderr, "read_cache_bench: %s: %s\n", what.c_str(), status.ToString().c_str());
  std::exit(1);
}

std::string KeyOf(uint64_t n) { return absl::StrFormat("cache/%06d", n); }

// Takes bytes and forgets them.
class NullSink final : public client::Sink {
 public:
  bool unordered() const override { return true; }
  absl::Status WriteAt(uint64_t, absl::string_view) override { return absl::OkStatus(); }
};

// Object n (from 0) is drawn with a probability in proportion to 1 / (n + 1)^s.
class Zipf {
 public:
  Zipf(uint64_t count, double s) {
    double sum = 0;
    for (uint64_t n = 1; n <= count; ++n) {
      sum += std::pow(static_cast<double>(n), -s);
      below_.push_back(sum);
    }
  }
  uint64_t Draw(Rng& rng) const {
    const double at = rng.Fraction() * below_.back();
    const auto it = std::upper_bound(below_.begin(), below_.end() - 1, at);
    return static_cast<uint64_t>(it - below_.begin());
  }

 private:
  std::vector<double> below_;  // ascending: of all up to and with each
};

// Runs `one(number)` for numbers 0..count-1 on `clients` threads.
template <typename One>
void RunClients(uint32_t clients, uint64_t count, One one) {
  std::atomic<uint64_t> next{0};
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < clients; ++i) {
    threads.emplace_back([&] {
      for (uint64_t number = next++; number < count; number = next++) {
        one(number);
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

void Load(const Options& options, client::Client& client) {
  RunClients(options.clients, options.objects, [&](uint64_t number) {
    Rng rng(number);
    std::string bytes(options.object_bytes, '\0');
    for (char& c : bytes) {
      c = static_cast<char>(rng.Next());
    }
    const auto source = client::MakeStringSource(bytes);
    client::PutOptions put;
    put.replicas = options.replicas;
    const auto result = client.Put(KeyOf(number), *source, put);
    if (!result.ok() || result->least_replicas != options.replicas) {
      Fail(result.status(), "put with all replicas");
    }
  });
}

nlohmann::ordered_json Read(const Options& options, double zipf, client::Client& client) {
  const Zipf law(options.objects, zipf);
  Rng rng(options.seed);
  std::vector<uint64_t> plan;
  for (uint64_t i = 0; i < options.reads; ++i) {
    plan.push_back(law.Draw(rng));
  }
  client::GetOptions get;
  get.replica_choice =
      options.spread ? client::ReplicaChoice::kRandom : client::ReplicaChoice::kPreferred;
  std::vector<double> ms(options.reads);
  const auto now = [] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
  };
  const double begin = now();
  RunClients(options.clients, options.reads, [&](uint64_t number) {
    const double asked = now();
    NullSink sink;
    const auto result = client.Get(KeyOf(plan[number]), sink, get);
    if (!result.ok() || result->delivered_bytes != options.object_bytes) {
      Fail(result.status(), "get");
    }
    ms[number] = 1000 * (now() - asked);
  });
  const double seconds = now() - begin;
  std::sort(ms.begin(), ms.end());
  return {{"bytes", options.reads * options.object_bytes},
          {"seconds", seconds},
          {"p50_ms", ms[ms.size() / 2]},
          {"p99_ms", ms[ms.size() * 99 / 100]}};
}

int Main(int argc, char** argv) {
  Options options;
  CommandLine line("read_cache_bench", "Whole objects read by a Zipf law, closed loop.",
                   "BALLAST_BENCH");
  line.global()
      .String("--cluster", &options.cluster, "Address of shardctl.")
      .String("--operation", &options.operation, "load (stores the objects) or read.")
      .Uint("--objects", &options.objects, "Number of objects.")
      .Bytes("--object-bytes", &options.object_bytes, "Length of each; at most 64 MiB.")
      .Uint("--clients", &options.clients, "Readers, each with one object under way.")
      .Uint("--reads", &options.reads, "How many objects to read.")
      .Uint("--replicas", &options.replicas, "Replicas that load makes.")
      .String("--zipf", &options.zipf, "Exponent of the law, such as 0.9; 0: all alike.")
      .Uint("--seed", &options.seed, "Of the draws.")
      .Bool("--spread", &options.spread, "Read from any replica, not from the preferred one.");
  line.ParseOrExit(argc, argv);
  double zipf = 0;
  if (!absl::SimpleAtod(options.zipf, &zipf) || zipf < 0 || options.objects == 0 ||
      options.clients == 0 || options.reads == 0 ||
      (options.operation != "load" && options.operation != "read")) {
    std::fprintf(stderr, "read_cache_bench: see --help\n");
    return 2;
  }
  TuneBulkMemory();
  client::ClientOptions client_options;
  client_options.cluster = {options.cluster};
  auto client = client::Client::Connect(client_options);
  if (!client.ok()) {
    Fail(client.status(), "no cluster");
  }
  if (options.operation == "load") {
    Load(options, **client);
    return 0;
  }
  std::printf("%s\n", Read(options, zipf, **client).dump().c_str());
  return 0;
}

}  // namespace
}  // namespace ballast::bench

int main(int argc, char** argv) { return ballast::bench::Main(argc, argv); }
