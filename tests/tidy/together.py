# SPDX-License-Identifier: Apache-2.0
"""Sources that some presets compile as one (BALLAST_UNITY): their unnamed namespaces share no name.

Reads declarations with patterns, not as a compiler would: enough to say it before ./dev test does.
"""

import os
import re

from source_tree import code_only

NOT_TOGETHER = ("bench/", "tests/integration/")  # need gRPC, which those presets leave out
WORDS = ("SOURCES", "ALONE", "DEPS", "LABEL", "TIMEOUT", "OUTPUT")


def without_grpc(listing):
    """The listing's lines that are outside of if(BALLAST_GRPC)."""
    kept, depth, hidden = [], 0, None
    for line in listing.split("\n"):
        line = re.sub(r"#.*", "", line)
        if re.match(r"\s*if\s*\(", line):
            depth += 1
            if hidden is None and "BALLAST_GRPC" in line:
                hidden = depth
        if hidden is None:
            kept.append(line)
        if re.match(r"\s*endif\s*\(", line):
            hidden = None if hidden == depth else hidden
            depth -= 1
    return "\n".join(kept)


def targets(path, listing):
    """(name of the target, its SOURCES as paths from the top) of a CMakeLists.txt."""
    folder = os.path.dirname(path)
    for call in re.finditer(r"ballast_(?:library|binary|test)\(\s*(\w+)([^)]*)\)",
                            without_grpc(listing)):
        word, sources = "", []
        for token in call.group(2).split():
            if token in WORDS:
                word = token
            elif word == "SOURCES" and token.endswith(".cc") and "$" not in token:
                sources.append(os.path.normpath(os.path.join(folder, token)))
        yield call.group(1), sources


def declared(statement):
    """What a declaration adds to its namespace: a name, for a function with its parameters' types.

    None for an alias: twice the same does no harm.
    """
    text = " ".join(re.sub(r"^\s*#.*$", "", statement, flags=re.M).split())
    text = re.sub(r"^template ?<.*?> ?", "", text)
    match = re.match(r"(?:struct|class|enum(?: class| struct)?) (\w+)", text)
    if match:
        return match.group(1)
    if re.match(r"(using|friend|static_assert|namespace|TEST|MATCHER)\b|TEST_|MATCHER_|$", text):
        return None
    head = text.split("=")[0].strip()
    match = re.search(r"\b(k[A-Z]\w*)\b", head)
    if match:
        return match.group(1)
    match = re.match(r"[^(]*?\b(\w+)\((.*)\)", head)
    if match:
        types = re.sub(r"\s*\b\w+\s*(?=,|$)", "", match.group(2)).replace(" ", "")
        return f"{match.group(1)}({types})"
    match = re.search(r"\b(\w+)(?:\[[^\]]*\])?$", head)
    return match.group(1) if match else None


def unnamed(text):
    """What the unnamed namespaces of a source declare, each with the namespace around it."""
    found, spaces, statement = set(), [], ""
    for part in re.findall(r"[{};]|[^{};]+", code_only(text)):
        if part in "{;" and spaces and spaces[-1] == "":
            name = declared(statement)
            if name:
                found.add("::".join(s for s in spaces if s) + "::" + name)
        if part == "{":
            match = re.search(r"\bnamespace(?:\s+([\w:]+))?\s*$", statement)
            spaces.append((match.group(1) or "") if match else None)
        elif part == "}" and spaces:
            spaces.pop()
        statement = part if part not in "{};" else ""
    return found


def clashes(path, listing, read):
    found = []
    if path.startswith(NOT_TOGETHER):
        return found
    for target, sources in targets(path, listing):
        first = {}
        for source in sources:
            for name in sorted(unnamed(read(source))):
                if first.setdefault(name, source) != source:
                    found.append(f"{source}: {name} is in {first[name]} too, and {target} may compile both as"
                                 " one: another name, or ALONE instead of SOURCES")
    return found
