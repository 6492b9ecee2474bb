// SPDX-License-Identifier: Apache-2.0
// What planning costs a leader: a whole rebalancing plan, and the search for what a death has left
// short, for millions of chunks on a thousand servers, in the turns in which a leader takes them.
// In one process, no network and no disk: the planners are pure (services/master/core).
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <ctime>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/byte_units.h"
#include "common/base/check.h"
#include "common/base/rng.h"
#include "common/cli/command_line.h"
#include "services/master/core/balance_goal.h"
#include "services/master/core/chunk_catalog.h"
#include "services/master/core/heat.h"
#include "services/master/core/rebalance_episode.h"
#include "services/master/core/repair_planner.h"
#include "services/master/core/repair_queue.h"

namespace ballast::master {
namespace {

constexpr uint32_t kChunkBytes = 64 << 20;

struct Options {
  uint64_t chunks = 10'000'000;
  uint32_t servers = 1000;
  uint32_t replicas = 3;
  uint32_t shards = 256;
  uint32_t zones = 10;
  uint32_t empty = 10;         // servers that have just come
  uint32_t visits_max = 4096;  // as RebalanceLimits and RepairLimits have it
  uint64_t moves_max = 1 << 18;
  uint32_t rounds = 3;
  bool quick = false;
  bool json = false;
};

// The processor's time of this thread: what a turn costs, whatever else the machine does.
double CpuNow() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double ResidentMib() {
  std::ifstream in("/proc/self/statm");
  uint64_t all = 0;
  uint64_t resident = 0;
  in >> all >> resident;
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 20);
}

// Chunk tables filled by hand.
class Catalog final : public ChunkCatalog {
 public:
  explicit Catalog(uint32_t shards) : tables_(shards), trims_(shards) {
    for (uint32_t i = 0; i < shards; ++i) {
      owned_.push_back(ShardId(i));
    }
  }
  uint32_t shard_count() const override { return static_cast<uint32_t>(tables_.size()); }
  const std::vector<ShardId>& owned_shards() const override { return owned_; }
  ChunkTable* chunks(ShardId shard) override { return &tables_[shard.value()]; }
  const TrimSet* trims(ShardId shard) const override { return &trims_[shard.value()]; }
  HandleStanding StandingOf(ChunkHandle) const override { return HandleStanding::kReferenced; }

 private:
  std::vector<ShardId> owned_;
  std::vector<ChunkTable> tables_;
  std::vector<TrimSet> trims_;
};

// A group's leader that knows everything: chunks, servers, settled shards.
class World {
 public:
  explicit World(const Options& options) : options_(options), catalog_(options.shards) {
    Rng rng(1);
    std::vector<uint64_t> used(options.servers + 1);
    FillChunks(rng, used);
    for (uint32_t i = 1; i <= options.servers; ++i) {
      ServerView& server = servers_.emplace_back();
      server.server = ServerIndex(i);
      server.zone = absl::StrCat("zone", i % options.zones);
      server.live = server.accepts = true;
      server.used_bytes = used[i];
    }
    lenses_.resize(options.shards);
    for (uint32_t i = 0; i < options.shards; ++i) {
      lenses_[i].shard = ShardId(i);
      lenses_[i].known.assign(options.servers + 1, true);
      lenses_[i].trims = catalog_.trims(ShardId(i));
    }
  }

  // Capacities such that each server is as full as `pct` says.
  template <typename Pct>
  void Fill(Pct pct) {
    const uint64_t mean = options_.chunks * options_.replicas / options_.servers * kChunkBytes;
    for (size_t i = 0; i < servers_.size(); ++i) {
      ServerView& server = servers_[i];
      const double wanted = pct(i);
      const uint64_t used = server.used_bytes;
      server.capacity_bytes =
          static_cast<uint64_t>(static_cast<double>(used == 0 ? mean : used) / wanted * 100);
      server.utilization_pct =
          100 * static_cast<double>(used) / static_cast<double>(server.capacity_bytes);
    }
  }
  void SetLive(ServerIndex server, bool live) {
    servers_[server.value() - 1].live = servers_[server.value() - 1].accepts = live;
  }

  ClusterView View() const { return ClusterView(servers_); }
  Catalog& catalog() { return catalog_; }
  const ShardLens* LensOf(ShardId shard) const { return &lenses_[shard.value()]; }

 private:
  // Bytes of the servers spread tenfold; the last ones are empty. Most chunks were not read lately,
  // the others as Zipf has it.
  void FillChunks(Rng& rng, std::vector<uint64_t>& used) {
    std::vector<uint32_t> tickets;
    for (uint32_t i = 1; i + options_.empty <= options_.servers; ++i) {
      tickets.insert(tickets.end(), 1 + rng.Below(10), i);
    }
    const uint64_t in_shard = options_.chunks / options_.shards;
    for (uint32_t shard = 0; shard < options_.shards; ++shard) {
      ChunkTable& table = *catalog_.chunks(ShardId(shard));
      for (uint64_t sequence = 1; sequence <= in_shard; ++sequence) {
        std::vector<ServerIndex> on;
        while (on.size() < options_.replicas) {
          const ServerIndex server(tickets[rng.Below(tickets.size())]);
          if (std::find(on.begin(), on.end(), server) == on.end()) {
            on.push_back(server);
          }
        }
        ChunkRecord& record =
            table.Insert(sequence, {kChunkBytes, Crc32c{1}, options_.replicas}, on);
        for (const ServerIndex server : on) {
          record.SetLiveFlags(server, ChunkRecord::kLive | ChunkRecord::kVerified);
          used[server.value()] += kChunkBytes;
        }
        if (rng.Below(10) < 4) {
          table.AddReads(sequence, 1 + static_cast<uint64_t>(1 / (rng.Fraction() + 1e-6)), 0, rng);
        }
      }
    }
  }

  const Options& options_;
  Catalog catalog_;
  std::vector<ServerView> servers_;
  std::vector<ShardLens> lenses_;
};

// Turns of a leader's executor, as they would be posted.
class Turns {
 public:
  template <typename Fn>
  auto Run(const char* what, Fn fn) {
    const double begin = CpuNow();
    auto result = fn();
    Add(what, CpuNow() - begin);
    return result;
  }
  nlohmann::json Report() const {
    nlohmann::json longest;
    for (const auto& [what, seconds] : longest_) {
      longest[what] = seconds * 1e3;
    }
    return {{"cpu_s", sum_},
            {"turns", count_},
            {"longest_turn_ms", 1e3 * longest_of_all_},
            {"longest_turn_ms_by_step", longest}};
  }

 private:
  void Add(const char* what, double seconds) {
    sum_ += seconds;
    ++count_;
    longest_of_all_ = std::max(longest_of_all_, seconds);
    double& longest = longest_[what];
    longest = std::max(longest, seconds);
  }
  double sum_ = 0;
  uint64_t count_ = 0;
  double longest_of_all_ = 0;
  std::map<std::string, double> longest_;
};

const char* PhaseName(RebalanceEpisode::Phase phase) {
  return phase == RebalanceEpisode::Phase::kSurveying ? "survey" : "choose";
}

nlohmann::json PlanMoves(World& world, const Options& options) {
  Turns turns;
  const double resident = ResidentMib();
  ClusterView now = world.View();
  BalanceLimits limits;
  limits.chunk_bytes = kChunkBytes;
  const auto lens = [&world](ShardId shard) { return world.LensOf(shard); };
  auto episode = turns.Run("goal", [&] {
    ClusterView view = world.View();
    BalanceGoal goal = PlanBalanceGoal(view, limits);
    CHECK(goal.triggered);
    return std::make_unique<RebalanceEpisode>(std::move(view), std::move(goal), options.moves_max);
  });
  while (turns.Run(PhaseName(episode->phase()), [&] {
    return episode->Step({world.catalog(), now, lens}, options.visits_max);
  })) {
  }
  nlohmann::json out = turns.Report();
  out["moves"] = episode->progress().moves_planned;
  out["goal_moves"] = episode->goal().bytes() / kChunkBytes;
  out["memory_mib"] = std::max(0.0, ResidentMib() - resident);
  return out;
}

// A server has died: a fresh round of the repair queue, and plans for what it finds, in the turns
// that RepairLoop makes of them.
nlohmann::json PlanRepairs(World& world, const Options& options) {
  // As RepairLoop has it.
  const size_t offers_max = std::clamp<size_t>((1 << 16) / (options.servers + 1), 16, 256);
  const size_t busy_max = std::min<size_t>(64, offers_max / 4);
  Turns turns;
  const double resident = ResidentMib();
  world.SetLive(ServerIndex(1), false);
  const ClusterView now = world.View();
  RepairQueue queue;
  Rng rng(1);
  const CopySlots slots;
  std::vector<CopyLoad> load(now.size());
  const auto lens = [&world](ShardId shard) { return world.LensOf(shard); };
  uint64_t planned = 0;
  std::optional<double> first;
  // In the first turn all slots are taken: what is found waits, which costs most.
  std::vector<CopyLoad> full(now.size());
  for (CopyLoad& of_server : full) {
    of_server.incoming = of_server.outgoing = slots.incoming_max;
  }
  queue.BeginRound();
  double cpu = CpuNow();
  queue.Step({world.catalog(), now, lens}, 100 * options.visits_max);
  turns.Run("all slots taken", [&] {
    queue.Offer(NeedClass::kOneLeft, NeedClass::kDrain, offers_max, busy_max,
                [&](ChunkHandle handle, NeedClass) {
                  const ChunkRecord* record =
                      world.catalog().chunks(handle.shard())->Find(handle.sequence());
                  const ChunkPicture picture =
                      PictureOf(now, *world.LensOf(handle.shard()), handle, *record);
                  CHECK(!PlanCopy(now, full, slots, picture, rng).ok());
                  return RepairQueue::Verdict::kBusy;
                });
    return 0;
  });
  while (queue.fresh_round()) {
    turns.Run("round", [&] {
      queue.Step({world.catalog(), now, lens}, options.visits_max);
      queue.Offer(NeedClass::kOneLeft, NeedClass::kDrain, offers_max, busy_max,
                  [&](ChunkHandle handle, NeedClass) {
                    const ChunkRecord* record =
                        world.catalog().chunks(handle.shard())->Find(handle.sequence());
                    const ChunkPicture picture =
                        PictureOf(now, *world.LensOf(handle.shard()), handle, *record);
                    const auto copy = PlanCopy(now, load, slots, picture, rng);
                    CHECK_OK(copy.status());
                    first = first.value_or(CpuNow() - cpu);
                    ++planned;
                    return RepairQueue::Verdict::kTaken;
                  });
      return 0;
    });
  }
  world.SetLive(ServerIndex(1), true);
  nlohmann::json out = turns.Report();
  out["copies"] = planned;
  out["first_copy_ms"] = 1e3 * first.value_or(0);
  out["memory_mib"] = std::max(0.0, ResidentMib() - resident);
  return out;
}

int Main(int argc, char** argv) {
  Options options;
  CommandLine command_line("plan_bench", "Plans of a leader for millions of chunks.",
                           "BALLAST_PLAN_BENCH");
  FlagSet& flags = command_line.global();
  flags.Uint("--chunks", &options.chunks, "Chunks of the group");
  flags.Uint("--servers", &options.servers, "Chunk servers");
  flags.Uint("--replicas", &options.replicas, "Replicas of a chunk");
  flags.Uint("--empty", &options.empty, "Servers that hold nothing");
  flags.Uint("--visits", &options.visits_max, "Chunks looked at in a turn");
  flags.Uint("--moves", &options.moves_max, "Moves of one plan at most");
  flags.Uint("--rounds", &options.rounds, "Plans of each kind; medians are printed");
  flags.Bool("--quick", &options.quick, "A hundredth of the chunks, once: does it work at all?");
  flags.Bool("--json", &options.json, "Print JSON");
  command_line.ParseOrExit(argc, argv);
  if (options.quick) {
    options.chunks /= 100;
    options.rounds = 1;
  }
  World world(options);
  const double tables_mib = ResidentMib();
  Rng rng(2);
  std::vector<double> uneven;
  for (uint32_t i = 0; i < options.servers; ++i) {
    uneven.push_back(static_cast<double>(rng.Between(20, 90)));
  }
  std::map<std::string, std::vector<nlohmann::json>> rows;
  for (uint32_t round = 0; round < options.rounds; ++round) {
    world.Fill([](size_t) { return 60; });
    rows["rebalance, new servers"].push_back(PlanMoves(world, options));
    world.Fill([&](size_t i) { return uneven[i]; });
    rows["rebalance, uneven"].push_back(PlanMoves(world, options));
    rows["repair, one dead"].push_back(PlanRepairs(world, options));
  }
  nlohmann::json out = {{"chunks", options.chunks},     {"servers", options.servers},
                        {"replicas", options.replicas}, {"visits_a_turn", options.visits_max},
                        {"rounds", options.rounds},     {"tables_mib", tables_mib}};
  for (auto& [name, runs] : rows) {
    // The run of median time, whole, but with the longest turn of all runs.
    std::sort(runs.begin(), runs.end(),
              [](const auto& a, const auto& b) { return a["cpu_s"] < b["cpu_s"]; });
    nlohmann::json row = runs[runs.size() / 2];
    for (const nlohmann::json& run : runs) {
      row["longest_turn_ms"] =
          std::max(row["longest_turn_ms"].get<double>(), run["longest_turn_ms"].get<double>());
    }
    out["plans"][name] = row;
  }
  if (options.json) {
    std::printf("%s\n", out.dump(1).c_str());
    return 0;
  }
  std::printf(
      "%lu chunks x %u replicas on %u servers (tables: %.0f MiB), %u chunks a turn; processor time,"
      " median of %u\n%-24s %8s %8s %14s %8s %10s\n",
      options.chunks, options.replicas, options.servers, tables_mib, options.visits_max,
      options.rounds, "plan", "s", "turns", "longest, ms", "moves", "memory MiB");
  for (const auto& [name, row] : out["plans"].items()) {
    const auto moves = row.contains("moves") ? row["moves"] : row["copies"];
    std::printf("%-24s %8.2f %8lu %14.2f %8lu %10.1f   %s\n", name.c_str(),
                row["cpu_s"].get<double>(), row["turns"].get<uint64_t>(),
                row["longest_turn_ms"].get<double>(), moves.get<uint64_t>(),
                row["memory_mib"].get<double>(), row["longest_turn_ms_by_step"].dump().c_str());
  }
  return 0;
}

}  // namespace
}  // namespace ballast::master

int main(int argc, char** argv) { return ballast::master::Main(argc, argv); }
