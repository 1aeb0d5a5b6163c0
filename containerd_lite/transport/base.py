"""The base class of all addresses."""

from __future__ import annotations

import socket
from abc import ABC, abstractmethod

from ..deadline import Deadline
from ..errors import ContainerdError


class Address(ABC):
    """The address of a daemon.

    ``str()`` returns a text that ``parse_address`` accepts. Subclasses implement ``_open``, which
    connects, and ``_explain``, which makes an exception from an ``OSError`` of ``_open``.
    """

    def dial(self, timeout: float | None) -> socket.socket:
        """Connect to the daemon.

        Args:
            timeout: Maximum number of seconds to connect, including the TLS handshake. ``None``
                means no limit.

        Returns:
            A connected socket or ``TLSSocket``, in non-blocking mode.

        Raises:
            SocketNotFound: The Unix socket does not exist.
            ConnectionRefused: No process listens at the address.
            SocketPermissionDenied: The user has no permission to open the Unix socket.
            DeadlineExceeded: The daemon did not accept the connection in time.
            Unavailable: Connecting failed for another reason.
            Unauthenticated: One end does not trust the TLS certificate of the other end.
            ProtocolError: The peer does not speak TLS, or does not speak HTTP/2 over TLS.
            InvalidArgument: The TLS settings contain an unusable file or server name.
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
        """The ``:authority`` header of requests (RFC 9113, 8.3.1)."""
        return "localhost"

    @property
    def scheme(self) -> str:
        """The ``:scheme`` header of requests."""
        return "http"

    @abstractmethod
    def _open(self, deadline: Deadline) -> socket.socket: ...

    @staticmethod
    @abstractmethod
    def _explain(error: OSError) -> ContainerdError: ...
