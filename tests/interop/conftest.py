"""The server of the interop cases, and what a soak may not leave behind."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.harness.process import Service

_ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def server() -> Iterator[Path]:
    """The socket of a grpcio server of grpc.testing.TestService, in a process of its own."""
    with TemporaryDirectory(prefix="interop") as folder:
        path = Path(folder, "s")
        argv = [sys.executable, "-W", "error", "-m", "tests.interop.server", str(path)]
        service = Service(argv, env=os.environ, cwd=_ROOT, log=Path(folder, "log"))
        try:
            assert service.wait_ready(lambda: _listens(path), 30), service.tail()
            yield path
        finally:
            service.stop()
        assert service.tail() == ""


def _listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0
