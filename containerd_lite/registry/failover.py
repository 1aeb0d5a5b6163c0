"""Tries the hosts of one registry in turn, and chooses which error to raise."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from ..errors import (
    DataLoss,
    RegistryError,
    RegistryNotFound,
    RegistryUnavailable,
)
from .session import Session

_Result = TypeVar("_Result")


class Failover:
    """The hosts of one registry in the order of ``hosts.toml``: mirrors first, then the registry.

    ``namespace`` is the registry's name as it appears in references (``docker.io``).
    """

    def __init__(self, namespace: str, sessions: Sequence[Session]) -> None:
        self._namespace = namespace
        self._sessions = tuple(sessions)

    @property
    def own(self) -> Session:
        """The session with the registry itself, which is last in the order."""
        return self._sessions[-1]

    @property
    def has_mirrors(self) -> bool:
        """Whether there are other hosts than the registry itself."""
        return len(self._sessions) > 1

    def sessions_with(self, *capabilities: str) -> list[Session]:
        """Return the sessions of the hosts that have at least one of these capabilities.

        Raises RegistryError if all hosts lack these capabilities.
        """
        sessions = [s for s in self._sessions if s.host.capabilities.intersection(capabilities)]
        if not sessions:
            raise RegistryError(
                f"no host of {self._namespace} has the capability {capabilities[0]}",
                remedy="Add the capability to a host in the registry's hosts.toml",
            )
        return sessions

    def first_success(self, use: Callable[[Session], _Result], *capabilities: str) -> _Result:
        """Call ``use`` with each host's session in turn; return the result of the first success.

        If all calls fail, this method raises the most informative error. "Not found" is more
        informative than no response. Any other error is more informative than "not found". If
        several errors are equally informative, this method raises the error of the last host,
        because the registry itself is last.
        """
        best_error: RegistryError | DataLoss | None = None
        for session in self.sessions_with(*capabilities):
            try:
                return use(session)
            except (RegistryError, DataLoss) as error:
                if best_error is None or _rank(error) >= _rank(best_error):
                    best_error = error
        if best_error is None:
            raise RegistryError(f"{self._namespace} has no host")
        raise best_error


def _rank(error: RegistryError | DataLoss) -> int:
    """Return how informative an error is, as containerd's resolver ranks errors."""
    if isinstance(error, RegistryUnavailable) and not error.status:
        return 0
    return 1 if isinstance(error, RegistryNotFound) else 2
