// SPDX-License-Identifier: Apache-2.0
#include "gateway/core/reply.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/check.h"
#include "gateway/core/json_value.h"

namespace ballast::gateway {
namespace {

constexpr double kWholeMax = 9e15;  // every integer up to here is a double

void AppendText(absl::string_view text, std::string* out) {
  if (IsUtf8(text)) {
    AppendJsonString(text, out);
    return;
  }
  std::string ascii(text);
  for (char& c : ascii) {
    c = static_cast<unsigned char>(c) < 0x80 ? c : '?';
  }
  AppendJsonString(ascii, out);
}

// `[row,row]` of objects.
template <typename Row, typename Fields>
std::string ArrayOf(absl::Span<const Row> rows, const Fields& fields) {
  std::string array = "[";
  for (const Row& row : rows) {
    absl::StrAppend(&array, &row == rows.data() ? "" : ",", fields(row).AsObject());
  }
  array.push_back(']');
  return array;
}

ReplyFields UtilizationFields(const BalanceReport::Row& row) {
  ReplyFields fields;
  fields.Text("server", row.server).Number("utilization_pct", row.utilization_pct);
  return fields;
}

}  // namespace

void ReplyFields::Name(absl::string_view name) { absl::StrAppend(&text_, ",\"", name, "\":"); }

ReplyFields& ReplyFields::Text(absl::string_view name, absl::string_view value) {
  Name(name);
  AppendText(value, &text_);
  return *this;
}

ReplyFields& ReplyFields::Texts(absl::string_view name, absl::Span<const std::string> values) {
  Name(name);
  text_.push_back('[');
  for (const std::string& value : values) {
    if (&value != values.data()) {
      text_.push_back(',');
    }
    AppendText(value, &text_);
  }
  text_.push_back(']');
  return *this;
}

ReplyFields& ReplyFields::Integer(absl::string_view name, int64_t value) {
  Name(name);
  absl::StrAppend(&text_, value);
  return *this;
}

ReplyFields& ReplyFields::Unsigned(absl::string_view name, uint64_t value) {
  Name(name);
  absl::StrAppend(&text_, value);
  return *this;
}

ReplyFields& ReplyFields::Number(absl::string_view name, double value) {
  const double rounded = std::round(value * 100) / 100;
  if (!std::isfinite(rounded)) {
    return Integer(name, 0);
  }
  if (std::trunc(rounded) == rounded && std::abs(rounded) < kWholeMax) {
    return Integer(name, static_cast<int64_t>(rounded));
  }
  Name(name);
  absl::StrAppendFormat(&text_, "%.2f", rounded);
  return *this;
}

ReplyFields& ReplyFields::Bool(absl::string_view name, bool value) {
  Name(name);
  text_.append(value ? "true" : "false");
  return *this;
}

ReplyFields& ReplyFields::Raw(absl::string_view name, absl::string_view json) {
  Name(name);
  absl::StrAppend(&text_, json);
  return *this;
}

std::string ReplyFields::AsObject() const {
  return text_.empty() ? "{}" : absl::StrCat("{", absl::string_view(text_).substr(1), "}");
}

ReplyFields HeartbeatFields(const HeartbeatOrders& orders, bool compact) {
  ReplyFields fields;
  fields.Text("status", "alive");
  if (!compact || !orders.chunks_to_delete.empty()) {
    fields.Texts("chunks_to_delete", orders.chunks_to_delete);
  }
  if (!compact || !orders.chunks_to_replicate.empty()) {
    fields.Texts("chunks_to_replicate", orders.chunks_to_replicate);
  }
  return fields;
}

ReplyFields ServerStatusFields(absl::Span<const ServerRow> servers) {
  ReplyFields fields;
  fields.Raw("servers", ArrayOf(servers, [](const ServerRow& row) {
               ReplyFields server;
               server.Text("server", row.server)
                   .Text("status", row.alive ? "alive" : "dead")
                   .Unsigned("chunks", row.alive ? row.chunk_count : 0)
                   .Integer("last_heartbeat_ms_ago", row.last_heartbeat_ms_ago);
               return server;
             }));
  return fields;
}

ReplyFields RebalanceCheckFields(const BalanceReport& report) {
  ReplyFields fields;
  fields.Number("average_utilization_pct", report.average_utilization_pct)
      .Raw("overloaded", ArrayOf(absl::MakeConstSpan(report.overloaded), UtilizationFields))
      .Raw("underloaded", ArrayOf(absl::MakeConstSpan(report.underloaded), UtilizationFields));
  return fields;
}

ReplyFields RebalanceExecuteFields(absl::Span<const ChunkMove> moves,
                                   absl::Span<const MoveOutcome> outcomes) {
  CHECK_EQ(moves.size(), outcomes.size());
  uint64_t moved = 0;
  uint64_t bytes = 0;
  std::string failed;
  for (size_t i = 0; i < moves.size(); ++i) {
    bytes += outcomes[i].bytes;
    if (outcomes[i].status.ok()) {
      ++moved;
      continue;
    }
    ReplyFields failure;
    failure.Text("chunk", moves[i].chunk).Text("reason", outcomes[i].status.message());
    absl::StrAppend(&failed, failed.empty() ? "" : ",", failure.AsObject());
  }
  ReplyFields fields;
  fields.Unsigned("moved", moved).Unsigned("bytes_transferred", bytes);
  if (!failed.empty()) {
    fields.Raw("failed", absl::StrCat("[", failed, "]"));
  }
  return fields;
}

ReplyFields ConfigUpdateFields(const UpdateOutcome& outcome) {
  ReplyFields fields;
  fields.Bool("applied", outcome.applied);
  if (!outcome.applied) {
    fields.Unsigned("current_version", outcome.current_version);
  }
  return fields;
}

ReplyFields GetServerFields(absl::Span<const std::string> servers) {
  CHECK(!servers.empty());
  ReplyFields fields;
  fields.Text("server", servers.front()).Texts("servers", servers);
  return fields;
}

ReplyFields ReadFields(absl::string_view value) {
  ReplyFields fields;
  if (const auto json = ParseJson(value); json.ok()) {
    fields.Raw("value", CompactText(*json));
  } else {
    fields.Text("value", value);
  }
  return fields;
}

ReplyFields ErrorFields(ErrorCode code, absl::string_view text) {
  ReplyFields fields;
  fields.Integer("code", static_cast<int64_t>(code)).Text("text", text);
  return fields;
}

std::string ReplyLine(absl::string_view src, absl::string_view dest, absl::string_view type,
                      absl::string_view in_reply_to, uint64_t msg_id, const ReplyFields& fields) {
  std::string line = "{\"src\":";
  line.reserve(128 + fields.text().size() + src.size() + dest.size());
  AppendText(src, &line);
  line.append(",\"dest\":");
  AppendText(dest, &line);
  absl::StrAppend(&line, ",\"body\":{\"type\":\"", type, "\",\"in_reply_to\":", in_reply_to,
                  ",\"msg_id\":", msg_id, fields.text(), "}}\n");
  return line;
}

}  // namespace ballast::gateway
