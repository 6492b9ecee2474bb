# SPDX-License-Identifier: Apache-2.0
"""Who may include whom. The first rule whose prefix fits a file is its layer."""

import re

SERVICES = ("shardctl", "master", "chunkserver")
MESSAGES = r"protos/\w+\.pb\.h"
STUBS = r"protos/\w+\.grpc\.pb\.h"
BASE = r"common/base/"
TYPES = r"common/types/"
ROUTING = r"common/routing/"
ENV = r"common/env/"
RAFT = r"common/raft/"
RAFT_INTERFACES = r"common/raft/(state_machine|session_table)\.h"
RPC = r"common/rpc/"
CLI = r"common/cli/"
ANY = r""

# What a core must not touch: threads, clocks, files, chance, the log, the network.
IMPURE = re.compile(
    r"^(grpc.*|thread|mutex|shared_mutex|condition_variable|future|atomic|chrono|ctime|time\.h|"
    r"random|fstream|iostream|cstdio|stdio\.h|filesystem|unistd\.h|fcntl\.h|pthread\.h|sys/.*|"
    r"spdlog/.*|CLI/.*|absl/synchronization/.*|absl/time/clock\.h|absl/random/.*|"
    r"common/base/log\.h)$")

# External headers that stay behind one face.
ONLY_IN = [
    (r"^raft(/|\.h$)", r"common/raft/craft_shim|tests/.*craft"),
    (r"^spdlog/", r"common/base/log\.cc"),
    (r"^CLI/", r"common/cli/command_line\.cc"),
    (r"^isa-l", r"common/base/crc32c\.cc"),
    (r"^xxhash\.h$", r"common/routing/"),
    (r"^(grpc|grpcpp)/|\.grpc\.pb\.h$",
     r"common/rpc/|common/raft/|services/\w+/(?!core/)|client/|gateway/(?!core/)|bench/|tests/"),
]

RULES = [
    (r"common/base/", [BASE]),
    (r"common/types/", [BASE, TYPES, MESSAGES]),
    (r"common/routing/", [BASE, TYPES, ROUTING, MESSAGES]),
    (r"common/env/", [BASE, ENV]),
    (r"common/cli/", [BASE, CLI]),
    (r"common/raft/(replicated_log|state_machine|session_table|transport)\.h", [BASE, TYPES]),
    (r"common/raft/", [BASE, TYPES, ENV, RAFT, MESSAGES, RPC, STUBS]),
    (r"common/rpc/", [BASE, TYPES, ROUTING, ENV, RPC, MESSAGES, STUBS]),
    (r"common/metrics/", [BASE, TYPES, ENV, r"common/metrics/"]),
    *[(rf"services/{s}/core/",
       [BASE, TYPES, ROUTING, RAFT_INTERFACES, MESSAGES, rf"services/{s}/core/"])
      for s in SERVICES],
    *[(rf"services/{s}/(control|store)/",
       [r"common/(?!cli/)", MESSAGES, STUBS, rf"services/{s}/(core|control|store)/"])
      for s in SERVICES],
    *[(rf"services/{s}/", [r"common/", MESSAGES, STUBS, rf"services/{s}/"]) for s in SERVICES],
    (r"gateway/core/",
     [BASE, TYPES, ROUTING, MESSAGES, r"gateway/core/", r"gateway/cluster_backend\.h"]),
    (r"gateway/", [r"common/", r"client/", r"services/", MESSAGES, STUBS, r"gateway/"]),
    (r"client/", [r"common/", MESSAGES, STUBS, r"client/"]),
    (r"examples/", [ANY]),
    (r"bench/", [ANY]),
    (r"tests/", [ANY]),
]
OWN = re.compile(r"^(common|services|client|gateway|protos|bench|tests|examples)/")


def violations(path, include_list):
    """Sentences about the includes of one file that its layer forbids."""
    allowed = next((targets for prefix, targets in RULES if re.match(prefix, path)), None)
    if allowed is None:
        return [f"{path}: in no layer; tests/tidy/layers.py has the table"]
    found = []
    core = re.match(r"(services/\w+|gateway)/core/", path)
    for line, header, quoted in include_list:
        where = f"{path}:{line}"
        if core and IMPURE.match(header):
            found.append(f"{where}: a core is pure and must not include {header}")
        for pattern, users in ONLY_IN:
            if re.match(pattern, header) and not re.match(users, path):
                found.append(f"{where}: {header} is only for {users}")
        if quoted and OWN.match(header) and not any(re.match(a, header) for a in allowed):
            found.append(f"{where}: this layer must not include {header}")
    return found
