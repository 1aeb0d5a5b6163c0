"""The workloads of ``benchmarks.images``, each with its peers and its goals."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path

from benchmarks.child import Child
from benchmarks.images_bench import BARE, FRESH, IMPORTS, Bench, Comparison
from benchmarks.measure import Result, Run
from benchmarks.registry import _skopeo as skopeo
from benchmarks.registry_ours import TAG
from containerd_lite import Layout

#: Goals of a new process that pulls an image which is there already (see ``benchmarks.start``).
_FRESH_GOALS = {IMPORTS: 1.35}


@contextmanager
def _fetch(bench: Bench) -> Iterator[Comparison]:
    """Pull without unpacking."""
    peers = {"ctr content fetch": _fetch_by_ctr(bench)}
    with bench.ours("fetch", bench.ref) as ours, bench.bare("fetch") as bare:
        others: dict[str, Run] = {**peers, BARE: bare}
        yield Comparison(ours, others, dict.fromkeys(peers, 0.75), bench.clear)


@contextmanager
def _pull(bench: Bench) -> Iterator[Comparison]:
    """Pull and unpack."""
    peers = bench.both_ctr("pull", "--plain-http", bench.ref)
    goals = {next(iter(peers)): 0.85 if bench.has_transfer else 0.75}
    with (
        bench.ours("pull", bench.ref) as ours,
        bench.bare("pull") as bare,
        bench.bare("unpack") as unpack,
    ):
        fresh = bench.fresh("pull", "-q", bench.ref)
        others: dict[str, Run] = {**peers, BARE: bare, "unpacking alone": unpack, FRESH: fresh}
        yield Comparison(ours, others, goals, bench.clear)


@contextmanager
def _pull_by_daemon(bench: Bench) -> Iterator[Comparison]:
    """Let the daemon pull (since containerd 2.0)."""
    with bench.ours("pull_by_daemon", bench.ref) as ours:
        peers = {"ctr images pull": bench.ctr("images", "pull", "--plain-http", bench.ref)}
        yield Comparison(ours, peers, dict.fromkeys(peers, 1.05), bench.clear)


@contextmanager
def _layout(bench: Bench) -> Iterator[Comparison]:
    """Pull into an OCI layout."""
    with Child("benchmarks.images_ours:layout", str(bench.folder), bench.ref) as ours:
        yield Comparison(ours, {"skopeo copy": bench.skopeo()}, {"skopeo copy": 1.2})


@contextmanager
def _push(bench: Bench) -> Iterator[Comparison]:
    """Push to a new repository, without mounting blobs."""
    host, numbers = bench.registry.host, count()

    def ctr(*flags: str) -> Run:
        def run() -> int | Result:
            target = f"{host}/ctr-{next(numbers)}:{TAG}"
            return bench.ctr("images", "push", "--plain-http", *flags, target, bench.ref)()

        return run

    with bench.filled(_fetch_by_ctr(bench)):
        name = "ctr images push"
        peers = {name: ctr()}
        if bench.has_transfer:
            peers = {f"{name} --local": ctr("--local"), **peers}
        bench.forget_sources()
        with bench.ours("push", bench.ref, host) as ours:
            yield Comparison(ours, peers, dict.fromkeys(peers, 0.8), bench.forget_sources)


@contextmanager
def _push_layout(bench: Bench) -> Iterator[Comparison]:
    """Push from a layout that somebody else may have made, so that its blobs are hashed first."""
    folder, host, numbers = str(bench.folder / "to-push"), bench.registry.host, count()
    Layout(folder).pull(bench.ref)

    def skopeo_copy() -> int:
        target = f"docker://{host}/skopeo-{next(numbers)}:{TAG}"
        # In a home of its own, skopeo does not know repositories to mount the blobs from.
        with tempfile.TemporaryDirectory(dir=bench.folder) as home:
            skopeo(f"oci:{folder}:{bench.ref}", target, Path(home))
        return 1

    work, arguments = "benchmarks.images_ours:push_layout", (folder, bench.ref, host)
    with Child(work, *arguments, "foreign") as ours, Child(work, *arguments, "known") as known:
        others: dict[str, Run] = {"hashed before": known, "skopeo copy": skopeo_copy}
        yield Comparison(ours, others, {"skopeo copy": 1.0})
    shutil.rmtree(folder)


@contextmanager
def _import(bench: Bench) -> Iterator[Comparison]:
    """Import an archive without unpacking."""
    with _archive(bench) as archive, bench.ours("import_archive", archive) as ours:
        peers = bench.both_ctr("import", "--no-unpack", archive)
        yield Comparison(ours, peers, dict.fromkeys(peers, 0.6), bench.clear)


@contextmanager
def _export(bench: Bench) -> Iterator[Comparison]:
    """Export an archive."""
    target = bench.folder / "exported.tar"

    def check_and_delete() -> None:
        if target.stat().st_size < bench.size:
            raise RuntimeError(f"{target} has {target.stat().st_size} of {bench.size} bytes")
        target.unlink()

    with (
        bench.filled(_fetch_by_ctr(bench)),
        bench.ours("export", bench.ref, str(target)) as ours,
    ):
        peers = bench.both_ctr("export", str(target), bench.ref)
        yield Comparison(ours, peers, dict.fromkeys(peers, 0.25), check_and_delete)


@contextmanager
def _again(bench: Bench) -> Iterator[Comparison]:
    """Pull an image that is there already, unpacked."""
    peers = bench.both_ctr("pull", "--plain-http", bench.ref)
    with bench.filled(next(iter(peers.values()))), bench.ours("pull", bench.ref) as ours:
        fresh = bench.fresh("pull", "-q", bench.ref)
        others = {FRESH: fresh, IMPORTS: bench.imports(), **peers}
        yield Comparison(ours, others, _FRESH_GOALS, contender=FRESH)


@contextmanager
def _fetch_again(bench: Bench) -> Iterator[Comparison]:
    """Pull, without unpacking, an image that is there already."""
    peers = {"ctr content fetch": _fetch_by_ctr(bench)}
    with bench.filled(_fetch_by_ctr(bench)), bench.ours("fetch", bench.ref) as ours:
        fresh = bench.fresh("pull", "-q", "--no-unpack", bench.ref)
        others = {FRESH: fresh, IMPORTS: bench.imports(), **peers}
        yield Comparison(ours, others, _FRESH_GOALS, contender=FRESH)


# ---- content that a run needs ------------------------------------------------------------------


def _fetch_by_ctr(bench: Bench) -> Run:
    return bench.ctr("content", "fetch", "--plain-http", bench.ref)


@contextmanager
def _archive(bench: Bench) -> Iterator[str]:
    """Yield an archive of the image made by ctr. The daemon then no longer has the image."""
    path = bench.folder / "archive.tar"
    with bench.filled(_fetch_by_ctr(bench)):
        bench.ctr("images", "export", *bench.local, str(path), bench.ref)()
    try:
        yield str(path)
    finally:
        path.unlink()


WORKLOADS: dict[str, Callable[[Bench], AbstractContextManager[Comparison]]] = {
    "fetch": _fetch,
    "pull": _pull,
    "pull-by-daemon": _pull_by_daemon,
    "layout": _layout,
    "push": _push,
    "push-layout": _push_layout,
    "import": _import,
    "export": _export,
    "again": _again,
    "fetch-again": _fetch_again,
}
#: Workloads whose time depends on the connection to the registry.
PULLS = ("fetch", "pull", "layout")
#: Workloads that need containerd 2.0: the daemon of 1.7 pulls over TLS only.
NEED_2 = frozenset({"pull-by-daemon"})
