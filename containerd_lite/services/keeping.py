"""Leases over blocks of a program: what is written within one is kept.

What lives here: making, joining, losing and ending them.  What may not: the RPCs.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone
from hashlib import sha256

from ..deadline import Deadline, backoff
from ..errors import (
    AlreadyExists,
    ConnectionLost,
    ConnectionRefused,
    ContainerdError,
    NotFound,
    SocketNotFound,
)
from .leases import EXPIRE, LeaseService

#: How long clean-up after a failure may take (seconds), garbage collection included.
_CLEANUP_TIMEOUT = 30.0
#: The same (seconds) for an interrupt before anything was written, or when all was.
_INTERRUPTED_TIMEOUT = 2.0
#: When a lease is looked for that was asked for and interrupted (seconds between).
_MAY_COME = (0.01, 0.03, 0.1, 0.1, 0.0)
#: How long what is to be gone on with is kept (seconds): a day was asked for, with a weekend.
RESUME_EXPIRES = 7 * 86400.0


@contextmanager
def keeping(leases: LeaseService, expires: float, resume: str = "") -> Iterator[str]:
    """Within the block calls belong to a lease, whose id is given; the outer one if there is one.

    ``expires`` in seconds is when the daemon may delete it if nobody else does.  A block that
    fails takes what it wrote with it; with ``resume`` its lease stays, for a block that is called
    the same.
    """
    joined = leases.joined
    if joined:
        yield joined
        return
    id = f"lite-{os.urandom(8).hex()}"
    if resume:
        id = f"lite-resume-{sha256(resume.encode()).hexdigest()[:32]}"
    is_open = False
    try:
        _create(leases, id, expires, may_exist=bool(resume))
        is_open = True
        with leases.joining(id):
            yield id
        is_open = False
        _delete(leases, id)
    except BaseException as error:
        if not resume:
            with suppress(ContainerdError):
                if is_open:
                    _delete(leases.with_options(timeout=_CLEANUP_TIMEOUT), id, sync=True)
                elif not isinstance(error, ContainerdError):
                    _forget(leases.with_options(timeout=_INTERRUPTED_TIMEOUT), id)
        raise


def _forget(leases: LeaseService, id: str) -> None:
    """Delete a lease of which an interrupt keeps us from knowing whether it is there.

    A busy daemon may be about to make it: it is looked for until it cannot come any more.
    """
    for wait in _MAY_COME:
        with suppress(NotFound):
            leases.delete(id)
            return
        time.sleep(wait)


def _delete(leases: LeaseService, id: str, *, sync: bool = False) -> None:
    """Delete a lease that somebody may have pruned, in a daemon that may be restarting."""
    deadline = Deadline(_CLEANUP_TIMEOUT)
    for wait in backoff(0.02, 1.0):
        try:
            with suppress(NotFound):
                leases.delete(id, sync=sync)
            return
        except ContainerdError as error:
            if deadline.expired or not is_away(error):
                raise
        time.sleep(wait)


def collect(leases: LeaseService, timeout: float) -> None:
    """Have garbage collected now: it is the deletion of a lease that can be waited for.

    ``timeout`` in seconds; raises ``DeadlineExceeded``.
    """
    id = f"lite-collect-{os.urandom(8).hex()}"
    _create(leases, id, timeout)
    _delete(leases.with_options(timeout=timeout), id, sync=True)


def _create(leases: LeaseService, id: str, expires: float, *, may_exist: bool = False) -> None:
    until = datetime.now(timezone.utc) + timedelta(seconds=expires)
    try:
        leases.create(id, {EXPIRE: until.strftime("%Y-%m-%dT%H:%M:%SZ")})
    except AlreadyExists:
        if not may_exist:
            raise


def restore(leases: LeaseService) -> bool:
    """Make the current lease anew if somebody has deleted it; true if so."""
    id = leases.joined
    if not id or any(found.id == id for found in leases.list()):
        return False
    _create(leases, id, RESUME_EXPIRES, may_exist=True)
    return True


def is_away(error: BaseException) -> bool:
    """Whether it says that the daemon is gone, and may come back."""
    return isinstance(error, ConnectionLost | ConnectionRefused | SocketNotFound)
