// SPDX-License-Identifier: Apache-2.0
#include "services/master/control/propose_all.h"

#include <memory>
#include <utility>

namespace ballast::master {
namespace {

struct Gathering {
  std::vector<mlog::Result> results;
  size_t missing = 0;
  absl::Status failure;
  absl::AnyInvocable<void(absl::StatusOr<std::vector<mlog::Result>>)> done;
};

}  // namespace

void ProposeAll(Proposer& proposer, std::vector<mlog::Command> commands,
                absl::AnyInvocable<void(absl::StatusOr<std::vector<mlog::Result>>)> done) {
  if (commands.empty()) {
    done(std::vector<mlog::Result>());
    return;
  }
  auto gathering = std::make_shared<Gathering>();
  gathering->results.resize(commands.size());
  gathering->missing = commands.size();
  gathering->done = std::move(done);
  for (size_t i = 0; i < commands.size(); ++i) {
    proposer.Propose(std::move(commands[i]), [gathering, i](absl::StatusOr<mlog::Result> result) {
      if (result.ok()) {
        gathering->results[i] = *std::move(result);
      } else if (gathering->failure.ok()) {
        gathering->failure = result.status();
      }
      if (--gathering->missing > 0) return;
      if (gathering->failure.ok()) {
        gathering->done(std::move(gathering->results));
      } else {
        gathering->done(gathering->failure);
      }
    });
  }
}

}  // namespace ballast::master
