#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Habits that a machine can check: layers, lengths, banned calls, registration, documents.

Run by ctest (label unit), by `./dev lint`, or alone: python3 tests/tidy/tidy_test.py
The second half plants a violation of each rule, so that no rule is silently dead.
"""

import os
import re
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True

import layers  # noqa: E402
import rules  # noqa: E402
import together  # noqa: E402
from source_tree import CODE, TOP, code_only, includes, list_files, read  # noqa: E402

FILES = list_files()
SELF = ("tests/tidy/",)  # names what it forbids
TEXT = CODE + (".proto", ".py", ".sh", ".md", ".cmake", ".txt", ".json", ".yml", ".yaml")


def is_text(path):
    return path.endswith(TEXT) or os.path.basename(path) in ("dev", "run", "Dockerfile")


def is_script(path):
    return path.endswith((".py", ".sh", ".cmake", "CMakeLists.txt")) or path in ("dev", ".ci/run")


def exists(path):
    return os.path.exists(os.path.join(TOP, path))


class TidyTest(unittest.TestCase):
    maxDiff = None

    def check(self, rule, files):
        found = [text for path in files for text in rule(path, read(path))]
        if found:
            self.fail("\n" + "\n".join(found))

    def code(self):
        return [f for f in FILES if f.endswith(CODE)]

    def test_includes_point_downward(self):
        self.check(lambda path, text: layers.violations(path, includes(text)), self.code())

    def test_first_line_is_spdx(self):
        self.check(rules.spdx, [
            f for f in FILES if f.endswith(CODE + (".proto",)) or
            (is_script(f) and not f.endswith("CMakeLists.txt"))
        ])

    def test_planted_bugs_still_apply(self):
        for path in FILES:
            if path.startswith("tests/sim/mutants/") and path.endswith(".patch"):
                tried = subprocess.run(["patch", "-p1", "--dry-run", "--force", "--silent", "-i", path],
                                       cwd=TOP, capture_output=True, text=True, check=False)
                self.assertEqual(tried.returncode, 0, path + "\n" + tried.stdout + tried.stderr)

    def test_files_are_short(self):
        self.check(rules.length, [f for f in FILES if f.endswith(CODE + (".proto",)) or is_script(f)])

    def test_text_is_clean(self):
        self.check(rules.layout, [f for f in FILES if is_text(f) and "/cases/" not in f])

    def test_headers_have_one_guard_and_no_using(self):
        self.check(rules.header, self.code())

    def test_no_banned_calls(self):
        self.check(rules.banned_calls, self.code())

    def test_test_names_are_claims(self):
        self.check(rules.test_names, [f for f in self.code() if f.startswith("tests/")])

    def test_nothing_unfinished(self):
        self.check(rules.unfinished, [f for f in FILES if is_text(f) and not f.startswith(SELF)])

    def test_no_foreign_places(self):
        self.check(rules.foreign_places, [f for f in FILES if is_text(f) and not f.startswith(SELF)])

    def test_protos_keep_their_rules(self):
        self.check(rules.proto, FILES)

    def test_core_libraries_link_nothing_impure(self):
        self.check(rules.pure_libraries, [f for f in FILES if f.endswith("CMakeLists.txt")])

    def test_tests_that_documents_name_exist(self):
        defined = set()
        for path in self.code():
            if path.startswith("tests/"):
                defined |= rules.defined_tests(read(path))
        self.check(lambda path, text: rules.named_tests(path, text, defined),
                   [f for f in FILES if f.endswith(".md")])

    def test_every_source_is_built(self):
        listings = {f: read(f) for f in FILES if f.endswith("CMakeLists.txt")}
        sources = [f for f in FILES if f.endswith((".cc", ".c"))]
        self.check(lambda path, _: rules.registered(path, listings), sources)

    def test_sources_compiled_as_one_do_not_clash(self):
        self.check(lambda path, text: together.clashes(path, text, read),
                   [f for f in FILES if f.endswith("CMakeLists.txt")])

    def test_links_lead_somewhere(self):
        self.check(lambda path, text: rules.links(path, text, exists, read),
                   [f for f in FILES if f.endswith(".md")])

    def test_documents_that_are_named_exist(self):
        self.check(lambda path, text: rules.mentioned_documents(path, text, exists),
                   [f for f in FILES if is_text(f) and not f.startswith(SELF)])

    def test_every_reason_is_documented(self):
        reasons = set(re.findall(r"^\s+REASON_(\w+)\s*=\s*[1-9]", read("protos/errors.proto"), re.M))
        self.assertGreater(len(reasons), 20)
        page = read("docs/protocols/errors.md")
        documented = set(re.findall(r"\b(?:REASON_)?([A-Z][A-Z_]+)\b", page))
        self.assertEqual(sorted(reasons - documented), [], "not in docs/protocols/errors.md")


class PlantedViolationsTest(unittest.TestCase):
    """Each rule finds what it is for and leaves the neighbour alone."""

    def finds(self, rule, path, bad, good):
        self.assertTrue(rule(path, bad), f"missed: {bad!r}")
        self.assertEqual(rule(path, good), [], f"false alarm: {good!r}")

    def included(self, path, header, quoted=True):
        return layers.violations(path, [(1, header, quoted)])

    def test_layers(self):
        bad = [
            ("common/base/a.h", "common/types/ids.h", True),
            ("common/types/a.h", "common/env/clock.h", True),
            ("common/raft/state_machine.h", "common/env/executor.h", True),
            ("common/rpc/a.cc", "common/raft/wal.h", True),
            ("services/master/core/a.cc", "common/env/file_system.h", True),
            ("services/master/core/a.cc", "common/base/log.h", True),
            ("services/master/core/a.cc", "thread", False),
            ("services/master/core/a.cc", "absl/synchronization/mutex.h", True),
            ("services/master/core/a.cc", "protos/master_service.grpc.pb.h", True),
            ("services/master/core/a.cc", "services/master/control/a.h", True),
            ("services/master/control/a.cc", "services/master/server.h", True),
            ("services/master/server.cc", "services/chunkserver/core/a.h", True),
            ("services/master/server.cc", "client/client.h", True),
            ("services/master/server.cc", "tests/support/local_log.h", True),
            ("client/a.cc", "services/master/options.h", True),
            ("common/types/a.cc", "xxhash.h", False),
            ("common/raft/wal.cc", "raft.h", False),
            ("drawer/a.cc", "vector", False),
        ]
        for path, header, quoted in bad:
            self.assertTrue(self.included(path, header, quoted), f"{path} includes {header}")
        good = [
            ("common/routing/a.cc", "common/types/ids.h", True),
            ("services/master/core/a.cc", "common/raft/state_machine.h", True),
            ("services/master/core/a.cc", "protos/master_log.pb.h", True),
            ("services/master/control/a.cc", "thread", False),
            ("services/master/main.cc", "services/master/core/a.h", True),
            ("client/a.cc", "common/rpc/channel_pool.h", True),
            ("bench/a.cc", "services/master/server.h", True),
            ("tests/unit/a_test.cc", "client/client.h", True),
        ]
        for path, header, quoted in good:
            self.assertEqual(self.included(path, header, quoted), [])

    def test_single_file_rules(self):
        self.finds(rules.spdx, "a.cc", "int a;\n", f"// {rules.SPDX}\n")
        self.finds(rules.spdx, "a.py", "#!/x\nimport os\n", f"#!/x\n# {rules.SPDX}\n")
        self.finds(rules.length, "a.cc", "x\n" * 601, "x\n" * 600)
        self.finds(rules.layout, "a.cc", "int a; \n", "int a;\n")
        self.finds(rules.layout, "a.cc", "int a;", "int a;\n")
        self.finds(rules.header, "a.h", "int a;\n", "#pragma once\n")
        self.finds(rules.header, "a.h", "#pragma once\nusing namespace std;\n",
                   "#pragma once\n// using namespace std\n")
        self.finds(rules.test_names, "t.cc", "TEST(ATest, Under_score) {\n", "TEST(ATest, Claim) {\n")
        self.finds(rules.unfinished, "a.md", "TO" + "DO later\n", "all done\n")
        self.finds(rules.foreign_places, "a.md", "see /wo" + "rk/main\n", "see /srv/wo" + "rk/main\n")
        self.finds(rules.foreign_places, "a.sh", "http://de" + "b.debian.org/\n", "apt-get\n")

    def test_banned_calls(self):
        for bad in ("std::this_thread::sleep_for(x);", "absl::SleepFor(x);", "sleep(1);", "usleep(1);",
                    "auto t = std::chrono::system_clock::now();", "int r = rand();", "srand(1);",
                    "std::random_device d;", "std::cout << 1;", "printf(\"x\");", "assert(x);",
                    "auto t = absl::Now();", "char* p = NULL;", "time(nullptr);",
                    "TEST(ATest, DISABLED_Claim) {}"):
            self.assertTrue(rules.banned_calls("services/x/core/a.cc", bad + "\n"), bad)
        for good in ("// never sleep(1)", 'Log("sleep(1) rand() NULL");', "snprintf(a, b);",
                     "operand(x);", "clock.SteadyNow();", "x.sleep(1);", "static_assert(true);"):
            self.assertEqual(rules.banned_calls("services/x/core/a.cc", good + "\n"), [], good)
        self.assertEqual(rules.banned_calls("services/x/main.cc", "std::cerr << 1;\n"), [])

    def test_literals_and_comments_are_not_code(self):
        self.assertEqual(code_only('a("//x"); // b').rstrip(), 'a("   ");')
        self.assertEqual(code_only("f('\"', 1'000) /* \" */ g()").replace(" ", ""), 'f("",1\'000)g()')
        self.assertEqual(code_only('R"(a " b)" c').split(), ['"', '"', "c"])

    def test_proto_rules(self):
        head = "package ballast.v1;\n"
        self.finds(rules.proto, "a.proto", head + "  map<string, int> a = 1;\n",
                   head + "  repeated Pair a = 1;\n")
        self.finds(rules.proto, "a.proto", head + "\n  rpc A(B) returns (C);\n",
                   head + "  // Does A.\n  rpc A(B) returns (C);\n")
        self.finds(rules.proto, "a.proto", head + "enum E {\n  E_A = 0;\n",
                   head + "enum E {\n  E_UNSPECIFIED = 0;\n")
        self.finds(rules.proto, "a.proto", "package other;\n", head)

    def test_tree_rules(self):
        listings = {"a/CMakeLists.txt": "SOURCES b/c_test.cc", "CMakeLists.txt": ""}
        self.assertEqual(rules.registered("a/b/c_test.cc", listings), [])
        self.assertTrue(rules.registered("a/b/other_c_test.cc", listings))
        self.assertTrue(rules.registered("a/c_test.cc", listings))
        self.finds(rules.pure_libraries, "CMakeLists.txt",
                   "ballast_library(x_core SOURCES a.cc DEPS common_env)",
                   "ballast_library(x_core SOURCES a.cc DEPS common_types)")
        around = "namespace b {\nnamespace {\n%s\n}  // namespace\n}  // namespace b\n"
        clash = lambda one, other, listing="ballast_test(x SOURCES 1.cc 2.cc)": together.clashes(
            "a/CMakeLists.txt", listing, {"a/1.cc": around % one, "a/2.cc": around % other}.get)
        for one in ("int At(double s) { return s; }", "constexpr Id kA(1);", "struct World { int a; };",
                    'const char kA[] = "{";', "enum Kind : int { kOne };", "int seen = 0;"):
            self.assertTrue(clash(one, one), one)
            self.assertEqual(clash(one, ""), [])
            self.assertEqual(clash(one, one, "ballast_test(x SOURCES 1.cc ALONE 2.cc)"), [])
            grpc = "if(BALLAST_GRPC)\nballast_test(x SOURCES 1.cc 2.cc)\nendif()\n"
            self.assertEqual(clash(one, one, grpc), [])
        self.assertEqual(clash("int At(int s) { return kA; }", "int At(double s) { return 1; }"), [])
        self.assertEqual(clash("TEST(A, B) { int a; }", "TEST(A, C) { int a; }"), [])
        defined = rules.defined_tests("TEST_F(ATest, Claim) {\nTEST(BTest,\n     Other) {\n")
        self.assertEqual(rules.named_tests("a.md", "`ATest.Claim`, `BTest.Other`", defined), [])
        self.assertTrue(rules.named_tests("a.md", "`ATest.Gone`", defined))
        there = {"docs/a.md": "# A Heading, here\n", "docs/b.md": ""}
        link = lambda text: rules.links("docs/b.md", text, there.__contains__, there.__getitem__)
        self.assertEqual(link("[x](a.md) [y](a.md#a-heading-here) [z](https://x.org)"), [])
        self.assertTrue(link("[x](c.md)"))
        self.assertTrue(link("[x](a.md#nothing)"))
        self.assertTrue(rules.mentioned_documents("x.h", "// see docs/c.md\n", there.__contains__))
        self.assertEqual(rules.mentioned_documents("x.h", "// docs/a.md\n", there.__contains__), [])


if __name__ == "__main__":
    unittest.main()
