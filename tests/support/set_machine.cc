// SPDX-License-Identifier: Apache-2.0
#include "tests/support/set_machine.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "common/base/check.h"
#include "common/base/crc32c.h"

namespace ballast::testing {

std::string SetMachine::Add(uint64_t id, size_t padding) {
  return absl::StrCat(id, " ", std::string(padding, '.'));
}

uint64_t SetMachine::IdOf(absl::string_view command) {
  uint64_t id = 0;
  CHECK(absl::SimpleAtoi(command.substr(0, command.find(' ')), &id)) << " " << command;
  return id;
}

std::string SetMachine::ImageOf(uint64_t id) {
  return id % 3 == 0 ? "group" : id % 3 == 1 ? "shard-0" : "shard-1";
}

std::string SetMachine::Apply(RaftIndex index, absl::string_view command) {
  CHECK_GT(index.value(), last_applied_) << " applied out of order";
  last_applied_ = index.value();
  const uint64_t id = IdOf(command);
  Image& image = images_[ImageOf(id)];
  if (image.applied >= index.value()) {
    return "";
  }
  CHECK(image.ids.insert(id).second) << " command " << id << " applied twice, at " << index;
  image.history = ExtendCrc32c(Crc32c{image.history}, absl::StrCat(index.value(), " ", id)).value;
  return absl::StrCat("added ", id);
}

std::vector<std::string> SetMachine::ImageNames() const {
  std::vector<std::string> names;
  for (const auto& [name, image] : images_) {
    names.push_back(name);
  }
  return names;
}

std::string SetMachine::TakeImage(const std::string& name) const {
  const Image& image = images_.at(name);
  return absl::StrCat(std::max(image.applied, last_applied_), " ", image.history, " ",
                      absl::StrJoin(image.ids, ","));
}

absl::Status SetMachine::RestoreImage(const std::string& name, absl::string_view bytes) {
  const auto found = images_.find(name);
  const std::vector<std::string> parts = absl::StrSplit(bytes, ' ');
  Image image;
  if (found == images_.end() || parts.size() != 3 || !absl::SimpleAtoi(parts[0], &image.applied) ||
      !absl::SimpleAtoi(parts[1], &image.history)) {
    return absl::DataLossError("not an image");
  }
  for (const absl::string_view id_text : absl::StrSplit(parts[2], ',', absl::SkipEmpty())) {
    uint64_t id = 0;
    if (!absl::SimpleAtoi(id_text, &id) || !image.ids.insert(id).second) {
      return absl::DataLossError("not an image");
    }
  }
  found->second = std::move(image);
  return absl::OkStatus();
}

void SetMachine::Reset() {
  last_applied_ = 0;
  for (auto& [name, image] : images_) {
    image = Image{};
  }
}

bool SetMachine::Has(uint64_t id) const { return images_.at(ImageOf(id)).ids.count(id) > 0; }

size_t SetMachine::size() const {
  size_t all = 0;
  for (const auto& [name, image] : images_) {
    all += image.ids.size();
  }
  return all;
}

std::string SetMachine::Fingerprint() const {
  std::string all;
  for (const auto& [name, image] : images_) {
    absl::StrAppend(&all, name, ":", image.history, ":", image.ids.size(), " ");
  }
  return all;
}

}  // namespace ballast::testing
