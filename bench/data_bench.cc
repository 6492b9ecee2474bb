// SPDX-License-Identifier: Apache-2.0
// Put and get of one large file's bytes: chunk_io against real chunk server processes, and beside
// it, in turn, plain TCP programs that do the same reads, checksums, copies and fsyncs with as many
// connections and processes (raw_reference.h). No masters: only bytes are measured.
//
// The program starts copies of itself for the clients and the reference's servers (--role).
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
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "bench/raw_reference.h"
#include "client/chunk_io.h"
#include "common/base/check.h"
#include "common/base/rng.h"
#include "common/cli/command_line.h"
#include "common/rpc/bulk_channel.h"

namespace ballast::bench {
namespace {

constexpr char kCluster[] = "6f1c0c52-7b0e-4d0a-9a53-0d2b1f7c8e11";

struct Options {
  std::string folders = "/dev/shm";  // where to measure, with commas between
  uint64_t bytes = GiB(1);
  std::string replicas = "2,3";
  uint32_t streams = 3;
  uint32_t pairs = 5;
  uint64_t message_bytes = KiB(512);
  std::string chunkserver;  // empty: beside this program
  std::string json;
  bool hold_memory = true;
  // Of copies of this program.
  std::string role;
  std::string servers;  // "id=host:port,..." or ports
  std::string source;
  std::string operation;
  uint32_t chain = 2;
};

[[noreturn]] void Die(const std::string& text) {
  std::fprintf(stderr, "data_bench: %s\n", text.c_str());
  std::exit(1);
}

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Peak of resident memory in KiB, of this process or another.
uint64_t PeakKib(pid_t pid) {
  std::ifstream in(absl::StrCat("/proc/", pid, "/status"));
  std::string line;
  while (std::getline(in, line)) {
    uint64_t kib = 0;
    if (std::sscanf(line.c_str(), "VmHWM: %lu", &kib) == 1) {
      return kib;
    }
  }
  return 0;
}

// Processor seconds that a process has used, user and system.
double CpuSeconds(pid_t pid) {
  std::ifstream in(absl::StrCat("/proc/", pid, "/stat"));
  std::string text;
  std::getline(in, text);
  // After the name in parentheses: state and ten numbers, then utime and stime.
  const std::vector<std::string> fields =
      absl::StrSplit(text.substr(std::min(text.size(), text.rfind(')') + 2)), ' ');
  uint64_t user = 0;
  uint64_t system = 0;
  if (fields.size() < 13 || !absl::SimpleAtoi(fields[11], &user) ||
      !absl::SimpleAtoi(fields[12], &system)) {
    return 0;
  }
  return static_cast<double>(user + system) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// --- the clients, each a process of its own ------------------------------------------------------

// Runs `one(stream, chunk)` for every chunk on as many threads as there are streams; prints the
// result.
template <typename One>
int RunStreams(const Options& options, One one) {
  const uint64_t chunks = (options.bytes + kChunkBytesMax - 1) / kChunkBytesMax;
  std::atomic<uint64_t> next{0};
  const double begin = Now();
  std::vector<std::thread> threads;
  for (uint32_t stream = 0; stream < options.streams; ++stream) {
    threads.emplace_back([&, stream] {
      for (uint64_t chunk = next++; chunk < chunks; chunk = next++) {
        one(stream, chunk,
            std::min<uint64_t>(kChunkBytesMax, options.bytes - chunk * kChunkBytesMax));
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  std::printf("%.6f %lu %.3f\n", Now() - begin, PeakKib(getpid()), CpuSeconds(getpid()));
  return 0;
}

int RunReferenceClient(const Options& options) {
  std::vector<uint16_t> ports;
  for (const absl::string_view text : absl::StrSplit(options.servers, ',')) {
    int port = 0;
    CHECK(absl::SimpleAtoi(text, &port));
    ports.push_back(static_cast<uint16_t>(port));
  }
  std::vector<std::unique_ptr<ReferenceClient>> clients;
  for (uint32_t i = 0; i < options.streams; ++i) {
    clients.push_back(std::make_unique<ReferenceClient>(ports, options.message_bytes));
  }
  const int source = open(options.source.c_str(), O_RDONLY | O_CLOEXEC);
  return RunStreams(options, [&](uint32_t stream, uint64_t chunk, uint64_t bytes) {
    if (options.operation == "put") {
      clients[stream]->Put(source, chunk * kChunkBytesMax, chunk, bytes,
                           static_cast<int>(options.chain));
    } else {
      clients[stream]->Get(chunk, bytes);
    }
  });
}

int RunOurClient(const Options& options) {
  TuneBulkMemory();
  std::vector<v1::ReplicaLocation> servers;
  for (const absl::string_view text : absl::StrSplit(options.servers, ',')) {
    const std::vector<std::string> parts = absl::StrSplit(text, '=');
    v1::ReplicaLocation& server = servers.emplace_back();
    server.set_server_id(parts[0]);
    server.set_address(parts[1]);
  }
  client::ChunkIoOptions io_options;
  io_options.cluster_id = kCluster;
  io_options.message_bytes = options.message_bytes;
  client::ChunkIo io(io_options);
  const int source = open(options.source.c_str(), O_RDONLY | O_CLOEXEC);
  return RunStreams(options, [&](uint32_t, uint64_t chunk, uint64_t bytes) {
    const ChunkHandle handle(ShardId(1), chunk + 1);
    if (options.operation == "put") {
      client::ChunkWriteRequest request;
      request.handle = handle;
      for (uint32_t i = 0; i < options.chain; ++i) {
        request.chain.push_back(servers[(chunk + i) % servers.size()]);
      }
      request.length_hint_bytes = bytes;
      off_t at = static_cast<off_t>(chunk * kChunkBytesMax);
      const auto written = io.WriteChunk(request, [&](char* out, size_t n) {
        const ssize_t got = pread(source, out, n, at);
        CHECK(got >= 0);
        at += got;
        return absl::StatusOr<size_t>(static_cast<size_t>(got));
      });
      CHECK_OK(written.status());
      CHECK_EQ(written->length_bytes, bytes);
    } else {
      client::ChunkReadRequest request;
      request.handle = handle;
      request.replica = servers[chunk % servers.size()];
      const auto read = io.ReadChunk(request, [](absl::string_view) { return absl::OkStatus(); });
      CHECK_OK(read.status);
      CHECK_EQ(read.delivered_bytes, bytes);
    }
  });
}

// --- processes -----------------------------------------------------------------------------------

// A child process whose standard output can be read; killed when destroyed.
class Child {
 public:
  explicit Child(const std::vector<std::string>& command) {
    int ends[2];
    CHECK_EQ(pipe2(ends, O_CLOEXEC), 0);
    pid_ = fork();
    CHECK(pid_ >= 0);
    if (pid_ == 0) {
      dup2(ends[1], 1);
      const int quiet = open("/dev/null", O_WRONLY);
      if (command[1] == "run" || command[1] == "format") {
        dup2(quiet, 2);
      }
      std::vector<char*> arguments;
      arguments.reserve(command.size() + 1);
      for (const std::string& part : command) {
        arguments.push_back(const_cast<char*>(part.c_str()));
      }
      arguments.push_back(nullptr);
      execv(arguments[0], arguments.data());
      _exit(127);
    }
    close(ends[1]);
    out_ = fdopen(ends[0], "r");
  }
  ~Child() {
    if (pid_ > 0) {
      kill(pid_, SIGKILL);
      Wait();
    }
    std::fclose(out_);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  std::string Line() {
    char line[512] = {};
    if (std::fgets(line, sizeof(line), out_) == nullptr) {
      Die("a program that was started said nothing");
    }
    return std::string(line, std::strcspn(line, "\n"));
  }
  int Wait() {
    int status = 0;
    waitpid(pid_, &status, 0);
    pid_ = -1;
    return status;
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  FILE* out_ = nullptr;
};

std::string Self() { return std::filesystem::read_symlink("/proc/self/exe").string(); }

struct Measured {
  double seconds = 0;
  uint64_t client_kib = 0;
  uint64_t server_kib = 0;  // the largest
  double cpu_seconds = 0;   // of all processes together
};

// One side, ours or the reference: servers in folders of their own, and client processes against
// them.
class Side {
 public:
  Side(const Options& options, bool is_ours, const std::string& folder, uint32_t servers)
      : options_(options), is_ours_(is_ours), folder_(folder) {
    for (uint32_t i = 0; i < servers; ++i) {
      const std::string server_folder = absl::StrCat(folder, "/server", i);
      if (is_ours) {
        StartOurs(server_folder);
      } else {
        std::filesystem::create_directories(server_folder);
        children_.push_back(std::make_unique<Child>(std::vector<std::string>{
            Self(), "--role", "reference-server", "--folder", server_folder, "--message-bytes",
            absl::StrCat(options.message_bytes)}));
        absl::StrAppend(&names_, names_.empty() ? "" : ",", children_.back()->Line());
      }
    }
  }

  ~Side() {
    children_.clear();
    std::filesystem::remove_all(folder_);
  }

  Measured Run(const std::string& operation, const std::string& source) {
    double before = 0;
    for (const auto& child : children_) {
      before += CpuSeconds(child->pid());
    }
    Child client({Self(), "--role", is_ours_ ? "client" : "reference-client", "--operation",
                  operation, "--servers", names_, "--source", source, "--bytes",
                  absl::StrCat(options_.bytes), "--streams", absl::StrCat(options_.streams),
                  "--message-bytes", absl::StrCat(options_.message_bytes), "--chain",
                  absl::StrCat(children_.size())});
    Measured out;
    if (std::sscanf(client.Line().c_str(), "%lf %lu %lf", &out.seconds, &out.client_kib,
                    &out.cpu_seconds) != 3 ||
        client.Wait() != 0) {
      Die("a client failed");
    }
    for (const auto& child : children_) {
      out.server_kib = std::max(out.server_kib, PeakKib(child->pid()));
      out.cpu_seconds += CpuSeconds(child->pid());
    }
    out.cpu_seconds -= before;
    return out;
  }

 private:
  void StartOurs(const std::string& folder) {
    std::filesystem::create_directories(std::filesystem::path(folder).parent_path());
    Child format({options_.chunkserver, "format", "--folder", folder, "--cluster-id", kCluster});
    const std::string id = format.Line();
    format.Wait();
    // A port that was free a moment ago: the program does not print the one it picks.
    const int port = FreePort();
    children_.push_back(std::make_unique<Child>(
        std::vector<std::string>{options_.chunkserver, "run", "--folder", folder, "--listen",
                                 absl::StrCat("127.0.0.1:", port), "--shardctl", "127.0.0.1:1"}));
    const std::string address = absl::StrCat("127.0.0.1:", port);
    client::ChunkIoOptions io_options;
    io_options.cluster_id = kCluster;
    client::ChunkIo io(io_options);
    const double give_up = Now() + 20;
    while (true) {
      const auto status = io.ServerStatus(address, absl::Seconds(1));
      if (status.ok() && !status->loading()) {
        break;
      }
      if (Now() > give_up) {
        Die(absl::StrCat("no chunk server at ", address, ": ", status.status().ToString()));
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    absl::StrAppend(&names_, names_.empty() ? "" : ",", id, "=", address);
  }

  static int FreePort() {
    static int next = 20000 + static_cast<int>(getpid() % 20000);
    return next++;
  }

  const Options& options_;
  const bool is_ours_;
  const std::string folder_;
  std::vector<std::unique_ptr<Child>> children_;
  std::string names_;
};

// --- measuring -----------------------------------------------------------------------------------

// Makes the machine hold so much memory, so that what comes next need not get it back from the
// host.
void HoldMemory(uint64_t bytes) {
  void* held = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
  if (held != MAP_FAILED) {
    munmap(held, bytes);
  }
}

void MakeSource(const std::string& path, uint64_t bytes) {
  Rng rng(1);
  std::vector<uint64_t> part(MiB(1) / 8);
  std::ofstream out(path, std::ios::binary);
  for (uint64_t done = 0; done < bytes; done += MiB(1)) {
    for (uint64_t& word : part) {
      word = rng.Next();
    }
    out.write(reinterpret_cast<const char*>(part.data()),
              static_cast<std::streamsize>(std::min(MiB(1), bytes - done)));
  }
  out.close();
  if (!out) {
    Die(absl::StrCat("cannot write ", path));
  }
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

nlohmann::json Summary(const std::vector<double>& values) {
  return {{"median", Median(values)},
          {"min", *std::min_element(values.begin(), values.end())},
          {"max", *std::max_element(values.begin(), values.end())}};
}

nlohmann::json MeasureFolder(const Options& options, const std::string& folder, uint32_t replicas) {
  const std::string root = absl::StrCat(folder, "/ballast-data-bench-", getpid());
  std::filesystem::create_directories(root);
  const std::string source = root + "/source";
  MakeSource(source, options.bytes);
  const double mib = static_cast<double>(options.bytes) / static_cast<double>(MiB(1));
  std::map<std::string, std::vector<double>> rates;  // "put ours" and so on
  uint64_t client_kib = 0;
  uint64_t server_kib = 0;
  for (uint32_t pair = 0; pair < options.pairs; ++pair) {
    std::map<std::string, double> now;
    for (const bool first : {true, false}) {
      const bool is_ours = first == (pair % 2 == 0);
      Side side(options, is_ours, root + "/side", replicas);
      for (const std::string operation : {"put", "get"}) {
        if (options.hold_memory && operation == "put") {
          HoldMemory(options.bytes * replicas + MiB(512));
        }
        const Measured measured = side.Run(operation, source);
        const std::string key = operation + (is_ours ? " ours" : " reference");
        now[key] = mib / measured.seconds;
        rates[key].push_back(now[key]);
        rates[key + " cpu"].push_back(1000 * measured.cpu_seconds / mib);
        if (is_ours) {
          client_kib = std::max(client_kib, measured.client_kib);
          server_kib = std::max(server_kib, measured.server_kib);
        }
      }
    }
    for (const std::string operation : {"put", "get"}) {
      rates[operation + " ratio"].push_back(now[operation + " ours"] /
                                            now[operation + " reference"]);
    }
    std::fprintf(stderr, "%s, %u replicas, pair %u of %u: put %.0f / %.0f, get %.0f / %.0f MiB/s\n",
                 folder.c_str(), replicas, pair + 1, options.pairs, now["put ours"],
                 now["put reference"], now["get ours"], now["get reference"]);
  }
  std::filesystem::remove_all(root);
  nlohmann::json row = {{"folder", folder},
                        {"replicas", replicas},
                        {"bytes", options.bytes},
                        {"streams", options.streams},
                        {"pairs", options.pairs},
                        {"message_bytes", options.message_bytes},
                        {"memory_held", options.hold_memory},
                        {"durability", "fsync of file and folder on every replica"},
                        {"client_peak_mib", static_cast<double>(client_kib) / 1024},
                        {"server_peak_mib", static_cast<double>(server_kib) / 1024}};
  for (const std::string operation : {"put", "get"}) {
    row[operation] = {{"ours_mib_per_s", Summary(rates[operation + " ours"])},
                      {"reference_mib_per_s", Summary(rates[operation + " reference"])},
                      {"ours_cpu_ms_per_mib", Summary(rates[operation + " ours cpu"])},
                      {"reference_cpu_ms_per_mib", Summary(rates[operation + " reference cpu"])},
                      {"ratio", Summary(rates[operation + " ratio"])}};
  }
  return row;
}

void PrintRow(const nlohmann::json& row) {
  for (const char* operation : {"put", "get"}) {
    const auto& of = row[operation];
    std::printf(
        "%-12s %3u  %-4s %7.0f (%5.0f-%5.0f) %7.0f (%5.0f-%5.0f) %6.1f %% (%.1f-%.1f)  %.2f / "
        "%.2f\n",
        row["folder"].get<std::string>().c_str(), row["replicas"].get<uint32_t>(), operation,
        of["ours_mib_per_s"]["median"].get<double>(), of["ours_mib_per_s"]["min"].get<double>(),
        of["ours_mib_per_s"]["max"].get<double>(),
        of["reference_mib_per_s"]["median"].get<double>(),
        of["reference_mib_per_s"]["min"].get<double>(),
        of["reference_mib_per_s"]["max"].get<double>(), 100 * of["ratio"]["median"].get<double>(),
        100 * of["ratio"]["min"].get<double>(), 100 * of["ratio"]["max"].get<double>(),
        of["ours_cpu_ms_per_mib"]["median"].get<double>(),
        of["reference_cpu_ms_per_mib"]["median"].get<double>());
  }
  std::printf("%-12s %3u  peak memory: client %.0f MiB, server %.0f MiB\n",
              row["folder"].get<std::string>().c_str(), row["replicas"].get<uint32_t>(),
              row["client_peak_mib"].get<double>(), row["server_peak_mib"].get<double>());
}

int RunAll(const Options& options) {
  nlohmann::json rows = nlohmann::json::array();
  for (const absl::string_view folder : absl::StrSplit(options.folders, ',')) {
    for (const absl::string_view text : absl::StrSplit(options.replicas, ',')) {
      uint32_t replicas = 0;
      if (!absl::SimpleAtoi(text, &replicas) || replicas < 1 || replicas > kReplicasMax) {
        Die("--replicas wants numbers from 1 to 5");
      }
      rows.push_back(MeasureFolder(options, std::string(folder), replicas));
    }
  }
  std::printf(
      "\n%lu MiB, %u connections a client, fsync on every replica; MiB/s, median (min-max) of "
      "%u pairs\n%-12s rep  op   ours                  reference             ratio                 "
      "  cpu ms/MiB\n",
      options.bytes >> 20, options.streams, options.pairs, "folder");
  for (const auto& row : rows) {
    PrintRow(row);
  }
  if (!options.json.empty()) {
    std::ofstream(options.json) << rows.dump(2) << "\n";
  }
  return 0;
}

int Main(int argc, char** argv) {
  Options options;
  CommandLine command_line("data_bench",
                           "Puts and gets through real chunk servers beside plain TCP.",
                           "BALLAST_DATA_BENCH");
  std::string server_folder;
  FlagSet& flags = command_line.global();
  flags.String("--folders", &options.folders, "Folders to measure in, with commas between");
  flags.Bytes("--bytes", &options.bytes, "Bytes to store");
  flags.String("--replicas", &options.replicas, "Numbers of replicas, with commas between");
  flags.Uint("--streams", &options.streams, "Chunks on their way at once, a connection each");
  flags.Uint("--pairs", &options.pairs, "Measurements of each side, in turn");
  flags.Bytes("--message-bytes", &options.message_bytes, "Bytes a message, both sides");
  flags.String("--chunkserver", &options.chunkserver, "The program; beside this one by default");
  flags.String("--json", &options.json, "File for the results as JSON");
  flags.Bool("--hold-memory", &options.hold_memory,
             "Take and free the memory needed before each put");
  flags.String("--role", &options.role, "Internal");
  flags.String("--folder", &server_folder, "Internal");
  flags.String("--servers", &options.servers, "Internal");
  flags.String("--source", &options.source, "Internal");
  flags.String("--operation", &options.operation, "Internal");
  flags.Uint("--chain", &options.chain, "Internal");
  command_line.ParseOrExit(argc, argv);
  if (options.role == "reference-server") {
    RunReferenceServer(server_folder, options.message_bytes);
  }
  if (options.role == "reference-client") {
    return RunReferenceClient(options);
  }
  if (options.role == "client") {
    return RunOurClient(options);
  }
  if (options.chunkserver.empty()) {
    options.chunkserver = std::filesystem::path(Self()).parent_path() / "chunkserver";
  }
  return RunAll(options);
}

}  // namespace
}  // namespace ballast::bench

int main(int argc, char** argv) { return ballast::bench::Main(argc, argv); }
