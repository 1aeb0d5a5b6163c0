"""Where hostile registries play: their servers, a client that knows a secret, and books of cases.

A case is named after what it replays: a CVE, an advisory, a clause or an issue.  127.0.0.1 and
127.0.0.3 stand for hosts of the internet here, 127.0.0.2 for one of a private network.  What one
particular attack does lives in the test modules.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from containerd_lite.deadline import Deadline
from containerd_lite.errors import ContainerdError
from containerd_lite.lookup import addresses
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.addresses import AddressLevel, address_level
from containerd_lite.registry.credentials import Credentials
from containerd_lite.registry.destinations import Destinations
from containerd_lite.registry.hosts import TlsFiles
from containerd_lite.registry.registry import Registry
from tests.harness.tls import localhost_pem
from tests.unit.registry.samples import BLOB, LAYER, TARGET, Naps, manifest
from tests.unit.registry.scripted import Request, Script, Scripted, challenge, reply

SECRET = "canary-3d1f"
ME = Credentials("canary", SECRET)
FORMS = (SECRET.encode(), ME.basic().removeprefix("Basic ").encode())
#: A case that takes longer hangs (seconds); one that waits has a deadline far below it.
HANGING = 5.0
#: How long a client of the stage waits for a byte (seconds).
STALL = 1.0
STATUSES = (301, 302, 303, 307, 308)

_LEVELS = {
    "127.0.0.1": AddressLevel.PUBLIC,
    "127.0.0.3": AddressLevel.PUBLIC,
    "127.0.0.2": AddressLevel.PRIVATE,
}
_NAMES = {
    "inner.test": ["127.0.0.2"],
    "both.test": ["127.0.0.1", "127.0.0.2"],
    "metadata.test": ["169.254.169.254"],
}


def classify(address: str) -> AddressLevel:
    """How private an address is on this stage."""
    return _LEVELS[address] if address in _LEVELS else address_level(address)


def look_up(host: str) -> list[str]:
    """The stage's own names; else what a numeric address stands for."""
    return _NAMES[host] if host in _NAMES else addresses(host)


class Stage:
    """The registry, further servers where wanted, and the clients that were opened."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.naps = Naps()
        self.others: list[Scripted] = []
        self.clients: list[Registry] = []
        self._stack = ExitStack()
        self.server = self._stack.enter_context(Scripted())

    @property
    def ref(self) -> Reference:
        return Reference.parse(f"{self.server.host}/app:v1")

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def secure(self) -> None:
        """Puts a registry with TLS in the place of the first server."""
        self.server = self._stack.enter_context(Scripted(tls=True))

    def another(self, address: str = "127.0.0.1", *, tls: bool = False) -> Scripted:
        """A server that must never be told a secret."""
        self.others.append(self._stack.enter_context(Scripted(address, tls=tls)))
        return self.others[-1]

    def client(self, **options: object) -> Registry:
        """A client of the registry, with the secret if no other credentials are given."""
        given: dict[str, object] = {
            "credentials": ME,
            "plain_http": not self.server.origin.startswith("https"),
            "tls": TlsFiles(ca=(localhost_pem(),)),
            "hosts_dirs": (),
            "timeout": 3.0,
            "connect_timeout": 2.0,
            "stall_timeout": STALL,
            "sleep": self.naps,
            "network": Destinations(classify, look_up),
            **options,
        }
        registry = self._stack.enter_context(Registry(self.server.host, **given))  # type: ignore[arg-type]
        self.clients.append(registry)
        return registry

    def stall(self, head: bytes) -> Script:
        """An answer that stops after ``head``, until it is hung up on."""

        def script(_: Request) -> Iterator[bytes]:
            yield head
            self.server.closing.wait(HANGING)

        return script

    @contextmanager
    def refused(
        self, error: type[ContainerdError], *words: str
    ) -> Iterator[pytest.ExceptionInfo[ContainerdError]]:
        """Wants exactly this error, which names the registry and ``words``, and tells no secret."""
        with pytest.raises(error) as caught:
            yield caught
        assert type(caught.value) is error
        text = str(caught.value)
        for word in (self.server.host, *words):
            assert word in text
        assert text.isprintable()
        for form in FORMS:
            assert form.decode() not in text + "".join(traceback.format_exception(caught.value))

    def close_look(self) -> None:
        """Wants every secret to have stayed with the registry."""
        for server in self.others:
            for form in FORMS:
                assert form not in server.bytes_seen

    def is_well(self) -> None:
        """Wants every client to understand a registry that has come to its senses."""
        for method in ("GET", "POST"):
            self.server.on(method, "/token", reply(200, {"token": "t0"}))
        self.server.on("HEAD", "/v2/healthy/manifests/v1", manifest())
        for registry in self.clients:
            found = registry.resolve(Reference.parse(f"{self.server.host}/healthy:v1"))
            assert found == TARGET


Play = Callable[[Stage], object]
Answers = Mapping[tuple[str, str], Script]


@dataclass(frozen=True)
class Case:
    """What one attack is about, and how it goes."""

    about: str
    play: Play


class Book(dict[str, Case]):
    """The cases of one module by name."""

    def case(self, name: str, about: str) -> Callable[[Play], Play]:
        """Writes a function in, which is the case."""

        def enter(play: Play) -> Play:
            assert name not in self
            self[name] = Case(about, play)
            return play

        return enter

    def refusal(
        self,
        name: str,
        about: str,
        verb: Play,
        answers: Answers,
        error: type[ContainerdError],
        *words: str,
    ) -> None:
        """A case of ``answers`` for which ``verb`` gives an error, as ``Stage.refused``."""

        @self.case(name, about)
        def play(stage: Stage) -> None:
            for key, script in answers.items():
                stage.server.on(*key, script)
            with stage.refused(error, *words):
                verb(stage)

    def perform(self, name: str, folder: Path) -> None:
        """Plays one case, within the time that is not hanging."""
        with Stage(folder) as stage:
            begun = time.monotonic()
            self[name].play(stage)
            assert time.monotonic() - begun < HANGING
            stage.close_look()
            stage.is_well()


# What clients are asked to do.


def resolve(stage: Stage) -> object:
    return stage.client().resolve(stage.ref)


def fetch(stage: Stage) -> object:
    return stage.client().fetch_manifest(stage.ref, TARGET)


def read(stage: Stage, **options: object) -> bytes:
    with stage.client(**options).open_blob(stage.ref, LAYER) as reader:
        found = reader.readall()
    assert found is not None
    return found


def tags(stage: Stage) -> list[str]:
    return list(stage.client().tags(stage.ref))


def upload(stage: Stage) -> object:
    return stage.client().upload_blob(stage.ref, LAYER, BLOB)


def referrers(stage: Stage) -> object:
    pinned = stage.ref.with_digest(TARGET.digest)
    return stage.client().referrers(pinned, deadline=Deadline(3.0))


# What servers answer.


def endless(head: bytes, piece: bytes) -> Script:
    """``head``, then ``piece`` again and again until it is hung up on."""

    def script(_: Request) -> Iterator[bytes]:
        yield head
        while True:
            yield piece

    return script


def locked(answer: Script, scheme: str = 'Basic realm="x"') -> Script:
    """``answer`` for those who show an Authorization; the others are asked for it."""

    def script(request: Request) -> bytes | Iterator[bytes]:
        if "authorization" not in request.headers:
            return challenge(scheme)
        return answer(request) if callable(answer) else answer

    return script


def redirect(target: str, status: int = 307) -> bytes:
    return reply(status, Location=target)
