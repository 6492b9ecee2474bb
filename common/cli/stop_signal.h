// SPDX-License-Identifier: Apache-2.0
#pragma once

// How a server process ends: SIGTERM and SIGINT ask it to, once it stops in order; a second one
// ends it at once.

namespace ballast {

// From now on the signals wait for WaitForStop instead of ending the process, and SIGPIPE is
// ignored. Call it first in main, before there are threads: they inherit it.
void BlockStopSignals();

// Blocks until a stop signal or RequestStop. Returns the exit code: 0 for a signal. Afterwards the
// signals have their usual effect, so that a process that hangs while stopping can be ended.
int WaitForStop();

// Makes WaitForStop return `exit_code` (the first request's, if there are several). Thread-safe.
void RequestStop(int exit_code);

}  // namespace ballast
