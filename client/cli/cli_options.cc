// SPDX-License-Identifier: Apache-2.0
#include "client/cli/cli_options.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/byte_units.h"
#include "common/base/status_macros.h"
#include "common/cli/command_line.h"
#include "common/types/limits.h"
#include "common/types/shard_config.h"

namespace ballast::client {
namespace {

// Flags that may be absent, as text; "" is absent.
struct RawFlags {
  std::string if_generation_match;
  std::string replicas;
  std::string range;
  std::string offset;
  std::string length;
  std::vector<std::string> metadata;
  std::string group;
  std::string action;
  std::string default_replicas;
  std::string min_replicas;
  std::string inline_bytes;
  std::string heartbeat_interval;
  std::string draft_expiry;
  std::string grace;
  std::string session_idle;
  std::string repair_mbps;
  std::string repair_mbps_total;
  std::string rebalance_mbps;
  std::string rebalance_mbps_total;
  std::string rebalance_auto;
  std::string scrub_days;
  std::string weight;
};

absl::Status Misuse(absl::string_view text) { return absl::InvalidArgumentError(text); }

absl::StatusOr<uint64_t> ParseCount(absl::string_view flag, const std::string& text) {
  uint64_t value = 0;
  if (!absl::SimpleAtoi(text, &value)) {
    return Misuse(absl::StrCat(flag, ": '", text, "' is no number"));
  }
  return value;
}

absl::StatusOr<uint64_t> ParseSize(absl::string_view flag, const std::string& text) {
  uint64_t value = 0;
  if (!ParseBytes(text, &value)) {
    return Misuse(absl::StrCat(flag, ": '", text, "' is no size; write 64MiB, 10GB or 4096"));
  }
  return value;
}

// FIRST-LAST, both included, or FIRST-.
absl::Status ParseRange(const std::string& text, CliOptions* options) {
  const std::pair<std::string, std::string> ends = absl::StrSplit(text, absl::MaxSplits('-', 1));
  uint64_t last = 0;
  const bool open = ends.second.empty();
  if (text.find('-') == std::string::npos ||
      !absl::SimpleAtoi(ends.first, &options->offset_bytes) ||
      (!open && !absl::SimpleAtoi(ends.second, &last))) {
    return Misuse(absl::StrCat("--range: '", text, "' is no range; write FIRST-LAST or FIRST-"));
  }
  if (!open) {
    if (last < options->offset_bytes) {
      return Misuse(absl::StrCat("--range: '", text, "' ends before it begins"));
    }
    const uint64_t length = last - options->offset_bytes;
    options->length_bytes = length == UINT64_MAX ? length : length + 1;
  }
  return absl::OkStatus();
}

absl::Status FinishGet(const RawFlags& raw, CliOptions* options) {
  if (!raw.range.empty()) {
    if (!raw.offset.empty() || !raw.length.empty()) {
      return Misuse("give --range, or --offset and --length, not both");
    }
    RETURN_IF_ERROR(ParseRange(raw.range, options));
  }
  if (!raw.offset.empty()) {
    ASSIGN_OR_RETURN(options->offset_bytes, ParseSize("--offset", raw.offset));
  }
  if (!raw.length.empty()) {
    ASSIGN_OR_RETURN(options->length_bytes, ParseSize("--length", raw.length));
  }
  if (options->file.empty()) {
    options->file = options->key.substr(options->key.rfind('/') + 1);
    if (options->file.empty() || options->file == "." || options->file == "..") {
      return Misuse(absl::StrCat("'", options->key, "' gives no file name; name the file, or -"));
    }
  }
  if (options->file == "-" && options->json) {
    return Misuse("--json and the object's bytes cannot both go to standard output");
  }
  return absl::OkStatus();
}

absl::Status CheckReplicas(const CliOptions& options) {
  return options.replicas > kReplicasMax
             ? Misuse(absl::StrCat("--replicas: at most ", kReplicasMax))
             : absl::OkStatus();
}

absl::Status FinishCp(CliOptions* options) {
  if (options->key == options->target_key) {
    return Misuse(absl::StrCat("'", options->key, "' cannot be copied onto itself"));
  }
  return CheckReplicas(*options);
}

absl::Status FinishReplicas(const RawFlags& raw, CliOptions* options) {
  ASSIGN_OR_RETURN(const uint64_t replicas, ParseCount("N", raw.replicas));
  if (replicas < 1 || replicas > kReplicasMax) {
    return Misuse(absl::StrCat("N: 1 to ", kReplicasMax, " copies"));
  }
  options->replicas = static_cast<uint32_t>(replicas);
  return absl::OkStatus();
}

absl::Status FinishPut(const RawFlags& raw, CliOptions* options) {
  for (const std::string& entry : raw.metadata) {
    const size_t equals = entry.find('=');
    if (equals == std::string::npos || equals == 0) {
      return Misuse(absl::StrCat("--meta: '", entry, "' is not NAME=VALUE"));
    }
    options->metadata.emplace_back(entry.substr(0, equals), entry.substr(equals + 1));
  }
  RETURN_IF_ERROR(CheckReplicas(*options));
  const uint64_t chunk = options->chunk_bytes;
  if (chunk != 0 && (chunk % kBlockBytes != 0 || chunk > kChunkBytesMax)) {
    return Misuse("--chunk-size: a multiple of 64KiB, at most 64MiB");
  }
  return absl::OkStatus();
}

absl::Status FinishGroup(const RawFlags& raw, CliOptions* options) {
  ASSIGN_OR_RETURN(const uint64_t group, ParseCount("GROUP", raw.group));
  if (group == 0 || group > UINT32_MAX) {
    return Misuse("GROUP: groups are numbered from 1");
  }
  options->group = static_cast<uint32_t>(group);
  for (const std::string& address : options->addresses) {
    if (!ValidateAddress(address).ok()) {
      return Misuse(absl::StrCat("'", address, "' is no HOST:PORT"));
    }
  }
  return absl::OkStatus();
}

absl::Status FinishSettings(const RawFlags& raw, CliOptions* options) {
  v1::UpdateSettingsRequest& settings = options->settings;
  const auto number = [&](absl::string_view flag, const std::string& text,
                          const std::function<void(uint32_t)>& set) -> absl::Status {
    if (!text.empty()) {
      ASSIGN_OR_RETURN(const uint64_t value, ParseSize(flag, text));
      if (value > UINT32_MAX) {
        return Misuse(absl::StrCat(flag, ": too large"));
      }
      set(static_cast<uint32_t>(value));
      options->changes_settings = true;
    }
    return absl::OkStatus();
  };
  const auto duration = [&](absl::string_view flag, const std::string& text,
                            const std::function<void(uint32_t)>& set) -> absl::Status {
    if (!text.empty()) {
      absl::Duration value;
      if (!absl::ParseDuration(text, &value) || value < absl::ZeroDuration() ||
          value > absl::Milliseconds(UINT32_MAX)) {
        return Misuse(
            absl::StrCat(flag, ": '", text, "' is no duration; write 5s, 200ms or 1h30m"));
      }
      set(static_cast<uint32_t>(absl::ToInt64Milliseconds(value)));
      options->changes_settings = true;
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(number("--default-replicas", raw.default_replicas,
                         [&](uint32_t v) { settings.set_default_replicas(v); }));
  RETURN_IF_ERROR(number("--min-replicas", raw.min_replicas,
                         [&](uint32_t v) { settings.set_min_replicas(v); }));
  RETURN_IF_ERROR(number("--inline-bytes", raw.inline_bytes,
                         [&](uint32_t v) { settings.set_inline_bytes(v); }));
  RETURN_IF_ERROR(duration("--heartbeat-interval", raw.heartbeat_interval,
                           [&](uint32_t v) { settings.set_heartbeat_interval_ms(v); }));
  RETURN_IF_ERROR(duration("--draft-expiry", raw.draft_expiry,
                           [&](uint32_t v) { settings.set_draft_expiry_ms(v); }));
  RETURN_IF_ERROR(duration("--grace", raw.grace, [&](uint32_t v) { settings.set_grace_ms(v); }));
  RETURN_IF_ERROR(duration("--session-idle", raw.session_idle,
                           [&](uint32_t v) { settings.set_session_idle_ms(v); }));
  RETURN_IF_ERROR(number("--repair-mbps", raw.repair_mbps,
                         [&](uint32_t v) { settings.set_repair_server_mbps(v); }));
  RETURN_IF_ERROR(number("--repair-mbps-total", raw.repair_mbps_total,
                         [&](uint32_t v) { settings.set_repair_total_mbps(v); }));
  RETURN_IF_ERROR(number("--rebalance-mbps", raw.rebalance_mbps,
                         [&](uint32_t v) { settings.set_rebalance_server_mbps(v); }));
  RETURN_IF_ERROR(number("--rebalance-mbps-total", raw.rebalance_mbps_total,
                         [&](uint32_t v) { settings.set_rebalance_total_mbps(v); }));
  RETURN_IF_ERROR(
      number("--scrub-days", raw.scrub_days, [&](uint32_t v) { settings.set_scrub_days(v); }));
  if (!raw.rebalance_auto.empty()) {
    if (raw.rebalance_auto != "on" && raw.rebalance_auto != "off") {
      return Misuse("--rebalance-auto is on or off");
    }
    settings.set_rebalance_auto(raw.rebalance_auto == "on" ? 1 : 2);
    options->changes_settings = true;
  }
  if (!raw.action.empty() && raw.action != "show" && raw.action != "set") {
    return Misuse(absl::StrCat("settings: '", raw.action, "' is neither show nor set"));
  }
  if (raw.action == "show" && options->changes_settings) {
    return Misuse("settings show changes nothing; leave 'show' out to change settings");
  }
  if (raw.action == "set" && !options->changes_settings) {
    return Misuse("settings set: name a setting; 'ballast settings --help' lists them");
  }
  return absl::OkStatus();
}

absl::Status Finish(const RawFlags& raw, CliOptions* options) {
  for (const std::string& address : options->cluster) {
    if (!ValidateAddress(address).ok()) {
      return Misuse(absl::StrCat("--cluster: '", address, "' is no HOST:PORT"));
    }
  }
  if (!raw.if_generation_match.empty()) {
    ASSIGN_OR_RETURN(options->if_generation_match,
                     ParseCount("--if-generation-match", raw.if_generation_match));
  }
  if (options->parallel < 1 || options->parallel > 16) {
    return Misuse("--parallel: 1 to 16");
  }
  if (options->verb == "put") {
    return FinishPut(raw, options);
  }
  if (options->verb == "get") {
    return FinishGet(raw, options);
  }
  if (options->verb == "cp") {
    return FinishCp(options);
  }
  if (options->verb == "replicas") {
    return FinishReplicas(raw, options);
  }
  if (options->verb == "rm" && options->keys.size() > 1 &&
      options->if_generation_match.has_value()) {
    return Misuse("--if-generation-match goes with one key");
  }
  if (options->moves_shown > 1000) {
    return Misuse("--moves: 0 to 1000");
  }
  if (options->verb == "group join" || options->verb == "group leave") {
    return FinishGroup(raw, options);
  }
  if (options->verb == "settings") {
    return FinishSettings(raw, options);
  }
  if (!raw.weight.empty()) {
    double weight = 0;
    if (!absl::SimpleAtod(raw.weight, &weight) || !(weight >= 0 && weight <= 1000)) {
      return Misuse(absl::StrCat("--weight: '", raw.weight, "' is not 0 to 1000"));
    }
    options->weight = weight;
  }
  if (options->verb == "health" && !ValidateAddress(options->address).ok()) {
    return Misuse(absl::StrCat("'", options->address, "' is no HOST:PORT"));
  }
  return absl::OkStatus();
}

constexpr char kExamples[] = R"(Examples:
  ballast put film.mkv films/film.mkv          store a file
  tar c src | ballast put - backup/src.tar     store standard input
  ballast get films/film.mkv copy.mkv          read it back
  ballast get films/film.mkv - --range 0-99    its first 100 bytes, to standard output
  ballast ls films/ --long                     what is there
  ballast stat films/film.mkv --json           one object's facts, for scripts
  ballast cp films/film.mkv films/again.mkv    copy it within the cluster
  ballast replicas films/film.mkv 2            keep two copies of it
  ballast rm films/film.mkv                    remove it
  ballast status                               how the cluster is
Exit status: 0 done, 1 failed, 2 misused, 130 interrupted.)";

constexpr char kGenerationHelp[] =
    "Only if the object's generation is this; 0: only if it does not exist";

void DeclareObjectVerbs(CommandLine& line, CliOptions& options, RawFlags& raw) {
  line.Verb("put", "Store a file, or standard input, as an object")
      .Positional("FILE", &options.file, "The file to store; - for standard input")
      .Positional("KEY", &options.key, "The object's name, 1 to 1024 bytes of UTF-8")
      .Uint("--replicas", &options.replicas, "Copies wanted, 1 to 5; 0: the cluster's default")
      .String("--if-generation-match", &raw.if_generation_match, kGenerationHelp)
      .Texts("--meta", &raw.metadata, "NAME=VALUE kept with the object; may be repeated")
      .Bytes("--chunk-size", &options.chunk_bytes,
             "Length of a chunk: a multiple of 64KiB up to 64MiB; 0: 64MiB, 16MiB from a pipe")
      .Uint("--parallel", &options.parallel, "Chunks on their way at once, 1 to 16")
      .Footer("Example: ballast put film.mkv films/film.mkv --replicas 2 --meta lang=en");
  line.Verb("get", "Read an object, or a part of it, into a file or to standard output")
      .Positional("KEY", &options.key, "The object's name")
      .Positional("FILE", &options.file,
                  "Where to write: - for standard output; by default the last part of KEY", false)
      .String("--range", &raw.range, "FIRST-LAST: these bytes, both included; FIRST-: to the end")
      .String("--offset", &raw.offset, "First byte to read, with a unit if you like")
      .String("--length", &raw.length, "Bytes to read at most, with a unit if you like")
      .Uint("--parallel", &options.parallel, "Pieces on their way at once, 1 to 16")
      .Bool(
          "--spread", &options.spread,
          "Read from any replica, not from the one that all readers prefer: for a few objects that "
          "very many read at once")
      .Footer("Example: ballast get films/film.mkv - --offset 1GiB --length 64KiB | xxd");
  line.Verb("cp", "Copy an object within the cluster, with what --meta gave it")
      .Positional("SRC", &options.key, "The object's name")
      .Positional("DST", &options.target_key, "The name of the copy; an object there is replaced")
      .Uint("--replicas", &options.replicas,
            "Copies wanted of each chunk, 1 to 5; 0: the cluster's default")
      .String("--if-generation-match", &raw.if_generation_match,
              "Only if DST's generation is this; 0: only if it does not exist")
      .Uint("--parallel", &options.parallel, "Pieces and chunks on their way at once, 1 to 16")
      .Footer(
          "The bytes pass through this command. Example: ballast cp films/film.mkv old/film.mkv");
  line.Verb("replicas", "Set how many copies of an object's chunks there should be")
      .Positional("KEY", &options.key, "The object's name")
      .Positional("N", &raw.replicas, "Copies wanted, 1 to 5")
      .Footer(
          "The cluster makes or removes copies in the background. Example: ballast replicas "
          "films/film.mkv 2");
  line.Verb("ls", "List objects in the order of their names")
      .Positional("PREFIX", &options.prefix, "Only names that begin with this", false)
      .Uint("--limit", &options.limit, "Stop after this many; 0: all")
      .String("--start-after", &options.start_after, "Begin after this name")
      .Bool("-l,--long", &options.long_form, "Size, generation and time of each")
      .Footer("With --json: one object a line.");
  line.Verb("stat", "Show an object's facts").Positional("KEY", &options.key, "The object's name");
  line.Verb("rm", "Remove objects")
      .Positionals("KEY", &options.keys, "The objects' names")
      .String("--if-generation-match", &raw.if_generation_match, kGenerationHelp);
}

void DeclareClusterVerbs(CommandLine& line, CliOptions& options, RawFlags& raw) {
  line.Verb("status", "Show how the cluster is: groups, servers, chunks");
  line.Verb("servers", "Show the chunk servers");
  line.Verb("health", "Ask one server of any kind whether it serves, once, for at most 5s")
      .Positional("HOST:PORT", &options.address, "Where it listens")
      .Footer("Exit status 0: it serves; 1: it does not. For health checks of containers.");
  line.Verb("group", "Add or remove groups of masters");
  line.Verb("group join", "Add a group of masters, or change its addresses")
      .Positional("GROUP", &raw.group, "The group's number, from 1")
      .Positionals("HOST:PORT", &options.addresses,
                   "Its 1, 3 or 5 masters, in the order of their node ids")
      .Footer("Example: ballast group join 1 127.0.0.1:7500");
  line.Verb("group leave", "Remove a group; its shards go to the others")
      .Positional("GROUP", &raw.group, "The group's number");
  line.Verb("rebalance", "See how evenly servers are filled, plan and move");
  line.Verb("rebalance check",
            "Show which servers are over- and underloaded, and what is being done");
  line.Verb("rebalance plan", "Make a plan and show it; nothing is moved")
      .Uint("--moves", &options.moves_shown, "Show so many of its moves, 0 to 1000");
  line.Verb("rebalance run", "Level the servers now, and show how far it is")
      .Bool("--no-wait", &options.no_wait, "Begin it and return");
  line.Verb("rebalance stop", "Begin no more moves");
  line.Verb("repair", "Say a word in repair, which runs by itself");
  line.Verb("repair all", "Repair everything, although many servers fell silent together");
  line.Verb("drain", "Empty chunk servers: their chunks go elsewhere, nothing new comes")
      .Positionals("SERVER", &options.servers, "Ids, names or addresses");
  line.Verb("undrain", "Use chunk servers as before")
      .Positionals("SERVER", &options.servers, "Ids, names or addresses");
  line.Verb("fsck", "Look through all chunks for what is wrong with them")
      .String("--purge", &options.purge,
              "Delete this quarantined chunk, 16 hexadecimal digits, from --server")
      .Strings("--server", &options.servers, "The server to purge it from");
  line.Verb("explain", "Say why an object, a chunk or a chunk server is as it is")
      .Positional("WHAT", &options.key, "A key, 16 hexadecimal digits of a chunk, or a server");
  line.Verb("settings", "Show the cluster's settings, or change those that are given")
      .Positional("ACTION", &raw.action, "show or set; may be left out", false)
      .String("--default-replicas", &raw.default_replicas,
              "Copies of objects that name no number, 1 to 5")
      .String("--min-replicas", &raw.min_replicas,
              "Copies that must be on disk before a write is answered, 1 to default-replicas")
      .String("--inline-bytes", &raw.inline_bytes,
              "Values up to this size live with the metadata, 0 to 64KiB")
      .String("--heartbeat-interval", &raw.heartbeat_interval,
              "Of chunk servers, 100ms to 60s; dead after 3 missed")
      .String("--draft-expiry", &raw.draft_expiry,
              "An unfinished write without news is given up after this, 1s to 24h")
      .String("--grace", &raw.grace,
              "Chunks of replaced and removed objects stay readable for this, 0s to 24h")
      .String("--session-idle", &raw.session_idle,
              "A client without news is forgotten after this, 1s to 24h")
      .String("--repair-mbps", &raw.repair_mbps,
              "MB/s of repair to one server, and from one server; 0 = no limit")
      .String("--repair-mbps-total", &raw.repair_mbps_total,
              "MB/s of repair in the whole cluster; 0 = no limit")
      .String("--rebalance-mbps", &raw.rebalance_mbps,
              "As --repair-mbps, for rebalancing and draining")
      .String("--rebalance-mbps-total", &raw.rebalance_mbps_total,
              "As --repair-mbps-total, for rebalancing and draining")
      .String("--rebalance-auto", &raw.rebalance_auto,
              "on: rebalance in the background; off: only by 'ballast rebalance run'")
      .String("--scrub-days", &raw.scrub_days,
              "Every chunk is read and checked within so many days, 1 to 365")
      .Footer("Example, for a cluster of one chunk server: ballast settings --min-replicas 1");
}

void DeclarePoolVerbs(CommandLine& line, CliOptions& options, RawFlags& raw) {
  line.Verb("pool", "Route keys over named sets of servers by consistent hashing");
  line.Verb("pool create", "Make an empty pool")
      .Positional("POOL", &options.pool, "Its name: 1 to 64 characters of [A-Za-z0-9._-]")
      .Uint("--points", &options.points_per_weight,
            "Points on the ring of a server of weight 1, 1 to 65536; 0: 1024. Never changes");
  line.Verb("pool delete", "Remove a pool").Positional("POOL", &options.pool, "Its name");
  line.Verb("pool list", "Show all pools");
  line.Verb("pool show", "Draw a pool's ring and its servers' shares")
      .Positional("POOL", &options.pool, "Its name");
  line.Verb("pool add", "Add servers, or change their weight")
      .Positional("POOL", &options.pool, "The pool's name")
      .Positionals("SERVER", &options.servers, "Any names, such as host:port")
      .String("--weight", &raw.weight, "0 to 1000, of each; 1 for new ones if not given")
      .Footer("Example: ballast pool add caches 10.0.0.1:11211 10.0.0.2:11211 --weight 1.5");
  line.Verb("pool remove", "Remove servers")
      .Positional("POOL", &options.pool, "The pool's name")
      .Positionals("SERVER", &options.servers, "Their names");
  line.Verb("pool drain", "Route nothing to servers any more, and keep their weights for later")
      .Positional("POOL", &options.pool, "The pool's name")
      .Positionals("SERVER", &options.servers, "Their names");
  line.Verb("pool undrain", "Route to servers as before")
      .Positional("POOL", &options.pool, "The pool's name")
      .Positionals("SERVER", &options.servers, "Their names");
  line.Verb("pool route", "Show which server each key goes to")
      .Positional("POOL", &options.pool, "The pool's name")
      .Positionals("KEY", &options.keys, "The keys, any bytes")
      .Uint("--count", &options.count,
            "Show so many servers: the owner, then where to go when it is away");
}

}  // namespace

CliParse ParseCli(const std::vector<std::string>& arguments) {
  CliParse parse;
  RawFlags raw;
  CliOptions& options = parse.options;
  CommandLine line("ballast", "Stores and reads objects of a Ballast cluster, and looks after it.",
                   "BALLAST");
  line.global()
      .Strings("--cluster", &options.cluster,
               "HOST:PORT of the shard controller, all of them with commas between")
      .Bool("--json", &options.json, "Print JSON for programs")
      .Bool("-q,--quiet", &options.quiet, "No progress bars and no notes on standard error")
      .Duration("--timeout", &options.timeout, "How long to go on trying, 10m at most")
      .Footer(kExamples);
  DeclareObjectVerbs(line, options, raw);
  DeclareClusterVerbs(line, options, raw);
  DeclarePoolVerbs(line, options, raw);
  const CommandLine::Outcome outcome = line.Parse(arguments);
  if (!outcome.proceed) {
    parse.exit_code = outcome.exit_code;
    parse.text = outcome.text;
    return parse;
  }
  options.verb = outcome.verb;
  options.timeout = std::min(options.timeout, absl::Minutes(10));
  const absl::Status status = Finish(raw, &options);
  if (!status.ok()) {
    parse.exit_code = 2;
    parse.text =
        absl::StrCat("ballast: ", status.message(), " (see ballast ", options.verb, " --help)\n");
    return parse;
  }
  parse.proceed = true;
  return parse;
}

}  // namespace ballast::client
