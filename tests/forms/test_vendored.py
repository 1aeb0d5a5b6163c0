"""Two copies of the folder, under the names of other packages, beside generated modules."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import containerd_lite
from tests.harness.daemon import Daemon

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.backend,
    pytest.mark.dependencies,
    pytest.mark.interpreter,
]

#: Registers what a package of generated modules would, with other fields than ours.
OTHERS = """
import sys
sys.path.insert(0, sys.argv[1])
from google.protobuf import descriptor_pb2, descriptor_pool, timestamp_pb2, any_pb2

def register(name):
    file = descriptor_pb2.FileDescriptorProto(name=name, package="containerd.services.version.v1")
    file.message_type.add(name="VersionResponse").field.add(
        name="version", number=1, type="TYPE_BYTES", label="LABEL_OPTIONAL")
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())
"""

COPIES = """
from toolone._vendor import containerd_lite as one
import tooltwo.ctd as two
from toolone._vendor.containerd_lite.errors import ContainerdError as ErrorOne
from tooltwo.ctd.errors import ContainerdError as ErrorTwo

assert one.Client is not two.Client and ErrorOne is not ErrorTwo
with one.Client(sys.argv[2]) as first, two.Client(sys.argv[2]) as second:
    told = [first.version(), second.version()]
    for client, error in ((first, ErrorOne), (second, ErrorTwo)):
        try:
            client.load_container("no-such-container")
        except error as raised:
            assert "no-such-container" in str(raised)
        else:
            raise AssertionError("found what is not there")
strange = [name for name in sys.modules if name.partition(".")[0] == "containerd_lite"]
assert not strange, strange
print(*(version.version.lstrip("v") for version in told))
"""


@pytest.fixture(scope="module")
def vendored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with two tools that each carry a copy."""
    folder = tmp_path_factory.mktemp("vendored")
    (source,) = containerd_lite.__path__
    for place in ("toolone/_vendor/containerd_lite", "tooltwo/ctd"):
        shutil.copytree(source, folder / place, ignore=shutil.ignore_patterns("__pycache__"))
    for package in ("toolone", "toolone/_vendor", "tooltwo"):
        (folder / package / "__init__.py").touch()
    yield folder
    shutil.rmtree(folder)


@pytest.mark.parametrize("name", ["other/version.proto", "services/version/v1/version.proto"])
@pytest.mark.parametrize("order", ["before", "after"])
def test_two_copies_and_generated_modules(
    vendored: Path, daemon: Daemon, order: str, name: str
) -> None:
    others = f"register({name!r})\n"
    code = OTHERS + (others + COPIES if order == "before" else COPIES + others)
    argv = [sys.executable, "-I", "-W", "error", "-c", code, str(vendored), daemon.address]
    done = subprocess.run(argv, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr.decode()
    one, two = done.stdout.decode().split()
    assert one == two
    assert one.startswith(daemon.version)
