"""The base of all addresses: dialling gives a socket, or an error that says why it cannot."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod

from ..deadline import Deadline
from ..errors import ContainerdError


class Address(ABC):
    """Where a daemon listens.  ``str()`` gives the form that ``parse_address`` reads."""

    def dial(self, timeout: float | None) -> socket.socket:
        """A connected socket, or ``TLSSocket``, in non-blocking mode; ``timeout`` in seconds.

        Raises ``SocketNotFound``, ``ConnectionRefused``, ``SocketPermissionDenied``,
        ``DeadlineExceeded``, ``Unavailable``; with TLS, what ``tls.secure`` raises.
        """
        try:
            try:
                return self._open(Deadline(timeout))
            except ContainerdError:
                raise
            except OSError as error:
                raise self._explain(error) from error
        except ContainerdError as error:
            error.address = str(self)
            raise

    @property
    def authority(self) -> str:
        """The ``:authority`` of requests (RFC 9113, 8.3.1)."""
        return "localhost"

    @property
    def scheme(self) -> str:
        """The ``:scheme`` of requests."""
        return "http"

    @abstractmethod
    def _open(self, deadline: Deadline) -> socket.socket: ...

    @staticmethod
    @abstractmethod
    def _explain(error: OSError) -> ContainerdError: ...
