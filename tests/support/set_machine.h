// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "common/raft/state_machine.h"

namespace ballast::testing {

// A state machine for tests of logs: a set of numbers spread over three images. Notices a command
// that is applied twice or out of order (CHECK), and hashes everything an image has seen.
class SetMachine final : public StateMachine {
 public:
  // A command that adds `id`, `padding` bytes longer than it needs to be.
  static std::string Add(uint64_t id, size_t padding = 0);
  static uint64_t IdOf(absl::string_view command);

  std::string Apply(RaftIndex index, absl::string_view command) override;
  std::vector<std::string> ImageNames() const override;
  std::string TakeImage(const std::string& name) const override;
  absl::Status RestoreImage(const std::string& name, absl::string_view image) override;
  void Reset() override;

  bool Has(uint64_t id) const;
  size_t size() const;
  // Of all images: equal on machines that applied the same commands.
  std::string Fingerprint() const;

 private:
  struct Image {
    uint64_t applied = 0;  // restored up to here
    uint32_t history = 0;  // checksum of all (index, command) of this image
    std::set<uint64_t> ids;
  };
  static std::string ImageOf(uint64_t id);

  uint64_t last_applied_ = 0;
  std::map<std::string, Image> images_ = {{"group", {}}, {"shard-0", {}}, {"shard-1", {}}};
};

}  // namespace ballast::testing
