# SPDX-License-Identifier: Apache-2.0
"""cgroups for benches: processes with a page cache and a disk as on a machine of their own.

A page of a file counts for the group whose process read it first. Versions 1 and 2 of the interface
are found by themselves."""

import errno
import os
import time
from pathlib import Path


class NotAvailable(Exception):
    """What this machine does not offer, in one line."""


def _own(controller):
    """This process's group: of a version 1 hierarchy by its controller, of version 2 by ''."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controller in controllers.split(","):
            return path
    return "/"


def _mounts(wanted):
    """(mount point, group that it shows, options) of the cgroup file systems of a type."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        before, after = line.split(" - ", 1)
        fields, kind, options = before.split(), after.split()[0], after.split()[2]
        if kind == wanted:
            yield Path(fields[4]), fields[3], options.split(",")


def _folder(mount, shown, group):
    """The folder of a group below a mount that shows the group `shown` and what is below."""
    relative = os.path.relpath(group, shown)
    return mount if relative.startswith("..") else mount / relative


def _mkdir(candidates, what):
    """Makes the first that can be made."""
    why = f"no group passes the {what} controller on"
    for path in candidates:
        try:
            path.mkdir()
            return path
        except OSError as error:
            why = error.strerror
    raise NotAvailable(f"no {what} cgroup can be made here: {why}")


def _make_v1(controller, name):
    """A group below this process's, or None if the controller is not mounted."""
    for mount, shown, options in _mounts("cgroup"):
        if controller in options:
            return _mkdir([_folder(mount, shown, _own(controller)) / name], controller)
    return None


def _make_v2(name):
    """A group in the nearest above this process's that passes the memory controller on: one with
    processes in it does not, but for the root."""
    for mount, shown, _ in _mounts("cgroup2"):
        if "memory" in (mount / "cgroup.controllers").read_text().split():
            own = _folder(mount, shown, _own(""))
            above = [p for p in (own, *own.parents) if p == mount or mount in p.parents]
            return _mkdir([p / name for p in above if "memory" in
                           (p / "cgroup.subtree_control").read_text().split()], "memory")
    raise NotAvailable("this machine has no memory cgroups")


def _disk_of(path):
    """MAJOR:MINOR of the whole disk that holds a path."""
    device = os.stat(path).st_dev
    entry = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
    if not entry.exists():
        raise NotAvailable(f"{path} is on no disk whose speed can be limited")
    entry = entry.resolve()
    return ((entry.parent if (entry / "partition").exists() else entry) / "dev").read_text().strip()


class LimitedGroup:
    """One group. close() removes it; its processes must be gone. Raises NotAvailable."""

    def __init__(self, name, memory_bytes):
        self._memory = _make_v1("memory", name)
        self._is_v1 = self._memory is not None
        if not self._is_v1:
            self._memory = _make_v2(name)
        self._folders = [self._memory]
        try:
            limit = "memory.limit_in_bytes" if self._is_v1 else "memory.max"
            (self._memory / limit).write_text(str(memory_bytes))
            self._disk = _make_v1("blkio", name) if self._is_v1 else self._memory
        except (OSError, NotAvailable) as error:
            self.close()
            raise NotAvailable(f"limits of a cgroup cannot be set: {error}") from error
        if self._disk not in (None, self._memory):
            self._folders.append(self._disk)

    def add(self, pid):
        """What the process takes from now on counts here."""
        for folder in self._folders:
            (folder / "cgroup.procs").write_text(str(pid))

    def limit_reads(self, path, bytes_per_second):
        """How fast the disk that holds `path` is for the group; 0: as fast as it is."""
        disk = _disk_of(path)
        name, text = (("blkio.throttle.read_bps_device", f"{disk} {bytes_per_second}")
                      if self._is_v1 else
                      ("io.max", f"{disk} rbps={bytes_per_second or 'max'}"))
        if self._disk is None or not (self._disk / name).exists():
            raise NotAvailable("this machine's cgroups do not limit disks")
        (self._disk / name).write_text(text)

    def cached_bytes(self):
        """Pages of files."""
        values = dict(line.split() for line in
                      (self._memory / "memory.stat").read_text().splitlines())
        return int(values["cache" if self._is_v1 else "file"])

    def close(self):
        for folder in self._folders:
            for _ in range(100):  # the kernel lets go of ended processes a little later
                try:
                    folder.rmdir()
                    break
                except FileNotFoundError:
                    break
                except OSError as error:
                    if error.errno != errno.EBUSY:
                        raise
                    time.sleep(0.05)
