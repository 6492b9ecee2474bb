# SPDX-License-Identifier: Apache-2.0
"""A container engine for a test: the one that runs, or one of the test's own, ended with it.

An engine of our own needs root and Debian's docker.io. It keeps everything below a scratch folder,
changes no firewall and no default bridge, and is reached by a socket in that folder. Where its base
image cannot be pulled, one is made by debootstrap from this machine's own package source.
"""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from cluster_case import TOP, poll_until

BASE_IMAGE = "debian:bookworm-slim"
LOCAL_BASE_IMAGE = "ballast-test-base"
LOCAL_BASE_TAR = TOP / "build/deps/bookworm-base.tar"  # made once, it takes a minute
PULL_SECONDS = 60
# What apt needs to reach its source the way this machine does.
APT_SETTINGS = ("/etc/apt/sources.list", "/etc/apt/sources.list.d", "/etc/apt/apt.conf.d",
                "/etc/apt/auth.conf.d", "/etc/ssl/certs", "/usr/local/share/ca-certificates",
                "/usr/share/keyrings")


class NoEngine(Exception):
    """Why there is none, for people."""


def run(*command, check=True, **options):
    done = subprocess.run([str(c) for c in command], text=True, capture_output=True, check=False,
                          **options)
    if check and done.returncode != 0:
        raise NoEngine(f"{' '.join(map(str, command))}: {done.stderr.strip()[-2000:]}")
    return done


class Engine:
    """Use as `with`. `environment` is for children that talk to it; `base` the image to build on."""

    def __init__(self):
        if shutil.which("docker-compose"):
            self.compose = ["docker-compose"]
        elif run("docker", "compose", "version", check=False).returncode == 0:
            self.compose = ["docker", "compose"]
        else:
            raise NoEngine("docker-compose is not installed: apt-get install docker-compose")
        self.environment = dict(os.environ)
        self._daemon = None
        self._scratch = None
        self.base = BASE_IMAGE

    def __enter__(self):
        try:
            if self.docker("info", check=False).returncode != 0:
                self._start_own()
            self._find_base()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self._daemon is not None:
            self._daemon.terminate()  # it ends its containers and its own children
            try:
                self._daemon.wait(60)
            except subprocess.TimeoutExpired:
                self._daemon.kill()
                self._daemon.wait()
            # It leaves the mount of its network namespace behind.
            mounts = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
            for mount in reversed([m for m in mounts if m.startswith(f"{self._scratch}/")]):
                run("umount", "--lazy", mount, check=False)
            shutil.rmtree(self._scratch, ignore_errors=True)

    def docker(self, *arguments, **options):
        return run("docker", *arguments, env=self.environment, **options)

    # --- an engine of our own ------------------------------------------------------------------

    def _start_own(self):
        if not shutil.which("dockerd"):
            raise NoEngine("no engine runs and dockerd is not installed: apt-get install docker.io")
        if os.geteuid() != 0:
            raise NoEngine("no engine runs, and starting one needs root")
        self._scratch = Path(tempfile.mkdtemp(prefix="ballast-engine-"))
        socket = f"unix://{self._scratch}/docker.sock"
        log = self._scratch / "log"
        with open(log, "wb") as output:
            self._daemon = subprocess.Popen(
                ["dockerd", "--host", socket, "--data-root", self._scratch / "data",
                 "--exec-root", self._scratch / "run", "--pidfile", self._scratch / "pid",
                 "--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false",
                 "--ip-masq=false"], stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                start_new_session=True)
        self.environment["DOCKER_HOST"] = socket

        def ready():
            if self._daemon.poll() is not None:
                last = log.read_text(errors="replace").strip().splitlines()[-1:]
                raise NoEngine(f"dockerd does not start here: {''.join(last)}")
            return self.docker("info", check=False).returncode == 0
        poll_until(ready, 60, "dockerd")

    def _find_base(self):
        if self.docker("image", "inspect", BASE_IMAGE, check=False).returncode == 0:
            return
        try:
            pulled = self.docker("pull", "--quiet", BASE_IMAGE, check=False, timeout=PULL_SECONDS)
            if pulled.returncode == 0:
                return
        except subprocess.TimeoutExpired:
            pass
        if not LOCAL_BASE_TAR.exists():
            self._make_base()
        self.base = LOCAL_BASE_IMAGE
        self.docker("import", LOCAL_BASE_TAR, LOCAL_BASE_IMAGE)

    @staticmethod
    def _make_base():
        """A minimal Debian 12 with this machine's package sources. It stays on this machine."""
        if not shutil.which("debootstrap") or os.geteuid() != 0:
            raise NoEngine(f"{BASE_IMAGE} cannot be pulled; with root and debootstrap one could be "
                           "made: apt-get install debootstrap")
        sources = run("apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages",
                      "Codename: bookworm", "Component: main").stdout.split()
        if not sources:
            raise NoEngine("this machine has no package source for Debian 12 in its lists")
        scratch = Path(tempfile.mkdtemp(prefix="ballast-base-"))
        try:
            root = scratch / "root"
            run("debootstrap", "--variant=minbase", "bookworm", root, sources[0], timeout=900)
            for name in APT_SETTINGS:
                if Path(name).is_dir():
                    shutil.copytree(name, root / name[1:], symlinks=True, dirs_exist_ok=True)
                elif Path(name).exists():
                    shutil.copy(name, root / name[1:])
            if not Path("/etc/apt/sources.list").exists():
                (root / "etc/apt/sources.list").unlink(missing_ok=True)
            LOCAL_BASE_TAR.parent.mkdir(parents=True, exist_ok=True)
            unfinished = LOCAL_BASE_TAR.with_suffix(".part")
            run("tar", "--create", "--file", unfinished, "--directory", root,
                "--exclude=./var/cache/apt/archives/*.deb", ".")
            unfinished.replace(LOCAL_BASE_TAR)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
