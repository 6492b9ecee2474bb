// SPDX-License-Identifier: Apache-2.0
#include "client/cli/text_output.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/base/byte_units.h"
#include "common/types/error.h"
#include "common/types/key.h"

namespace ballast::client {
namespace {

constexpr auto kLeft = Table::Align::kLeft;
constexpr auto kRight = Table::Align::kRight;

std::string TimeText(uint64_t unix_ms) {
  return absl::FormatTime("%Y-%m-%d %H:%M:%S UTC",
                          absl::FromUnixMillis(static_cast<int64_t>(unix_ms)), absl::UTCTimeZone());
}

std::string MillisecondsText(uint64_t ms) {
  return absl::FormatDuration(absl::Milliseconds(static_cast<int64_t>(ms)));
}

std::string GroupLine(uint32_t group, const std::vector<const MemberStatus*>& members) {
  const MemberStatus* leader = nullptr;
  std::vector<std::string> silent;
  for (const MemberStatus* member : members) {
    if (!member->status.ok()) {
      silent.push_back(member->address);
    } else if (member->status->is_leader()) {
      leader = member;
    }
  }
  std::string line = absl::StrCat("group ", group, "   ");
  if (leader == nullptr) {
    absl::StrAppend(&line, "NO LEADER");
  } else {
    const v1::GetGroupStatusResponse& s = *leader->status;
    absl::StrAppend(&line, "leader ", leader->address, " (term ", s.term(), "), ", s.shard_count(),
                    " shards, ", s.object_count(), " objects, ", s.chunk_count(), " chunks");
    if (s.draft_count() > 0) {
      absl::StrAppend(&line, ", ", s.draft_count(), " unfinished writes");
    }
  }
  if (!silent.empty()) {
    absl::StrAppend(&line, "; no answer from ", absl::StrJoin(silent, ", "));
  }
  return line + "\n";
}

// What to do about an error whose text does not say so itself, or "".
std::string Advice(const absl::Status& status) {
  switch (ReasonOf(status)) {
    case v1::REASON_OUTCOME_UNKNOWN:
      return "look with 'ballast stat' before trying again";
    case v1::REASON_GENERATION_GONE:
      return "it was replaced while being read; try again";
    case v1::REASON_DRAFT_ENDED:
      return "nothing was stored; try again";
    case v1::REASON_CHUNK_UNAVAILABLE:
      return "'ballast servers' shows which chunk servers are missing";
    case v1::REASON_WRONG_CLUSTER:
      return "check --cluster or BALLAST_CLUSTER";
    default:
      return "";
  }
}

}  // namespace

std::string Table::ToString() const {
  std::vector<size_t> widths(columns_.size(), 0);
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  std::string text;
  for (const auto& row : rows_) {
    std::string line;
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - row[i].size(), ' ');
      absl::StrAppend(&line, i == 0 ? "" : "  ", columns_[i] == kRight ? padding + row[i] : row[i],
                      columns_[i] == kLeft ? padding : "");
    }
    line.erase(line.find_last_not_of(' ') + 1);
    absl::StrAppend(&text, line, "\n");
  }
  return text;
}

std::string PrintableKey(absl::string_view key) {
  std::string text;
  const bool utf8 = IsValidUtf8(key);
  for (const char c : key) {
    if (c == '\n') {
      text += "\\n";
    } else if (c == '\t') {
      text += "\\t";
    } else if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f ||
               (!utf8 && static_cast<unsigned char>(c) >= 0x80)) {
      absl::StrAppendFormat(&text, "\\x%02x", static_cast<unsigned char>(c));
    } else {
      text += c;
    }
  }
  return text;
}

std::string ObjectText(const v1::ObjectInfo& object) {
  Table table({kLeft, kLeft});
  table.Row({"key", PrintableKey(object.key())});
  table.Row({"size",
             absl::StrCat(FormatBytes(object.size_bytes()), " (", object.size_bytes(), " bytes)")});
  table.Row({"generation", absl::StrCat(object.generation())});
  table.Row({"crc32c", absl::StrFormat("%08x", object.crc32c())});
  table.Row({"stored", object.is_inline()
                           ? "inline, with the metadata"
                           : absl::StrCat(object.chunk_count(),
                                          object.chunk_count() == 1 ? " chunk, " : " chunks, ",
                                          object.wanted_replicas(), " copies wanted")});
  table.Row({"modified", TimeText(object.modified_unix_ms())});
  for (const v1::UserMetadata& entry : object.metadata()) {
    table.Row({absl::StrCat("meta.", PrintableKey(entry.name())), PrintableKey(entry.value())});
  }
  return table.ToString();
}

std::string ObjectLine(const v1::ObjectInfo& object) {
  return absl::StrFormat("%10s  %8d  %s  %s\n", FormatBytes(object.size_bytes()),
                         object.generation(), TimeText(object.modified_unix_ms()),
                         PrintableKey(object.key()));
}

absl::string_view LivenessName(v1::Liveness liveness) {
  switch (liveness) {
    case v1::LIVENESS_ALIVE:
      return "alive";
    case v1::LIVENESS_SUSPECT:
      return "suspect";
    case v1::LIVENESS_DEAD:
      return "dead";
    default:
      return "unknown";
  }
}

absl::string_view StateName(v1::ServerState state) {
  switch (state) {
    case v1::SERVER_STATE_ACTIVE:
      return "active";
    case v1::SERVER_STATE_DRAINING:
      return "draining";
    case v1::SERVER_STATE_REMOVED:
      return "removed";
    default:
      return "unknown";
  }
}

std::vector<ServerView> JoinServers(const ClusterStatus& status) {
  std::vector<ServerView> views;
  for (const v1::RegisteredServer& registered : status.registry.servers()) {
    ServerView view{&registered, nullptr};
    if (status.servers.ok()) {
      for (const v1::ServerStatus& server : *status.servers) {
        if (server.server_id() == registered.server_id()) {
          view.status = &server;
        }
      }
    }
    views.push_back(view);
  }
  return views;
}

std::string StatusText(const ClusterStatus& status) {
  std::string text = absl::StrCat("cluster   ", status.cluster_id, ", ", status.shard_count,
                                  " shards, configuration ", status.config_version, "\n");
  if (status.config_version == 0) {
    absl::StrAppend(&text, "groups    none yet: ballast group join 1 HOST:PORT\n");
  }
  uint64_t below_wanted = 0;
  uint64_t without_replica = 0;
  bool has_leader = false;
  for (size_t i = 0; i < status.members.size();) {
    const uint32_t group = status.members[i].group;
    std::vector<const MemberStatus*> members;
    for (; i < status.members.size() && status.members[i].group == group; ++i) {
      const MemberStatus& member = status.members[i];
      members.push_back(&member);
      if (member.status.ok() && member.status->is_leader()) {
        has_leader = true;
        below_wanted += member.status->chunks_below_wanted();
        without_replica += member.status->chunks_without_live_replica();
      }
    }
    absl::StrAppend(&text, GroupLine(group, members));
  }

  uint64_t used = 0;
  uint64_t capacity = 0;
  std::vector<std::string> counts;
  const std::vector<ServerView> servers = JoinServers(status);
  for (const v1::Liveness liveness :
       {v1::LIVENESS_ALIVE, v1::LIVENESS_SUSPECT, v1::LIVENESS_DEAD, v1::LIVENESS_UNKNOWN}) {
    size_t count = 0;
    for (const ServerView& view : servers) {
      const auto mine = view.status != nullptr ? view.status->liveness() : v1::LIVENESS_UNKNOWN;
      count += mine == liveness ? 1 : 0;
    }
    if (count > 0) {
      counts.push_back(absl::StrCat(count, " ", LivenessName(liveness)));
    }
  }
  for (const ServerView& view : servers) {
    if (view.status != nullptr) {
      used += view.status->used_bytes();
      capacity += view.status->capacity_bytes();
    }
  }
  absl::StrAppend(&text, "servers   ", counts.empty() ? "none" : absl::StrJoin(counts, ", "));
  if (capacity > 0) {
    absl::StrAppend(&text, "; ", FormatBytes(used), " of ", FormatBytes(capacity), " used");
  }
  if (!status.servers.ok()) {
    absl::StrAppend(&text, " (", status.servers.status().message(), ")");
  }
  std::string chunks = "not known: no leader answers";
  if (has_leader && below_wanted == 0 && without_replica == 0) {
    chunks = "all have the copies they want";
  } else if (has_leader) {
    chunks = absl::StrCat(below_wanted, " have fewer copies than wanted, ", without_replica,
                          " have no live copy");
  }
  absl::StrAppend(&text, "\nchunks    ", chunks, "\n");
  return text;
}

std::string ServersText(const ClusterStatus& status) {
  Table table(
      {kRight, kLeft, kLeft, kLeft, kLeft, kLeft, kRight, kRight, kRight, kRight, kRight, kLeft});
  table.Row({"NO", "SERVER", "ADDRESS", "ZONE", "STATE", "LIVENESS", "USED", "CAPACITY", "%",
             "CHUNKS", "HEARD", "HEALTH"});
  for (const ServerView& view : JoinServers(status)) {
    const v1::RegisteredServer& r = *view.registered;
    std::vector<std::string> row = {absl::StrCat(r.server_index()), r.server_id(), r.address(),
                                    r.zone().empty() ? "-" : r.zone(),
                                    std::string(StateName(r.state()))};
    if (view.status == nullptr) {
      row.insert(row.end(), {"unknown", "-", "-", "-", "-", "-", "-"});
    } else {
      const v1::ServerStatus& s = *view.status;
      const int64_t heard = s.last_heartbeat_ms_ago();
      row.insert(row.end(),
                 {std::string(LivenessName(s.liveness())), FormatBytes(s.used_bytes()),
                  FormatBytes(s.capacity_bytes()), absl::StrFormat("%.1f", s.utilization_pct()),
                  absl::StrCat(s.chunk_count()),
                  heard < 0 ? "never" : absl::StrFormat("%.1fs", static_cast<double>(heard) / 1000),
                  s.loading() ? "loading" : PrintableKey(s.health())});
    }
    table.Row(std::move(row));
  }
  return table.ToString();
}

std::string ConfigurationText(const v1::Configuration& configuration) {
  std::string text = absl::StrCat("configuration ", configuration.version(), "\n");
  for (const v1::GroupInfo& group : configuration.groups()) {
    const auto shards = std::count(configuration.shard_owner().begin(),
                                   configuration.shard_owner().end(), group.group_id());
    absl::StrAppend(&text, "group ", group.group_id(), ": ", shards, " shards, masters ",
                    absl::StrJoin(group.masters(), ", ",
                                  [](std::string* out, const v1::MasterAddress& master) {
                                    absl::StrAppend(out, master.address());
                                  }),
                    "\n");
  }
  return text;
}

std::string SettingsText(const v1::Settings& settings) {
  Table table({kLeft, kLeft});
  table.Row({"default-replicas", absl::StrCat(settings.default_replicas())});
  table.Row({"min-replicas", absl::StrCat(settings.min_replicas())});
  table.Row({"inline-bytes", absl::StrCat(settings.inline_bytes())});
  table.Row({"heartbeat-interval", MillisecondsText(settings.heartbeat_interval_ms())});
  table.Row({"draft-expiry", MillisecondsText(settings.draft_expiry_ms())});
  table.Row({"grace", MillisecondsText(settings.grace_ms())});
  table.Row({"session-idle", MillisecondsText(settings.session_idle_ms())});
  const auto limit = [&table](const std::string& name, uint32_t mbps) {
    table.Row({name, mbps == 0 ? std::string("no limit") : absl::StrCat(mbps, " MB/s")});
  };
  limit("repair-mbps", settings.repair_server_mbps());
  limit("repair-mbps-total", settings.repair_total_mbps());
  limit("rebalance-mbps", settings.rebalance_server_mbps());
  limit("rebalance-mbps-total", settings.rebalance_total_mbps());
  table.Row({"rebalance-auto", settings.rebalance_auto() == 2 ? "off" : "on"});
  table.Row({"scrub-days", absl::StrCat(settings.scrub_days())});
  return table.ToString();
}

std::string RateText(uint64_t bytes, absl::Duration took) {
  const double seconds = std::max(absl::ToDoubleSeconds(took), 1e-3);
  const auto rate = static_cast<uint64_t>(static_cast<double>(bytes) / seconds);
  return absl::StrFormat("%s in %.1f s (%s/s)", FormatBytes(bytes), seconds, FormatBytes(rate));
}

std::string ErrorText(absl::string_view what, const absl::Status& status) {
  std::string text = absl::StrCat(
      "ballast: ", what, what.empty() ? "" : ": ",
      ReasonOf(status) == v1::REASON_OBJECT_NOT_FOUND ? "no such object" : status.message());
  const std::string advice = Advice(status);
  if (!advice.empty()) {
    absl::StrAppend(&text, " (", advice, ")");
  }
  // Servers' texts are not ours: one line stays one line.
  return PrintableKey(text) + "\n";
}

std::string ProgressText(absl::string_view label, uint64_t done, uint64_t total,
                         absl::Duration elapsed, int width) {
  constexpr int kLabelMax = 30;
  constexpr int kBarMax = 30;
  const double seconds = std::max(absl::ToDoubleSeconds(elapsed), 1e-3);
  const double rate = static_cast<double>(done) / seconds;
  std::string name = PrintableKey(label);
  if (name.size() > kLabelMax) {
    size_t begin = name.size() - (kLabelMax - 2);
    while (begin < name.size() && (static_cast<unsigned char>(name[begin]) & 0xC0) == 0x80) {
      ++begin;  // not inside a character
    }
    name = absl::StrCat("..", name.substr(begin));
  }
  const std::string rate_text = absl::StrCat(FormatBytes(static_cast<uint64_t>(rate)), "/s");
  if (total == 0) {
    return absl::StrCat(name, "  ", FormatBytes(done), "  ", rate_text)
        .substr(0, static_cast<size_t>(std::max(width, 0)));
  }
  const double share = std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  std::string eta = "-";
  if (rate > 0) {
    eta = absl::FormatDuration(
        absl::Seconds(std::ceil(static_cast<double>(total - std::min(done, total)) / rate)));
  }
  const std::string before = absl::StrFormat("%s %3d%% ", name, static_cast<int>(share * 100));
  const std::string after =
      absl::StrCat(" ", FormatBytes(done), "/", FormatBytes(total), "  ", rate_text, "  ETA ", eta);
  const int room = std::min(kBarMax, width - static_cast<int>(before.size() + after.size()) - 2);
  std::string bar;
  if (room >= 5) {
    const int filled = static_cast<int>(share * room);
    bar = absl::StrCat("[", std::string(static_cast<size_t>(filled), '#'),
                       std::string(static_cast<size_t>(room - filled), '.'), "]");
  }
  return absl::StrCat(before, bar, after).substr(0, static_cast<size_t>(std::max(width, 0)));
}

}  // namespace ballast::client
