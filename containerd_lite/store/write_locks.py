"""Locks that let only one caller on a machine write a given blob or snapshot at a time.

containerd 1.6 and 1.7 wait for the lock of a contended ref inside a transaction of their database.
This wait delays all other requests, including the requests of the client that holds the lock. Six
concurrent pulls of one image took 9 s without the locks of this module, and 0.5 s with the locks.
Without the locks, fifty concurrent pulls from four processes took 14 times as long as one pull,
because each pull unpacked every layer.

The lock between processes is a Unix socket with an abstract name. The process that has bound the
name holds the lock. The kernel releases the lock when this process ends, for any reason. A process
that waits for the lock connects to the socket, and wakes up when the kernel closes the connection.
Correctness does not depend on the lock: a process that has waited for 60 seconds continues without
the lock.
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

#: Seconds between the calls of ``check`` while this process waits for another process.
_CHECK_INTERVAL = 0.1
#: Seconds to wait for another process. A process that SIGSTOP has paused does not release its lock.
#: A forked child can also keep the socket of the lock open.
_TIMEOUT = 60.0
#: The maximum number of processes that can wait on the socket of a lock. All other processes that
#: wait for the lock poll every millisecond.
_BACKLOG = 128

_guard = threading.Lock()
#: Key → the lock between the threads of this process, and the number of threads that hold the lock
#: or wait for the lock.
_locks: dict[Hashable, tuple[threading.RLock, int]] = {}


@contextmanager
def write_lock(key: Hashable, check: Callable[[], object]) -> Iterator[None]:
    """Run the ``with`` block while no other caller on this machine runs a block with this key.

    Other callers are other threads and other processes. If another process keeps the lock for 60
    seconds, the block runs without the lock.

    Args:
        key: A value that consists of strings, numbers and paths. Keys in different processes are
            equal if their ``repr`` is equal.
        check: A function that ``write_lock`` calls repeatedly during the wait. An error that
            ``check`` raises ends the wait.
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
    name = digests.hasher()
    name.update(repr(key).encode())
    return f"\0containerd-lite/{name.hexdigest()}".encode()


@contextmanager
def _machine_lock(name: bytes, check: Callable[[], object]) -> Iterator[None]:
    bound = _acquire(name, check)
    try:
        yield
    finally:
        if bound is not None:
            bound.close()


def _acquire(name: bytes, check: Callable[[], object]) -> socket.socket | None:
    """Return a socket bound to ``name``; ``None`` if the timeout expires or binding fails."""
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
    """Wait until another process has probably released the lock, or until the deadline."""
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
        except ConnectionRefusedError:  # the holder of the lock does not listen yet, or has ended
            return
        # The holder of the lock has closed its socket, or too many processes are waiting.
        except OSError:
            threading.Event().wait(0.001)
