// SPDX-License-Identifier: Apache-2.0
// The hash ring beside libmemcached's ketama, in one process: time of a look-up and of a change,
// memory, allocations, how level it is, with bounded load too, and what moves when servers come and
// go. Times are the processor's time of this thread, the median of rounds in which every row has
// its turn. docs/performance.md has figures.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <ctime>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "bench/allocation_counter.h"
#include "bench/ketama_reference.h"
#include "bench/ring_movement.h"
#include "common/base/check.h"
#include "common/base/rng.h"
#include "common/cli/command_line.h"
#include "common/routing/hash_ring.h"
#include "common/routing/shard_router.h"
#include "common/routing/shared_ring.h"

namespace ballast::bench {
namespace {

using Json = nlohmann::ordered_json;

struct Options {
  uint32_t servers = 64;
  uint32_t points = 1024;
  uint64_t keys = 1'000'000;
  uint64_t changes = 10'000;
  uint32_t rounds = 9;
  uint64_t seed = 1;
  bool quick = false;
  bool json = false;
};

double CpuNow() {
  timespec now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

std::vector<HashRing::Server> Servers(uint32_t set, uint32_t count, uint32_t points) {
  std::vector<HashRing::Server> servers;
  for (uint32_t i = 0; i < count; ++i) {
    servers.push_back({absl::StrCat("10.", set, ".0.", i + 1, ":11211"), points});
  }
  return servers;
}

HashRing MakeRing(std::vector<HashRing::Server> servers) {
  auto ring = HashRing::Make(std::move(servers));
  CHECK(ring.ok()) << ring.status();
  return *std::move(ring);
}

// Keys of 17 bytes, one behind the other, and their hashes.
class Keys {
 public:
  explicit Keys(uint64_t count) {
    bytes_.reserve(count * kBytes);
    char key[32];
    for (uint64_t i = 0; i < count; ++i) {
      std::snprintf(key, sizeof(key), "key:%013lu", i * 2654435761 % 10'000'000'000'000);
      bytes_.append(key, kBytes);
      hashes_.push_back(StableHash(at(i)));
    }
  }
  absl::string_view at(uint64_t i) const { return {bytes_.data() + i * kBytes, kBytes}; }
  const std::vector<uint64_t>& hashes() const { return hashes_; }
  uint64_t count() const { return hashes_.size(); }

  static constexpr size_t kBytes = 17;

 private:
  std::string bytes_;
  std::vector<uint64_t> hashes_;
};

// --- look-ups ------------------------------------------------------------------------------------

// One row: looks every key up and returns a sum of the answers, so that nothing is left out.
struct Row {
  std::string name;
  std::function<uint64_t()> pass;
  std::vector<double> ns = {};  // a look-up, in each round
  uint64_t allocations = 0;     // of all rounds
};

std::vector<Row> OurRows(const HashRing& ring, const SharedRing& shared, const Keys& keys,
                         const uint64_t& zero) {
  std::vector<Row> rows;
  rows.push_back({"hash given", [&] {
                    uint64_t sum = 0;
                    for (const uint64_t hash : keys.hashes()) {
                      sum += ring.Find(hash);
                    }
                    return sum;
                  }});
  rows.push_back({"hash given, each waits for the one before", [&] {
                    uint64_t sum = 0;
                    for (const uint64_t hash : keys.hashes()) {
                      sum += ring.Find(hash + (sum & zero));
                    }
                    return sum;
                  }});
  rows.push_back({"hash given, a Reader a look-up", [&] {
                    uint64_t sum = 0;
                    for (const uint64_t hash : keys.hashes()) {
                      sum += SharedRing::Reader(shared)->Find(hash);
                    }
                    return sum;
                  }});
  rows.push_back({"key given", [&] {
                    uint64_t sum = 0;
                    for (uint64_t i = 0; i < keys.count(); ++i) {
                      sum += ring.Find(StableHash(keys.at(i)));
                    }
                    return sum;
                  }});
  rows.push_back({"key given, a Reader a look-up", [&] {
                    uint64_t sum = 0;
                    for (uint64_t i = 0; i < keys.count(); ++i) {
                      sum += SharedRing::Reader(shared)->Find(StableHash(keys.at(i)));
                    }
                    return sum;
                  }});
  rows.push_back({"hash given, 3 successors", [&] {
                    uint64_t sum = 0;
                    for (const uint64_t hash : keys.hashes()) {
                      sum += ring.Successors(hash, 3).back();
                    }
                    return sum;
                  }});
  return rows;
}

std::vector<Row> KetamaRows(const Ketama* weighted, const Ketama* unweighted, const Keys& keys) {
  const auto find = [&keys](const Ketama* ketama) {
    return [&keys, ketama] {
      uint64_t sum = 0;
      for (uint64_t i = 0; i < keys.count(); ++i) {
        sum += ketama->Find(keys.at(i));
      }
      return sum;
    };
  };
  const auto hash = [&keys](Ketama::Kind kind) {
    return [&keys, kind] {
      uint64_t sum = 0;
      for (uint64_t i = 0; i < keys.count(); ++i) {
        sum += Ketama::HashOnly(kind, keys.at(i));
      }
      return sum;
    };
  };
  return {{"ketama weighted (MD5), key given", find(weighted)},
          {"  of it the hash", hash(Ketama::Kind::kWeighted)},
          {"ketama unweighted, key given", find(unweighted)},
          {"  of it the hash", hash(Ketama::Kind::kConsistent)}};
}

void Measure(std::vector<Row>& rows, uint64_t keys, uint32_t rounds) {
  uint64_t sum = 0;
  for (uint32_t round = 0; round <= rounds; ++round) {  // the first warms up
    for (Row& row : rows) {
      const uint64_t allocated = Allocations();
      const double begin = CpuNow();
      sum += row.pass();
      const double took = CpuNow() - begin;
      if (round > 0) {
        row.allocations += Allocations() - allocated;
        row.ns.push_back(1e9 * took / static_cast<double>(keys));
      }
    }
  }
  CHECK_NE(sum, 0u);
}

Json ToJson(const Row& row) {
  return {{"ns", Median(row.ns)},
          {"ns_min", *std::min_element(row.ns.begin(), row.ns.end())},
          {"ns_max", *std::max_element(row.ns.begin(), row.ns.end())},
          {"allocations", row.allocations}};
}

// A ring that another thread replaces all the time must not cost readers more than its cache lines.
Row UnderReplacement(SharedRing& shared, const HashRing& ring, const Keys& keys, uint32_t rounds) {
  std::vector<Row> rows = {{"hash given, a Reader a look-up, ring replaced each ms", [&] {
                              uint64_t sum = 0;
                              for (const uint64_t hash : keys.hashes()) {
                                sum += SharedRing::Reader(shared)->Find(hash);
                              }
                              return sum;
                            }}};
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    while (!stop) {
      shared.Replace(ring);
      absl::SleepFor(absl::Milliseconds(1));
    }
  });
  Measure(rows, keys.count(), rounds);
  stop = true;
  writer.join();
  return rows[0];
}

Json MeasureLookups(const Options& options, const HashRing& ring) {
  const Keys keys(options.keys);
  SharedRing shared(ring);
  volatile uint64_t not_known = 0;  // to the compiler
  const uint64_t zero = not_known;
  std::vector<Row> rows = OurRows(ring, shared, keys, zero);
  std::unique_ptr<Ketama> weighted;
  std::unique_ptr<Ketama> unweighted;
  const size_t ours = rows.size();
  if (Ketama::Available()) {
    std::vector<Ketama::Server> servers;
    for (const HashRing::Server& server : ring.servers()) {
      servers.push_back({server.id.substr(0, server.id.find(':'))});
    }
    weighted = std::make_unique<Ketama>(Ketama::Kind::kWeighted, servers);
    unweighted = std::make_unique<Ketama>(Ketama::Kind::kConsistent, servers);
    for (Row& row : KetamaRows(weighted.get(), unweighted.get(), keys)) {
      rows.push_back(std::move(row));
    }
  }
  Measure(rows, keys.count(), options.rounds);
  Json out;
  for (size_t i = 0; i < ours; ++i) {
    out["ballast"][rows[i].name] = ToJson(rows[i]);
  }
  const Row replaced = UnderReplacement(shared, ring, keys, options.rounds);
  out["ballast"][replaced.name] = ToJson(replaced);
  for (size_t i = ours; i < rows.size(); i += 2) {
    Json row = ToJson(rows[i]);
    row["hash_ns"] = Median(rows[i + 1].ns);
    row["search_ns"] = row["ns"].get<double>() - row["hash_ns"].get<double>();
    out["ketama"][rows[i].name] = row;
  }
  return out;
}

// --- level, bounded, small -----------------------------------------------------------------------

// Largest share over mean share, exactly, for many sets of names.
Json MeasureBalance(const Options& options) {
  std::vector<double> ratios;
  const uint32_t sets = options.quick ? 20 : 100;
  for (uint32_t set = 0; set < sets; ++set) {
    const std::vector<double> shares =
        MakeRing(Servers(set, options.servers, options.points)).Shares();
    ratios.push_back(*std::max_element(shares.begin(), shares.end()) * options.servers);
  }
  const auto within =
      std::count_if(ratios.begin(), ratios.end(), [](double ratio) { return ratio <= 1.10; });
  return {{"rings", sets},
          {"max_over_mean_of_first", ratios[0]},
          {"max_over_mean_median", Median(ratios)},
          {"max_over_mean_worst", *std::max_element(ratios.begin(), ratios.end())},
          {"rings_at_most_1.10", within}};
}

// The same keys on every ring.
Json MeasureKeysPerServer(const Options& options, const HashRing& ring) {
  const Keys keys(options.keys);
  const auto ratio = [&](const std::function<uint32_t(absl::string_view)>& find) {
    std::vector<uint64_t> counts(options.servers);
    for (uint64_t i = 0; i < keys.count(); ++i) {
      ++counts[find(keys.at(i))];
    }
    return static_cast<double>(*std::max_element(counts.begin(), counts.end())) * options.servers /
           static_cast<double>(keys.count());
  };
  Json out = {
      {"ballast", ratio([&](absl::string_view key) { return ring.Find(StableHash(key)); })}};
  if (Ketama::Available()) {
    std::vector<Ketama::Server> servers;
    for (const HashRing::Server& server : ring.servers()) {
      servers.push_back({server.id.substr(0, server.id.find(':'))});
    }
    const Ketama weighted(Ketama::Kind::kWeighted, servers);
    const Ketama unweighted(Ketama::Kind::kConsistent, servers);
    out["ketama weighted"] = ratio([&](absl::string_view key) { return weighted.Find(key); });
    out["ketama unweighted"] = ratio([&](absl::string_view key) { return unweighted.Find(key); });
  }
  return out;
}

// Requests by a Zipf law over few keys: without a bound the owner of the first gets most.
Json MeasureBoundedLoad(const HashRing& ring, double factor, uint64_t requests) {
  Rng rng(7);
  std::vector<double> parts;
  for (const HashRing::Server& server : ring.servers()) {
    parts.push_back(server.points / static_cast<double>(ring.point_count()));
  }
  std::vector<double> below = {0};  // of the law, up to each key
  for (int i = 1; i <= 1000; ++i) {
    below.push_back(below.back() + 1.0 / i);
  }
  std::vector<uint64_t> load(parts.size());
  std::vector<uint64_t> unbounded(parts.size());
  uint64_t away = 0;
  const double begin = CpuNow();
  for (uint64_t total = 1; total <= requests; ++total) {
    const double draw = rng.Fraction() * below.back();
    const auto key = std::upper_bound(below.begin(), below.end(), draw) - below.begin();
    const uint64_t hash = StableHash(absl::StrCat("popular/", key));
    const uint32_t owner = ring.Find(hash);
    const uint32_t server = ring.FindWithRoom(
        hash, [&](uint32_t s) { return load[s] < LoadBound(total, parts[s], factor); });
    ++load[server];
    ++unbounded[owner];
    away += server != owner ? 1 : 0;
  }
  const double seconds = CpuNow() - begin;
  double worst = 0;
  double worst_unbounded = 0;
  bool within = true;
  for (size_t s = 0; s < parts.size(); ++s) {
    const double mean = parts[s] * static_cast<double>(requests);
    worst = std::max(worst, static_cast<double>(load[s]) / mean);
    worst_unbounded = std::max(worst_unbounded, static_cast<double>(unbounded[s]) / mean);
    within &= load[s] <= LoadBound(requests, parts[s], factor);
  }
  return {{"factor", factor},
          {"max_over_part", worst},
          {"within_bound", within},
          {"max_over_part_without_bound", worst_unbounded},
          {"away_from_owner", static_cast<double>(away) / static_cast<double>(requests)},
          {"us_a_request", 1e6 * seconds / static_cast<double>(requests)}};
}

Json MeasureChanges(const Options& options, const HashRing& ring) {
  std::vector<double> join_ms;
  std::vector<double> leave_ms;
  std::vector<double> weight_ms;
  for (uint32_t i = 0; i < (options.quick ? 15u : 51u); ++i) {
    const std::string& old = ring.servers()[i % ring.servers().size()].id;
    const auto time = [](std::vector<double>* into, const std::function<bool()>& change) {
      const double begin = CpuNow();
      CHECK(change());
      into->push_back(1000 * (CpuNow() - begin));
    };
    time(&join_ms, [&] { return ring.With({absl::StrCat("new", i), options.points}).ok(); });
    time(&leave_ms, [&] { return ring.Without(old).ok(); });
    time(&weight_ms, [&] { return ring.With({old, options.points / 2}).ok(); });
  }
  const auto row = [](const std::vector<double>& ms) {
    return Json{{"ms", Median(ms)}, {"ms_max", *std::max_element(ms.begin(), ms.end())}};
  };
  return {{"join", row(join_ms)}, {"leave", row(leave_ms)}, {"weight", row(weight_ms)}};
}

Json ToJson(const Deviation& deviation) {
  return {{"changes", deviation.changes},
          {"worst_sigmas", deviation.worst},
          {"aggregate_sigmas", deviation.aggregate()}};
}

Json MeasureMovement(const Options& options) {
  const ChangesResult r = RunRandomChanges(options.changes, options.keys, options.seed);
  Json out = {{"changes", options.changes},
              {"keys", r.keys},
              {"servers_min", r.servers_min},
              {"servers_max", r.servers_max},
              {"collateral_keys", r.collateral_keys},
              {"moved_keys", r.moved_keys},
              {"moved_over_optimum", static_cast<double>(r.moved_keys) / r.optimum_keys},
              {"all", ToJson(r.all)},
              {"joins", ToJson(r.joins)},
              {"leaves", ToJson(r.leaves)},
              {"weights", ToJson(r.weights)},
              {"seconds", r.seconds}};
  for (const Transition& t : RunTransitions(options.keys, options.points)) {
    out["transitions"].push_back({{"change", t.change},
                                  {"ring", t.ring},
                                  {"optimum", t.optimum},
                                  {"moved", t.moved},
                                  {"collateral", t.collateral}});
  }
  return out;
}

// --- the report ----------------------------------------------------------------------------------

const char* Met(bool is_met) { return is_met ? "met" : "MISSED"; }

void PrintLookups(const Json& lookups) {
  std::printf("%-52s %8s %15s %12s\n", "look-up, ns of processor time", "median", "min-max",
              "allocations");
  double key_given = 0;
  double hash_given = 0;
  for (const auto& [name, row] : lookups["ballast"].items()) {
    std::printf("%-52s %8.1f %7.1f-%7.1f %12lu\n", name.c_str(), row["ns"].get<double>(),
                row["ns_min"].get<double>(), row["ns_max"].get<double>(),
                row["allocations"].get<uint64_t>());
    if (name == "key given") {
      key_given = row["ns"];
    } else if (name == "hash given") {
      hash_given = row["ns"];
    }
  }
  std::printf("  hash given: goal <= 15 ns: %s\n", Met(hash_given <= 15));
  if (!lookups.contains("ketama")) {
    std::printf("ketama: libmemcached was not there when this was built; no comparison\n");
    return;
  }
  for (const auto& [name, row] : lookups["ketama"].items()) {
    const double ns = row["ns"];
    std::printf("%-52s %8.1f %7.1f-%7.1f\n", name.c_str(), ns, row["ns_min"].get<double>(),
                row["ns_max"].get<double>());
    std::printf(
        "  key to server, both with the key's hash: %.1f times ours (goal >= 5: %s); its "
        "search alone, %.1f ns: %.1f times ours with the hash given\n",
        ns / key_given, Met(ns / key_given >= 5), row["search_ns"].get<double>(),
        row["search_ns"].get<double>() / hash_given);
  }
}

void PrintProperties(const Json& out) {
  const double memory = out["memory_bytes_a_point"];
  std::printf("\nmemory: %.2f bytes a point, servers included (goal <= 16: %s)\n", memory,
              Met(memory <= 16));
  for (const auto& [name, row] : out["change"].items()) {
    const double ms = row["ms"];
    std::printf("change, %-6s: %.2f ms, at most %.2f (goal <= 2: %s)\n", name.c_str(), ms,
                row["ms_max"].get<double>(), Met(ms <= 2));
  }
  const Json& balance = out["balance"];
  const double median = balance["max_over_mean_median"];
  std::printf(
      "largest share / mean, exact: %.3f; of %lu rings with other names: median %.3f, worst "
      "%.3f, %lu at most 1.10 (goal <= 1.10: %s)\n",
      balance["max_over_mean_of_first"].get<double>(), balance["rings"].get<uint64_t>(), median,
      balance["max_over_mean_worst"].get<double>(), balance["rings_at_most_1.10"].get<uint64_t>(),
      Met(median <= 1.10));
  std::printf("most keys on a server / mean, the same keys:");
  for (const auto& [name, ratio] : out["keys_max_over_mean"].items()) {
    std::printf(" %s %.3f;", name.c_str(), ratio.get<double>());
  }
  std::printf("\n");
  for (const Json& row : out["bounded_load"]) {
    std::printf(
        "bounded load, c = %.2f: largest load / part %.4f, without a bound %.1f, %.0f %% "
        "away from the owner, %.2f us a request (goal <= c: %s)\n",
        row["factor"].get<double>(), row["max_over_part"].get<double>(),
        row["max_over_part_without_bound"].get<double>(),
        100 * row["away_from_owner"].get<double>(), row["us_a_request"].get<double>(),
        Met(row["within_bound"].get<bool>()));
  }
}

void PrintMovement(const Json& movement) {
  std::printf(
      "\n%lu random joins, leaves and changes of weight, %lu to %lu servers, %lu keys looked "
      "up after each (%.0f s)\n",
      movement["changes"].get<uint64_t>(), movement["servers_min"].get<uint64_t>(),
      movement["servers_max"].get<uint64_t>(), movement["keys"].get<uint64_t>(),
      movement["seconds"].get<double>());
  const uint64_t collateral = movement["collateral_keys"];
  std::printf("  keys moved between two servers that did not change: %lu of %lu (goal 0: %s)\n",
              collateral, movement["moved_keys"].get<uint64_t>(), Met(collateral == 0));
  std::printf("  moved / optimum: %.4f\n", movement["moved_over_optimum"].get<double>());
  for (const char* kind : {"joins", "leaves", "weights", "all"}) {
    const Json& row = movement[kind];
    const double worst = row["worst_sigmas"];
    const double aggregate = row["aggregate_sigmas"];
    std::printf(
        "  %-8s %6lu: worst %.2f sigma (goal <= 6: %s), in aggregate %+.2f (goal <= 3: %s)\n", kind,
        row["changes"].get<uint64_t>(), worst, Met(worst <= 6), aggregate,
        Met(std::abs(aggregate) <= 3));
  }
  std::printf("\n%-28s %-24s %9s %9s %12s\n", "one change", "ring", "optimum", "moved",
              "collateral");
  for (const Json& row : movement["transitions"]) {
    std::printf("%-28s %-24s %7.3f %% %7.3f %% %10.3f %%\n",
                row["change"].get<std::string>().c_str(), row["ring"].get<std::string>().c_str(),
                100 * row["optimum"].get<double>(), 100 * row["moved"].get<double>(),
                100 * row["collateral"].get<double>());
  }
}

int Main(int argc, char** argv) {
  Options options;
  CommandLine line("ring_bench", "The hash ring beside libmemcached's ketama.", "BALLAST_BENCH");
  line.global()
      .Uint("--servers", &options.servers, "Servers, 1 to 100 (ketama's limit).")
      .Uint("--points", &options.points, "Points of each server.")
      .Uint("--keys", &options.keys, "Keys that are looked up.")
      .Uint("--changes", &options.changes, "Random changes of the ring.")
      .Uint("--rounds", &options.rounds, "Measurements of each row; the median counts.")
      .Uint("--seed", &options.seed, "Of the random changes.")
      .Bool("--quick", &options.quick, "A tenth of the keys, 200 changes, 3 rounds.")
      .Bool("--json", &options.json, "Print JSON.");
  line.ParseOrExit(argc, argv);
  if (options.servers < 1 || options.servers > 100 || options.points < 2 || options.keys < 1000 ||
      options.rounds < 1) {
    std::fprintf(stderr,
                 "ring_bench: 1 to 100 servers, 2 points, 1000 keys and 1 round at least\n");
    return 2;
  }
  if (options.quick) {
    options.keys /= 10;
    options.changes = std::min<uint64_t>(options.changes, 200);
    options.rounds = 3;
  }
  const HashRing ring = MakeRing(Servers(0, options.servers, options.points));
  Json out = {{"servers", options.servers}, {"points", options.points}};
  out["lookups"] = MeasureLookups(options, ring);
  out["memory_bytes_a_point"] =
      static_cast<double>(ring.memory_bytes()) / static_cast<double>(ring.point_count());
  out["change"] = MeasureChanges(options, ring);
  out["balance"] = MeasureBalance(options);
  out["keys_max_over_mean"] = MeasureKeysPerServer(options, ring);
  for (const double factor : {1.05, 1.25, 2.0}) {
    out["bounded_load"].push_back(
        MeasureBoundedLoad(ring, factor, options.quick ? 20'000 : 200'000));
  }
  out["movement"] = MeasureMovement(options);
  if (options.json) {
    std::printf("%s\n", out.dump(1).c_str());
  } else {
    std::printf("%u servers of %u points, %lu keys of %zu bytes; medians of %u rounds\n\n",
                options.servers, options.points, options.keys, Keys::kBytes, options.rounds);
    PrintLookups(out["lookups"]);
    PrintProperties(out);
    PrintMovement(out["movement"]);
  }
  uint64_t wrong = out["movement"]["collateral_keys"];
  for (const Json& row : out["lookups"]["ballast"]) {
    wrong += row["allocations"].get<uint64_t>();
  }
  if (wrong != 0) {
    std::fprintf(stderr, "ring_bench: a look-up allocated, or a key moved that should not\n");
  }
  return wrong == 0 ? 0 : 1;
}

}  // namespace
}  // namespace ballast::bench

int main(int argc, char** argv) { return ballast::bench::Main(argc, argv); }
