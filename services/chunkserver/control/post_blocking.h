// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <functional>

#include "common/env/executor.h"

namespace ballast::chunkserver {

// Runs a task where it may block: the disk pool, or a simulated one.
using PostBlocking = std::function<void(Task)>;

}  // namespace ballast::chunkserver
