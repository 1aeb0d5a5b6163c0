"""The main path needs nothing compiled: no extension module, no grpc, wheels for any machine."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from containerd_lite import Client
from tests.harness.daemon import Daemon

pytestmark = pytest.mark.backend

NATIVE = {"google", "zstd"}
IN_PURE_LANE = os.environ.get("CONTAINERD_LITE_PURE") == "1"

MAIN_PATH = """
import importlib, json, os, pkgutil, sys, sysconfig
import containerd_lite
for module in pkgutil.walk_packages(containerd_lite.__path__, "containerd_lite."):
    # What judges and makes signatures needs the compiled packages of the extra `trust`, and files
    # of YAML need PyYAML.
    parts = set(module.name.split("."))
    if not parts & {"__main__", "trust", "signatures", "signature_repository", "yaml_file"}:
        importlib.import_module(module.name)
address, namespace, image = sys.argv[1:]
with containerd_lite.Client(address, namespace=namespace) as client:
    done = client.run(client.pull(image), ["sh", "-c", "echo hello; exit 3"])
assert (done.exit_code, done.stdout) == (3, b"hello\\n"), done
standard = os.path.realpath(sysconfig.get_config_var("DESTSHARED"))
extensions = [getattr(module, "__file__", None) or "" for module in sys.modules.values()]
with open("/proc/self/maps") as maps:
    mapped = {line.split(maxsplit=5)[5].strip() for line in maps if ".so" in line}
print(json.dumps({
    "extensions": [name for name in extensions if ".so" in os.path.basename(name)
                   and os.path.dirname(os.path.realpath(name)) != standard],
    "mapped": [name for name in mapped if "-packages/" in name],
    "grpc": [name for name in sys.modules if name.partition(".")[0] in ("grpc", "grpclib")],
    "backend": sys.modules["google.protobuf.internal.api_implementation"].Type(),
}))
"""


@pytest.mark.daemon
@pytest.mark.registry
def test_pulling_and_running_loads_nothing_compiled(
    daemon: Daemon, client: Client, busybox: str
) -> None:
    argv = [sys.executable, "-W", "error", "-c", MAIN_PATH]
    argv += [daemon.address, client.namespace, busybox]
    pure = {**os.environ, "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION": "python"}
    done = subprocess.run(argv, env=pure, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()
    told = json.loads(done.stdout)
    if not IN_PURE_LANE:  # protobuf's native wheel loads its own part whatever it then uses, and
        for kind in ("extensions", "mapped"):  # urllib3 what reads zstd, where it is there
            told[kind] = [name for name in told[kind] if not set(Path(name).parts) & NATIVE]
    assert told == {"extensions": [], "mapped": [], "grpc": [], "backend": "python"}


@pytest.mark.skipif(not IN_PURE_LANE, reason="what is installed is chosen by the lane `pure`")
def test_every_wheel_is_for_any_machine() -> None:
    for found in importlib.metadata.distributions():
        told = found.read_text("WHEEL") or ""
        tags = [line.split(": ")[1] for line in told.splitlines() if line.startswith("Tag: ")]
        assert [tag for tag in tags if not tag.endswith("-none-any")] == [], found.name
        assert [file for file in found.files or () if ".so" in file.suffixes] == [], found.name
    assert importlib.util.find_spec("grpc") is None
    assert os.environ["PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"] == "python"
