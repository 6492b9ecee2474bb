# SPDX-License-Identifier: Apache-2.0
"""The Python classes of Ballast's messages and services, generated from protos/ when first needed.

  from ballast_stubs import common_pb2, errors_pb2, master_service_pb2, master_service_pb2_grpc

protoc and gRPC's plugin come from Debian's protobuf-compiler and protobuf-compiler-grpc. What they
write lies in build/python of the source tree ($BALLAST_PYTHON_STUBS chooses another folder), in a
folder named after the contents of the protos, so that a change of a proto is a new folder and two
programs that start together do not disturb each other.
"""

import hashlib
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TOP = Path(__file__).resolve().parents[2]
NAMES = ("common", "errors", "maintenance", "pool_service", "shardctl_service", "master_service", "chunkserver_data_service")


def _generate(folder):
    """Runs protoc into a temporary folder and gives it its name when it is whole."""
    plugin = shutil.which("grpc_python_plugin")
    if not shutil.which("protoc") or not plugin:
        raise ImportError("protoc or grpc_python_plugin is missing: install the Debian packages "
                          "protobuf-compiler and protobuf-compiler-grpc")
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent))
    done = subprocess.run(
        ["protoc", f"-I{TOP}", f"--python_out={temporary}", f"--grpc_out={temporary}",
         f"--plugin=protoc-gen-grpc={plugin}", *[f"protos/{name}.proto" for name in NAMES]],
        cwd=TOP, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        shutil.rmtree(temporary)
        raise ImportError(f"protoc failed: {done.stderr.strip()}")
    try:
        temporary.rename(folder)
    except OSError:  # another program was quicker
        shutil.rmtree(temporary)


def _folder():
    digest = hashlib.sha256()
    for name in NAMES:
        digest.update((TOP / "protos" / f"{name}.proto").read_bytes())
    root = Path(os.environ.get("BALLAST_PYTHON_STUBS", TOP / "build/python"))
    return root / digest.hexdigest()[:16]


def _load(module):
    return importlib.import_module(f"protos.{module}")


_stubs = _folder()
if not _stubs.exists():
    _generate(_stubs)
sys.path.insert(0, str(_stubs))

common_pb2 = _load("common_pb2")
errors_pb2 = _load("errors_pb2")
pool_service_pb2 = _load("pool_service_pb2")
pool_service_pb2_grpc = _load("pool_service_pb2_grpc")
shardctl_service_pb2 = _load("shardctl_service_pb2")
shardctl_service_pb2_grpc = _load("shardctl_service_pb2_grpc")
master_service_pb2 = _load("master_service_pb2")
master_service_pb2_grpc = _load("master_service_pb2_grpc")
chunkserver_data_service_pb2 = _load("chunkserver_data_service_pb2")
chunkserver_data_service_pb2_grpc = _load("chunkserver_data_service_pb2_grpc")
