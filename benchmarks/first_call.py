"""Measures a new process that imports the package and makes one call, against grpcio.

The grpcio script does the work of generated code itself: it adds the serialized descriptors to
protobuf's default pool.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from importlib.resources import files
from pathlib import Path

from benchmarks.measure import Result, Sample, cpu_seconds, report
from tests.harness.daemon import Daemon

_OURS = """
import sys
from containerd_lite import Client
with Client(sys.argv[1]) as client:
    client.version()
"""
_GRPCIO = """
import sys
import grpc
from google.protobuf import descriptor_pool, message_factory
pool = descriptor_pool.Default()
for name in sys.argv[2:]:
    pool.AddSerializedFile(open(name, "rb").read())
def message(name):
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))
with grpc.insecure_channel(sys.argv[1]) as channel:
    channel.unary_unary(
        "/containerd.services.version.v1.Version/Version",
        request_serializer=message("google.protobuf.Empty").SerializeToString,
        response_deserializer=message("containerd.services.version.v1.VersionResponse").FromString,
    )(message("google.protobuf.Empty")())
"""
#: Prints the most memory that the process held, in KiB.
_PEAK = """
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""
_SETS = ("google.protobuf.empty.binpb", "services.version.v1.version.binpb")
_ROOT = Path(__file__).resolve().parents[1]


def _run(script: str, *arguments: str) -> tuple[Result, float]:
    """Run a script; return the time that it took, and the MiB that it held at most."""
    begin, cpu = time.perf_counter(), cpu_seconds()
    command = [sys.executable, "-c", script + _PEAK, *arguments]
    # Keep the bytecode, as an installation does: the warm-up round compiles it.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(command, cwd=_ROOT, env=environment, check=True, stdout=subprocess.PIPE)
    result = Result(1, time.perf_counter() - begin, cpu_seconds() - cpu)
    return result, int(done.stdout) / 1024


def first_call(daemon: Daemon, rounds: int) -> None:
    """Compare processes that import, connect, call ``version()`` and exit."""
    folder = Path(str(files("containerd_lite.schema"))) / "sets"
    contenders = {
        "containerd_lite": (_OURS, daemon.address),
        "grpcio": (_GRPCIO, daemon.address, *(str(folder / name) for name in _SETS)),
    }
    samples = {name: Sample() for name in contenders}
    peaks: dict[str, float] = {}
    for number in range(rounds + 1):
        for name, command in contenders.items():
            result, peak = _run(*command)
            if number:
                samples[name].add(result)
                peaks[name] = peak
    report("import and first call", samples, "ms", 1e3)
    ours, peer = peaks.values()
    print(f"peak memory: {ours:.1f} MiB, grpcio {peer:.1f} MiB, ratio {ours / peer:.2f}")
