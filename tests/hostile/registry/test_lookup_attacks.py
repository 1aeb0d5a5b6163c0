"""Look-ups that never end, addresses that do not answer, and peers that are judged too late."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from containerd_lite import lookup
from containerd_lite.deadline import Deadline
from containerd_lite.errors import Cancelled, RegistryError, RegistryUnavailable
from containerd_lite.interrupt import Interrupt
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.destinations import Destinations
from containerd_lite.registry.registry import Registry
from tests.hostile.registry.stage import classify
from tests.unit.registry.samples import BLOB_PATH, LAYER, TAGGED, TARGET, manifest
from tests.unit.registry.scripted import Scripted, challenge, reply

pytestmark = pytest.mark.dependencies

#: How long a look-up blocks here (seconds), unless the test ends before.
BLOCKING = 20.0
#: What a call with a time limit far below it may take on a loaded machine (seconds).
PATIENCE = 8.0
#: The time limit of the calls (seconds).
LIMIT = 0.3


class Resolver:
    """``getaddrinfo`` with names of its own; ``slow.test`` blocks until the test is over."""

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}
        self.over = threading.Event()
        self.blocked = 0
        self._real = socket.getaddrinfo

    def __call__(self, host: object, port: object, *args: object, **kwargs: object) -> object:
        name = host.decode() if isinstance(host, bytes) else str(host)
        if name.endswith("slow.test"):
            self.blocked += 1
            self.over.wait(BLOCKING)
            raise socket.gaierror(socket.EAI_AGAIN, "try again")
        found = self.names.get(name, [name])
        return [
            entry
            for address in found
            for entry in self._real(address, port, *args, **kwargs)  # type: ignore[arg-type]
        ]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    found = Resolver()
    monkeypatch.setattr(socket, "getaddrinfo", found)
    yield found
    found.over.set()
    for thread in threading.enumerate():
        if thread.name == lookup.THREAD_NAME:
            thread.join(PATIENCE)


# Look-ups that do not end.


def test_a_look_up_of_the_registry_that_blocks(resolver: Resolver) -> None:
    began = time.monotonic()
    with (
        Registry("slow.test", plain_http=True, proxy="", timeout=LIMIT) as registry,
        pytest.raises(RegistryUnavailable, match="in time"),
    ):
        registry.resolve(Reference.parse("slow.test/app:v1"))
    assert time.monotonic() - began < PATIENCE
    assert resolver.blocked == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_look_up_of_a_redirect_that_blocks(resolver: Resolver, scheme: str) -> None:
    with Scripted() as server:
        server.on("GET", BLOB_PATH, reply(307, Location=f"{scheme}://slow.test/x"))
        ref = Reference.parse(f"{server.host}/app:v1")
        began = time.monotonic()
        with (
            Registry(server.host, proxy="", timeout=LIMIT) as registry,
            pytest.raises(RegistryUnavailable, match="in time"),
        ):
            registry.open_blob(ref, LAYER)
        assert time.monotonic() - began < PATIENCE


def test_a_look_up_of_a_realm_that_blocks(resolver: Resolver) -> None:
    with Scripted() as server:
        server.on("HEAD", TAGGED, challenge('Bearer realm="https://slow.test/token"'))
        ref = Reference.parse(f"{server.host}/app:v1")
        began = time.monotonic()
        with (
            Registry(server.host, proxy="", timeout=LIMIT) as registry,
            pytest.raises(RegistryUnavailable, match="in time"),
        ):
            registry.resolve(ref)
        assert time.monotonic() - began < PATIENCE


def test_a_look_up_of_a_proxy_that_blocks(resolver: Resolver) -> None:
    began = time.monotonic()
    with (
        Registry(
            "registry.test", plain_http=True, proxy="http://slow.test:1", timeout=LIMIT
        ) as registry,
        pytest.raises(RegistryUnavailable),
    ):
        registry.resolve(Reference.parse("registry.test/app:v1"))
    assert time.monotonic() - began < PATIENCE


def test_an_interrupt_ends_a_look_up(resolver: Resolver) -> None:
    interrupt = Interrupt()
    timer = threading.Timer(0.1, interrupt.set)
    timer.start()
    began = time.monotonic()
    with (
        Registry("slow.test", plain_http=True, proxy="", timeout=BLOCKING) as registry,
        interrupt.watching(),
        pytest.raises(Cancelled),
    ):
        registry.resolve(Reference.parse("slow.test/app:v1"))
    assert time.monotonic() - began < PATIENCE
    timer.join()


def test_look_ups_that_block_are_few(resolver: Resolver) -> None:
    """Each call gives up in time, and none starts a thread when too many are blocked."""
    for number in range(lookup.MAX_LOOKUPS + 20):
        with pytest.raises(TimeoutError):
            lookup.look_up(f"{number}.slow.test", Deadline(0.001))
    assert resolver.blocked <= lookup.MAX_LOOKUPS
    assert sum(t.name == lookup.THREAD_NAME for t in threading.enumerate()) > 0
    resolver.over.set()
    resolver.names["fast.test"] = ["127.0.0.1"]
    assert lookup.look_up("fast.test", Deadline(PATIENCE)) == ["127.0.0.1"]


def test_a_child_does_not_wait_for_its_parents_look_ups(resolver: Resolver) -> None:
    resolver.names["fast.test"] = ["127.0.0.1"]
    for number in range(lookup.MAX_LOOKUPS):
        with pytest.raises(TimeoutError):
            lookup.look_up(f"{number}.slow.test", Deadline(0.001))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of the threads
        child = os.fork()
    if child == 0:
        code = 1
        try:
            code = lookup.look_up("fast.test", Deadline(PATIENCE)) != ["127.0.0.1"]
        finally:
            os._exit(int(code))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_process_with_too_many_threads_looks_up_all_the_same(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    resolver.names["fast.test"] = ["127.0.0.1"]
    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert lookup.look_up("fast.test", Deadline(PATIENCE)) == ["127.0.0.1"]


def test_a_name_is_looked_up_and_reached(resolver: Resolver) -> None:
    """An address that refuses, and one that answers: the second is tried, too."""
    with Scripted() as server:
        port = server.host.rpartition(":")[2]
        resolver.names["registry.test"] = ["127.0.0.3", "127.0.0.1"]
        server.on("HEAD", TAGGED, manifest())
        ref = Reference.parse(f"registry.test:{port}/app:v1")
        with Registry(f"registry.test:{port}", plain_http=True, proxy="") as registry:
            assert registry.resolve(ref) == TARGET
        assert server.requests[0].headers["host"] == f"registry.test:{port}"


def test_names_and_addresses_without_a_peer(resolver: Resolver) -> None:
    resolver.names["registry.test"] = []
    resolver.names["gone.test"] = ["127.0.0.1", "127.0.0.3"]
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    for host in (f"registry.test:{port}", f"gone.test:{port}"):
        with (
            Registry(host, plain_http=True, proxy="") as registry,
            pytest.raises(RegistryUnavailable, match="cannot be reached"),
        ):
            registry.resolve(Reference.parse(f"{host}/app:v1"))


# Addresses that do not answer.


def test_many_addresses_that_do_not_answer(resolver: Resolver) -> None:
    """A hundred addresses, each good for the time that a connection may take."""
    with ExitStack() as stack:
        full = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = full.getsockname()[1]
        for _ in range(4):  # nobody accepts, so the queue is full, and further SYNs are dropped
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        resolver.names["many.test"] = ["127.0.0.1"] * 100
        began = time.monotonic()
        with (
            Registry(
                f"many.test:{port}", plain_http=True, proxy="", timeout=1.0, connect_timeout=0.3
            ) as registry,
            pytest.raises(RegistryUnavailable),
        ):
            registry.resolve(Reference.parse(f"many.test:{port}/app:v1"))
        assert time.monotonic() - began < PATIENCE


# Peers that are judged too late.


class Listener:
    """Accepts one connection, and keeps what comes before anything is answered."""

    def __init__(self, address: str) -> None:
        self.socket = socket.create_server((address, 0))
        self.host = f"{address}:{self.socket.getsockname()[1]}"
        self.heard = b""
        self._thread = threading.Thread(target=self._listen)

    def _listen(self) -> None:
        if select.select([self.socket], [], [], PATIENCE)[0]:
            sock, _ = self.socket.accept()
            with sock:
                sock.settimeout(PATIENCE)
                self.heard = sock.recv(1 << 16)

    def __enter__(self) -> Listener:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        self.socket.close()


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_peer_hears_nothing_before_its_address_is_judged(scheme: str) -> None:
    """The name led outside when it was judged, and leads inside now: not even TLS begins."""
    with Scripted() as server, Listener("127.0.0.2") as inner:
        server.on("GET", BLOB_PATH, reply(307, Location=f"{scheme}://{inner.host}/x"))
        network = Destinations(classify, lambda host: ["127.0.0.1"])
        with (
            Registry(server.host, network=network, proxy="", timeout=3.0) as registry,
            pytest.raises(RegistryError, match="more private network"),
        ):
            registry.open_blob(Reference.parse(f"{server.host}/app:v1"), LAYER)
    assert inner.heard == b""


def test_the_realm_hears_nothing_before_its_address_is_judged() -> None:
    with Scripted() as server, Listener("127.0.0.2") as inner:
        server.on("HEAD", TAGGED, challenge(f'Bearer realm="https://{inner.host}/t"'))
        network = Destinations(classify, lambda host: ["127.0.0.1"])
        with (
            Registry(server.host, network=network, proxy="", timeout=3.0) as registry,
            pytest.raises(RegistryError, match="more private network"),
        ):
            registry.resolve(Reference.parse(f"{server.host}/app:v1"))
    assert inner.heard == b""
