# SPDX-License-Identifier: Apache-2.0
"""The rules on single files and on the tree. Each returns sentences; none is good."""

import os
import re

from source_tree import CODE, code_only

LINES_MAX = 600
LONG_FILES = {}  # path: reason

SPDX = "SPDX-License-Identifier: Apache-2.0"
MAINS = r"(.*/)?main\.cc$|client/cli/|bench/|common/cli/command_line\.cc$|tests/"
GRPC_SIDE = r"common/rpc/|bench/|tests/|client/|services/\w+/(?!core/)|gateway/(?!core/)"

# (what, pattern on code without comments and literals, files that may)
BANNED = [
    ("waiting by sleeping", r"\b(sleep_for|sleep_until|SleepFor|usleep|nanosleep)\b|(?<![\w.>])sleep\s*\(",
     r"bench/"),
    ("the wall clock", r"\bsystem_clock\s*::\s*now\b|\bgettimeofday\b|\btime\s*\(\s*(nullptr|NULL|0)\s*\)",
     r"$^"),
    ("a clock behind common/env/clock.h's back", r"\bsteady_clock\s*::\s*now\b|\bclock_gettime\b",
     r"common/env/clock\.cc$|bench/"),
    ("absl::Now() away from a deadline", r"\babsl::Now\s*\(", rf"common/env/clock\.cc$|{GRPC_SIDE}"),
    ("unseeded chance", r"\b(random_device|BitGen|mt19937\w*)\b|(?<![\w.>:])s?rand\s*\(", r"$^"),
    ("printing outside a main", r"\bstd::(cout|cerr|clog)\b|(?<!\w)(printf|puts|fprintf)\s*\(",
     rf"{MAINS}|common/base/check\.cc$"),
    ("assert(), which release drops", r"(?<!\w)assert\s*\(", r"$^"),
    ("a disabled test", r"\bDISABLED_\w+", r"$^"),
]


def spdx(path, text):
    first = text.split("\n", 2)
    if path.endswith((".md", ".json", ".txt", ".jsonl", ".toml")) and not path.endswith(
            "CMakeLists.txt"):
        return []
    head = first[1] if text.startswith("#!") and len(first) > 1 else first[0]
    return [] if SPDX in head else [f"{path}:1: the first line must say {SPDX}"]


def length(path, text):
    lines = text.count("\n")
    if lines <= LINES_MAX or path in LONG_FILES:
        return []
    return [f"{path}: {lines} lines; the limit is {LINES_MAX}"]


def layout(path, text):
    """Bytes that git and editors fight about."""
    found = []
    if text and not text.endswith("\n"):
        found.append(f"{path}: no newline at the end")
    for number, line in enumerate(text.split("\n"), 1):
        if line.rstrip() != line:
            found.append(f"{path}:{number}: blanks at the end of the line")
        if "\t" in line and path.endswith(CODE + (".py", ".proto")):
            found.append(f"{path}:{number}: a tab")
    return found


def header(path, text):
    if not path.endswith(".h"):
        return []
    found = []
    if not re.search(r"^#pragma once$", text, re.M):
        found.append(f"{path}: no #pragma once")
    return found + match_code(path, text, "using namespace in a header", r"\busing\s+namespace\b")


def match_code(path, text, what, pattern):
    code = code_only(text)
    return [
        f"{path}:{code.count(chr(10), 0, m.start()) + 1}: {what}"
        for m in re.finditer(pattern, code)
    ]


def banned_calls(path, text):
    found = []
    for what, pattern, users in BANNED:
        if not re.match(users, path):
            found += match_code(path, text, what, pattern)
    if not path.endswith(".c") and not path.endswith("craft_shim.h"):
        found += match_code(path, text, "NULL; say nullptr", r"\bNULL\b")
    return found


def test_names(path, text):
    """Test names are claims in CamelCase; GoogleTest forbids underscores."""
    found = []
    for match in re.finditer(r"^(?:TEST|TEST_F|TEST_P)\((\w+),\s*(\w+)\)", text, re.M):
        suite, name = match.groups()
        if "_" in suite + name or not re.search(r"Test$", suite):
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"{path}:{line}: {suite}.{name}: no underscores, and a suite ends in Test")
    return found


def defined_tests(text):
    return {f"{s}.{n}" for s, n in re.findall(r"^TEST(?:_F|_P)?\((\w+),\s*(\w+)\)", text, re.M)}


def named_tests(path, text, defined):
    """`SuiteTest.Claim` in a document is a test that exists."""
    return [
        f"{path}:{text.count(chr(10), 0, m.start()) + 1}: there is no test {m.group(1)}"
        for m in re.finditer(r"`(\w+Test\.\w+)`", text)
        if m.group(1) not in defined
    ]


def unfinished(path, text):
    """Marks of unfinished work in any text."""
    marks = r"\b(TO" + r"DO|FIX" + r"ME|X" + r"XX)\b"
    return [
        f"{path}:{text.count(chr(10), 0, m.start()) + 1}: {m.group()}"
        for m in re.finditer(marks, text)
    ]


def foreign_places(path, text):
    """Paths of one machine, and addresses that belong into its package manager's settings."""
    places = (r"(?<![\w.])/(?:work|root|home/\w+)/|/tmp/wt\b|\b(?:deb\.debian|security\.debian|pypi)"
              r"\.org\b|registry\.npmjs|files\.pythonhosted|crates\.io|proxy\.golang")
    return [
        f"{path}:{text.count(chr(10), 0, m.start()) + 1}: {m.group()}"
        for m in re.finditer(places, text)
    ]


def proto(path, text):
    if not path.endswith(".proto"):
        return []
    found = []
    lines = text.split("\n")
    for number, line in enumerate(lines, 1):
        if re.match(r"\s*(repeated\s+)?map\s*<", line):
            found.append(f"{path}:{number}: no map: its order is not defined")
        if re.match(r"\s*rpc\s", line) and not lines[number - 2].strip().startswith("//"):
            found.append(f"{path}:{number}: an rpc needs its contract above it")
        if re.match(r"\s*enum\s", line):
            first = next((x for x in lines[number:] if re.match(r"\s*\w+\s*=\s*\d+", x)), "")
            if not re.match(r"\s*\w+_UNSPECIFIED\s*=\s*0", first):
                found.append(f"{path}:{number}: the first value of an enum is ..._UNSPECIFIED = 0")
    if "package ballast.v1" not in text:
        found.append(f"{path}: not in package ballast.v1")
    if path.endswith("_log.proto") and "DURABLE" not in text.upper():
        found.append(f"{path}: durable messages open with a warning")
    return found


def registered(path, cmake_files):
    """`path` (a source or test) is named in a CMakeLists.txt of its folder or one above."""
    folder = os.path.dirname(path)
    while True:
        listing = cmake_files.get(os.path.join(folder, "CMakeLists.txt"), "")
        relative = os.path.relpath(path, folder or ".")
        if re.search(rf"(?<![\w./-]){re.escape(relative)}(?![\w./-])", listing):
            return []
        if not folder:
            return [f"{path}: in no CMakeLists.txt, so it is never built"]
        folder = os.path.dirname(folder)


def pure_libraries(path, text):
    """A *_core library links nothing that could do I/O."""
    found = []
    for match in re.finditer(r"ballast_library\(\s*(\w+_core)\b([^)]*)\)", text):
        for dependency in re.findall(r"common_env|common_rpc|common_cli|ballast_grpc|gRPC::\w+",
                                     match.group(2)):
            found.append(f"{path}: {match.group(1)} must not link {dependency}")
    return found


def slug(heading):
    heading = re.sub(r"[`*]", "", heading.strip().lower())
    heading = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"\s", "-", re.sub(r"[^\w\- ]", "", heading))


def anchors(text):
    return {slug(h) for h in re.findall(r"^#+\s+(.*)$", text, re.M)}


def links(path, text, exists, read):
    """Relative links of a document lead somewhere, anchors included."""
    found = []
    prose = re.sub(r"^```.*?^```", lambda m: "\n" * m.group().count("\n"), text, flags=re.M | re.S)
    for match in re.finditer(r"\[[^\]]*\]\(([^)\s]+)\)", prose):
        target = match.group(1)
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        full = os.path.normpath(os.path.join(os.path.dirname(path), file)) if file else path
        where = f"{path}:{prose.count(chr(10), 0, match.start()) + 1}"
        if not exists(full):
            found.append(f"{where}: {target} leads nowhere")
        elif anchor and full.endswith(".md") and anchor not in anchors(read(full)):
            found.append(f"{where}: {target}: no such heading")
    return found


def mentioned_documents(path, text, exists):
    """docs/... named in code or prose exists."""
    found = []
    for match in re.finditer(r"(?<![\w/.-])docs/[\w/-]+\.md\b", text):
        if not exists(match.group()):
            line = text.count("\n", 0, match.start()) + 1
            found.append(f"{path}:{line}: {match.group()} does not exist")
    return found
