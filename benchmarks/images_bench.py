"""The setting of ``benchmarks.images``: one daemon, one registry and one image.

It runs containerd_lite and the peers, and restores the state between the runs.
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

OURS, FRESH = "containerd_lite", "our command line"
BARE, IMPORTS = "urllib3 and grpcio", "importing dependencies"
#: Environment that keeps bytecode, as an installation does: the warm-up round compiles it.
COMPILED = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
_SOURCE = "containerd.io/distribution.source."
#: Modules that the wire, the messages and the registry client depend on.
_IMPORTS = ("h2.connection", "google.protobuf.message_factory", "urllib3")
#: Seconds that a peer may take.
_PEER_TIMEOUT = 1800.0


@dataclass(frozen=True)
class Comparison:
    """A prepared workload: the library's process, and the other contenders.

    ``after`` runs after each run, and restores the state. ``goals`` maps a peer to the largest
    ratio of the wall time of ``contender`` to that of the peer.
    """

    ours: Child
    others: Mapping[str, Run]
    goals: Mapping[str, float]
    after: Callable[[], object] = lambda: None
    contender: str = OURS

    @property
    def runs(self) -> dict[str, Run]:
        """The runs of all contenders. The contender with goals is the first."""
        names: dict[str, Run] = {OURS: self.ours, **self.others}
        return {self.contender: names.pop(self.contender), **names}


@dataclass(frozen=True)
class Bench:
    """A daemon, a registry with the image ``ref``, and a folder for all other files.

    ``python`` runs our command line. With a plain installation of the package it starts 13 ms
    sooner than in a developer's environment, which has hooks for coverage and editable packages.
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
        """The flag that makes ctr do the work. Since 1.7 it otherwise asks the daemon to do it."""
        return ("--local",) if self.has_transfer else ()

    # ---- contenders ----------------------------------------------------------------------------

    def ours(self, work: str, *arguments: str) -> AbstractContextManager[Child]:
        """Return a child that calls the function ``work`` of ``images_ours`` for its run."""
        return self._child(f"images_ours:{work}", *arguments)

    def bare(self, work: str) -> AbstractContextManager[Child]:
        """Return a child that calls the function ``work`` of ``images_bare`` for its run."""
        return self._child(f"images_bare:{work}", self.ref)

    def _child(self, work: str, *arguments: str) -> Child:
        return Child(f"benchmarks.{work}", self.daemon.address, self.client.namespace, *arguments)

    def command(self, verb: str, *arguments: str) -> list[str]:
        """Return a command line of ours. Its environment must be ``COMPILED``."""
        flags = ("-a", self.daemon.address, "-n", self.client.namespace)
        return [self.python, "-m", "containerd_lite", verb, *flags, *arguments]

    def fresh(self, *arguments: str) -> Run:
        """Return a run of our command line, in a new process each time."""
        return _program(self.command(*arguments))

    def imports(self) -> Run:
        """Return a run of a process that only imports the modules every such client needs."""
        return _program([self.python, "-c", f"import {', '.join(_IMPORTS)}"])

    def ctr(self, *arguments: str) -> Run:
        def run() -> int:
            self.daemon.ctr(*arguments, namespace=self.client.namespace, timeout=_PEER_TIMEOUT)
            return 1

        return run

    def both_ctr(self, verb: str, *arguments: str) -> dict[str, Run]:
        """Return ctr as a client and, since 1.7, ctr that asks the daemon to do the work."""
        name = f"ctr images {verb}"
        local = self.ctr("images", verb, *self.local, *arguments)
        if not self.has_transfer:
            return {name: local}
        return {f"{name} --local": local, name: self.ctr("images", verb, *arguments)}

    def skopeo(self) -> Run:
        """Return a run that copies the image into a new layout, and then deletes the layout."""

        def run() -> Result:
            with tempfile.TemporaryDirectory(dir=self.folder) as name:
                home = Path(name)

                def copy() -> int:
                    skopeo(f"docker://{self.ref}", f"oci:{home}/to:{TAG}", home)
                    return 1

                return timed(copy)

        return run

    def cpu_seconds(self) -> float:
        """Return the daemon's CPU time in seconds, at the resolution of the kernel's clock."""
        fields = Path(f"/proc/{self.daemon.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    # ---- the state -----------------------------------------------------------------------------

    @contextmanager
    def filled(self, fill: Run) -> Iterator[None]:
        """Call ``fill``, which pulls the image, before the block; empty the daemon afterwards."""
        fill()
        self.expect_all()
        try:
            yield
        finally:
            self.empty()

    def clear(self) -> None:
        """Check that a run has stored the whole image, and delete it."""
        self.expect_all()
        self.empty()

    def expect_all(self) -> None:
        if self._stored() < self.size:
            raise RuntimeError(f"the daemon stored {self._stored()} of {self.size} bytes")

    def empty(self) -> None:
        """Delete all images, collect garbage, and check that no content or snapshot is left."""
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
        """Return the size of all blobs in the daemon's folder, of any namespace, in bytes."""
        blobs = self.daemon.root / "io.containerd.content.v1.content" / "blobs"
        return sum(path.stat().st_size for path in blobs.glob("*/*"))

    def forget_sources(self) -> None:
        """Remove the labels of content that name repositories to mount it from."""
        if "mount=" in self.registry.log.read_text():
            raise RuntimeError("a blob was mounted instead of pushed")
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
