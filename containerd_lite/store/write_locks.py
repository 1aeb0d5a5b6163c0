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

Every user of the machine can bind every abstract name. So a process waits only for holders of its
own user: the kernel tells the user of the process that listens on a socket (``SO_PEERCRED``). If
another user has bound the name, the process continues without the lock.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
import threading
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress

from ..deadline import Deadline
from ..locks import PerProcess, holding
from ..oci import digest as digests
from ..undo import Undo

#: Seconds between the calls of ``check`` while this process waits for another process.
_CHECK_INTERVAL = 0.1
#: Seconds to wait for another process. A process that SIGSTOP has paused does not release its lock.
#: A forked child can also keep the socket of the lock open.
_TIMEOUT = 60.0
#: Seconds to wait for a holder whose user is unknown. The user is unknown if the holder has bound
#: the name but does not listen, or if the queue of its socket is full. A process of this package
#: listens directly after it has bound the name.
_UNKNOWN_TIMEOUT = 0.2
#: The maximum number of processes that can wait on the socket of a lock. Linux lowers this number
#: to ``net.core.somaxconn``, which is 4,096 by default.
_BACKLOG = 4096
#: The kernel's ``struct ucred``: pid, uid and gid.
_UCRED = struct.Struct("iII")


class _State:
    """The locks of one process. A forked child does not use the state of its parent."""

    def __init__(self) -> None:
        self.guard = threading.Lock()
        #: Key → the lock between the threads of this process, and the number of threads that hold
        #: the lock or wait for the lock.
        self.locks: dict[Hashable, tuple[threading.RLock, int]] = {}
        #: The sockets of the locks that this process holds, and their names.
        self.bound: dict[socket.socket, bytes] = {}


def _new_state() -> _State:
    """Return the state of this process, and close the sockets that the process has inherited.

    The sockets would keep the locks of the parent locked.
    """
    for state in _states.inherited():
        for bound, name in tuple(state.bound.items()):
            # Some programs close all descriptors after a fork, so that the number of the socket
            # can belong to another file.
            with suppress(OSError):
                if bound.getsockname() == name:
                    bound.close()
            bound.detach()
        state.bound.clear()
    return _State()


_states = PerProcess(_new_state)


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
    state = _states.get()
    with state.guard:
        lock, users = state.locks.get(key, (threading.RLock(), 0))
        state.locks[key] = (lock, users + 1)
    try:
        with holding(lock, check=check), _machine_lock(_socket_name(key), check):
            yield
    finally:
        if state is _states.get():  # false in a child that was forked in the block
            with state.guard:
                lock, users = state.locks.pop(key)
                if users > 1:
                    state.locks[key] = (lock, users - 1)


def _socket_name(key: Hashable) -> bytes:
    name = digests.hasher()
    name.update(repr(key).encode())
    return f"\0containerd-lite/{name.hexdigest()}".encode()


@contextmanager
def _machine_lock(name: bytes, check: Callable[[], object]) -> Iterator[None]:
    state = _states.get()
    bound = _acquire(name, check)
    try:
        if bound is not None:
            state.bound[bound] = name
        yield
    finally:
        if bound is not None:
            state.bound.pop(bound, None)
            bound.close()


def _acquire(name: bytes, check: Callable[[], object]) -> socket.socket | None:
    """Return a socket bound to ``name``.

    Return ``None`` if the timeout expires, if another user has bound the name, or if binding fails.
    """
    deadline = Deadline(_TIMEOUT)
    unknown_deadline: Deadline | None = None
    while sys.platform == "linux" and not deadline.expired:
        check()
        try:
            return _bind(name)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                return None
        holder = _wait_for_release(name, deadline, check)
        if holder is not None:
            if holder != os.geteuid():
                return None
            unknown_deadline = None
            continue
        unknown_deadline = unknown_deadline or Deadline(_UNKNOWN_TIMEOUT)
        if unknown_deadline.expired:
            return None
        threading.Event().wait(0.001)
    return None


def _bind(name: bytes) -> socket.socket:
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with Undo(server.close):
        server.bind(name)
        server.listen(_BACKLOG)
    return server


def _wait_for_release(name: bytes, deadline: Deadline, check: Callable[[], object]) -> int | None:
    """Wait until the holder has probably released the lock, or until the deadline.

    Do not wait for another user's process. Return the user id of the holder, or ``None`` if it is
    unknown.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(_CHECK_INTERVAL)
        try:
            client.connect(name)
            holder = _peer_uid(client)
        except OSError:
            return None
        while holder == os.geteuid() and not deadline.expired:
            check()
            try:
                client.recv(1)
            except TimeoutError:
                continue
            except ConnectionResetError:
                pass
            break
        return holder


def _peer_uid(client: socket.socket) -> int:
    """Return the effective user id that the peer had when it began to listen."""
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    uid: int = _UCRED.unpack(credentials)[1]
    return uid
