"""docs/daemons.md says what each daemon of this run can do.

``tests/unit/test_daemons_page.py`` compares the page with README.md and the package.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from containerd_lite import Client
from tests.e2e.client.pages import PAGE, cells
from tests.e2e.client.probes import CACHED, PROBES, Ground
from tests.e2e.client.test_doctor import DEPRECATED
from tests.harness.daemon import Daemon
from tests.harness.registry import Registry
from tests.harness.tls import Pair, localhost_pem

pytestmark = [pytest.mark.daemon, pytest.mark.registry, pytest.mark.generations]

_CACHE = """
[plugins."io.containerd.snapshotter.v1.erofs"]
layer_content_caches = ["{cache}"]
"""


@pytest.fixture
def over_tls(registry: Registry) -> Iterator[Registry]:
    """The registry's content, over TLS."""
    storage = {"storage": {"filesystem": {"rootdirectory": str(registry.storage)}}}
    pair = Pair(localhost_pem(), localhost_pem())
    with Registry(tls=pair, overrides=storage) as found:
        yield found


@pytest.fixture
def ground(daemon: Daemon, busybox: str, over_tls: Registry, tmp_path: Path) -> Iterator[Ground]:
    """A daemon with the CRI, a cache of layers and deprecated settings."""
    algorithm, _, digits = CACHED.partition(":")
    cached = tmp_path / "cache" / algorithm / digits[:2] / f"{digits}.erofs"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(bytes(4096))
    extra = DEPRECATED + _CACHE.format(cache=tmp_path / "cache")
    environment = {"SSL_CERT_FILE": str(localhost_pem())}
    with ExitStack() as stack:
        own = stack.enter_context(Daemon(daemon.generation, cri=True, extra=extra, env=environment))
        own.folder.chmod(0o711)  # for the root of a user namespace
        client = stack.enter_context(Client(own.address, namespace=own.namespace))
        name = busybox.replace("127.0.0.1", "localhost").partition("/")[2]
        yield Ground(client, client.pull(busybox), f"{over_tls.host}/{name}", tmp_path)


def is_possible(row: str) -> bool:
    """Return whether this machine's kernel has what the row needs besides a daemon."""
    if "erofs" in row.lower():
        return "\terofs\n" in Path("/proc/filesystems").read_text()
    if "files not copied" in row:  # overlayfs with mapped ids
        return tuple(map(int, os.uname().release.split(".")[:2])) >= (5, 19)
    return True


def test_the_daemons_column_is_right(ground: Ground, daemon: Daemon) -> None:
    generation = ".".join(daemon.version.split(".")[:2])
    page = cells(PAGE.read_text())
    if generation not in next(iter(page.values())):  # a folder of the machine's own
        pytest.skip(f"{PAGE.name} has no column for {generation}")
    found = {name: probe(ground) for name, probe in PROBES.items() if is_possible(name)}
    wrong = {name: cell for name, cell in found.items() if page[name][generation] != cell}
    assert wrong == {}  # what the page should say
