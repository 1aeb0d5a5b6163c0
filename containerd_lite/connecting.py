"""Connects TCP sockets in two steps, so that another thread can end the wait between them.

The other thread shuts the socket down. Before the first step, this would have no effect: the kernel
would forget it, and the connect would begin all the same.
"""

from __future__ import annotations

import errno
import os
import select
import socket


def begin_connect(sock: socket.socket, address: tuple[object, ...]) -> None:
    """Make the socket non-blocking, and begin to connect it.

    Raises:
        OSError: The connect failed at once.
    """
    sock.setblocking(False)
    _check(sock.connect_ex(address))


def finish_connect(sock: socket.socket, timeout: float) -> None:
    """Wait until the socket is connected, or until another thread shuts it down.

    Args:
        sock: The socket.
        timeout: The longest wait in seconds.

    Raises:
        TimeoutError: The peer did not answer in time.
        OSError: The connect failed. A socket that was shut down may raise no error.
    """
    poll = select.poll()
    poll.register(sock, select.POLLOUT)
    if not poll.poll(timeout * 1000):
        raise TimeoutError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT))
    _check(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))


def _check(code: int) -> None:
    if code not in (0, errno.EINPROGRESS):
        raise OSError(code, os.strerror(code))
