// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace ballast {

// Lets this process have as many files and connections open as the system allows without asking,
// since the usual first limit of 1024 is meant for programs that use select: a chunk server serves
// hundreds of streams, each with a connection or two and a file, a master has a connection to every
// chunk server. Best effort: what cannot be raised stays. For the beginning of main.
void AllowManyDescriptors();

}  // namespace ballast
