"""Leases that last as long as a ``with`` block and protect what the block writes.

A lease is created when its block begins, renewed while it runs, and deleted when it ends.
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

#: Seconds that clean-up after a failure may take, including garbage collection.
_CLEANUP_TIMEOUT = 30.0
#: The same after an interrupt that came before the block began or after it ended.
_INTERRUPTED_TIMEOUT = 2.0
#: Seconds between the attempts to delete a lease whose creation was interrupted.
_DELETE_WAITS = (0.01, 0.03, 0.1, 0.1, 0.0)
#: The ``expires`` in seconds of a lease whose work may be continued later, after a weekend too.
RESUME_EXPIRES = 7 * 86400.0
#: The shortest permitted ``expires`` in seconds. A shorter lease could expire before it is renewed.
_MIN_EXPIRES = 1.0
#: The parts of ``expires`` after which a lease is renewed, and after which a failed renewal is
#: repeated.
_RENEW_AFTER, _RETRY_AFTER = 0.5, 0.05


@contextmanager
def keeping(leases: LeaseService, expires: float, resume: str = "") -> Iterator[str]:
    """Run the block under a lease, and yield the id of the lease.

    An inner block uses the lease of the outer one. The lease is renewed while the block runs, and
    deleted at its end. If the block fails, garbage collection then removes what the block wrote.

    Args:
        leases: The leases service of the namespace.
        expires: Seconds after which the daemon may delete the lease if this process dies.
        resume: A name for the work of the block. If given, the lease of a failed block stays, and
            a later block with the same name uses it. Default: the lease is always deleted.

    Raises:
        InvalidArgument: ``expires`` is too short or too long.
    """
    joined = leases.joined
    if joined:
        yield joined
        return
    if not _MIN_EXPIRES <= expires <= threading.TIMEOUT_MAX:
        raise InvalidArgument(
            f"a lease cannot expire after {expires} seconds",
            remedy=f"Pass at least {_MIN_EXPIRES:g} and at most {threading.TIMEOUT_MAX:g} seconds",
        )
    id = f"lite-{os.urandom(8).hex()}"
    if resume:
        id = f"lite-resume-{digests.encoded(digests.of(resume.encode()))[:32]}"
    is_active = False
    try:
        if not _create(leases, id, expires, may_exist=bool(resume)):
            _renew(leases, id, expires)
        is_active = True
        with leases.joining(id), _renewing(leases, id, expires):
            yield id
        is_active = False
        _delete(leases, id)
    except BaseException as error:
        if not resume:
            with suppress(ContainerdError):
                if is_active:
                    _delete(leases.with_options(timeout=_CLEANUP_TIMEOUT), id, sync=True)
                elif not isinstance(error, ContainerdError):
                    _delete_if_created(leases.with_options(timeout=_INTERRUPTED_TIMEOUT), id)
        raise


@contextmanager
def _renewing(leases: LeaseService, id: str, expires: float) -> Iterator[None]:
    """Renew the lease from a thread while the block runs, until another client deletes it."""
    has_ended = threading.Event()

    def renew_repeatedly() -> None:
        part = _RENEW_AFTER
        while not has_ended.wait(expires * part):
            part = _RENEW_AFTER
            try:
                _renew(leases, id, expires)
            except NotFound:
                return
            except ContainerdError:  # the daemon may come back before the lease expires
                part = _RETRY_AFTER

    thread = threading.Thread(target=renew_repeatedly, name="containerd-lite-lease", daemon=True)
    try:
        thread.start()
        yield
    finally:
        has_ended.set()
        with suppress(RuntimeError):  # an interrupt came before the thread started
            thread.join(_CLEANUP_TIMEOUT)  # a renewal in progress would leave a lease behind


def _delete_if_created(leases: LeaseService, id: str) -> None:
    """Delete a lease whose creation was interrupted, so that it may or may not exist.

    A busy daemon may still create it, so this tries several times.
    """
    for wait in _DELETE_WAITS:
        with suppress(NotFound):
            leases.delete(id)
            return
        time.sleep(wait)


def _delete(leases: LeaseService, id: str, *, sync: bool = False) -> None:
    """Delete a lease, which may be gone already, and wait for a daemon that restarts."""
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
    """Run garbage collection and wait for its end, by deleting a new lease with ``sync``.

    Args:
        leases: The leases service of the namespace.
        timeout: Seconds to wait.

    Raises:
        DeadlineExceeded: The collection took longer.
    """
    id = f"lite-collect-{os.urandom(8).hex()}"
    _create(leases, id, timeout)
    _delete(leases.with_options(timeout=timeout), id, sync=True)


def _create(leases: LeaseService, id: str, expires: float, *, may_exist: bool = False) -> bool:
    """Create a lease. Return false if it exists already, which ``may_exist`` permits."""
    until = datetime.now(timezone.utc) + timedelta(seconds=expires)
    try:
        leases.create(id, {EXPIRE: until.strftime("%Y-%m-%dT%H:%M:%S.%fZ")})
    except AlreadyExists:
        if not may_exist:
            raise
        return False
    return True


def _renew(leases: LeaseService, id: str, expires: float) -> None:
    """Make a lease expire ``expires`` seconds from now.

    No RPC does this, so the lease is deleted and created again. In between, a temporary lease
    holds its resources, also if this process is interrupted. A call under the lease fails if it
    comes between deletion and creation, which takes about two milliseconds.
    """
    leases.list_resources(id)  # raises NotFound, so that a deleted lease is not created again
    temporary = f"lite-{os.urandom(8).hex()}"
    for old, new in ((id, temporary), (temporary, id)):
        _create(leases, new, expires, may_exist=True)  # restore() may have created it meanwhile
        _copy_resources(leases, old, new)
        leases.delete(old)


def _copy_resources(leases: LeaseService, old: str, new: str) -> None:
    """Add all resources of ``old`` to ``new``, including those that are written meanwhile."""
    copied = set[Resource]()
    while missing := set(leases.list_resources(old)) - copied:
        for resource in missing:
            with suppress(NotFound):  # an ingest that was aborted meanwhile
                leases.add_resource(new, resource)
        copied |= missing


def restore(leases: LeaseService) -> bool:
    """Create the caller's lease again if it has been deleted.

    Args:
        leases: The leases service of the namespace.

    Returns:
        Whether the lease was missing.
    """
    id = leases.joined
    if not id or any(lease.id == id for lease in leases.list()):
        return False
    _create(leases, id, RESUME_EXPIRES, may_exist=True)
    return True
