"""One writer of a blob, or of a snapshot, at a time: within this process, and on this machine.

What lives here: taking turns.  What may not: writing.

containerd 1.6 and 1.7 wait for the lock of a contended ref inside a transaction of their database,
where they hold up everybody, the lock's holder too: six pulls of one image at once took 9 s without
taking turns, and 0.5 s with.  And of fifty pulls at once, from four processes, each unpacked every
layer: they took 14 times as long as one.

A turn on this machine is a Unix socket with an abstract name: who has bound it has the turn, and
loses it with the process, however that ends; who waits is connected to it, and hung up on.
Nothing depends on it: whoever waits too long goes on without.
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

#: How often who waits for another process looks whether it is to give up (seconds).
_LOOK = 0.1
#: How long another process is waited for (seconds): it may have been stopped, or forked a child
#: that keeps its sockets.
_PATIENCE = 60.0
#: Waiters that are woken at once; more look by themselves.
_BACKLOG = 128

_guard = threading.Lock()
#: What is being written, and by how many it is wanted.
_turns: dict[Hashable, tuple[threading.RLock, int]] = {}


@contextmanager
def write_lock(key: Hashable, check: Callable[[], object]) -> Iterator[None]:
    """Run the block when nobody else on this machine runs one with ``key``.

    ``key`` is of strings, numbers and paths.  ``check`` is called now and then while waiting, and
    raises to give up.
    """
    with _guard:
        lock, wanted = _turns.get(key, (threading.RLock(), 0))
        _turns[key] = (lock, wanted + 1)
    try:
        with holding(lock, check=check), _machine_turn(_name(key), check):
            yield
    finally:
        with _guard:
            lock, wanted = _turns.pop(key)
            if wanted > 1:
                _turns[key] = (lock, wanted - 1)


def _name(key: Hashable) -> bytes:
    return b"\0containerd-lite/" + digests.encoded(digests.of(repr(key).encode())).encode()


@contextmanager
def _machine_turn(name: bytes, check: Callable[[], object]) -> Iterator[None]:
    held = _hold(name, check)
    try:
        yield
    finally:
        if held is not None:
            held.close()


def _hold(name: bytes, check: Callable[[], object]) -> socket.socket | None:
    """The socket that is the turn; ``None`` where turns cannot be had, or take too long."""
    patience = Deadline(_PATIENCE)
    while sys.platform == "linux" and not patience.expired:
        check()
        try:
            return _bound(name)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return None
        _wait(name, patience, check)
    return None


def _bound(name: bytes) -> socket.socket:
    own = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with Undo(own.close):
        own.bind(name)
        own.listen(_BACKLOG)
    return own


def _wait(name: bytes, patience: Deadline, check: Callable[[], object]) -> None:
    """Until whoever has the turn hangs up, or it is worth looking again."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
        other.settimeout(_LOOK)
        try:
            other.connect(name)
            while not patience.expired:
                check()
                try:
                    other.recv(1)
                    return
                except TimeoutError:
                    continue
        except ConnectionRefusedError:  # it is between its two calls, or over
            return
        except OSError:  # hung up on; or too many wait already
            threading.Event().wait(0.001)
