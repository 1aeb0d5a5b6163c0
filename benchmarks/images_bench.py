"""What the works of ``benchmarks.images`` stand on: one daemon, one registry, one image.

What lives here: running ours and the peers, and putting the state back.  What may not: which works
there are, rounds, tables.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.child import Child
from benchmarks.measure import Result, Run, timed
from benchmarks.registry import _skopeo as skopeo
from benchmarks.registry_ours import TAG
from containerd_lite import Client
from tests.harness.daemon import Daemon
from tests.harness.registry import Registry

OURS, FRESH = "containerd_lite", "containerd_lite, a new process"
BARE, IMPORTS = "urllib3 and grpcio", "our dependencies, imported"
#: As where our program is installed: compiled once, by the round that does not count.
COMPILED = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
_SOURCE = "containerd.io/distribution.source."
#: What the wire, the messages and the registry stand on.
_IMPORTS = ("h2.connection", "google.protobuf.message_factory", "urllib3")
#: Seconds that a peer may take.
_PATIENCE = 1800.0


@dataclass(frozen=True)
class Comparison:
    """A work made ready: our library's child, the others beside it, and how to begin anew.

    ``goals`` are, by peer, the most of its wall time that ``contender`` may take.
    """

    ours: Child
    others: Mapping[str, Run]
    goals: Mapping[str, float]
    after: Callable[[], object] = lambda: None
    contender: str = OURS

    @property
    def runs(self) -> dict[str, Run]:
        """All contenders, the one with goals first."""
        names: dict[str, Run] = {OURS: self.ours, **self.others}
        return {self.contender: names.pop(self.contender), **names}


@dataclass(frozen=True)
class Bench:
    """A daemon, a registry with the image ``ref``, and a folder for all else.

    ``python`` runs our command line: one into which the package is installed as users have it
    starts 13 ms sooner than one of developers', with hooks for coverage and editable packages.
    """

    daemon: Daemon
    client: Client
    registry: Registry
    folder: Path
    ref: str
    size: int
    python: str = sys.executable

    @property
    def has_transfer(self) -> bool:
        return self.daemon.version_info >= (1, 7)

    @property
    def local(self) -> tuple[str, ...]:
        """Since 1.7 ctr leaves the work to the daemon unless it is told not to."""
        return ("--local",) if self.has_transfer else ()

    # ---- contenders ----------------------------------------------------------------------------

    def ours(self, work: str, *arguments: str) -> AbstractContextManager[Child]:
        """A child that does ``work`` of ``images_ours`` on the daemon."""
        return self._child(f"images_ours:{work}", *arguments)

    def bare(self, work: str) -> AbstractContextManager[Child]:
        """A child that does ``work`` of ``images_bare``."""
        return self._child(f"images_bare:{work}", self.ref)

    def _child(self, work: str, *arguments: str) -> Child:
        return Child(f"benchmarks.{work}", self.daemon.address, self.client.namespace, *arguments)

    def command(self, verb: str, *arguments: str) -> list[str]:
        """A command line of ours; to be run with ``COMPILED``."""
        place = ("-a", self.daemon.address, "-n", self.client.namespace)
        return [self.python, "-m", "containerd_lite", verb, *place, *arguments]

    def fresh(self, *arguments: str) -> Run:
        """Our command line, started anew each time."""
        return _program(self.command(*arguments))

    def imports(self) -> Run:
        """A process that imports what no client on our dependencies does without, and ends."""
        return _program([self.python, "-c", f"import {', '.join(_IMPORTS)}"])

    def ctr(self, *arguments: str) -> Run:
        def run() -> int:
            self.daemon.ctr(*arguments, namespace=self.client.namespace, timeout=_PATIENCE)
            return 1

        return run

    def both_ctr(self, verb: str, *arguments: str) -> dict[str, Run]:
        """``ctr`` as a client, and where there is a choice as one who asks the daemon to do it."""
        name = f"ctr images {verb}"
        local = self.ctr("images", verb, *self.local, *arguments)
        if not self.has_transfer:
            return {name: local}
        return {f"{name} --local": local, name: self.ctr("images", verb, *arguments)}

    def skopeo(self) -> Run:
        """Copies the image into a layout, each time a new one, which is then deleted."""

        def run() -> Result:
            with tempfile.TemporaryDirectory(dir=self.folder) as name:
                home = Path(name)

                def work() -> int:
                    skopeo(f"docker://{self.ref}", f"oci:{home}/to:{TAG}", home)
                    return 1

                return timed(work)

        return run

    def cpu_seconds(self) -> float:
        """The daemon's CPU time, in steps of the kernel's clock."""
        fields = Path(f"/proc/{self.daemon.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    # ---- the state -----------------------------------------------------------------------------

    @contextmanager
    def filled(self, fill: Run) -> Iterator[None]:
        """Within the block the daemon has the image, which ``fill`` brings."""
        fill()
        self.expect_all()
        try:
            yield
        finally:
            self.empty()

    def clear(self) -> None:
        """After a run that brought the image: see that it did, and take it away."""
        self.expect_all()
        self.empty()

    def expect_all(self) -> None:
        if self._stored() < self.size:
            raise RuntimeError(f"the daemon has {self._stored()} bytes of {self.size}")

    def empty(self) -> None:
        """Delete all images, collect garbage, and see that nothing is left."""
        images = self.client.image_service
        for image in images.list():
            images.delete(image.name, sync=True)
        if left := self._stored():
            raise RuntimeError(f"{left} bytes of content are left; leases: {self._leases()}")
        if any(self.client.snapshot_service().list()):
            raise RuntimeError("snapshots are left")

    def _leases(self) -> list[str]:
        return [lease.id for lease in self.client.lease_service.list()]

    def _stored(self) -> int:
        """Bytes of blobs in the daemon's folder, whosever they are."""
        blobs = self.daemon.root / "io.containerd.content.v1.content" / "blobs"
        return sum(path.stat().st_size for path in blobs.glob("*/*"))

    def forget_sources(self) -> None:
        """Take from all content the labels that name repositories to mount it from."""
        if "mount=" in self.registry.log.read_text():
            raise RuntimeError("a blob was mounted, and not pushed")
        store = self.client.content_store
        for info in list(store.walk()):
            sources = [key for key in info.labels if key.startswith(_SOURCE)]
            if sources:
                store.update(info.digest, dict.fromkeys(sources, ""))


def _program(command: list[str]) -> Run:
    def run() -> int:
        subprocess.run(command, env=COMPILED, check=True, stdout=subprocess.DEVNULL)
        return 1

    return run
