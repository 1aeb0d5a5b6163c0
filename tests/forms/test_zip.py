"""One archive with the package and all that it needs runs on a bare Python."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
import zipapp
from pathlib import Path

import pytest

from tests.harness.daemon import Daemon

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.registry,
    pytest.mark.backend,
    pytest.mark.dependencies,
    pytest.mark.interpreter,
]

#: What a vendoring tool ships; only the Python of it.
PARTS = ("containerd_lite", "h2", "hpack", "hyperframe", "google.protobuf", "urllib3")
ARCHIVE_MAX = 4 << 20

MAIN = """
import json, sys
from containerd_lite import Client, Layout, __version__
address, reference, folder = sys.argv[1:]
with Client(address) as client:
    told = client.version().version
image = Layout(folder).pull(reference)
files = [getattr(module, "__file__", None) for module in sys.modules.values()]
print(json.dumps({
    "version": told,
    "digest": image.target.digest,
    "outside": [name for name in files if name and "-packages" in name],
    "inside": sum(name.startswith(sys.argv[0]) for name in files if name),
}))
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    for part in PARTS:
        spec = importlib.util.find_spec(part)
        assert spec is not None
        assert spec.submodule_search_locations is not None
        (source,) = spec.submodule_search_locations
        compiled = shutil.ignore_patterns("__pycache__", "*.so", "*.pyi", "*.proto")
        shutil.copytree(source, folder / "content" / part.replace(".", "/"), ignore=compiled)
    (folder / "content" / "__main__.py").write_text(MAIN)
    target = folder / "app.pyz"
    zipapp.create_archive(folder / "content", target, compressed=True)
    shutil.rmtree(folder / "content")
    assert target.stat().st_size < ARCHIVE_MAX
    return target


def test_the_archive_runs_isolated(
    archive: Path, daemon: Daemon, busybox: str, tmp_path: Path
) -> None:
    # -S as well: site-packages would lend what the archive lacks
    argv = [sys.executable, "-I", "-S", "-W", "error", str(archive)]
    argv += [daemon.address, busybox, str(tmp_path / "layout")]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    told = json.loads(done.stdout)
    assert told["version"].lstrip("v").startswith(daemon.version)
    assert told["outside"] == []
    assert told["inside"] > 100
    blob = tmp_path / "layout" / "blobs" / told["digest"].replace(":", "/")
    assert blob.exists()


DETACHED = """
import sys
sys.path.insert(0, sys.argv[1])
from containerd_lite import Client
from containerd_lite.errors import FailedPrecondition
address, namespace, reference, folder = sys.argv[2:]
with Client(address, namespace=namespace, logs_dir=folder) as client:
    client.pull(reference)
    with client.run(reference, ["echo", "plain"], detach=True) as container:
        container.wait(20)
        while not (text := b"".join(container.logs(lines=False))):
            pass
        print(text, container.task().status().stdio.stdout)
        try:
            container.logs(timestamps=True)
        except FailedPrecondition as error:
            print(error)
"""


def test_the_log_of_a_detached_container_is_a_plain_file(
    archive: Path, daemon: Daemon, busybox: str, tmp_path: Path
) -> None:
    """The daemon's shim writes it: Python finds no logger in a folder."""
    namespace = daemon.new_namespace()
    argv = [sys.executable, "-I", "-S", "-W", "error", "-c", DETACHED, str(archive)]
    argv += [daemon.address, namespace, busybox, str(tmp_path / "logs")]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"b'plain\\n' file://{tmp_path}/logs/{namespace}/run-")
    assert "no log with times" in lines[1]
    assert list((tmp_path / "logs" / namespace).iterdir()) == []
