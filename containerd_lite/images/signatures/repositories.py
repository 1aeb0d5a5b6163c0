"""Repositories in which the signatures of an image are looked for; see ``trust.Repository``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing, suppress

from ...errors import InvalidArgument, NotFound, SizeMismatch
from ...oci import digest as digests
from ...oci import media_types
from ...oci.descriptor import Descriptor
from ...oci.manifest import parse
from ...oci.reference import Reference
from ...store.protocol import ContentStore, read_blob
from ..gc_labels import REFERRER
from ..names import Names
from ..resolver import Resolver

#: Referrers of signatures are smaller than this number of bytes.
_MAX_REFERRER = 64 << 10


class ResolverRepository:
    """The repository of an image, reached by the resolver of a pull.

    Args:
        resolver: The resolver.
        reference: The image.
    """

    def __init__(self, resolver: Resolver, reference: Reference) -> None:
        self._resolver = resolver
        self._name = reference.name
        self._fetcher = resolver.fetcher(str(reference))

    def referrers(self, target: Descriptor) -> Sequence[Descriptor]:
        """Return the manifests whose subject is ``target``; none if the fetcher finds none."""
        find = getattr(self._fetcher, "referrers", None)
        return () if find is None else tuple(find(target))

    def find(self, tag: str) -> Descriptor | None:
        """Return the descriptor that a tag refers to; ``None`` if the tag does not exist."""
        with suppress(NotFound):
            return self._resolver.resolve(f"{self._name}:{tag}")[1]
        return None

    def read(self, descriptor: Descriptor, limit: int) -> bytes:
        """Return content that matches its descriptor; see ``trust.Repository``."""
        if descriptor.size > limit:
            raise SizeMismatch(f"{descriptor.digest} is larger than the {limit} bytes allowed")
        verifier = digests.Verifier(descriptor.digest, descriptor.size)
        body, filled = bytearray(descriptor.size + 1), 0
        with closing(self._fetcher.fetch(descriptor)) as reader, memoryview(body) as view:
            while filled < len(view) and (count := reader.readinto(view[filled:])):
                verifier.update(view[filled : filled + count])
                filled += count
        verifier.check()
        return bytes(memoryview(body)[:filled])


class StoreRepository:
    """The names and the content of a store, as the repository of an image.

    Args:
        names: The names of the store. cosign's tags are names of the same repository.
        store: The content of the store.
        reference: The image.
    """

    def __init__(self, names: Names, store: ContentStore, reference: Reference) -> None:
        self._names = names
        self._store = store
        self._name = reference.name
        self._referrers: Mapping[str, Sequence[Descriptor]] | None = None

    def referrers(self, target: Descriptor) -> Sequence[Descriptor]:
        """Return the manifests in the store whose subject is ``target``.

        A daemon knows the referrers that were pulled with their image by labels of the image. A
        layout has no labels, so its small blobs are read.
        """
        info = self._store.info(target.digest)
        listed = [value for key, value in info.labels.items() if key.startswith(REFERRER)]
        if listed:
            found = self._store.infos(listed)
            sizes = {key: found[key].size for key in found}
            return referrers_among(self._store, sizes).get(target.digest, ())
        if info.labels:
            return ()
        if self._referrers is None:
            sizes = {each.digest: each.size for each in self._store.walk()}
            self._referrers = referrers_among(self._store, sizes)
        return self._referrers.get(target.digest, ())

    def find(self, tag: str) -> Descriptor | None:
        """Return the descriptor that a tag refers to; ``None`` if the store has no such name."""
        with suppress(NotFound):
            return self._names.get(f"{self._name}:{tag}").target
        return None

    def read(self, descriptor: Descriptor, limit: int) -> bytes:
        """Return content that matches its descriptor; see ``trust.Repository``."""
        return read_blob(self._store, descriptor, limit)


def referrers_among(
    store: ContentStore, sizes: Mapping[str, int]
) -> Mapping[str, Sequence[Descriptor]]:
    """Return those of the blobs that are manifests with a subject, by the subject's digest.

    Args:
        store: The store that has the blobs.
        sizes: The sizes of the blobs in bytes, by digest. Larger blobs are not read.
    """
    found: dict[str, list[Descriptor]] = {}
    for digest, size in sizes.items():
        if size <= _MAX_REFERRER:
            descriptor = Descriptor(media_types.OCI_MANIFEST, digest, size)
            with suppress(InvalidArgument, NotFound):
                subject = parse(read_blob(store, descriptor, _MAX_REFERRER)).subject
                if subject is not None:
                    found.setdefault(subject.digest, []).append(descriptor)
    return found
