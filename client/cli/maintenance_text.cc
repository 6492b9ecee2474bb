// SPDX-License-Identifier: Apache-2.0
#include "client/cli/maintenance_text.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "client/cli/text_output.h"
#include "common/base/byte_units.h"
#include "common/types/ids.h"
#include "google/protobuf/util/json_util.h"

namespace ballast::client {
namespace {

std::string EtaText(int64_t eta_ms) {
  return eta_ms < 0
             ? std::string("ETA unknown")
             : absl::StrCat("ETA ", absl::FormatDuration(absl::Seconds((eta_ms + 999) / 1000)));
}

std::string Named(const std::string& name, const std::string& id) {
  return name.empty() ? id : name;
}

}  // namespace

std::string MessageJson(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  // Fails only for malformed Any fields, of which there are none.
  (void)google::protobuf::util::MessageToJsonString(message, &json, options);
  return json;
}

std::string RebalanceProgressText(const v1::RebalanceState& state) {
  switch (state.phase()) {
    case v1::RebalanceState::PHASE_PLANNING:
      return "rebalancing: planning";
    case v1::RebalanceState::PHASE_MOVING:
      return absl::StrFormat("rebalancing: %d of %d moves, %s of %s, %d under way, %s",
                             state.moves_done(), state.moves_planned(),
                             FormatBytes(state.bytes_moved()), FormatBytes(state.bytes_planned()),
                             state.moves_under_way(), EtaText(state.eta_ms()));
    default:
      return state.note().empty() ? "rebalancing: idle"
                                  : absl::StrCat("rebalancing: idle; ", state.note());
  }
}

std::string MaintenanceText(const v1::GetMaintenanceResponse& state) {
  const v1::RepairState& repair = state.repair();
  std::string text;
  const uint64_t short_chunks =
      repair.chunks_one_left() + repair.chunks_two_left() + repair.chunks_more_left();
  if (repair.chunks_lost() > 0) {
    absl::StrAppend(&text, "lost       ", repair.chunks_lost(),
                    " chunks have no live replica; 'ballast fsck' names them\n");
  }
  if (short_chunks > 0 || repair.copies_under_way() > 0) {
    absl::StrAppendFormat(
        &text, "repair     %d chunks lack replicas (%d have one left), %s to copy, %s/s, %s\n",
        short_chunks, repair.chunks_one_left(), FormatBytes(repair.bytes_short()),
        FormatBytes(repair.bytes_per_second()), EtaText(repair.eta_ms()));
  } else if (repair.shards_unsettled() == 0) {
    absl::StrAppend(&text, "repair     nothing to do\n");
  } else {
    absl::StrAppend(&text, "repair     not known yet\n");
  }
  if (repair.chunks_damaged() > 0) {
    absl::StrAppend(&text, "           ", repair.chunks_damaged(),
                    " chunks have enough replicas and a damaged one that is to go\n");
  }
  if (repair.only_last_copies()) {
    absl::StrAppend(&text,
                    "           many servers fell silent together: only last copies are repaired "
                    "('ballast repair all' ends that)\n");
  }
  for (const std::string& blocked : repair.blocked()) {
    absl::StrAppend(&text, "           ", blocked, "\n");
  }
  if (repair.shards_unsettled() > 0) {
    absl::StrAppend(&text, "           ", repair.shards_unsettled(),
                    " shards are not judged yet: servers have not reported them\n");
  }
  absl::StrAppend(&text, "balance    ", RebalanceProgressText(state.rebalance()), "\n");
  std::vector<v1::DrainState> drains(state.drains().begin(), state.drains().end());
  if (!drains.empty()) {
    absl::StrAppend(&text, DrainsText(drains));
  }
  return text;
}

std::string RebalanceText(const v1::RebalanceState& state, const ServerNames& names) {
  std::string text =
      absl::StrFormat("mean %.1f %%, target %.1f %%, spread %.1f points%s\n", state.mean_pct(),
                      state.target_pct(), state.spread_points(),
                      state.triggered() ? "" : "; no server is more than 20 points from the mean");
  if (state.moves_planned() > 0) {
    absl::StrAppendFormat(&text, "%d moves, %s, %s, spread afterwards %.1f points\n",
                          state.moves_planned(), FormatBytes(state.bytes_planned()),
                          EtaText(state.eta_ms()), state.planned_spread_points());
  }
  for (const v1::RebalanceServer& server : state.servers()) {
    absl::StrAppendFormat(&text, "  %-40s %5.1f %% -> %5.1f %%  %s %s\n",
                          Named(server.name(), server.server_id()), server.utilization_pct(),
                          server.planned_pct(), server.shed_bytes() > 0 ? "sheds" : "gains",
                          FormatBytes(server.shed_bytes() + server.gain_bytes()));
  }
  for (const auto& blocked : state.blocked()) {
    absl::StrAppend(&text, "  blocked: ", Named(blocked.name(), blocked.server_id()), " keeps ",
                    FormatBytes(blocked.bytes()), ": ", blocked.why(), "\n");
  }
  for (const auto& move : state.moves()) {
    absl::StrAppendFormat(&text, "  %s  %s  heat %.0f  %s -> %s\n",
                          ChunkHandle(move.handle()).ToString(), FormatBytes(move.length_bytes()),
                          move.heat(), names(move.from_server_id()), names(move.to_server_id()));
  }
  if (!state.note().empty()) {
    absl::StrAppend(&text, state.note(), "\n");
  }
  return text;
}

std::string BalanceText(const v1::CheckBalanceResponse& check) {
  std::string text = absl::StrFormat("average %.1f %%, threshold %.0f points\n",
                                     check.average_utilization_pct(), check.threshold_points());
  const auto list = [&text](const char* what, const auto& servers) {
    for (const v1::ServerUtilization& server : servers) {
      absl::StrAppendFormat(&text, "  %-12s %-40s %5.1f %%\n", what,
                            Named(server.name(), server.server_id()), server.utilization_pct());
    }
  };
  list("overloaded", check.overloaded());
  list("underloaded", check.underloaded());
  if (check.overloaded().empty() && check.underloaded().empty()) {
    absl::StrAppend(&text, "balanced\n");
  }
  return text;
}

std::string DrainsText(const std::vector<v1::DrainState>& drains) {
  std::string text;
  for (const v1::DrainState& drain : drains) {
    const std::string name = Named(drain.name(), drain.server_id());
    if (drain.done()) {
      absl::StrAppend(&text, "drain      ", name, ": done, it can be taken away\n");
    } else {
      absl::StrAppendFormat(&text, "drain      %s: %.0f %%, %d chunks, %s left, %s\n", name,
                            drain.progress_pct(), drain.chunks_left(),
                            FormatBytes(drain.bytes_left()), EtaText(drain.eta_ms()));
    }
  }
  return text;
}

std::string ExplanationText(const v1::ExplainResponse& explanation) {
  std::string text;
  if (explanation.has_object()) {
    const v1::ObjectInfo& object = explanation.object();
    absl::StrAppend(&text, PrintableKey(object.key()), ": generation ", object.generation(), ", ",
                    FormatBytes(object.size_bytes()),
                    object.is_inline() ? std::string(", kept with the metadata in the group's log")
                                       : absl::StrCat(" in ", object.chunk_count(), " chunks, ",
                                                      object.wanted_replicas(), " replicas wanted"),
                    "\n");
  }
  if (explanation.has_server()) {
    const v1::ServerStatus& server = explanation.server();
    absl::StrAppend(&text, Named(server.name(), server.server_id()), " at ", server.address(), ": ",
                    LivenessName(server.liveness()), ", ", server.chunk_count(), " chunks, ",
                    FormatBytes(server.used_bytes()), " of ", FormatBytes(server.capacity_bytes()),
                    server.quarantined_count() > 0
                        ? absl::StrCat(", ", server.quarantined_count(), " quarantined")
                        : std::string(),
                    "\n");
  }
  for (const std::string& note : explanation.notes()) {
    absl::StrAppend(&text, "  ", note, "\n");
  }
  for (const v1::ChunkExplanation& chunk : explanation.chunks()) {
    absl::StrAppend(&text, "chunk ", ChunkHandle(chunk.handle()).ToString(), ": ",
                    chunk.standing());
    if (chunk.length_bytes() > 0) {
      absl::StrAppendFormat(&text, "; %s, %d replicas wanted, heat %.1f",
                            FormatBytes(chunk.length_bytes()), chunk.wanted_replicas(),
                            chunk.heat());
    }
    text += "\n";
    for (const auto& replica : chunk.replicas()) {
      absl::StrAppend(&text, "  on ", replica.name(), ": ", replica.standing(), "\n");
    }
    if (!chunk.need().empty()) {
      absl::StrAppend(&text, "  ", chunk.need(), "\n");
    }
    for (const std::string& line : chunk.history()) {
      absl::StrAppend(&text, "  ", line, "\n");
    }
  }
  return text;
}

std::string FindingText(const v1::FsckResponse::Finding& finding, const ServerNames& names) {
  static const char* const kKinds[] = {"?",           "lost",    "short",    "corrupt",
                                       "quarantined", "surplus", "misplaced"};
  const int kind = finding.kind();
  return absl::StrCat(
      ChunkHandle(finding.handle()).ToString(), "  ", kind > 0 && kind < 7 ? kKinds[kind] : "?",
      finding.server_id().empty() ? std::string()
                                  : absl::StrCat("  on ", names(finding.server_id())),
      "  ", finding.text(), "\n");
}

}  // namespace ballast::client
