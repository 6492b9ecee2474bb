#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes docs/configuration.md from the programs' own --help, or checks that it is in step.

usage: configuration_docs.py [--check] BIN_FOLDER FILE
"""

import difflib
import os
import re
import subprocess
import sys

PROGRAMS = ["shardctl", "master", "chunkserver", "ballast", "gateway"]

HEAD = """\
# Configuration

Written by `./dev docs` from the programs' `--help`; do not edit, a test compares.

Every value can be given in three places. The command line wins over the config file (`--config FILE`, lines of
`name = value`, a section `[verb]` for the flags of a verb), the config file wins over the environment (the variable is shown as
`Env:`), and what is given nowhere has the default shown after `=` or in brackets. Sizes take units (`4096`, `64KiB`,
`10GB`), durations need one (`200ms`, `5s`, `1h30m`).

Exit codes: 0 success, 1 failure, 2 misuse (with one line that says what to write).
"""


def help_of(folder, program, verb):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BALLAST_")}
    environment["COLUMNS"] = "100"
    run = subprocess.run([os.path.join(folder, program), *verb, "--help"], text=True,
                         capture_output=True, stdin=subprocess.DEVNULL, timeout=20,
                         env=environment, check=False)
    if run.returncode != 0:
        sys.exit(f"{program} {' '.join(verb)} --help: exit {run.returncode}: {run.stderr}")
    lines = [line.rstrip() for line in run.stdout.replace(folder + "/", "").split("\n")]
    return "\n".join(lines).strip() + "\n"


def verbs_in(text):
    """Names under "Subcommands:" of a help text."""
    match = re.search(r"^Subcommands:\n((?:  .*\n?)+)", text, re.M)
    return re.findall(r"^  (\S+)", match.group(1), re.M) if match else []


def section(folder, program, verb, depth):
    text = help_of(folder, program, verb)
    title = " ".join([program, *verb])
    out = f"\n{'#' * depth} {title}\n\n```text\n{text}```\n"
    for name in verbs_in(text):
        out += section(folder, program, [*verb, name], min(depth + 1, 4))
    return out


def main():
    arguments = sys.argv[1:]
    check = arguments[:1] == ["--check"]
    if check:
        arguments = arguments[1:]
    if len(arguments) != 2:
        sys.exit(__doc__)
    folder, path = arguments
    text = HEAD + "".join(section(folder, p, [], 2) for p in PROGRAMS)
    if not check:
        with open(path, "w", encoding="utf-8") as out:
            out.write(text)
        return
    with open(path, encoding="utf-8") as current:
        written = current.read()
    if written != text:
        sys.stdout.writelines(difflib.unified_diff(
            written.splitlines(True), text.splitlines(True), path, "what the programs say"))
        sys.exit(f"{path} is out of step with --help; run ./dev docs")


if __name__ == "__main__":
    main()
