"""Manifests that refer to others, and the tag that stands in where a registry has no list of them.

What lives here: distribution-spec, Listing Referrers, Pushing Manifests with Subject, and the
Referrers Tag Schema.  What may not: what the referrers mean.
"""

from __future__ import annotations

import json
import re

from ..deadline import Deadline
from ..errors import DigestMismatch, InvalidArgument, RegistryError, RegistryNotFound, SizeMismatch
from ..oci import digest as digests
from ..oci import media_types
from ..oci.descriptor import Descriptor
from ..oci.document import MAX_DOCUMENT
from ..oci.manifest import Index, Manifest, parse
from ..oci.reference import Reference
from ..records import replace
from . import responses as answers
from .destinations import Url
from .download import Until, pull_scope
from .failover import Failover
from .hosts import PULL, REFERRERS
from .http import Response
from .listing import Watch, delete_content, next_page
from .session import Ask, Session
from .upload import push_scope

#: Referrers of one manifest; more are believed to be an attack (CVE-2023-46737).
MAX_REFERRERS = 10_000


def fallback_tag(digest: str) -> str:
    """The tag under which a client keeps the referrers of ``digest``.

    The algorithm is cut at 32 characters, the rest at 64, and what a tag cannot hold is ``-``.
    """
    algorithm, _, encoded = digest.partition(":")
    return re.sub(r"[^A-Za-z0-9_.-]", "-", f"{algorithm[:32]}-{encoded[:64]}")


def find_referrers(
    hosts: Failover, reference: Reference, artifact_type: str, until: Until
) -> tuple[Descriptor, ...]:
    """The referrers of the reference's digest, by the API or the fallback tag."""
    digest = reference.digest
    if not digest:
        raise InvalidArgument(
            f"{reference} has no digest", remedy="Resolve it first: referrers are kept by digest"
        )

    def on(session: Session) -> tuple[Descriptor, ...]:
        deadline = until()
        try:
            return _listed(session, reference.repository, digest, artifact_type, deadline)
        except RegistryNotFound:
            held = _held(session, reference.repository, digest, deadline)
            return held.manifests if held else ()

    found = hosts.first(on, REFERRERS, PULL)
    # The registry may have filtered or not: OCI-Filters-Applied tells, and it costs nothing.
    return tuple(d for d in found if artifact_type in ("", d.artifact_type))


def _listed(
    session: Session, repository: str, digest: str, artifact_type: str, deadline: Deadline
) -> tuple[Descriptor, ...]:
    query = {"artifactType": artifact_type} if artifact_type else {}
    ask = Ask(
        "GET",
        f"{repository}/referrers/{digest}",
        f"referrers of {digest}",
        scopes=(pull_scope(repository),),
        headers={"Accept": media_types.OCI_INDEX},
        query=query,
    )
    watch = Watch(f"the list of referrers of {digest} at {session.host.base.origin}")
    found: dict[str, Descriptor] = {}
    room = MAX_DOCUMENT  # as much as the one index of a fallback tag may hold
    while True:
        index, following, size = session.send(ask, deadline, _page)
        watch.check([child.digest for child in index.manifests])
        found.update((child.digest, child) for child in index.manifests)
        room -= size
        if len(found) > MAX_REFERRERS or room < 0:
            raise RegistryError(
                f"{digest} has more than the {MAX_REFERRERS} referrers or {MAX_DOCUMENT} bytes "
                "of them that are allowed"
            )
        if following is None:
            return tuple(found.values())
        ask = replace(ask, url=following)


def _page(answer: Response) -> tuple[Index, Url | None, int]:
    body = answer.read(MAX_DOCUMENT, "the list of referrers")
    return _index(answer, body), next_page(answer), len(body)


def _index(answer: Response, body: bytes) -> Index:
    """The index of an answer; refuses every other document."""
    said = media_types.bare(answer.headers.get("Content-Type", ""))
    try:
        found = parse(body, said if media_types.is_index(said) else media_types.OCI_INDEX)
    except (InvalidArgument, DigestMismatch) as error:
        raise RegistryError(f"{answer.url.origin} gave no list of referrers: {error}") from error
    if not isinstance(found, Index) or not (media_types.is_index(said) or not said):
        raise RegistryError(f"{answer.url.origin} keeps something else than an index as referrers")
    return found


def _held(session: Session, repository: str, digest: str, deadline: Deadline) -> Index | None:
    """What the fallback tag holds, if it is there."""
    tag = fallback_tag(digest)
    accept = {"Accept": media_types.OCI_INDEX}
    path = f"{repository}/manifests/{tag}"
    ask = Ask("GET", path, f"manifest {tag}", (pull_scope(repository),), accept)
    try:
        return session.send(ask, deadline, _page)[0]
    except RegistryNotFound:
        return None


def push_manifest(
    session: Session, reference: Reference, content: bytes, media_type: str, deadline: Deadline
) -> Descriptor:
    """Puts a manifest; keeps the fallback tag of its subject where the registry does not."""
    document = parse(content, media_type)
    algorithm = digests.algorithm(reference.digest) if reference.digest else "sha256"
    digest = digests.of(content, algorithm)
    if reference.digest and reference.digest != digest:
        raise DigestMismatch(f"the manifest's digest is {digest}, not that of {reference}")
    descriptor = Descriptor(document.media_type, digest, len(content))
    place = reference.tag or digest
    handled = _put(
        session,
        reference.repository,
        place,
        content=content,
        descriptor=descriptor,
        deadline=deadline,
    )
    if document.subject is not None and not handled:
        _keep(session, reference.repository, document, descriptor, deadline)
    return descriptor


def _put(
    session: Session,
    repository: str,
    place: str,
    content: bytes,
    descriptor: Descriptor,
    deadline: Deadline,
) -> bool:
    """Puts a manifest; tells whether the registry keeps the referrers of its subject itself."""

    def use(answer: Response) -> bool:
        answer.snippet(0)
        answers.confirm(answer, descriptor.digest)
        return "OCI-Subject" in answer.headers

    ask = Ask(
        "PUT",
        f"{repository}/manifests/{place}",
        f"manifest {place}",
        (push_scope(repository),),
        {"Content-Type": descriptor.media_type},
        body=content,
        expect=(201, 200, 202),
    )
    return session.send(ask, deadline, use)


def _keep(
    session: Session,
    repository: str,
    document: Manifest | Index,
    descriptor: Descriptor,
    deadline: Deadline,
) -> None:
    """Adds a referrer to the index under the fallback tag of its subject."""
    subject = document.subject
    if subject is None:
        return
    held = _held(session, repository, subject.digest, deadline)
    entries = list(held.manifests) if held else []
    if any(entry.digest == descriptor.digest for entry in entries):
        return
    kind = document.artifact_type
    if not kind and isinstance(document, Manifest):
        kind = document.config.media_type
    entries.append(replace(descriptor, artifact_type=kind, annotations=document.annotations))
    _write(session, repository, subject.digest, entries=entries, held=held, deadline=deadline)


def _write(
    session: Session,
    repository: str,
    subject: str,
    entries: list[Descriptor],
    held: Index | None,
    deadline: Deadline,
) -> None:
    """Puts the index of a subject's referrers under its fallback tag, in the place of ``held``."""
    index = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_INDEX,
        "manifests": [entry.to_json() for entry in entries],
        **({"annotations": dict(held.annotations)} if held and held.annotations else {}),
    }
    body = json.dumps(index, separators=(",", ":")).encode()
    place = Descriptor(media_types.OCI_INDEX, digests.of(body), len(body))
    _put(
        session,
        repository,
        fallback_tag(subject),
        content=body,
        descriptor=place,
        deadline=deadline,
    )


def delete_manifest(session: Session, reference: Reference, deadline: Deadline) -> None:
    """Deletes a manifest or a tag; a referrer is taken out of its subject's fallback tag, too."""
    repository, digest = reference.repository, reference.digest
    # A tag leaves the manifest where it is.
    subject = _subject_of(session, repository, digest, deadline) if digest else None
    delete_content(session, repository, "manifests", reference.target, deadline)
    if subject is None:
        return
    try:
        _listed(session, repository, subject, "", deadline)  # the registry keeps the list itself
    except RegistryNotFound:
        held = _held(session, repository, subject, deadline)
        kept = [entry for entry in held.manifests if entry.digest != digest] if held else []
        if held and len(kept) < len(held.manifests):
            _write(session, repository, subject, entries=kept, held=held, deadline=deadline)


def _subject_of(session: Session, repository: str, digest: str, deadline: Deadline) -> str | None:
    """The digest of a manifest's subject; ``None`` too for a manifest that cannot be read."""
    accept = {"Accept": ", ".join(media_types.ACCEPTED)}
    scopes = (pull_scope(repository),)
    ask = Ask("GET", f"{repository}/manifests/{digest}", f"manifest {digest}", scopes, accept)
    try:
        body = session.send(ask, deadline, lambda answer: answer.read(MAX_DOCUMENT, ask.what))
        subject = (
            parse(body).subject if digests.of(body, digests.algorithm(digest)) == digest else None
        )
    except (InvalidArgument, DigestMismatch, SizeMismatch, RegistryError):
        return None
    return subject.digest if subject else None
