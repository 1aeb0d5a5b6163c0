"""Programs that load the package at once, and cannot read it any more later."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from containerd_lite import load
from containerd_lite.errors import InvalidArgument
from tests.harness.daemon import Daemon
from tests.harness.images import random_image, write_layout

pytestmark = pytest.mark.interpreter

ROOT = Path(__file__).resolve().parents[2]
#: From then on nothing is imported, and no file of the program is read: this is nobody, if it was
#: root, and the finders refuse.
PRELUDE = """
import os, sys, threading
from containerd_lite import Client, ContainerdError, Layout, load
load(*{families!r})
import traceback
class Refuse:
    def find_spec(self, name, *rest):
        raise AssertionError(f"{{name}} is imported late")
sys.meta_path.insert(0, Refuse())
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
"""
WITH_LAYOUT = """
layout = Layout(sys.argv[1])
(image,) = layout.list_images()
assert layout.check(image).is_complete and layout.verify().is_sound
layout.tag(image, "localhost/other:1")
layout.export_images(sys.argv[2], image)
assert layout.import_images(sys.argv[2])
for work in (layout.pull, layout.push):
    try:
        work("localhost:1/it")
    except ContainerdError as error:
        assert type(error).__name__ in ("RegistryUnavailable", "NotFound"), error
print("done")
"""
WITH_REGISTRY = """
from containerd_lite import Credentials, Reference, Registry
with Registry("localhost:1", credentials=Credentials("user", "secret")) as registry:
    try:
        registry.resolve(Reference.parse("localhost:1/it:1"))
    except ContainerdError as error:
        assert type(error).__name__ == "RegistryUnavailable", error
print("done")
"""
WITH_CLIENT = """
import containerd_lite
for name in containerd_lite.__all__:
    getattr(containerd_lite, name)
with Client(sys.argv[1], namespace=sys.argv[2], logs_dir=sys.argv[3]) as client:
    print(client.version().version, client.list_images(), client.containers(), client.server())
    with client.lease():
        print(client.capabilities(), client.content_store.statuses(), client.is_serving())
    for name in ("nothing", "localhost:1/it"):
        try:
            client.run(name, ["true"], detach=True)
        except ContainerdError as error:
            assert type(error).__name__ == "NotFound", error
    client.new_container("box", rootfs="/", args=["true"], cap_add=["all"], seccomp="default")
    client.load_container("box").delete()
print("done")
"""


def run(code: str, *arguments: str) -> str:
    argv = [sys.executable, "-W", "error", "-c", code, *arguments]
    done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may write into, and come to."""
    with tempfile.TemporaryDirectory(prefix="lite-") as folder:
        os.chmod(folder, 0o777)
        yield Path(folder)


def test_a_layout(open_folder: Path) -> None:
    place = write_layout(random_image([5000]), open_folder / "layout", "localhost/it:1")
    for path in open_folder.rglob("*"):
        path.chmod(0o777)
    code = PRELUDE.format(families=("images",)) + WITH_LAYOUT
    assert run(code, str(place), str(open_folder / "archive")).endswith("done\n")


def test_a_registry() -> None:
    assert run(PRELUDE.format(families=("registry",)) + WITH_REGISTRY) == "done\n"


@pytest.mark.daemon
@pytest.mark.parametrize("families", [(), ("runtime",)])
def test_a_client(families: tuple[str, ...], daemon: Daemon, open_folder: Path) -> None:
    place = open_folder / "s"
    os.link(daemon.socket, place)
    mode = daemon.socket.stat().st_mode
    os.chmod(daemon.socket, 0o666)
    try:
        code = PRELUDE.format(families=families) + WITH_CLIENT
        arguments = f"unix://{place}", daemon.new_namespace(), str(open_folder / "logs")
        assert run(code, *arguments).endswith("done\n")
    finally:
        os.chmod(daemon.socket, mode & 0o777)


def test_a_family_that_is_none() -> None:
    with pytest.raises(InvalidArgument, match=r"family 'nothing' is unknown.*services, registry"):
        load("nothing")  # type: ignore[arg-type]


def test_first_use_from_many_threads_at_once(tmp_path: Path) -> None:
    """A thread may come to a module while another one is in the middle of importing it."""
    place = write_layout(random_image([500]), tmp_path, "localhost/it:1")
    code = (
        "import sys, threading\n"
        "sys.setswitchinterval(1e-6)\n"
        "import containerd_lite\n"
        "gate, failures = threading.Barrier(16), []\n"
        "def work(number):\n"
        "    try:\n"
        "        gate.wait(10)\n"
        "        if number % 2:\n"
        "            layout = containerd_lite.Layout(sys.argv[1])\n"
        "            assert layout.check(layout.list_images()[0]).is_complete\n"
        "        else:\n"
        "            client = containerd_lite.Client('/nowhere', connect_timeout=1)\n"
        "            try:\n"
        "                client.run('it', ['true'])\n"
        "            except containerd_lite.ContainerdError:\n"
        "                pass\n"
        "    except BaseException as error:\n"
        "        failures.append(error)\n"
        "threads = [threading.Thread(target=work, args=(n,)) for n in range(16)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
        "assert not failures, failures\n"
    )
    for _ in range(5):
        run(code, str(place))


def test_only_the_family_trust_loads_cryptography() -> None:
    code = "import sys, containerd_lite; containerd_lite.load({}); print(sorted(sys.modules))"
    for families, loads in (("", False), ("'images', 'registry'", False), ("'trust'", True)):
        argv = [sys.executable, "-c", code.format(families)]
        done = subprocess.run(argv, cwd=ROOT, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        found = "'containerd_lite.trust.judge'" in done.stdout, "'cryptography'" in done.stdout
        assert found == ((True, True) if loads and find_spec("cryptography") else (False, False))
