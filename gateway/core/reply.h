// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "gateway/cluster_backend.h"
#include "gateway/core/request.h"

// Replies as JSON text. Names from the cluster are made valid UTF-8 where they are not.

namespace ballast::gateway {

// The fields of a body beside type, in_reply_to and msg_id, in the order in which they were added.
class ReplyFields {
 public:
  ReplyFields& Text(absl::string_view name, absl::string_view value);
  ReplyFields& Texts(absl::string_view name, absl::Span<const std::string> values);
  ReplyFields& Integer(absl::string_view name, int64_t value);
  ReplyFields& Unsigned(absl::string_view name, uint64_t value);
  // An integer when whole, else two decimals; what is not finite is 0.
  ReplyFields& Number(absl::string_view name, double value);
  ReplyFields& Bool(absl::string_view name, bool value);
  ReplyFields& Raw(absl::string_view name, absl::string_view json);

  // `,"name":value` for each.
  const std::string& text() const { return text_; }
  // `{"name":value,...}`
  std::string AsObject() const;

 private:
  void Name(absl::string_view name);
  std::string text_;
};

// `compact`: the lists only where they are not empty.
ReplyFields HeartbeatFields(const HeartbeatOrders& orders, bool compact);
ReplyFields ServerStatusFields(absl::Span<const ServerRow> servers);
ReplyFields RebalanceCheckFields(const BalanceReport& report);
// `outcomes`: one a move.
ReplyFields RebalanceExecuteFields(absl::Span<const ChunkMove> moves,
                                   absl::Span<const MoveOutcome> outcomes);
ReplyFields ConfigUpdateFields(const UpdateOutcome& outcome);
// `servers`: not empty.
ReplyFields GetServerFields(absl::Span<const std::string> servers);
// `value`: any bytes. JSON text stands as it is, other text as a string.
ReplyFields ReadFields(absl::string_view value);
ReplyFields ErrorFields(ErrorCode code, absl::string_view text);

// One line, newline included. `in_reply_to`: JSON text.
std::string ReplyLine(absl::string_view src, absl::string_view dest, absl::string_view type,
                      absl::string_view in_reply_to, uint64_t msg_id, const ReplyFields& fields);

}  // namespace ballast::gateway
