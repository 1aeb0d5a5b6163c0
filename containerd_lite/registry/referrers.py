"""Pushes, lists and deletes referrers: manifests that refer to another manifest, their subject.

If the registry has no referrers API, clients store the list of a subject's referrers as an index
under a special tag: the subject's fallback tag. See the distribution-spec, Listing Referrers,
Pushing Manifests with Subject, and Referrers Tag Schema.
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
from . import responses
from .destinations import Url
from .download import NewDeadline
from .failover import Failover
from .hosts import PULL, REFERRERS
from .http import Response
from .listing import ListLimits, delete_content, next_page
from .session import ApiRequest, Session, pull_scope, push_scope

#: Largest number of referrers of one manifest. A longer list counts as an attack (CVE-2023-46737).
MAX_REFERRERS = 10_000


def fallback_tag(digest: str) -> str:
    """Return the fallback tag of ``digest``. Clients store the list of referrers under this tag.

    The algorithm of the digest is cut to 32 characters, and the encoded part to 64. ``-`` replaces
    each character that a tag cannot contain.
    """
    algorithm, _, encoded = digest.partition(":")
    return re.sub(r"[^A-Za-z0-9_.-]", "-", f"{algorithm[:32]}-{encoded[:64]}")


def find_referrers(
    hosts: Failover, reference: Reference, artifact_type: str, new_deadline: NewDeadline
) -> tuple[Descriptor, ...]:
    """Return the referrers of the reference's digest, from the API or from the fallback tag."""
    digest = reference.digest
    if not digest:
        raise InvalidArgument(
            f"{reference} has no digest", remedy="Resolve the reference, and pass its digest"
        )

    def find_on(session: Session) -> tuple[Descriptor, ...]:
        deadline = new_deadline()
        try:
            return _fetch_list(session, reference.repository, digest, artifact_type, deadline)
        except RegistryNotFound:
            index = _fetch_fallback(session, reference.repository, digest, deadline)
            return index.manifests if index else ()

    found = hosts.first_success(find_on, REFERRERS, PULL)
    # Filter the list even if OCI-Filters-Applied says that the registry has filtered it.
    return tuple(d for d in found if artifact_type in ("", d.artifact_type))


def _fetch_list(
    session: Session, repository: str, digest: str, artifact_type: str, deadline: Deadline
) -> tuple[Descriptor, ...]:
    """Return the referrers of ``digest`` from all pages of the referrers API."""
    query = {"artifactType": artifact_type} if artifact_type else {}
    request = ApiRequest(
        "GET",
        f"{repository}/referrers/{digest}",
        f"referrers of {digest}",
        scopes=(pull_scope(repository),),
        headers={"Accept": media_types.OCI_INDEX},
        query=query,
    )
    limits = ListLimits(f"the list of referrers of {digest} at {session.host.base.origin}")
    found: dict[str, Descriptor] = {}
    # All pages together have the same size limit as one index under a fallback tag.
    bytes_left = MAX_DOCUMENT
    while True:
        index, next_url, size = session.send(request, deadline, _read_page)
        limits.check([child.digest for child in index.manifests])
        found.update((child.digest, child) for child in index.manifests)
        bytes_left -= size
        if len(found) > MAX_REFERRERS:
            raise RegistryError(f"{digest} has more than the {MAX_REFERRERS} referrers allowed")
        if bytes_left < 0:
            raise RegistryError(
                f"the list of referrers of {digest} has more than the {MAX_DOCUMENT} bytes allowed"
            )
        if next_url is None:
            return tuple(found.values())
        request = replace(request, url=next_url)


def _read_page(response: Response) -> tuple[Index, Url | None, int]:
    """Return the index in one page, the URL of the next page, and the size of the page in bytes."""
    body = response.read(MAX_DOCUMENT, "the list of referrers")
    return _parse_index(response, body), next_page(response), len(body)


def _parse_index(response: Response, body: bytes) -> Index:
    """Return the index in a response's body. Raises RegistryError if the body is not an index."""
    content_type = media_types.bare(response.headers.get("Content-Type", ""))
    try:
        found = parse(
            body, content_type if media_types.is_index(content_type) else media_types.OCI_INDEX
        )
    except (InvalidArgument, DigestMismatch) as error:
        raise RegistryError(
            f"{response.url.origin} sent an invalid list of referrers: {error}"
        ) from error
    if not isinstance(found, Index) or not (media_types.is_index(content_type) or not content_type):
        raise RegistryError(f"{response.url.origin} sent a list of referrers that is not an index")
    return found


def _fetch_fallback(
    session: Session, repository: str, digest: str, deadline: Deadline
) -> Index | None:
    """Return the index under the fallback tag of ``digest``, or ``None`` if the tag is absent."""
    tag = fallback_tag(digest)
    accept = {"Accept": media_types.OCI_INDEX}
    path = f"{repository}/manifests/{tag}"
    request = ApiRequest("GET", path, f"manifest {tag}", (pull_scope(repository),), accept)
    try:
        return session.send(request, deadline, _read_page)[0]
    except RegistryNotFound:
        return None


def push_manifest(
    session: Session, reference: Reference, content: bytes, media_type: str, deadline: Deadline
) -> Descriptor:
    """Push a manifest or index.

    If the manifest has a subject and the registry has no referrers API, add the manifest to the
    index under the subject's fallback tag.
    """
    document = parse(content, media_type)
    algorithm = digests.algorithm(reference.digest) if reference.digest else "sha256"
    digest = digests.of(content, algorithm)
    if reference.digest and reference.digest != digest:
        raise DigestMismatch(f"the manifest has the digest {digest}, but is pushed as {reference}")
    descriptor = Descriptor(document.media_type, digest, len(content))
    target = reference.tag or digest
    lists_referrers = _put_manifest(
        session,
        reference.repository,
        target,
        content=content,
        descriptor=descriptor,
        deadline=deadline,
    )
    if document.subject is not None and not lists_referrers:
        _add_to_fallback(session, reference.repository, document, descriptor, deadline)
    return descriptor


def _put_manifest(
    session: Session,
    repository: str,
    target: str,
    content: bytes,
    descriptor: Descriptor,
    deadline: Deadline,
) -> bool:
    """Put a manifest; return whether the registry listed the manifest as a referrer."""

    def read_response(response: Response) -> bool:
        response.snippet(0)
        responses.check_stored_digest(response, descriptor.digest)
        return "OCI-Subject" in response.headers

    request = ApiRequest(
        "PUT",
        f"{repository}/manifests/{target}",
        f"manifest {target}",
        (push_scope(repository),),
        {"Content-Type": descriptor.media_type},
        body=content,
        expect=(201, 200, 202),
    )
    return session.send(request, deadline, read_response)


def _add_to_fallback(
    session: Session,
    repository: str,
    document: Manifest | Index,
    descriptor: Descriptor,
    deadline: Deadline,
) -> None:
    """Add a referrer to the index under the fallback tag, unless the index contains it."""
    subject = document.subject
    if subject is None:
        return
    old_index = _fetch_fallback(session, repository, subject.digest, deadline)
    entries = list(old_index.manifests) if old_index else []
    if any(entry.digest == descriptor.digest for entry in entries):
        return
    artifact_type = document.artifact_type
    if not artifact_type and isinstance(document, Manifest):
        artifact_type = document.config.media_type
    entries.append(
        replace(descriptor, artifact_type=artifact_type, annotations=document.annotations)
    )
    _put_fallback(
        session,
        repository,
        subject.digest,
        entries=entries,
        old_index=old_index,
        deadline=deadline,
    )


def _put_fallback(
    session: Session,
    repository: str,
    subject: str,
    entries: list[Descriptor],
    old_index: Index | None,
    deadline: Deadline,
) -> None:
    """Replace ``old_index`` under the subject's fallback tag by an index of ``entries``."""
    index = {
        "schemaVersion": 2,
        "mediaType": media_types.OCI_INDEX,
        "manifests": [entry.to_json() for entry in entries],
        **(
            {"annotations": dict(old_index.annotations)}
            if old_index and old_index.annotations
            else {}
        ),
    }
    body = json.dumps(index, separators=(",", ":")).encode()
    descriptor = Descriptor(media_types.OCI_INDEX, digests.of(body), len(body))
    _put_manifest(
        session,
        repository,
        fallback_tag(subject),
        content=body,
        descriptor=descriptor,
        deadline=deadline,
    )


def delete_manifest(session: Session, reference: Reference, deadline: Deadline) -> None:
    """Delete a manifest or a tag.

    If the manifest is a referrer and the registry has no referrers API, also remove the manifest
    from the index under its subject's fallback tag.
    """
    repository, digest = reference.repository, reference.digest
    # Without a digest, only the tag is deleted; the manifest remains.
    subject = _subject_of(session, repository, digest, deadline) if digest else None
    delete_content(session, repository, "manifests", reference.target, deadline)
    if subject is None:
        return
    try:
        # If this request succeeds, the registry has a referrers API, and updates the list itself.
        _fetch_list(session, repository, subject, "", deadline)
    except RegistryNotFound:
        index = _fetch_fallback(session, repository, subject, deadline)
        entries = [entry for entry in index.manifests if entry.digest != digest] if index else []
        if index and len(entries) < len(index.manifests):
            _put_fallback(
                session, repository, subject, entries=entries, old_index=index, deadline=deadline
            )


def _subject_of(session: Session, repository: str, digest: str, deadline: Deadline) -> str | None:
    """Return the digest of a manifest's subject.

    The result is ``None`` if the manifest has no subject or cannot be read.
    """
    accept = {"Accept": ", ".join(media_types.ACCEPTED)}
    scopes = (pull_scope(repository),)
    request = ApiRequest(
        "GET", f"{repository}/manifests/{digest}", f"manifest {digest}", scopes, accept
    )
    try:
        body = session.send(
            request, deadline, lambda response: response.read(MAX_DOCUMENT, request.what)
        )
        subject = (
            parse(body).subject if digests.of(body, digests.algorithm(digest)) == digest else None
        )
    except (InvalidArgument, DigestMismatch, SizeMismatch, RegistryError):
        return None
    return subject.digest if subject else None
