"""A link, a FIFO, a device or a socket in the place of a file that a caller names: no call hangs.

The files of layouts are in ``images/test_foreign_layouts.py``, and those of the registry client in
``registry/test_file_attacks.py``.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from containerd_lite import TLS, Client, schema
from containerd_lite.errors import ContainerdError
from containerd_lite.runtime.watch.logs import read_log
from tests.harness.special_files import make_socket

pytestmark = pytest.mark.dependencies

#: Seconds after which a call counts as hanging.
HANGING = 10.0


def make_link_to_fifo(path: Path) -> None:
    os.mkfifo(f"{path}.fifo")
    path.symlink_to(f"{path}.fifo")


KINDS: dict[str, Callable[[Path], object]] = {
    "FIFO": os.mkfifo,
    "socket": make_socket,
    "folder": Path.mkdir,
    "link to a device": lambda path: path.symlink_to("/dev/zero"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "link to a FIFO": make_link_to_fifo,
}


def connect(tls: TLS) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        Client(f"tcp://127.0.0.1:{server.getsockname()[1]}", tls=tls, timeout=1) as client,
    ):
        client.version()


READERS: dict[str, Callable[[Path], object]] = {
    "authority of the daemon": lambda path: connect(TLS(ca=str(path))),
    "certificate for the daemon": lambda path: connect(TLS(cert=str(path))),
    "key for the daemon": lambda path: connect(TLS(cert=str(path), key=str(path))),
    "descriptor set": schema.load,
    "log": lambda path: list(read_log(os.fsencode(path), tail=None, follow=None, timeout=None)),
}


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("reader", READERS)
def test_a_special_file(place: Path, reader: str, kind: str) -> None:
    KINDS[kind](place)
    told: list[BaseException | None] = []

    def run() -> None:
        try:
            READERS[reader](place)
            told.append(None)
        except BaseException as error:
            told.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(HANGING)
    assert told, "the call hangs"
    assert isinstance(told[0], ContainerdError | OSError)
    assert "file" in str(told[0])
