# SPDX-License-Identifier: Apache-2.0
"""Runs the README's tour: every ```sh tour block, in order, in one shell.

Only what would touch the machine's own cluster is put aside: ./dev up and down and the address,
because the test brings a cluster of its own.
"""

import os
import re
import subprocess
import unittest

from cluster_case import BINARIES, TOP, ClusterCase

SECONDS_MAX = 100


def tour():
    readme = (TOP / "README.md").read_text()
    return re.findall(r"^```sh tour\n(.*?)^```$", readme, re.M | re.S)


class TourTest(ClusterCase):

    def test_every_command_of_the_readme_works(self):
        blocks = tour()
        self.assertGreaterEqual(len(blocks), 5)
        lines = []
        for line in "".join(blocks).splitlines():
            if re.match(r"(\./dev (up|down)|export (BALLAST_CLUSTER|PATH)=)", line):
                continue
            lines.append(line.replace("local_cluster.py", f"local_cluster.py --folder {self.cluster.folder}"))
        script = "\n".join(lines) + "\n"
        self.assertIn("ballast put", script)
        environment = self.cluster.environment()
        environment["PATH"] = f"{BINARIES}:{os.environ['PATH']}"
        environment["TMPDIR"] = str(self.scratch)
        run = subprocess.run(["bash", "-euxo", "pipefail", "-c", script], cwd=TOP, text=True,
                             env=environment, stdin=subprocess.DEVNULL, timeout=SECONDS_MAX,
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        self.assertEqual(run.returncode, 0, run.stdout[-4000:])
        self.assertIn("refused, as it should be", run.stdout)


if __name__ == "__main__":
    unittest.main()
