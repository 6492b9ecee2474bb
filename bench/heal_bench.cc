// SPDX-License-Identifier: Apache-2.0
// What heal.py and rebalance.py need beside the cluster itself: objects in it, clients that work
// while it heals, the same copies made by plain TCP programs, and memory that is held until it is
// needed. One verb each; results are one JSON object on standard output.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "bench/raw_reference.h"
#include "client/client.h"
#include "common/base/byte_units.h"
#include "common/base/check.h"
#include "common/base/rng.h"
#include "common/cli/command_line.h"

namespace ballast::bench {
namespace {

struct Options {
  std::string cluster = "127.0.0.1:7400";
  uint64_t objects = 16;
  uint64_t object_bytes = MiB(64);
  uint64_t chunk_bytes = MiB(64);
  uint32_t threads = 4;
  // foreground
  absl::Duration time = absl::Seconds(5);
  uint64_t read_bytes = MiB(1);
  // reference
  std::string folder;
  uint32_t servers = 2;
  uint32_t targets = 2;
  uint64_t chunks = 16;
  uint32_t streams = 2;
  uint64_t message_bytes = KiB(512);
  // hold
  uint64_t bytes = GiB(1);
};

[[noreturn]] void Die(const std::string& text) {
  std::fprintf(stderr, "heal_bench: %s\n", text.c_str());
  std::exit(1);
}

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string RandomBytes(uint64_t bytes) {
  Rng rng(1);
  std::string out(bytes, '\0');
  for (uint64_t i = 0; i + 8 <= bytes; i += 8) {
    const uint64_t word = rng.Next();
    std::memcpy(out.data() + i, &word, 8);
  }
  return out;
}

std::string KeyOf(uint64_t object) { return absl::StrCat("bench/", object); }

std::unique_ptr<client::Client> Connect(const Options& options) {
  client::ClientOptions client_options;
  client_options.cluster = {options.cluster};
  client_options.chunk_bytes = options.chunk_bytes;
  auto made = client::Client::Connect(client_options);
  if (!made.ok()) {
    Die(made.status().ToString());
  }
  return *std::move(made);
}

// Runs `work(thread)` on so many threads.
template <typename Work>
void OnThreads(uint32_t count, Work work) {
  std::vector<std::thread> threads;
  for (uint32_t i = 0; i < count; ++i) {
    threads.emplace_back([&work, i] { work(i); });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

// --- objects and clients -------------------------------------------------------------------------

int RunFill(const Options& options) {
  const auto client = Connect(options);
  const std::string bytes = RandomBytes(options.object_bytes);
  std::atomic<uint64_t> next{0};
  const double begin = Now();
  OnThreads(options.threads, [&](uint32_t) {
    for (uint64_t object = next++; object < options.objects; object = next++) {
      const auto source = client::MakeStringSource(bytes);
      const auto put = client->Put(KeyOf(object), *source, {});
      if (!put.ok()) {
        Die(put.status().ToString());
      }
    }
  });
  std::printf("%s\n", nlohmann::json{{"seconds", Now() - begin}}.dump().c_str());
  return 0;
}

double Percentile(std::vector<double>& sorted, double part) {
  return sorted.empty()
             ? 0
             : sorted[std::min(sorted.size() - 1,
                               static_cast<size_t>(static_cast<double>(sorted.size()) * part))];
}

// Closed loops that read random ranges of the objects.
int RunForeground(const Options& options) {
  const auto client = Connect(options);
  std::vector<std::vector<double>> latencies(options.threads);
  const double begin = Now();
  const double end = begin + absl::ToDoubleSeconds(options.time);
  OnThreads(options.threads, [&](uint32_t thread) {
    Rng rng(thread + 1);
    while (Now() < end) {
      client::GetOptions get;
      get.offset_bytes = rng.Below(options.object_bytes / options.read_bytes) * options.read_bytes;
      get.length_bytes = options.read_bytes;
      const auto sink =
          client::MakeCallbackSink([](absl::string_view) { return absl::OkStatus(); });
      const double sent = Now();
      const auto got = client->Get(KeyOf(rng.Below(options.objects)), *sink, get);
      if (!got.ok()) {
        Die(got.status().ToString());
      }
      latencies[thread].push_back(Now() - sent);
    }
  });
  const double seconds = Now() - begin;
  std::vector<double> all;
  for (const auto& of_thread : latencies) {
    all.insert(all.end(), of_thread.begin(), of_thread.end());
  }
  std::sort(all.begin(), all.end());
  const nlohmann::json out = {
      {"reads", all.size()},
      {"mb_per_s", static_cast<double>(all.size() * options.read_bytes) / seconds / 1e6},
      {"p50_ms", 1e3 * Percentile(all, 0.5)},
      {"p99_ms", 1e3 * Percentile(all, 0.99)},
      {"max_ms", all.empty() ? 0 : 1e3 * all.back()}};
  std::printf("%s\n", out.dump().c_str());
  return 0;
}

// --- the reference -------------------------------------------------------------------------------

// A reference server in a process of its own.
class ReferenceServer {
 public:
  ReferenceServer(const std::string& folder, uint64_t message_bytes) {
    std::filesystem::create_directories(folder);
    int ends[2];
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    pid_ = fork();
    CHECK(pid_ >= 0);
    if (pid_ == 0) {
      dup2(ends[1], 1);
      RunReferenceServer(folder, message_bytes);
    }
    close(ends[1]);
    FILE* const out = fdopen(ends[0], "r");
    int port = 0;
    CHECK_EQ(std::fscanf(out, "%d", &port), 1);
    std::fclose(out);
    port_ = static_cast<uint16_t>(port);
  }
  ~ReferenceServer() {
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }
  ReferenceServer(const ReferenceServer&) = delete;
  ReferenceServer& operator=(const ReferenceServer&) = delete;
  uint16_t port() const { return port_; }

 private:
  pid_t pid_ = -1;
  uint16_t port_ = 0;
};

// Takes and gives back so much memory, so that what comes next need not get it from the host.
void TouchMemory(uint64_t bytes) {
  void* held = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (held != MAP_FAILED) {
    munmap(held, bytes);
  }
}

// Chunk i goes to server i mod `targets` from one of the others, `streams` at a time to each.
int RunReference(const Options& options) {
  CHECK(options.targets <= options.servers && options.servers > 1);
  std::vector<std::unique_ptr<ReferenceServer>> servers;
  std::vector<uint16_t> ports;
  for (uint32_t i = 0; i < options.servers; ++i) {
    servers.push_back(std::make_unique<ReferenceServer>(absl::StrCat(options.folder, "/server", i),
                                                        options.message_bytes));
    ports.push_back(servers.back()->port());
  }
  const auto source_of = [&](uint64_t chunk) {
    const uint64_t others = options.servers - 1;
    return (chunk % options.targets + 1 + chunk / options.targets % others) % options.servers;
  };
  const std::string bytes = RandomBytes(options.chunk_bytes);
  for (uint64_t chunk = 0; chunk < options.chunks; ++chunk) {
    std::ofstream file(absl::StrCat(options.folder, "/server", source_of(chunk), "/", chunk));
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  sync();
  TouchMemory(options.chunks * options.chunk_bytes);
  std::vector<std::atomic<uint64_t>> next(options.targets);
  const double begin = Now();
  OnThreads(options.targets * options.streams, [&](uint32_t thread) {
    const uint32_t target = thread % options.targets;
    ReferenceClient client(ports, options.message_bytes);
    for (uint64_t chunk = next[target]++ * options.targets + target; chunk < options.chunks;
         chunk = next[target]++ * options.targets + target) {
      client.Pull(chunk, options.chunk_bytes, source_of(chunk), target);
    }
  });
  const double seconds = Now() - begin;
  servers.clear();
  std::filesystem::remove_all(options.folder);
  const nlohmann::json out = {
      {"seconds", seconds},
      {"mb_per_s", static_cast<double>(options.chunks * options.chunk_bytes) / seconds / 1e6},
      {"chunks_per_s", static_cast<double>(options.chunks) / seconds}};
  std::printf("%s\n", out.dump().c_str());
  return 0;
}

// Holds memory until standard input ends.
int RunHold(const Options& options) {
  void* held = mmap(nullptr, options.bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  std::printf("{\"held\": %s}\n", held == MAP_FAILED ? "false" : "true");
  std::fflush(stdout);
  char byte = 0;
  while (read(0, &byte, 1) > 0) {
  }
  return 0;
}

int Main(int argc, char** argv) {
  Options options;
  CommandLine command_line("heal_bench", "Parts of ./dev bench heal and rebalance.",
                           "BALLAST_HEAL_BENCH");
  FlagSet& global = command_line.global();
  global.String("--cluster", &options.cluster, "HOST:PORT of the shard controller");
  global.Uint("--objects", &options.objects, "Objects, bench/0 and so on");
  global.Bytes("--object-bytes", &options.object_bytes, "Bytes of each");
  global.Bytes("--chunk-bytes", &options.chunk_bytes, "Length of a chunk");
  global.Uint("--threads", &options.threads, "Clients at once");
  command_line.Verb("fill", "Store the objects");
  command_line.Verb("foreground", "Read random ranges of the objects in closed loops")
      .Duration("--time", &options.time, "For so long")
      .Bytes("--read-bytes", &options.read_bytes, "Bytes of a read");
  command_line.Verb("reference", "Copy chunks between plain TCP programs")
      .String("--folder", &options.folder, "Folder for their files, made and removed")
      .Required()
      .Uint("--servers", &options.servers, "Programs")
      .Uint("--targets", &options.targets, "Of these, the first so many receive")
      .Uint("--chunks", &options.chunks, "Chunks to copy")
      .Uint("--streams", &options.streams, "Copies at once to a target, a connection each")
      .Bytes("--message-bytes", &options.message_bytes, "Bytes a message");
  command_line.Verb("hold", "Hold memory until standard input ends")
      .Bytes("--bytes", &options.bytes, "How much");
  const std::string verb = command_line.ParseOrExit(argc, argv);
  if (verb == "fill") {
    return RunFill(options);
  }
  if (verb == "foreground") {
    return RunForeground(options);
  }
  return verb == "reference" ? RunReference(options) : RunHold(options);
}

}  // namespace
}  // namespace ballast::bench

int main(int argc, char** argv) { return ballast::bench::Main(argc, argv); }
