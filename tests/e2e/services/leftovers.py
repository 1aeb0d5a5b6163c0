"""What the tests of one service share: a look at what stays, and what ``ctr`` lists."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from containerd_lite.errors import ContainerdError, Unimplemented
from tests.harness.daemon import Daemon
from tests.harness.leaks import Watch


@pytest.fixture
def nothing_stays(daemon: Daemon, namespace: str) -> Iterator[Watch]:
    """Fails a test that leaves anything; the client is closed when it looks."""
    watch = Watch(daemon, namespace)
    yield watch
    watch.check()


def rows(daemon: Daemon, namespace: str, *command: str) -> list[list[str]]:
    """The lines of a table that ``ctr`` prints, without its head, as words."""
    said = daemon.ctr(*command, namespace=namespace).stdout.decode()
    return [line.split() for line in said.splitlines()[1:] if line.strip()]


def labels_of(words: str) -> dict[str, str]:
    """Labels as ``ctr`` prints them: ``a=b,c=d``, or ``-``."""
    return dict(one.split("=", 1) for one in words.split(",") if "=" in one)


def lacks(error: ContainerdError, daemon: Daemon, since: str) -> bool:
    """Whether an error tells that this daemon is too old, and which one is not."""
    told = daemon.version in error.remedy and error.remedy.endswith(f"came with {since}")
    return isinstance(error, Unimplemented) and told
