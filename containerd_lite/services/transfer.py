"""The transfer service, containerd.services.transfer.v1: the daemon transfers images. Since 1.7."""

from __future__ import annotations

from typing import Protocol

from ..limits import refused
from ..records import record
from ._base import MessageStream, Service
from ._types import AnyValue, any_fields


class Transferable(Protocol):
    """A source or destination of a transfer, such as a record of ``transfer_types``."""

    def to_any(self) -> AnyValue:
        """Encode this object as an ``Any``."""
        ...


@record(frozen=True)
class TransferOptions:
    """The options of a transfer.

    Attributes:
        progress_stream: The id of an open stream on which the daemon sends ``Progress`` values.
            The daemon ends this stream when the transfer ends. Default: no progress values.
    """

    progress_stream: str = ""


class TransferService(Service):
    """Image transfers by the daemon itself: pull, push, import, export and tag. Since 1.7."""

    _name = "containerd.services.transfer.v1.Transfer"

    def transfer(
        self,
        source: Transferable | AnyValue,
        destination: Transferable | AnyValue,
        options: TransferOptions | None = None,
    ) -> None:
        """Transfer an image from a source to a destination, and wait for the end of the transfer.

        The call has no deadline by default.

        The types of the source and the destination select the operation:

        - ``OCIRegistry`` to ``ImageStore``: pull
        - ``ImageStore`` to ``OCIRegistry``: push
        - ``ImageStore`` to ``ImageStore``: tag
        - ``ImageImportStream`` to ``ImageStore``: import
        - ``ImageStore`` to ``ImageExportStream``: export

        Args:
            source: The source.
            destination: The destination.
            options: The options of the transfer. Default: no progress values.

        Raises:
            InvalidArgument: The source or the destination has the wrong type.
            NotFound: An image or a stream does not exist.
            Unimplemented: The daemon does not support this source with this destination.
            ContainerdError: A registry failed. The daemon's gRPC status determines the class of
                the error.
        """
        with self.begin(source, destination, options) as call:
            call.receive()

    def begin(
        self,
        source: Transferable | AnyValue,
        destination: Transferable | AnyValue,
        options: TransferOptions | None = None,
    ) -> MessageStream:
        """Begin a transfer, and return the call without waiting for the end of the transfer.

        Args:
            source: The source.
            destination: The destination.
            options: The options of the transfer. Default: no progress values.

        Returns:
            The call, which any thread may cancel. The ``receive`` method of the call returns when
            the transfer has ended. ``receive`` raises the same errors as ``transfer``.
        """
        fields: dict[str, object] = {
            "source": any_fields(_to_any("source", source)),
            "destination": any_fields(_to_any("destination", destination)),
        }
        if options is not None:
            fields["options"] = {"progress_stream": options.progress_stream}
        return self._stream("Transfer", fields)


def _to_any(name: str, value: Transferable | AnyValue) -> AnyValue:
    if isinstance(value, AnyValue):
        return value
    if not hasattr(value, "to_any"):
        raise refused(name, value, "a record of services.transfer_types, such as ImageStore")
    return value.to_any()
