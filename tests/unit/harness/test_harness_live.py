"""The harness against the machine: real daemons and registries, started here and removed again.

A machine that cannot run them skips, and says why. With a warm cache this takes some seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.harness import Unavailable, debian, debris, images
from tests.harness.daemon import Daemon
from tests.harness.generations import GENERATIONS, OLDEST, Programs, available
from tests.harness.leaks import traces
from tests.harness.registry import Registry

pytestmark = [pytest.mark.registry, pytest.mark.daemon, pytest.mark.turns(3)]

SCRIPT = "echo hello; exit 3"
ROOT = Path(__file__).parents[3]

ABANDON = """
import os, sys
from tests.harness.daemon import Daemon
daemon = Daemon(sys.argv[1])
daemon.open()
pull = ["images", "pull", "--plain-http", sys.argv[2]]
daemon.ctr(*pull)
daemon.ctr("run", "--detach", sys.argv[2], "forgotten", "sleep", "1000")
daemon.ctr("tasks", "pause", "forgotten")
print(daemon.folder, daemon.namespace, flush=True)
os._exit(0)
"""


def have(name: str, suite: str | None = None) -> list[str]:
    """Return how to call a program, or skip."""
    try:
        return debian.program(name, suite=suite).argv
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def registry() -> Iterator[Registry]:
    """Return a registry that lets everybody in."""
    with ExitStack() as stack:
        try:
            running = stack.enter_context(Registry())
        except Unavailable as reason:
            pytest.skip(str(reason))
        yield running


@pytest.fixture(scope="module")
def busybox(registry: Registry) -> str:
    """Return the reference of busybox in the registry."""
    try:
        return images.push(images.busybox(), registry.host, "library/busybox", "latest")
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.fixture
def apart() -> Iterator[Path]:
    """Return a short folder that no other test run on this machine cleans up."""
    with tempfile.TemporaryDirectory(prefix="apart-", dir="/tmp") as name:
        yield Path(name)


def started(stack: ExitStack, generation: str) -> Daemon:
    """Return a running daemon, or skip."""
    try:
        return stack.enter_context(Daemon(generation))
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("generation", GENERATIONS)
def test_a_container_runs_and_leaves_nothing(generation: str, busybox: str) -> None:
    with ExitStack() as stack:
        daemon = started(stack, generation)
        assert daemon.version in daemon.ctr("version").stdout.decode()
        assert daemon.leftovers() == []
        daemon.ctr("images", "pull", "--plain-http", busybox)
        baseline = daemon.leftovers(daemon.namespace)
        assert [line.split()[1:3] for line in baseline] == [["overlayfs", "snapshot"]]
        done = daemon.ctr("run", "--rm", busybox, "once", "sh", "-c", SCRIPT, check=False)
        assert (done.stdout, done.returncode) == (b"hello\n", 3), done.stderr
        assert daemon.leftovers() == baseline
        daemon.ctr("run", "--detach", busybox, "stays", "sleep", "1000")
        kinds = {
            line.removeprefix(f"{daemon.namespace}: ").split()[0]
            for line in set(daemon.leftovers()) - set(baseline)
        }
        assert kinds == {"container", "fifo", "mount", "overlayfs", "runc", "shim", "task"}
        (shim,) = debris.shims(daemon.folder)
        sockets = {path.name for path in debris.sockets(shim.pid)}
        assert sockets
        daemon.kill()
        daemon.restart()
        assert daemon.ctr("tasks", "exec", "--exec-id", "x", "stays", "true").returncode == 0
        folder, namespace = daemon.folder, daemon.namespace
        spare = daemon.new_namespace()
        assert spare != namespace
        assert daemon.leftovers(spare) == []
    assert traces(folder, namespace) == []
    assert not sockets & set(os.listdir("/run/containerd/s"))


@pytest.mark.parametrize("generation", GENERATIONS)
def test_what_is_left_is_told(generation: str) -> None:
    with ExitStack() as stack:
        daemon = started(stack, generation)
        name = daemon.namespace
        daemon.ctr("leases", "create", "--id", "kept")
        wrong = ("--expected-digest", "sha256:" + "0" * 64)
        daemon.ctr("content", "ingest", *wrong, "half", input=b"x", check=False)
        for driver in ("native", "overlayfs"):
            daemon.ctr("snapshots", "--snapshotter", driver, "prepare", f"of-{driver}")
        assert daemon.leftovers(name) == [
            f"{name}: ingest half",
            f"{name}: lease kept",
            f"{name}: native snapshot of-native active",
            f"{name}: overlayfs snapshot of-overlayfs active",
        ]
        assert daemon.leftovers(daemon.new_namespace()) == []


def test_all_generations_run_side_by_side(busybox: str) -> None:
    with ExitStack() as stack:
        had = [name for name, found in available().items() if isinstance(found, Programs)]
        daemons = [started(stack, name) for name in had]
        assert [".".join(daemon.version.split(".")[:2]) for daemon in daemons] == had
        for daemon in daemons:
            daemon.ctr("images", "pull", "--plain-http", busybox)
            daemon.ctr("run", "--detach", busybox, "same", "sleep", "1000")
        for daemon in daemons:
            assert len([line for line in daemon.leftovers() if "fifo" in line]) == 1
            daemon.terminate_containers()
        assert all("task" not in line for daemon in daemons for line in daemon.leftovers())
        gone = [(daemon.folder, daemon.namespace) for daemon in daemons]
    assert [traces(*one) for one in gone] == [[]] * len(had)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_killed_owner_is_cleaned_up_after(
    generation: str, busybox: str, apart: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if isinstance(reason := available()[generation], Unavailable):
        pytest.skip(str(reason))
    monkeypatch.setenv("TMPDIR", str(apart))
    monkeypatch.setattr(tempfile, "tempdir", str(apart))
    argv = [sys.executable, "-c", ABANDON, generation, busybox]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    name, namespace = done.stdout.decode().split()
    folder = Path(name)
    assert traces(folder, namespace)
    debris.remove(debris.make_folder())
    assert traces(folder, namespace) == []


def test_a_daemon_that_cannot_start_tells_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if isinstance(reason := available()[OLDEST], Unavailable):
        pytest.skip(str(reason))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(Unavailable, match=r"did not start:\n.*toml"):
        Daemon(OLDEST, extra="this is = not = toml").open()
    assert list(tmp_path.iterdir()) == []


def test_without_root_there_is_no_daemon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert all("needs root" in str(reason) for reason in available().values())


def test_a_registry_asks_for_a_password() -> None:
    have("htpasswd")
    image = images.scratch({"a": b"b"})
    with Registry(("user", "hush")) as registry:
        with pytest.raises(RuntimeError, match="401"):
            images.push(image, registry.host, "private", "1")
        images.push(image, registry.host, "private", "1", auth=("user", "hush"))
        registry.stop()
        assert not registry.serves()
        registry.start()
        assert registry.serves()
        assert "hush" not in registry.log.read_text()
        folder = registry.folder
    assert not folder.exists()


def test_the_peers_read_what_was_pushed(registry: Registry, busybox: str, tmp_path: Path) -> None:
    image = images.busybox()
    both = images.index_of(
        {images.machine_platform(): image, "linux/s390x": images.busybox(platform="linux/s390x")}
    )
    many = images.push(both, registry.host, "library/busybox", "many")
    skopeo = [*have("skopeo"), "inspect", "--tls-verify=false", f"docker://{busybox}"]
    told = json.loads(subprocess.check_output(skopeo, timeout=60))
    assert told["Digest"] == image.digest
    crane = [*have("crane"), "--insecure", "digest", many]
    assert subprocess.check_output(crane, timeout=60).decode().strip() == both.digest
    oras = [*have("oras"), "manifest", "fetch", "--plain-http", many]
    assert subprocess.check_output(oras, timeout=60) == both.blobs[both.digest]
    layout = images.write_layout(image, tmp_path / "layout", "latest")
    umoci = [*have("umoci"), "unpack", "--image", f"{layout}:latest", str(tmp_path / "bundle")]
    subprocess.run(umoci, check=True, timeout=60, capture_output=True)
    assert (tmp_path / "bundle" / "rootfs" / "bin" / "busybox").stat().st_size > 1 << 20
