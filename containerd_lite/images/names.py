"""What images are called in a store.

What lives here: the protocol, and the names of a daemon's namespace.  What may not: content.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from ..errors import AlreadyExists, DigestMismatch, InvalidArgument, NotFound, Unavailable
from ..oci.descriptor import Descriptor
from ..oci.image_record import ImageRecord
from ..oci.reference import Reference

if TYPE_CHECKING:
    from ..services.images import ImageService

#: Create and update lose against somebody who deletes and creates; not this often in a row.
_MOST_TRIES = 10


class Names(Protocol):
    """Names and the descriptors that they stand for; ``DaemonNames``, ``LayoutNames``."""

    @property
    def elsewhere(self) -> str:
        """Where to look for an image that is not here, in words that follow "Pull it, or"."""

    def get(self, name: str) -> ImageRecord:
        """Raises ``NotFound``."""

    def list(self, *filters: str) -> list[ImageRecord]:
        """All that match one of ``filters``, every one without any."""

    def put(
        self, name: str, target: Descriptor, labels: Mapping[str, str] | None = None
    ) -> ImageRecord:
        """Let ``name`` stand for ``target``, in place of what it stood for.

        ``labels`` replace those that it had; ``None`` leaves them.
        """

    def delete(self, name: str, *, sync: bool = False) -> None:
        """Raises ``NotFound``; ``sync`` collects garbage before it returns."""


class DaemonNames:
    """The image records of a namespace; ``Names``."""

    elsewhere = "look in another namespace, such as k8s.io or moby"

    def __init__(self, service: ImageService) -> None:
        self._service = service

    def get(self, name: str) -> ImageRecord:
        return self._service.get(name)

    def list(self, *filters: str) -> list[ImageRecord]:
        return self._service.list(*filters)

    def put(
        self, name: str, target: Descriptor, labels: Mapping[str, str] | None = None
    ) -> ImageRecord:
        """As ``Names.put``; another client may create or delete the name meanwhile."""
        fields = ("target",) if labels is None else ()
        for _ in range(_MOST_TRIES):
            with suppress(AlreadyExists):
                return self._service.create(name, target, labels)
            with suppress(NotFound):
                return self._service.update(name, target, labels, fields=fields)
        raise Unavailable(f"image {name} is made and removed all the time by somebody else")

    def delete(self, name: str, *, sync: bool = False) -> None:
        self._service.delete(name, sync=sync)


def find(names: Names, name: str) -> ImageRecord:
    """The image by its full or familiar name.  Raises ``NotFound``."""
    candidates = [name]
    with suppress(InvalidArgument):
        candidates.append(str(Reference.parse(name)))
    for candidate in dict.fromkeys(candidates):
        with suppress(NotFound):
            return names.get(candidate)
    raise NotFound(
        f"there is no image {candidates[-1]!r} here",
        operation="Images.Get",
        remedy=f"Pull it, or {names.elsewhere}",
    )


def full_name(name: str) -> str:
    """The full form of a name that is to be given.  Raises ``InvalidArgument``."""
    return str(Reference.parse(name))


def name_of(target: Descriptor, name: str) -> str:
    """The full form of a name that ``target`` is to be given.

    Raises ``InvalidArgument``, and ``DigestMismatch`` where the name has another digest.
    """
    reference = Reference.parse(name)
    if reference.digest not in ("", target.digest):
        raise DigestMismatch(f"{name} cannot stand for {target.digest}")
    return str(reference)


def parse_name(name: str) -> Reference | None:
    """The name as a reference; a resolver may have names of another kind."""
    try:
        return Reference.parse(name)
    except InvalidArgument:
        return None
