// SPDX-License-Identifier: Apache-2.0
// The stages of lists: what reports make of them, and what is asked for.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/types/error.h"
#include "services/master/core/live_replicas.h"

namespace ballast::master {
namespace {

constexpr uint64_t kEndOfSequences = ChunkHandle::kSequenceMax + 1;
static_assert(kEndOfSequences % kBucketSequences == 0);
// Any report, and any list that is emptied.
constexpr int64_t kReportWork = 32;
// Of one list, asked for and not here yet: 4 Mi replicas at most.
constexpr size_t kBucketsAwaitedMax = 1024;

absl::Status CheckReplica(const v1::ReplicaReport& replica, ShardId shard) {
  const ChunkHandle handle(replica.handle());
  if (handle.shard() != shard || handle.sequence() == 0) {
    return InvalidArgument(
        absl::StrCat("report of shard ", shard.value(), " holds the handle ", handle.ToString()));
  }
  if (replica.length_bytes() > kChunkBytesMax) {
    return InvalidArgument(
        absl::StrCat("replica ", handle.ToString(), " is ", replica.length_bytes(), " bytes long"));
  }
  return absl::OkStatus();
}

absl::Status CheckBuckets(const v1::ShardReport& report) {
  for (int i = 0; i < report.buckets_size(); ++i) {
    const v1::BucketDigest& bucket = report.buckets(i);
    if (bucket.bucket() >= kEndOfSequences / kBucketSequences || bucket.replica_count() == 0 ||
        bucket.replica_count() > kBucketSequences ||
        (i > 0 && bucket.bucket() <= report.buckets(i - 1).bucket())) {
      return InvalidArgument(absl::StrCat("buckets of shard ", report.shard(),
                                          " are not ascending, or hold what no bucket can"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckWholeBucket(const v1::ShardReport& report) {
  if (report.bucket() >= kEndOfSequences / kBucketSequences) {
    return InvalidArgument(absl::StrCat("there is no bucket ", report.bucket()));
  }
  uint64_t last = 0;
  for (const v1::ReplicaReport& replica : report.replicas()) {
    const uint64_t sequence = ChunkHandle(replica.handle()).sequence();
    if (sequence / kBucketSequences != report.bucket() || sequence <= last) {
      return InvalidArgument(
          absl::StrCat("bucket ", report.bucket(), " of shard ", report.shard(),
                       " holds what does not belong there, or not in ascending order"));
    }
    last = sequence;
  }
  return absl::OkStatus();
}

// What can be told from the report alone, but for its replicas.
absl::Status CheckShape(const v1::ShardReport& report) {
  const bool lists = report.full_begin() || report.full_end();
  const int kinds = (lists ? 1 : 0) + (report.offer() ? 1 : 0) + (report.all_buckets() ? 1 : 0) +
                    (report.whole_bucket() ? 1 : 0);
  const bool bare = report.offer() || report.all_buckets();
  if (kinds > 1 || (bare && report.replicas_size() > 0) ||
      (kinds > 0 && !lists && report.removed_handles_size() > 0) ||
      (!report.all_buckets() && report.buckets_size() > 0)) {
    return InvalidArgument(
        absl::StrCat("the report of shard ", report.shard(), " is of no kind: parts of several"));
  }
  RETURN_IF_ERROR(CheckBuckets(report));
  return report.whole_bucket() ? CheckWholeBucket(report) : absl::OkStatus();
}

}  // namespace

LiveReplicas::Scope LiveReplicas::ScopeOf(ServerIndex server, ShardId shard, int64_t& work,
                                          SteadyTime now) {
  Server& known = servers_[server];
  known.summed = false;
  List& list = known.lists[shard];
  if (list.talk == nullptr) {
    list.talk = std::make_unique<Talk>();
  }
  return {server, shard, list, *list.talk, work, now, {}};
}

void LiveReplicas::Tidy(List& list) {
  if (list.stage == Stage::kComplete && list.talk != nullptr && !list.talk->asked_at.has_value()) {
    list.talk.reset();
  }
}

void LiveReplicas::SumUp(Server& server) const {
  if (std::exchange(server.summed, true)) {
    return;
  }
  server.all_complete = true;
  server.digest = 0;
  server.count = 0;
  for (const ShardId shard : catalog_.owned_shards()) {
    const auto it = server.lists.find(shard);
    if (it == server.lists.end() || it->second.stage != Stage::kComplete) {
      server.all_complete = false;
      return;
    }
    server.digest += it->second.digest.value();
    server.count += it->second.count;
  }
}

void LiveReplicas::OnStreamBegan(ServerIndex server, Liveness::Holder holder, SteadyTime now) {
  Server& known = servers_[server];
  const bool same = std::exchange(known.holder, holder) == holder;
  known.began_at = now;
  known.summed = false;
  for (auto& [shard, list] : known.lists) {
    list.retained = same && (list.stage == Stage::kComplete || list.retained);
    list.based = list.based && same;
    list.stage = Stage::kSilent;
    if (list.talk != nullptr) {
      const auto asked_at = list.talk->asked_at;
      *list.talk = Talk();
      list.talk->asked_at = asked_at;
    }
  }
}

// --- stages --------------------------------------------------------------------------------------

void LiveReplicas::BeginList(Scope& at) {
  Want(at.list, Stage::kListing);
  at.list.digest = ReplicaDigest();
  at.list.count = 0;
  at.talk.next_sequence = 0;
  at.talk.progress_at = at.now;
}

void LiveReplicas::Want(List& list, Stage stage) {
  list.stage = stage;
  list.retained = false;
  list.talk->asked = false;
  list.talk->to_ask.clear();
  list.talk->awaited.clear();
}

// What we could not account for (a removal of something we never heard of, facts lost with a slot)
// shows here as a difference.
void LiveReplicas::Settle(Scope& at, uint64_t digest, uint64_t count, Stage otherwise) {
  if (at.list.digest.value() != digest || at.list.count != count) {
    Want(at.list, otherwise);
    return;
  }
  Want(at.list, Stage::kComplete);
  at.list.based = true;
  SetKnown(at.server, at.shard, at.list);
}

absl::StatusOr<LiveReplicas::Ingested> LiveReplicas::Ingest(ServerIndex server,
                                                            const v1::ShardReport& report,
                                                            Cursor& cursor, int64_t& work,
                                                            SteadyTime now) {
  const ShardId shard(report.shard());
  if (report.shard() >= catalog_.shard_count()) {
    return InvalidArgument(absl::StrCat("there is no shard ", report.shard()));
  }
  if (!cursor.begun) {
    RETURN_IF_ERROR(CheckShape(report));
  }
  // No more than these can be taken in by this call.
  const int64_t checked = std::min<int64_t>(
      report.replicas_size(),
      report.whole_bucket() ? report.replicas_size() : cursor.replica + work / kReplicaWork + 1);
  for (int i = cursor.replica; i < checked; ++i) {
    RETURN_IF_ERROR(CheckReplica(report.replicas(i), shard));
  }
  if (catalog_.chunks(shard) == nullptr) {
    return Ingested();  // the server's configuration differs from ours for a moment
  }
  Scope at = ScopeOf(server, shard, work, now);
  if (report.offer()) {
    at.out.done = TakeOffer(at, report, cursor);
  } else if (report.all_buckets()) {
    at.out.done = TakeBuckets(at, report, cursor);
  } else if (report.whole_bucket()) {
    TakeBucket(at, report);
  } else {
    at.out.done = TakeReplicas(at, report, cursor);
  }
  work -= kReportWork;
  Tidy(at.list);
  return std::move(at.out);
}

bool LiveReplicas::TakeReplicas(Scope& at, const v1::ShardReport& report, Cursor& cursor) {
  if (!std::exchange(cursor.begun, true) && report.full_begin()) {
    BeginList(at);
  }
  const bool listing = at.list.stage == Stage::kListing;
  if (!listing && at.list.stage != Stage::kComplete && at.list.stage != Stage::kPatching) {
    return true;  // nothing to build on: the list is to come, or is asked for
  }
  if (listing && report.removed_handles_size() > 0) {
    Want(at.list, Stage::kWantsList);  // changes before the full list's end
    return true;
  }
  if (listing) {
    at.talk.progress_at = at.now;
  }
  for (; cursor.replica < report.replicas_size(); ++cursor.replica) {
    if (at.work <= 0) {
      return false;
    }
    const v1::ReplicaReport& replica = report.replicas(cursor.replica);
    const uint64_t sequence = ChunkHandle(replica.handle()).sequence();
    if (listing) {
      if (sequence < at.talk.next_sequence) {
        Want(at.list, Stage::kWantsList);  // not ascending
        return true;
      }
      at.talk.next_sequence = Sweep(at, at.talk.next_sequence, sequence, /*counted=*/false);
      if (at.talk.next_sequence < sequence) {
        return false;
      }
      at.talk.next_sequence = sequence + 1;
    }
    Put(at, replica, /*counted=*/!listing);
    at.work -= kReplicaWork;
  }
  if (listing) {
    if (report.full_end()) {
      if (!SweepToEnd(at)) {
        return false;
      }
      Settle(at, report.digest(), report.replica_count(), Stage::kWantsList);
    }
    return true;
  }
  if (!TakeRemovals(at, report, cursor)) {
    return false;
  }
  if (at.list.stage == Stage::kComplete) {
    Settle(at, report.digest(), report.replica_count(), Stage::kWantsDigests);
  }
  return true;
}

bool LiveReplicas::TakeRemovals(Scope& at, const v1::ShardReport& report, Cursor& cursor) {
  for (; cursor.removed < report.removed_handles_size(); ++cursor.removed) {
    if (at.work <= 0) {
      return false;
    }
    at.work -= kReplicaWork;
    const ChunkHandle handle(report.removed_handles(cursor.removed));
    if (handle.shard() == at.shard) {
      SweepWindow(at, handle.sequence(), handle.sequence() + 1, /*counted=*/true);
    }
  }
  return true;
}

bool LiveReplicas::SweepToEnd(Scope& at) {
  at.talk.next_sequence = Sweep(at, at.talk.next_sequence, kEndOfSequences, /*counted=*/false);
  return at.talk.next_sequence == kEndOfSequences;
}

bool LiveReplicas::TakeOffer(Scope& at, const v1::ShardReport& report, Cursor& cursor) {
  const bool fits =
      at.list.digest.value() == report.digest() && at.list.count == report.replica_count();
  if (!std::exchange(cursor.begun, true)) {
    at.talk.progress_at = at.now;
    if (at.list.stage == Stage::kListing) {
      Want(at.list, Stage::kWantsList);
      return true;
    }
    if (at.list.stage == Stage::kComplete || (at.list.retained && fits)) {
      Settle(at, report.digest(), report.replica_count(), Stage::kWantsDigests);
      return true;
    }
    if (report.replica_count() > 0) {
      Want(at.list, at.list.based ? Stage::kWantsDigests : Stage::kWantsList);
      return true;
    }
    BeginList(at);  // it holds nothing: that is all of its list
  }
  if (at.list.stage != Stage::kListing) {
    return true;
  }
  if (!SweepToEnd(at)) {
    return false;
  }
  Settle(at, report.digest(), report.replica_count(), Stage::kWantsList);
  return true;
}

bool LiveReplicas::TakeBuckets(Scope& at, const v1::ShardReport& report, Cursor& cursor) {
  if (at.list.stage != Stage::kWantsDigests || !at.talk.asked) {
    return true;  // nobody asked
  }
  if (!std::exchange(cursor.begun, true)) {
    at.list.digest = ReplicaDigest();
    at.list.count = 0;
    at.talk.next_sequence = 0;
  }
  at.talk.progress_at = at.now;
  while (true) {
    if (at.work <= 0) {
      return false;
    }
    at.work -= static_cast<int64_t>(kBucketSequences);
    const std::optional<uint64_t> next = NextFrom(at.shard, at.talk.next_sequence);
    const bool more = cursor.bucket < report.buckets_size();
    if (!next.has_value() && !more) {
      break;
    }
    const uint64_t here = next.has_value() ? *next / kBucketSequences : kEndOfSequences;
    const uint64_t there = more ? report.buckets(cursor.bucket).bucket() : kEndOfSequences;
    const uint64_t bucket = std::min(here, there);
    const uint64_t begin = bucket * kBucketSequences;
    const Sum held = SumOf(at.server, at.shard, begin, begin + kBucketSequences);
    at.talk.next_sequence = begin + kBucketSequences;
    if (bucket != there) {
      // Not named: the server holds nothing there.
      for (uint64_t from = begin; held.count > 0 && from < begin + kBucketSequences;
           from += ChunkTable::kPageRecords) {
        SweepWindow(at, from, from + ChunkTable::kPageRecords, /*counted=*/false);
      }
      continue;
    }
    const v1::BucketDigest& said = report.buckets(cursor.bucket++);
    at.list.digest.Add(held.digest);
    at.list.count += held.count;
    if (held.digest.value() != said.digest() || held.count != said.replica_count()) {
      at.talk.to_ask.push_back(bucket);
    }
  }
  if (at.talk.to_ask.empty()) {
    Settle(at, report.digest(), report.replica_count(), Stage::kWantsList);
  } else {
    std::reverse(at.talk.to_ask.begin(), at.talk.to_ask.end());
    at.list.stage = Stage::kPatching;
    at.talk.asked = false;
  }
  return true;
}

void LiveReplicas::TakeBucket(Scope& at, const v1::ShardReport& report) {
  if (at.list.stage != Stage::kPatching && at.list.stage != Stage::kComplete) {
    return;
  }
  at.talk.progress_at = at.now;
  const int64_t work_before = std::exchange(at.work, kNoBound);  // a bucket goes in one piece
  uint64_t next = report.bucket() * kBucketSequences;
  const uint64_t end = next + kBucketSequences;
  for (const v1::ReplicaReport& replica : report.replicas()) {
    const uint64_t sequence = ChunkHandle(replica.handle()).sequence();
    Sweep(at, next, sequence, /*counted=*/true);
    Put(at, replica, /*counted=*/true);
    next = sequence + 1;
  }
  Sweep(at, next, end, /*counted=*/true);
  at.work = work_before - (kNoBound - at.work) - kReplicaWork * report.replicas_size();
  if (at.list.stage == Stage::kComplete) {
    Settle(at, report.digest(), report.replica_count(), Stage::kWantsDigests);
    return;
  }
  at.talk.awaited.erase(report.bucket());
  if (at.talk.awaited.empty() && at.talk.to_ask.empty()) {
    Settle(at, report.digest(), report.replica_count(), Stage::kWantsList);
  }
}

LiveReplicas::Ingested LiveReplicas::IngestEmptyLists(ServerIndex server,
                                                      absl::Span<const ShardId> named,
                                                      EmptyCursor& cursor, int64_t& work,
                                                      SteadyTime now) {
  Ingested out;
  for (const ShardId shard : catalog_.owned_shards()) {
    if (shard < cursor.next || std::binary_search(named.begin(), named.end(), shard)) {
      continue;
    }
    if (std::exchange(cursor.next, shard) != shard) {
      cursor.begun = false;
    }
    const List* const list = FindList(server, shard);
    if (list != nullptr && list->stage == Stage::kComplete && list->count == 0) {
      continue;
    }
    Scope at = ScopeOf(server, shard, work, now);
    at.out = std::move(out);
    if (!std::exchange(cursor.begun, true)) {
      BeginList(at);
    }
    const bool done = at.list.stage != Stage::kListing || SweepToEnd(at);
    if (done && at.list.stage == Stage::kListing) {
      Settle(at, 0, 0, Stage::kWantsList);
    }
    Tidy(at.list);
    work -= kReportWork;
    out = std::move(at.out);
    out.done = done;
    if (!done) {
      return out;
    }
  }
  return out;
}

// --- questions -----------------------------------------------------------------------------------

LiveReplicas::Asks LiveReplicas::NextAsks(ServerIndex server, SteadyTime now,
                                          absl::Duration patience, size_t asks_max) {
  Asks asks;
  Server& known = servers_[server];
  SumUp(known);
  if (known.all_complete) {
    return asks;
  }
  for (const ShardId shard : catalog_.owned_shards()) {
    List& list = known.lists[shard];
    if (list.stage != Stage::kComplete && !Ask(known, shard, list, now, patience, asks_max, asks)) {
      break;
    }
  }
  return asks;
}

bool LiveReplicas::Ask(const Server& server, ShardId shard, List& list, SteadyTime now,
                       absl::Duration patience, size_t asks_max, Asks& asks) {
  const bool has_talk = list.talk != nullptr;
  const SteadyTime progress_at =
      list.stage == Stage::kSilent || !has_talk ? server.began_at : list.talk->progress_at;
  const bool asked_lately =
      has_talk && list.talk->asked_at.has_value() && now - *list.talk->asked_at < patience;
  // Of what was asked for, a question is the last sign.
  const SteadyTime silent_since = has_talk && list.talk->asked && list.talk->asked_at.has_value()
                                      ? std::max(progress_at, *list.talk->asked_at)
                                      : progress_at;
  const bool late = now - silent_since >= patience;
  if (list.stage == Stage::kPatching && !late) {
    AskBuckets(*list.talk, shard, asks);
    return true;
  }
  const bool has_question =
      list.stage == Stage::kWantsList || (list.stage == Stage::kWantsDigests && !list.talk->asked);
  if ((!late && !has_question) || asked_lately) {
    return true;
  }
  if (asks.lists.size() + asks.digests.size() == asks_max) {
    return false;
  }
  if (!has_talk) {
    list.talk = std::make_unique<Talk>();
  }
  const bool digests = list.stage == Stage::kWantsDigests && !list.talk->asked;
  Want(list, digests ? Stage::kWantsDigests : Stage::kWantsList);
  list.talk->asked = true;
  list.talk->asked_at = now;
  (digests ? asks.digests : asks.lists).push_back(shard);
  return true;
}

void LiveReplicas::AskBuckets(Talk& talk, ShardId shard, Asks& asks) {
  while (!talk.to_ask.empty() && talk.awaited.size() < kBucketsAwaitedMax &&
         asks.buckets.size() < kBucketsAwaitedMax) {
    asks.buckets.emplace_back(shard, talk.to_ask.back());
    talk.awaited.insert(talk.to_ask.back());
    talk.to_ask.pop_back();
  }
}

bool LiveReplicas::WantsAllDigests(ServerIndex server, uint64_t digest, uint64_t count,
                                   SteadyTime now, absl::Duration patience) {
  Server& known = servers_[server];
  SumUp(known);
  const bool asked_lately =
      known.digests_asked_at.has_value() && now - *known.digests_asked_at < patience;
  if (!known.all_complete || asked_lately || (known.digest == digest && known.count == count)) {
    return false;
  }
  known.digests_asked_at = now;
  return true;
}

}  // namespace ballast::master
