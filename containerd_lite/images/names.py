"""The names of images: the protocol of a store's names, and the names in a daemon's namespace."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from ..errors import AlreadyExists, InvalidArgument, NotFound, Unavailable
from ..limits import refused
from ..oci import digest as digests
from ..oci.descriptor import Descriptor
from ..oci.image_record import ImageRecord, all_recorded, check_name
from ..oci.reference import Reference

if TYPE_CHECKING:
    from ..services.images import ImageService

#: The maximum number of times that ``put`` tries to write a name while another client creates and
#: deletes the same name.
_MOST_TRIES = 10


class Names(Protocol):
    """The image names of a store; ``DaemonNames`` and ``LayoutNames`` implement it."""

    @property
    def elsewhere(self) -> str:
        """Advice for a missing image. It completes the sentence "Pull it, or ..."."""

    def get(self, name: str) -> ImageRecord:
        """Return the record of a name.

        Raises:
            NotFound: The store has no such name.
        """

    def list(self, *filters: str) -> list[ImageRecord]:
        """Return all records, or the records that match at least one of ``filters``."""

    def put(
        self,
        name: str,
        target: Descriptor,
        labels: Mapping[str, str] | None = None,
        *,
        exists: bool = False,
    ) -> ImageRecord:
        """Let ``name`` refer to ``target``; create the name if it does not exist.

        The labels of an existing name are replaced, unless ``labels`` is ``None``.
        The record does not keep annotations of ``target`` that are too long for a label. With
        ``exists``, the name probably exists, which saves a call.

        Raises:
            DigestMismatch: ``name`` holds a digest, but ``target`` has another digest.
            InvalidArgument: The annotations of ``target`` are too long in total.
        """

    def put_all(
        self, targets: Mapping[str, Descriptor], labels: Mapping[str, str] | None = None
    ) -> Sequence[ImageRecord]:
        """Create or update several names; see ``put``. Return the records in the same order.

        No name is written if one of them is refused.
        """

    def restore(self, record: ImageRecord) -> ImageRecord:
        """Write a record without the checks of ``put``, because the store had it before."""

    def delete(self, name: str, *, sync: bool = False) -> None:
        """Delete a name.

        Args:
            name: The name of an image.
            sync: Whether to collect garbage before the call returns.

        Raises:
            NotFound: The store has no such name.
        """


class DaemonNames:
    """The image records of a daemon's namespace; implements ``Names``."""

    elsewhere = "look in another namespace, such as k8s.io or moby"

    def __init__(self, service: ImageService) -> None:
        self._service = service

    def get(self, name: str) -> ImageRecord:
        """Return the record of a name; see ``Names.get``."""
        return self._service.get(name)

    def list(self, *filters: str) -> list[ImageRecord]:
        """Return the records that match; see ``Names.list``."""
        return self._service.list(*filters)

    def put(
        self,
        name: str,
        target: Descriptor,
        labels: Mapping[str, str] | None = None,
        *,
        exists: bool = False,
    ) -> ImageRecord:
        """Create or update a name; see ``Names.put``.

        Another client may create or delete the same name at the same time.
        """
        checked = all_recorded({name: target}, labels or {})
        return self._write(name, checked[name], labels, exists=exists)

    def put_all(
        self, targets: Mapping[str, Descriptor], labels: Mapping[str, str] | None = None
    ) -> Sequence[ImageRecord]:
        """Create or update several names; see ``Names.put_all``."""
        checked = all_recorded(targets, labels or {})
        return [self._write(name, target, labels) for name, target in checked.items()]

    def restore(self, record: ImageRecord) -> ImageRecord:
        """Write a record that the store had before; see ``Names.restore``."""
        return self._write(record.name, record.target, record.labels)

    def _write(
        self,
        name: str,
        target: Descriptor,
        labels: Mapping[str, str] | None,
        *,
        exists: bool = False,
    ) -> ImageRecord:
        fields = ("target",) if labels is None else ()
        for number in range(_MOST_TRIES):
            if number or not exists:
                with suppress(AlreadyExists):
                    return self._service.create(name, target, labels)
            with suppress(NotFound):
                return self._service.update(name, target, labels, fields=fields)
        raise Unavailable(f"another client keeps creating and deleting image {name}")

    def delete(self, name: str, *, sync: bool = False) -> None:
        """Delete a name; see ``Names.delete``."""
        self._service.delete(name, sync=sync)


def find(names: Names, name: str) -> ImageRecord:
    """Return the record of a full or familiar name.

    Raises:
        NotFound: The store has no such name.
    """
    if not isinstance(name, str):
        raise refused("name", name, "the name of an image")
    candidates = [name]
    if not digests.is_digest(name):  # a reference could have the repository sha256 and this tag
        with suppress(InvalidArgument):
            candidates.append(str(Reference.parse(name)))
    for candidate in dict.fromkeys(candidates):
        with suppress(NotFound):
            return names.get(candidate)
    raise NotFound(
        f"image {candidates[-1]!r} not found",
        operation="Images.Get",
        remedy=f"Pull it, or {names.elsewhere}",
    )


def full_name(name: str) -> str:
    """Return the full form of an image name.

    Raises:
        InvalidArgument: ``name`` is not a valid reference.
    """
    return str(Reference.parse(name))


def name_of(target: Descriptor, name: str) -> str:
    """Return the full form of a new name for ``target``.

    Raises:
        InvalidArgument: ``name`` is not a valid reference.
        DigestMismatch: ``name`` contains a digest that is not the digest of ``target``.
    """
    is_digest = isinstance(name, str) and digests.is_digest(name)
    found = name if is_digest else str(Reference.parse(name))
    check_name(found, target, {})
    return found


def parse_name(name: str) -> Reference | None:
    """Return ``name`` as a reference, or ``None`` if it is not a valid reference.

    A custom resolver can accept image names that are not references.
    """
    try:
        return Reference.parse(name)
    except InvalidArgument:
        return None
