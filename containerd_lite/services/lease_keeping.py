"""Leases over blocks of a program: what is written within one is kept.

What lives here: making, joining, losing and ending them.  What may not: the RPCs.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta, timezone

from ..deadline import Deadline, backoff
from ..errors import (
    AlreadyExists,
    ContainerdError,
    InvalidArgument,
    NotFound,
    is_away,
)
from ..oci import digest as digests
from .leases import EXPIRE, LeaseService, Resource

#: How long clean-up after a failure may take (seconds), garbage collection included.
_CLEANUP_TIMEOUT = 30.0
#: The same (seconds) for an interrupt before anything was written, or when all was.
_INTERRUPTED_TIMEOUT = 2.0
#: When a lease is looked for that was asked for and interrupted (seconds between).
_MAY_COME = (0.01, 0.03, 0.1, 0.1, 0.0)
#: How long what is to be gone on with is kept (seconds): a day was asked for, with a weekend.
RESUME_EXPIRES = 7 * 86400.0
#: Less time (seconds) could pass before a lease is renewed.
_LEAST = 1.0
#: A lease is renewed when half of its time has passed; again, if that failed, after a part of it.
_RENEWED, _RENEWED_AGAIN = 0.5, 0.05


@contextmanager
def keeping(leases: LeaseService, expires: float, resume: str = "") -> Iterator[str]:
    """Within the block calls belong to a lease, whose id is given; the outer one if there is one.

    ``expires`` in seconds is when the daemon may delete it once this process is gone: while the
    block runs it is renewed.  A block that fails takes what it wrote with it; with ``resume`` its
    lease stays, for a block that is called the same.  Raises ``InvalidArgument``.
    """
    joined = leases.joined
    if joined:
        yield joined
        return
    if not _LEAST <= expires <= threading.TIMEOUT_MAX:
        raise InvalidArgument(
            f"a lease that expires after {expires} seconds",
            remedy=f"Give seconds, {_LEAST:g} at least and {threading.TIMEOUT_MAX:g} at most",
        )
    id = f"lite-{os.urandom(8).hex()}"
    if resume:
        id = f"lite-resume-{digests.encoded(digests.of(resume.encode()))[:32]}"
    is_open = False
    try:
        if not _create(leases, id, expires, may_exist=bool(resume)):
            _prolong(leases, id, expires)
        is_open = True
        with leases.joining(id), _renewing(leases, id, expires):
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


@contextmanager
def _renewing(leases: LeaseService, id: str, expires: float) -> Iterator[None]:
    """Within the block a thread renews the lease, unless somebody deletes it."""
    is_over = threading.Event()

    def renew() -> None:
        part = _RENEWED
        while not is_over.wait(expires * part):
            part = _RENEWED
            try:
                _prolong(leases, id, expires)
            except NotFound:
                return
            except ContainerdError:  # the daemon may come back in time
                part = _RENEWED_AGAIN

    thread = threading.Thread(target=renew, name="containerd-lite-lease", daemon=True)
    try:
        thread.start()
        yield
    finally:
        is_over.set()
        with suppress(RuntimeError):  # an interrupt came before it had begun
            thread.join(_CLEANUP_TIMEOUT)  # a renewal under way would leave the lease there


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


def _create(leases: LeaseService, id: str, expires: float, *, may_exist: bool = False) -> bool:
    """Whether it was made; false if it was there, as it may have been."""
    until = datetime.now(timezone.utc) + timedelta(seconds=expires)
    try:
        leases.create(id, {EXPIRE: until.strftime("%Y-%m-%dT%H:%M:%S.%fZ")})
    except AlreadyExists:
        if not may_exist:
            raise
        return False
    return True


def _prolong(leases: LeaseService, id: str, expires: float) -> None:
    """Give a lease all of its time again: no RPC does that, so by way of another, made to last as
    long, that keeps what it holds meanwhile, and should we be interrupted.  What is called in the
    moment between, some two milliseconds, does not find the lease."""
    leases.list_resources(id)  # or one that somebody has deleted would come back
    other = f"lite-{os.urandom(8).hex()}"
    for old, new in ((id, other), (other, id)):
        _create(leases, new, expires, may_exist=True)  # who missed it may have restored it
        _hand_over(leases, old, new)
        leases.delete(old)


def _hand_over(leases: LeaseService, old: str, new: str) -> None:
    """Let ``new`` hold all that ``old`` does, and what is written under that meanwhile."""
    held = set[Resource]()
    while more := set(leases.list_resources(old)) - held:
        for resource in more:
            with suppress(NotFound):  # a write that has been given up since
                leases.add_resource(new, resource)
        held |= more


def restore(leases: LeaseService) -> bool:
    """Make the current lease anew if somebody has deleted it; true if so."""
    id = leases.joined
    if not id or any(found.id == id for found in leases.list()):
        return False
    _create(leases, id, RESUME_EXPIRES, may_exist=True)
    return True
