"""Several hosts that serve one registry's content, asked in turn.

What lives here: the order, and which failure to tell of.  What may not: requests.
"""

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
    """The hosts of one registry, mirrors first, as ``hosts.toml`` orders them."""

    def __init__(self, namespace: str, sessions: Sequence[Session]) -> None:
        self._namespace = namespace
        self._sessions = tuple(sessions)

    @property
    def own(self) -> Session:
        """The registry itself, which comes last."""
        return self._sessions[-1]

    def able(self, *capabilities: str) -> list[Session]:
        """The hosts that have any of these capabilities.  Raises RegistryError for none."""
        found = [s for s in self._sessions if s.host.capabilities.intersection(capabilities)]
        if not found:
            raise RegistryError(
                f"no host of {self._namespace} may be asked to {capabilities[0]}",
                remedy="Its hosts.toml gives that capability to none",
            )
        return found

    def first(self, use: Callable[[Session], _Result], *capabilities: str) -> _Result:
        """What the first host gives that can.

        Where none can, raises what tells most: an answer rather than silence, a refusal rather
        than "not found", and the last host, which is the registry itself, rather than a mirror.
        """
        told: RegistryError | DataLoss | None = None
        for session in self.able(*capabilities):
            try:
                return use(session)
            except (RegistryError, DataLoss) as error:
                if told is None or _tells(error) >= _tells(told):
                    told = error
        if told is None:
            raise RegistryError(f"{self._namespace} has no host")
        raise told

    def close(self) -> None:
        for session in self._sessions:
            session.close()


def _tells(error: RegistryError | DataLoss) -> int:
    """How much an error says, as containerd's resolver ranks them."""
    if isinstance(error, RegistryUnavailable) and not error.status:
        return 0
    return 1 if isinstance(error, RegistryNotFound) else 2
