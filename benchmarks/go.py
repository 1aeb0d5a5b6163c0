"""Measures containerd_lite against containerd's Go client, both in a process that runs already.

Usage:

    TMPDIR=/dev/shm python -m benchmarks.go [--daemon 2.4] [--image large] [ROW…]

The peer is ``peer/main.go``, which is built with containerd 2.4's module if there is a Go. Needs
root. Each row is measured in several runs of paired rounds, whose order alternates. A row's ratio
is the median, over the runs, of the median ratio of the pairs: below 1, containerd_lite is faster.
The quartiles are those of all pairs. The load of the machine stands above each run.

The images are those of ``benchmarks.images``: ``large`` has four layers of 96 MiB, ``small`` has 60
layers of small files. Rows whose name ends with ``again`` pull an image that is there already.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.child import Child
from benchmarks.images import IMAGES, LARGE, benches
from benchmarks.images_bench import Bench
from benchmarks.measure import Result, Run, Sample, measure
from containerd_lite.oci.descriptor import Descriptor
from tests.harness import golang, images
from tests.harness.generations import GENERATIONS, NEWEST

_CALLS, _LISTED = "500", 1000
_UNPACKS = '[plugins."io.containerd.transfer.v1.local"]\nmax_concurrent_unpacks = {}'


@dataclass(frozen=True)
class Row:
    """The contenders of one row, ours first; ``after`` restores the state after each run.

    ``goals`` maps a peer, or ``FASTEST``, to the largest ratio that counts as reached.
    """

    contenders: Mapping[str, Child]
    goals: Mapping[str, float]
    after: Callable[[], object] = lambda: None


FASTEST = "the faster peer"
OURS, BARE_SOCKET = "containerd_lite", "bare socket"
#: The least that Python code can do: see ``images_bare``.
BARE = "urllib3 and grpcio"
#: The one call that Go makes, without what else a pull by the daemon promises.
BARE_TRANSFER = "the Transfer call alone"
_FLOORS = (BARE_SOCKET, BARE, BARE_TRANSFER)


@dataclass(frozen=True)
class Place:
    """A bench, and the program of the peer."""

    bench: Bench
    peer: Path
    image: str

    def go(self, work: str, *arguments: str) -> Child:
        bench = self.bench
        address, namespace = bench.daemon.address, bench.client.namespace
        return Child.of_program(str(self.peer), work, address, namespace, *arguments)

    def ours(self, work: str, *arguments: str) -> Child:
        """Return a child that calls ``module:function`` with the address and the namespace."""
        bench = self.bench
        address, namespace = bench.daemon.address, bench.client.namespace
        return Child(f"benchmarks.{work}", address, namespace, *arguments)

    def goal(self, large: float, small: float) -> float:
        return large if self.image == "large" else small


# ---- rows that need no image --------------------------------------------------------------------


@contextmanager
def _unary(place: Place) -> Iterator[Row]:
    """Version calls, one after another."""
    address = place.bench.daemon.address
    ours = Child("benchmarks.unary:one_thread", "ours", address)
    bare = Child("benchmarks.unary:one_thread", "bare", address)
    peers = {"Go client": place.go("version", _CALLS), BARE_SOCKET: bare}
    yield Row({OURS: ours, **peers}, {"Go client": 1.0})


@contextmanager
def _read(place: Place) -> Iterator[Row]:
    """Read a blob of 96 MiB."""
    client = place.bench.client
    blob = os.urandom(96 << 20)
    with client.lease():
        digest = f"sha256:{hashlib.sha256(blob).hexdigest()}"
        with client.content_store.writer("read", size=len(blob), expected=digest) as writer:
            writer.write(blob)
            writer.commit()
        ours = place.ours("content:read_ours", digest)
        yield Row({OURS: ours, "Go client": place.go("read", digest)}, {"Go client": 0.6})


@contextmanager
def _list(place: Place) -> Iterator[Row]:
    """List 1,000 images."""
    service = place.bench.client.image_service
    target = Descriptor("application/vnd.oci.image.manifest.v1+json", f"sha256:{'0' * 64}", 1000)
    names = [f"registry.example/namespace/image-{number}:latest" for number in range(_LISTED)]
    for name in names:
        service.create(name, target)
    ours = place.ours("services:images_ours", "")
    try:
        yield Row({OURS: ours, "Go client": place.go("list")}, {"Go client": 0.9})
    finally:
        for name in names:
            service.delete(name)


@contextmanager
def _run(place: Place) -> Iterator[Row]:
    """Run echo in a new container."""
    bench = place.bench
    ref = images.push(images.busybox(), bench.registry.host, "runtime", "1")
    bench.client.pull(ref)
    try:
        ours = place.ours("runtime_ours:run", ref)
        yield Row({OURS: ours, "Go client": place.go("containers", ref)}, {"Go client": 0.9})
    finally:
        bench.empty()


# ---- rows of an image ---------------------------------------------------------------------------


@contextmanager
def _fetch(place: Place) -> Iterator[Row]:
    """Pull without unpacking."""
    ref = place.bench.ref
    contenders = {
        OURS: place.ours("images_ours:fetch", ref),
        "Go client": place.go("fetch", ref),
        BARE: place.ours("images_bare:fetch", ref),
    }
    yield Row(contenders, {"Go client": place.goal(0.85, 0.9)}, place.bench.clear)


@contextmanager
def _pull(place: Place) -> Iterator[Row]:
    """Pull and unpack: the client does the work."""
    ref = place.bench.ref
    contenders = {OURS: place.ours("images_ours:pull", ref), "Go client": place.go("pull", ref)}
    yield Row(contenders, {"Go client": place.goal(0.75, 0.65)}, place.bench.clear)


@contextmanager
def _pull_as_called(place: Place) -> Iterator[Row]:
    """``pull`` as a user calls it, beside Go's client and the daemon."""
    ref = place.bench.ref
    contenders = {
        OURS: place.ours("images_ours:pull", ref),
        "Go client": place.go("pull", ref),
        "Go, by the daemon": place.go("transfer", ref),
    }
    yield Row(contenders, {FASTEST: 0.95}, place.bench.clear)


@contextmanager
def _pull_by_daemon(place: Place) -> Iterator[Row]:
    """Pull and unpack: the daemon does the work."""
    ref = place.bench.ref
    ours = place.ours("images_ours:pull_by_daemon", ref)
    peers = {
        "Go, by the daemon": place.go("transfer", ref),
        "Go, by the daemon, with progress": place.go("transfer", ref, "progress"),
    }
    yield Row({OURS: ours, **peers}, {"Go, by the daemon": 1.03}, place.bench.clear)


@contextmanager
def _pull_again(place: Place) -> Iterator[Row]:
    """Pull what is there: the client does the work."""
    ref = place.bench.ref
    with place.bench.filled(place.go("pull", ref)):
        contenders = {OURS: place.ours("images_ours:pull", ref), "Go client": place.go("pull", ref)}
        yield Row(contenders, {"Go client": place.goal(1.0, 0.6)})


@contextmanager
def _daemon_again(place: Place) -> Iterator[Row]:
    """Pull what is there: the daemon does the work."""
    ref = place.bench.ref
    with place.bench.filled(place.go("transfer", ref)):
        ours = place.ours("images_ours:pull_by_daemon", ref)
        peers = {
            "Go, by the daemon": place.go("transfer", ref),
            BARE_TRANSFER: place.ours("images_ours:transfer", ref),
        }
        yield Row({OURS: ours, **peers}, {"Go, by the daemon": 1.2})


@contextmanager
def _push(place: Place) -> Iterator[Row]:
    """Push to a new repository; the registry mounts the layers from another one."""
    bench = place.bench
    host = bench.registry.host
    with bench.filled(place.go("fetch", bench.ref)):
        contenders = {
            OURS: place.ours("images_ours:push", bench.ref, host),
            "Go client": place.go("push", bench.ref, host),
            BARE: place.ours("images_bare:push", bench.ref, host),
        }
        yield Row(contenders, {"Go client": place.goal(1.0, 0.85)})


_ONCE = {"unary": _unary, "read": _read, "list": _list, "run": _run}
_OF_IMAGE = {
    "fetch": _fetch,
    "pull": _pull,
    "pull-as-called": _pull_as_called,
    "pull-by-daemon": _pull_by_daemon,
    "pull-again": _pull_again,
    "daemon-again": _daemon_again,
    "push": _push,
}


# ---- measuring ----------------------------------------------------------------------------------


def _measure(name: str, row: Row, rounds: int, runs: int) -> None:
    ratios: dict[str, list[float]] = {peer: [] for peer in [*row.contenders][1:]}
    pairs: dict[str, list[float]] = {peer: [] for peer in ratios}
    fastest: list[float] = []
    for _ in range(runs):
        print(f"{name}: load {os.getloadavg()[0]:.2f}", flush=True)
        samples = measure(
            {who: _then(one, row.after) for who, one in row.contenders.items()}, rounds
        )
        for peer in ratios:
            found = _pairs(samples[OURS], samples[peer])
            pairs[peer] += found
            ratios[peer].append(statistics.median(found))
        fastest.append(max(ratios[peer][-1] for peer in ratios if peer not in _FLOORS))
        for who, sample in samples.items():
            wall, cpu = sample.median * 1e6, sample.median_cpu * 1e6
            print(f"    {who:20}{wall:14.5g} us, CPU {cpu:.5g} us")
    for peer, found in {**ratios, FASTEST: fastest}.items():
        if peer != FASTEST:
            low, _, high = statistics.quantiles(pairs[peer], n=4)
            ratio = statistics.median(found)
            print(f"{name}: ours / {peer} {ratio:.2f} ({low:.2f} to {high:.2f})")
            print(name, peer, ratio, low, high, sep="\t", file=sys.stderr)
        if peer in row.goals:
            ratio, limit = statistics.median(found), row.goals[peer]
            verdict = "reached" if ratio <= limit else "NOT reached"
            print(f"{name}: ours / {peer} {ratio:.2f}, at most {limit}: {verdict}", flush=True)


def _pairs(ours: Sample, peer: Sample) -> list[float]:
    return [mine / other for mine, other in zip(ours.wall, peer.wall, strict=True)]


def _then(child: Child, after: Callable[[], object]) -> Run:
    def run() -> Result:
        result = child()
        after()
        return result

    return run


def main() -> None:
    """Measure the rows named on the command line, or all."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--daemon", choices=GENERATIONS, default=NEWEST)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--image", choices=IMAGES, action="append", help="repeatable (both)")
    parser.add_argument(
        "--unpacks", type=int, default=1, help="layers the daemon unpacks at a time"
    )
    parser.add_argument("row", nargs="*", help=f"{', '.join([*_ONCE, *_OF_IMAGE])} (all)")
    options = parser.parse_args()
    build = golang.CONTAINERD[NEWEST]
    source = Path(__file__).parent / "peer" / "main.go"
    program = golang.Build(build.module, build.version, source=source)
    golang.make(program)
    peer = golang.program(program, program.name)
    chosen = options.row or [*_ONCE, *_OF_IMAGE]
    sizes = {name: LARGE if name == "large" else [] for name in options.image or IMAGES}
    extra = "" if options.unpacks == 1 else _UNPACKS.format(options.unpacks)
    with benches(options.daemon, sizes, extra=extra) as found:
        places = {image: Place(bench, peer, image) for image, bench in found.items()}
        first = next(iter(places.values()))
        todo = [(name, name, first) for name in chosen if name in _ONCE]
        for image, place in places.items():
            todo += [(f"{name}, {image}", name, place) for name in chosen if name in _OF_IMAGE]
        for title, name, place in todo:
            with ExitStack() as stack, {**_ONCE, **_OF_IMAGE}[name](place) as row:
                for child in row.contenders.values():
                    stack.enter_context(child)
                _measure(title, row, options.rounds, options.runs)


if __name__ == "__main__":
    main()
