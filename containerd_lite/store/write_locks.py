"""Locks that let one caller at a time, on the whole machine, write a blob or a snapshot.

containerd 1.6 and 1.7 wait for the lock of a contended ref inside a transaction of their
database. This delays all other requests, also those of the lock's holder: six pulls of one image
at once took 9 s without these locks, and 0.5 s with them. Without them, each of fifty pulls at
once, from four processes, unpacked every layer: they took 14 times as long as one pull.

The lock on the machine is a Unix socket with an abstract name. The process that has bound the
name holds the lock, and loses it when it ends, however it ends. A process that waits connects to
the socket. The end of this connection wakes it. Correctness does not depend on the lock: a process
that has waited too long continues without it.
"""

from __future__ import annotations

import errno
import socket
import sys
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

from ..deadline import Deadline
from ..locks import holding
from ..oci import digest as digests
from ..undo import Undo

#: Seconds between the calls of ``check`` while waiting for another process.
_CHECK_INTERVAL = 0.1
#: Seconds to wait for another process. It may have been stopped, or may have forked a child that
#: keeps its sockets.
_TIMEOUT = 60.0
#: Processes that can wait on the holder's socket. Further ones poll every millisecond.
_BACKLOG = 128

_guard = threading.Lock()
#: The lock of each key within this process, and how many threads hold it or wait for it.
_locks: dict[Hashable, tuple[threading.RLock, int]] = {}


@contextmanager
def write_lock(key: Hashable, check: Callable[[], object]) -> Iterator[None]:
    """Run the block while no other thread or process on this machine runs one with ``key``.

    After 60 seconds of waiting for another process, the block runs anyway.

    Args:
        key: A value made of strings, numbers and paths. Processes compare its ``repr``.
        check: Called repeatedly while waiting; it raises to stop waiting.
    """
    with _guard:
        lock, users = _locks.get(key, (threading.RLock(), 0))
        _locks[key] = (lock, users + 1)
    try:
        with holding(lock, check=check), _machine_lock(_socket_name(key), check):
            yield
    finally:
        with _guard:
            lock, users = _locks.pop(key)
            if users > 1:
                _locks[key] = (lock, users - 1)


def _socket_name(key: Hashable) -> bytes:
    return b"\0containerd-lite/" + digests.encoded(digests.of(repr(key).encode())).encode()


@contextmanager
def _machine_lock(name: bytes, check: Callable[[], object]) -> Iterator[None]:
    bound = _acquire(name, check)
    try:
        yield
    finally:
        if bound is not None:
            bound.close()


def _acquire(name: bytes, check: Callable[[], object]) -> socket.socket | None:
    """Return a socket bound to ``name``, or ``None`` after a timeout or if binding fails."""
    deadline = Deadline(_TIMEOUT)
    while sys.platform == "linux" and not deadline.expired:
        check()
        try:
            return _bind(name)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return None
        _wait_for_release(name, deadline, check)
    return None


def _bind(name: bytes) -> socket.socket:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with Undo(server.close):
        server.bind(name)
        server.listen(_BACKLOG)
    return server


def _wait_for_release(name: bytes, deadline: Deadline, check: Callable[[], object]) -> None:
    """Wait until the lock may be free, or until the deadline."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(_CHECK_INTERVAL)
        try:
            client.connect(name)
            while not deadline.expired:
                check()
                try:
                    client.recv(1)
                    return
                except TimeoutError:
                    continue
        except ConnectionRefusedError:  # the holder does not listen yet, or has ended
            return
        except OSError:  # the holder closed its socket, or too many processes wait already
            threading.Event().wait(0.001)
