"""Names to classes: one class a name, from any thread, out of a pool of our own."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from containerd_lite.errors import InvalidArgument, ProtocolError
from containerd_lite.schema.pool import CONTAINERD, Schema, decode, encode
from tests.wire.peer import PATIENCE, Worker

pytestmark = pytest.mark.backend

NAMES = [
    "containerd.services.version.v1.VersionResponse",
    "containerd.types.Descriptor",
    "containerd.services.images.v1.Image",
    "containerd.services.containers.v1.Container.Runtime",
    "google.protobuf.Timestamp",
    "google.rpc.Status",
]
METHODS = [
    "containerd.services.version.v1.Version/Version",
    "containerd.services.content.v1.Content/Read",
    "containerd.services.content.v1.Content/Write",
    "containerd.services.tasks.v1.Tasks/Wait",
]

DEFAULT_POOL = """
import sys
from google.protobuf import descriptor_pool
from containerd_lite.schema.pool import CONTAINERD
for name in sys.argv[1:]:
    CONTAINERD.message(name)()
pool = descriptor_pool.Default()
for name in sys.argv[1:]:
    if not name.startswith("google."):
        try:
            pool.FindMessageTypeByName(name)
        except KeyError:
            continue
        print(name)
"""


def fresh() -> Schema:
    return Schema("containerd_lite.schema", "sets")


def test_many_threads_get_the_same_classes() -> None:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        for _ in range(3):
            schema, barrier = fresh(), threading.Barrier(16)

            def look_up(number: int) -> list[object]:
                barrier.wait(PATIENCE)  # noqa: B023
                names = NAMES[number % len(NAMES) :] + NAMES[: number % len(NAMES)]
                found = {name: schema.message(name) for name in names}  # noqa: B023
                methods = [schema.method(name) for name in METHODS]  # noqa: B023
                requests = [method.request().SerializeToString() for method in methods]
                assert requests == [b""] * len(METHODS)
                return [*(found[name] for name in NAMES), *methods]

            results = [worker.result() for worker in [Worker(look_up, n) for n in range(16)]]
            assert all(result == results[0] for result in results)
    finally:
        sys.setswitchinterval(before)


def test_a_class_is_made_once_and_its_messages_nest() -> None:
    schema = fresh()
    image = schema.message("containerd.services.images.v1.Image")
    assert schema.message("containerd.services.images.v1.Image") is image
    one = image(name="a", target={"digest": "sha256:0", "size": 7}, labels={"x": "y"})
    again = decode(image, bytearray(encode(one)))
    assert (again.name, again.target.size, dict(again.labels)) == ("a", 7, {"x": "y"})


@pytest.mark.parametrize("name", METHODS)
def test_methods(name: str) -> None:
    method = CONTAINERD.method(name)
    assert CONTAINERD.method(name) is method
    assert method.path == f"/{name}"
    full_name = method.response.DESCRIPTOR.full_name
    assert CONTAINERD.message(full_name) is method.response


@pytest.mark.parametrize(
    "name",
    [
        "",
        "nothing",
        "containerd",
        "containerd.types",
        "containerd.types.Nothing",
        "containerd.types.Descriptor.Nothing",
        "containerd.services.version.v1.Version",
        "a..b",
    ],
)
def test_unknown_messages(name: str) -> None:
    for schema in (fresh(), CONTAINERD):
        for _ in range(2):
            with pytest.raises(InvalidArgument):
                schema.message(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        "/",
        "containerd.services.version.v1.Version",
        "containerd.services.version.v1.Version/",
        "containerd.services.version.v1.Version/Nothing",
        "containerd.services.version.v1.Nothing/Version",
        "containerd.types.Descriptor/Version",
    ],
)
def test_unknown_methods(name: str) -> None:
    for schema in (fresh(), CONTAINERD):
        with pytest.raises(InvalidArgument):
            schema.method(name)


def test_nothing_gets_into_the_default_pool() -> None:
    done = subprocess.run(
        [sys.executable, "-c", DEFAULT_POOL, *NAMES],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("data", [b"\xff", b"\x0a\x05ab", b"\x0a\x01\xff", b"\x0b", b"\x07"])
def test_bytes_that_are_no_message(data: bytes) -> None:
    kind = CONTAINERD.message("containerd.services.version.v1.VersionResponse")
    with pytest.raises(ProtocolError, match="VersionResponse"):
        decode(kind, data)
