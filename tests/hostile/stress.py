"""32 threads on one client, which call, cancel, reconnect, close and make messages all at once.

    python -m tests.hostile.stress ADDRESS NAMESPACE ROUNDS

prints what happened as JSON; whatever should not happen ends it with a traceback, and a thread
that hangs with everybody's. Needs nothing but the package: it runs on any Python, on any of
protobuf's backends.

Each thread has a namespace of its own in the daemon, with a label, a lease, an image and a blob
that only it has; so an answer that was meant for another is known by its content.
"""

from __future__ import annotations

import faulthandler
import json
import os
import queue
import random
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib.resources import files

from google.protobuf.internal import api_implementation

from containerd_lite import Client
from containerd_lite.errors import (
    Cancelled,
    ContainerdError,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    Unavailable,
)
from containerd_lite.oci import digest as digests
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.schema.pool import CONTAINERD, DynamicMessage, Schema, decode, encode
from containerd_lite.services._base import MessageStream

#: Who does what; 32 in all.
ROLES = {
    "caller": 14,
    "maker": 4,
    "streamer": 4,
    "hasty": 3,
    "visitor": 3,
    "closer": 1,
    "reconnecter": 1,
    "canceller": 2,
}
_SUBSCRIBE = "containerd.services.events.v1.Events/Subscribe"
#: Seconds for the whole, and for each round, on the slowest backend; what takes longer hangs.
_LIMIT, _LIMIT_OF_ROUND = 60.0, 0.5
#: Seconds for a call that only touches metadata: far more than it takes.
_PATIENCE = 20.0
#: In bytes; more than one read of the socket.
_BLOB = 300 << 10
#: Calls of its own that a thread makes for each time that it disturbs the others.
_QUIET = 5


@dataclass(frozen=True)
class Report:
    """What happened: calls by how they ended, the fewest answers that a caller got, the rest."""

    backend: str
    ended: dict[str, int]
    fewest: int
    disturbances: int
    classes: int


class Thread:
    """One thread's things in the daemon, and its share of the work."""

    def __init__(self, number: int, role: str, client: Client, stack: ExitStack) -> None:
        self.number = number
        self.role = role
        self.client = client
        self.mark = f"{client.namespace}-{number}"
        self.ended: Counter[str] = Counter()
        self.source = random.Random(number)
        self.body = random.Random(self.mark).randbytes(_BLOB)
        self.digest = digests.of(self.body)
        self.own = client.in_namespace(self.mark)
        self.lease = stack.enter_context(self._things())

    @contextmanager
    def _things(self) -> Iterator[str]:
        """Make what only this thread has, and take it away."""
        service, images = self.client.namespace_service, self.own.image_service
        service.create(self.mark, {"owner": self.mark})
        with self.own.lease() as lease:
            size = len(self.body)
            store = self.own.content_store
            with store.writer("blob", size=size, expected=self.digest) as writer:
                writer.write(self.body)
                writer.commit()
            images.create(self.mark, Descriptor("text/plain", self.digest, size))
            yield lease
            images.delete(self.mark)
            store.delete(self.digest)
        service.delete(self.mark)

    def count(self, call: Callable[[], object], *allowed: type[ContainerdError]) -> None:
        """Make one call: it is answered, or it raises an error that may be."""
        try:
            call()
        except allowed as error:
            self.ended[type(error).__name__] += 1
        else:
            self.ended["answered"] += 1

    def call(self) -> None:
        """One call of several kinds, whose answer nobody else would get."""
        kinds = (self._label, self._lease, self._image, self._info, self._read, self._missing)
        self.count(self.source.choice(kinds), Unavailable)

    def _label(self) -> None:
        found = self.client.namespace_service.get(self.mark)
        assert (found.name, found.labels) == (self.mark, {"owner": self.mark}), found

    def _lease(self) -> None:
        found = self.own.lease_service.list()
        assert [lease.id for lease in found] == [self.lease], found

    def _image(self) -> None:
        (found,) = self.own.image_service.list()
        assert (found.name, found.target.digest) == (self.mark, self.digest), found

    def _info(self) -> None:
        found = self.own.content_store.info(self.digest)
        assert (found.digest, found.size) == (self.digest, len(self.body)), found

    def _read(self) -> None:
        with self.own.content_store.reader(self.digest) as reader:
            assert reader.read() == self.body

    def _missing(self) -> None:
        name, told = f"nobody-{self.mark}", ""
        try:
            self.own.container_service.get(name)
        except NotFound as error:
            told = error.message
        assert name in told, f"{told!r} is not about {name}"


class Stress:
    """The threads, and what they share."""

    def __init__(self, client: Client, rounds: int, stack: ExitStack) -> None:
        self.client = client
        self.rounds = rounds
        self.failures: list[str] = []
        self._doomed: queue.SimpleQueue[MessageStream | None] = queue.SimpleQueue()
        self._inn = Client(client.address)  # the closer closes it, and opens another
        self._schemas = [_fresh() for _ in range(max(1, rounds // 20))]
        self._names = _messages(_fresh())
        self._classes: dict[tuple[int, str], type[DynamicMessage]] = {}
        self._disturbances: list[str] = []
        roles = [role for role, number in ROLES.items() for _ in range(number)]
        self._threads = [Thread(n, role, client, stack) for n, role in enumerate(roles)]
        self._start = threading.Barrier(len(roles))
        self._lull = threading.Barrier(len(roles) - ROLES["canceller"])

    def run(self) -> Report:
        """Let them loose, wait for them all, and gather."""
        running = [threading.Thread(target=self._guard, args=(one,)) for one in self._threads]
        for thread in running:
            thread.start()
        # The cancellers are the last: there is none for them to cancel any more, then.
        for thread in running[: -ROLES["canceller"]]:
            thread.join()
        self._doomed.put(None)
        for thread in running:
            thread.join()
        self._inn.close()
        return Report(
            api_implementation.Type(),
            dict(sum((one.ended for one in self._threads), Counter())),
            min(one.ended["answered"] for one in self._threads if one.role == "caller"),
            len(self._disturbances),
            len(self._classes),
        )

    def _guard(self, thread: Thread) -> None:
        try:
            self._start.wait()
            self._make(thread, CONTAINERD, -1)
            for number in range(self.rounds):
                getattr(self, f"_{thread.role}")(thread, number)
                if thread.role != "canceller" and number % _QUIET == 0:
                    self._lull.wait()  # whoever is the last to wait for an answer, waits alone
        except threading.BrokenBarrierError:
            pass  # another one has failed
        except BaseException:
            self.failures.append(f"{thread.role} {thread.number}:\n{traceback.format_exc()}")
            self._start.abort()
            self._lull.abort()

    def _caller(self, thread: Thread, number: int) -> None:
        thread.call()

    def _maker(self, thread: Thread, number: int) -> None:
        if number < len(self._schemas):
            self._make(thread, self._schemas[number], number)
        thread.call()

    def _make(self, thread: Thread, schema: Schema, number: int) -> None:
        """A message of each class, in an order of the thread's own; classes are alike for all."""
        for name in thread.source.sample(self._names, len(self._names)):
            kind = schema.message(name)
            assert kind.DESCRIPTOR.full_name == name, (kind, name)
            assert self._classes.setdefault((number, name), kind) is kind, name
            message = kind()
            for field in kind.DESCRIPTOR.fields:
                if isinstance(getattr(message, field.name), str):
                    setattr(message, field.name, f"{thread.mark} {field.name}")
            again = decode(kind, encode(message))
            assert type(again) is kind, (again, name)
            # Not ==: to compare an Any, the pure backend looks its type up, whatever it says.
            assert encode(again) == encode(message), name

    def _streamer(self, thread: Thread, number: int) -> None:
        """Wait for what never comes, until a canceller ends it."""

        def wait() -> None:
            filters = {"filters": [f"topic=={thread.mark}"]}
            with thread.own.call(_SUBSCRIBE, filters) as stream:
                self._doomed.put(stream)
                raise AssertionError(f"there was no such event: {stream.receive()}")

        thread.count(wait, Cancelled, Unavailable)

    def _canceller(self, thread: Thread, number: int) -> None:
        while (stream := self._doomed.get()) is not None:
            stream.raw.cancel()
        self._doomed.put(None)  # for the other one, and for the rounds to come

    def _hasty(self, thread: Thread, number: int) -> None:
        """Have too little time, or too little interest."""
        seconds = thread.source.choice((1e-6, 1e-4, 1e-3, 5e-3))
        service = self.client.namespace_service.with_options(timeout=seconds)

        def ask() -> None:
            assert service.get(thread.mark).labels == {"owner": thread.mark}

        thread.count(ask, DeadlineExceeded, Unavailable)
        thread.count(thread.own.event_service.subscribe, Unavailable)  # and drop it

    def _visitor(self, thread: Thread, number: int) -> None:
        """Call on a client that somebody else closes."""
        service = self._inn.namespace_service

        def ask() -> None:
            assert service.get(thread.mark).labels == {"owner": thread.mark}

        thread.count(ask, Cancelled)

    def _closer(self, thread: Thread, number: int) -> None:
        thread.call()
        if number % _QUIET == _QUIET - 1:
            old, self._inn = self._inn, Client(self.client.address)
            old.close()
            self._disturbances.append("close")

    def _reconnecter(self, thread: Thread, number: int) -> None:
        thread.call()
        if number % _QUIET == _QUIET - 1:
            self.client.reconnect()
            self._disturbances.append("reconnect")


def _fresh() -> Schema:
    return Schema("containerd_lite.schema", "sets")


def _messages(schema: Schema) -> list[str]:
    """The names in a schema's index that are messages'."""
    index = (files("containerd_lite.schema") / "sets" / "index.txt").read_text()
    found = []
    for name in (line[1:] for line in index.splitlines() if line.startswith("\t")):
        with suppress(InvalidArgument):
            found.append(schema.message(name).DESCRIPTOR.full_name)
    return found


def main() -> int:
    """Run, print the report, and see that no descriptor is left."""
    address, namespace, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    faulthandler.dump_traceback_later(_LIMIT + rounds * _LIMIT_OF_ROUND, exit=True)
    sys.setswitchinterval(1e-5)
    before = len(os.listdir("/proc/self/fd"))
    with Client(address, namespace=namespace, timeout=_PATIENCE) as client:
        with ExitStack() as stack:
            stress = Stress(client, rounds, stack)
            report = stress.run()
        assert client.version().version
    failures = stress.failures
    left = len(os.listdir("/proc/self/fd")) - before
    if left:
        failures.append(f"{left} descriptors are left")
    print(json.dumps(asdict(report)))
    print(*failures, sep="\n", end="", file=sys.stderr)
    return len(failures)


if __name__ == "__main__":
    raise SystemExit(main())
