"""containerd.services.transfer.v1: images moved by the daemon itself; since 1.7."""

from __future__ import annotations

from typing import Protocol

from ..records import record
from ._base import MessageStream, Service
from ._types import AnyValue, any_fields


class Transferable(Protocol):
    """An end of a transfer: those of ``transfer_types``, or a type of the caller's own."""

    def to_any(self) -> AnyValue: ...


@record(frozen=True)
class TransferOptions:
    """``progress_stream`` is the id of an open stream, which gets ``Progress`` and is ended by
    the daemon with the transfer; ``""`` for none."""

    progress_stream: str = ""


class TransferService(Service):
    """The daemon's own pull, push, import, export and tag; since 1.7."""

    _name = "containerd.services.transfer.v1.Transfer"

    def transfer(
        self,
        source: Transferable | AnyValue,
        destination: Transferable | AnyValue,
        options: TransferOptions | None = None,
    ) -> None:
        """Move an image from one place to another; returns when it is there.

        Registry to store pulls, store to registry pushes, store to store tags, import stream to
        store and store to export stream do as they say.  Has no deadline unless one is given.
        Raises ``Unimplemented`` for other pairs, ``NotFound`` for an image or a stream that is
        not there, and what the registry's failures are to the daemon.
        """
        with self.begin(source, destination, options) as call:
            call.receive()

    def begin(
        self,
        source: Transferable | AnyValue,
        destination: Transferable | AnyValue,
        options: TransferOptions | None = None,
    ) -> MessageStream:
        """As ``transfer``, as a stream of one answer, which any thread may cancel.

        It is over when ``receive`` returns: that raises what ``transfer`` does.
        """
        fields: dict[str, object] = {
            "source": any_fields(_any(source)),
            "destination": any_fields(_any(destination)),
        }
        if options is not None:
            fields["options"] = {"progress_stream": options.progress_stream}
        return self._stream("Transfer", fields)


def _any(end: Transferable | AnyValue) -> AnyValue:
    return end if isinstance(end, AnyValue) else end.to_any()
