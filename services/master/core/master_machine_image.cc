// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "common/base/check.h"
#include "common/base/status_macros.h"
#include "common/types/limits.h"
#include "services/master/core/image_records.h"
#include "services/master/core/master_machine.h"

namespace ballast::master {
namespace {

constexpr uint32_t kGroupImageFormat = 1;
constexpr char kGroupImage[] = "group";

// The shard of "shard-00042"; false for any other spelling.
bool ParseShardImageName(absl::string_view name, ShardId& id) {
  uint32_t number = 0;
  if (!absl::ConsumePrefix(&name, "shard-") || !absl::SimpleAtoi(name, &number)) return false;
  id = ShardId(number);
  return ShardImageName(id) == absl::StrCat("shard-", name);
}

}  // namespace

std::string ShardImageName(ShardId id) { return absl::StrFormat("shard-%05u", id.value()); }

std::vector<std::string> MasterMachine::ImageNames() const {
  std::vector<std::string> names = {kGroupImage};
  for (const auto& [id, slot] : shards_) names.push_back(ShardImageName(id));
  return names;
}

std::string MasterMachine::TakeImage(const std::string& name) const {
  if (name == kGroupImage) return TakeGroupImage();
  ShardId id;
  CHECK(ParseShardImageName(name, id)) << " image " << name;
  const auto it = shards_.find(id);
  CHECK(it != shards_.end()) << " image " << name;
  const Slot& slot = *it->second;
  return slot.shard.Export(
      {std::max(slot.floor.applied, applied_), std::max(slot.floor.group_time_ms, stamp_max_ms_)});
}

std::string MasterMachine::TakeGroupImage() const {
  ImageWriter writer;
  mlog::ImageRecord record;
  mlog::GroupHeader& header = *record.mutable_group_header();
  header.set_format(kGroupImageFormat);
  header.set_applied_index(std::max(group_floor_.applied, applied_).value());
  header.set_group_time_ms(group_time_ms());
  header.set_group_id(group_.value());
  header.set_shard_count(shard_count_);
  header.set_config_version(config_version_.value());
  for (GroupId owner : owners_) header.add_shard_owner(owner.value());
  for (const Accepted& accepted : accepted_) {
    mlog::GroupHeader::Accepted& out = *header.add_accepted();
    out.set_version(accepted.version.value());
    out.set_index(accepted.place.index.value());
    out.set_command(accepted.place.command);
  }
  writer.Append(record);
  return writer.Finish();
}

absl::Status MasterMachine::RestoreImage(const std::string& name, absl::string_view image) {
  if (name == kGroupImage) return RestoreGroupImage(image);
  ShardId id;
  if (!ParseShardImageName(name, id) || id.value() >= shard_count_) {
    return absl::DataLossError(absl::StrCat("no image is named ", name));
  }
  return RestoreShardImage(id, image);
}

absl::Status MasterMachine::RestoreShardImage(ShardId id, absl::string_view image) {
  ASSIGN_OR_RETURN(Shard::Imported imported, Shard::Import(id, shard_count_, image));
  std::unique_ptr<Slot>& slot = shards_[id];
  slot = std::make_unique<Slot>(
      Slot{std::move(imported.shard), Floor{imported.stamp.applied, imported.stamp.group_time_ms}});
  slot->shard.SetObserver(observer_);
  if (observer_ != nullptr) observer_->OnShardReplaced(id);
  return absl::OkStatus();
}

absl::Status MasterMachine::RestoreGroupImage(absl::string_view image) {
  ImageReader reader(image);
  mlog::ImageRecord record;
  ASSIGN_OR_RETURN(bool more, reader.Next(record));
  if (!more || !record.has_group_header()) return absl::DataLossError("not a group image");
  mlog::ImageRecord rest;
  ASSIGN_OR_RETURN(more, reader.Next(rest));
  if (more) return absl::DataLossError("group image: more than its header");
  const mlog::GroupHeader& header = record.group_header();
  if (header.format() != kGroupImageFormat) {
    return absl::DataLossError(absl::StrCat("group image of unknown format ", header.format()));
  }
  if (header.group_id() != group_.value() || header.shard_count() != shard_count_) {
    return absl::DataLossError(absl::StrCat("image is of group ", header.group_id(), " with ",
                                            header.shard_count(), " shards"));
  }
  const size_t owners = header.config_version() == 0 ? 0 : shard_count_;
  if (static_cast<size_t>(header.shard_owner_size()) != owners ||
      static_cast<size_t>(header.accepted_size()) > kAcceptedConfigurationsMax) {
    return absl::DataLossError("group image: header out of range");
  }
  std::vector<Accepted> accepted;
  for (const mlog::GroupHeader::Accepted& one : header.accepted()) {
    const Accepted next{ConfigVersion(one.version()), {RaftIndex(one.index()), one.command()}};
    if (next.place.index.value() > header.applied_index() ||
        (!accepted.empty() &&
         (accepted.back().place >= next.place || accepted.back().version.Next() != next.version))) {
      return absl::DataLossError("group image: configurations out of order");
    }
    accepted.push_back(next);
  }
  if ((accepted.empty() ? 0 : accepted.back().version.value()) != header.config_version()) {
    return absl::DataLossError("group image: configurations out of order");
  }
  group_floor_ = {RaftIndex(header.applied_index()), header.group_time_ms()};
  config_version_ = ConfigVersion(header.config_version());
  owners_.clear();
  for (uint32_t owner : header.shard_owner()) owners_.push_back(GroupId(owner));
  accepted_ = std::move(accepted);
  return absl::OkStatus();
}

}  // namespace ballast::master
