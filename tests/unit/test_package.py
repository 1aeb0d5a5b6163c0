"""The package as a whole: importing it does no work, and all of it is in the wheel."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
from pathlib import Path

import pytest

import containerd_lite
from containerd_lite import errors
from containerd_lite.version import VERSION
from tests.harness.daemon import Daemon
from tests.harness.images import random_image, write_layout

pytestmark = [pytest.mark.interpreter, pytest.mark.backend]

ROOT = Path(__file__).resolve().parents[2]

REPORT = """
import json, logging, signal, sys, threading
before = set(sys.modules)
handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
import containerd_lite
%s
print(json.dumps({
    "modules": sorted(set(sys.modules) - before),
    "packages": sorted(name for name in sys.modules if hasattr(sys.modules[name], "__path__")),
    "threads": threading.active_count(),
    "handlers": len(logging.root.handlers) + sum(
        len(logger.handlers) for logger in logging.root.manager.loggerDict.values()
        if isinstance(logger, logging.Logger) and logger.name.startswith("containerd_lite")
    ),
    "signals": [str(n) for n in handlers if signal.getsignal(n) != handlers[n]],
    "symbols": bool(sys.modules.get("google.protobuf")) and found(),
}))
"""
#: Whether the pool that everybody in the process shares knows a containerd message.
FOUND = """
def found():
    from google.protobuf import descriptor_pool
    try:
        descriptor_pool.Default().FindFileContainingSymbol(
            "containerd.services.version.v1.VersionResponse")
    except KeyError:
        return False
    return True
"""


#: The verbs of a client, whose packages import what they need when it is first used.
VERBS = (".verbs", "images.base", "runtime.option_methods")


def report(code: str) -> dict[str, object]:
    """Run code in a Python of its own, and return what came of it."""
    argv = [sys.executable, "-W", "error", "-c", FOUND + REPORT % code]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    told: dict[str, object] = json.loads(done.stdout)
    return told


def rooms(told: dict[str, object]) -> set[str]:
    """Which rooms, and which of others' packages, were loaded."""
    modules, packages = told["modules"], told["packages"]
    assert isinstance(modules, list)
    assert isinstance(packages, list)
    names = {name for name in modules if not name.endswith(VERBS)} - set(packages)
    inside = {name.split(".")[1] for name in names if name.startswith("containerd_lite.")}
    others = {"h2", "hpack", "google.protobuf", "urllib3", "grpc", "rich", "ssl", "http.client"}
    others |= {"cryptography", "nacl", "rfc3161_client", "yaml"}
    return inside | (others & set(modules))


def test_importing_does_no_work() -> None:
    told = report("")
    assert rooms(told) == {"errors", "lazy", "printable", "version"}
    assert (told["threads"], told["handlers"], told["signals"]) == (1, 0, [])


def test_the_face_has_what_readme_uses_and_shows_it() -> None:
    """Before any of it is loaded: that is when a shell asks ``dir`` for what it completes."""
    shown = report("assert set(containerd_lite.__all__) <= set(dir(containerd_lite))")
    assert rooms(shown) == {"errors", "lazy", "printable", "version"}
    kinds = {name: value for name, value in vars(errors).items() if isinstance(value, type)}
    own = {name for name, kind in kinds.items() if issubclass(kind, errors.ContainerdError)}
    assert own <= set(containerd_lite.__all__)
    used = {"Client", "Layout", "TLS", "Filter", "LogFile", "PIPE", "Credentials", "Registry"}
    used |= {"Reference", "Network", "Stage", "Via", "TaskState", "SnapshotKind", "load"}
    assert used <= set(containerd_lite.__all__)
    for name in containerd_lite.__all__:
        assert getattr(containerd_lite, name) is not None


@pytest.mark.daemon
def test_asking_the_version_loads_no_http_client_and_no_pipeline(daemon: Daemon) -> None:
    told = report(
        f"with containerd_lite.Client({daemon.address!r}) as client:\n"
        f"    assert client.version().version.lstrip('v').startswith({daemon.version!r})"
    )
    unwanted = {"urllib3", "registry", "images", "runtime", "store", "layout", "cli", "http.client"}
    assert rooms(told) & (unwanted | {"grpc", "rich", "ssl"}) == set()
    assert (told["threads"], told["handlers"], told["signals"]) == (1, 0, [])
    assert told["symbols"] is False


def test_a_layout_loads_nothing_of_a_daemon(tmp_path: Path) -> None:
    write_layout(random_image([5000]), tmp_path, "localhost/it:1")
    told = report(
        f"layout = containerd_lite.Layout({str(tmp_path)!r})\n"
        "(image,) = layout.list_images()\n"
        "layout.tag(image, 'localhost/other:1')\n"
        "assert layout.check(image).is_complete and layout.verify().is_sound\n"
        f"layout.export_images({str(tmp_path / 'archive')!r}, image)\n"
        f"layout.import_images({str(tmp_path / 'archive')!r})\n"
        "try:\n"
        "    layout.pull('localhost:1/nothing')\n"
        "except containerd_lite.ContainerdError:\n"
        "    pass\n"
    )
    of_daemons = {"wire", "services", "schema", "transport", "runtime", "client"}
    assert rooms(told) & (of_daemons | {"h2", "hpack", "google.protobuf", "grpc", "rich"}) == set()


def test_policies_are_loaded_when_one_is_given(tmp_path: Path) -> None:
    code = (
        f"layout = containerd_lite.Layout({str(tmp_path)!r})\n"
        "from containerd_lite import Registry\n"
        "for call in (layout.pull, layout.push, layout.fetch_missing):\n"
        "    try:\n"
        "        call('localhost:1/nothing')\n"
        "    except containerd_lite.ContainerdError:\n"
        "        pass\n"
    )
    assert rooms(report(code)) & {"trust", "cryptography"} == set()
    later = code.replace("call('localhost:1/nothing')", "call('localhost:1/x', policy='/none')")
    assert "trust" in rooms(report(later.replace("layout.push, ", "")))


@pytest.mark.daemon
def test_a_command_loads_what_it_needs(daemon: Daemon) -> None:
    told = report(
        f"from containerd_lite.cli import main\nmain(['images', '-q', '-a', {daemon.address!r}])"
    )
    unwanted = {"urllib3", "registry", "runtime", "layout", "http.client", "rich", "ssl"}
    assert rooms(told) & unwanted == set()


@pytest.fixture
def wheel() -> importlib.metadata.Distribution:
    """The wheel that is installed here; a test run on the bare tree has none."""
    for found in importlib.metadata.distributions(name="containerd-lite"):
        if found.read_text("WHEEL"):
            return found
    pytest.skip("containerd-lite is not installed here from a wheel")


def test_the_version_is_the_installed_one(wheel: importlib.metadata.Distribution) -> None:
    assert wheel.version == VERSION
    assert "Tag: py3-none-any" in (wheel.read_text("WHEEL") or "")


def test_the_wheel_holds_the_whole_package(wheel: importlib.metadata.Distribution) -> None:
    """An older build that lies about in build/ would add to it: remove that folder."""
    files = {str(file) for file in wheel.files or () if file.parts[0] == "containerd_lite"}
    tree = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "containerd_lite").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in files if "__pycache__" not in name} == tree
