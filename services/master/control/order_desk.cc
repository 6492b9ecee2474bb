// SPDX-License-Identifier: Apache-2.0
#include "services/master/control/order_desk.h"

#include <utility>

#include "common/base/check.h"

namespace ballast::master {
namespace {

// What reading or copying 64 MiB may take on a busy server with a slow disk.
constexpr absl::Duration kWholeChunk = absl::Seconds(60);

OrderKind KindOf(const v1::Command& command) {
  switch (command.order_case()) {
    case v1::Command::kDeleteReplica:
      return OrderKind::kDelete;
    case v1::Command::kVerify:
      return OrderKind::kVerify;
    case v1::Command::kReplicate:
      return OrderKind::kReplicate;
    case v1::Command::kKeep:
      return OrderKind::kKeep;
    case v1::Command::ORDER_NOT_SET:
      break;
  }
  CHECK(false) << " a command without an order";
  return OrderKind::kDelete;
}

}  // namespace

uint64_t OrderDesk::Order(ServerIndex server, v1::Command command, size_t limit) {
  if (!intake_.CanTake(server)) {
    return 0;
  }
  LeaderState& leader = *view_.leader();
  const OrderKind kind = KindOf(command);
  const bool whole_chunk = kind == OrderKind::kVerify || kind == OrderKind::kReplicate;
  const absl::Duration patience =
      leader.liveness.limits().interval * 2 + (whole_chunk ? kWholeChunk : absl::ZeroDuration());
  const ChunkHandle handle(command.handle());
  const uint64_t id = leader.ledger.TryBegin(server, kind, handle, limit, view_.Now(), patience);
  if (id != 0) {
    command.set_command_id(id);
    *command.mutable_fence() = view_.FenceOf(handle.shard());
    intake_.Enqueue(server, std::move(command));
  }
  return id;
}

}  // namespace ballast::master
