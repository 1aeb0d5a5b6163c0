"""Requests that list tags and repositories page by page, and that delete content.

See the distribution-spec, Listing Tags and Content Management.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NoReturn

from ..deadline import Deadline
from ..errors import InvalidArgument, RegistryError
from ..lazy import lazy_pattern
from ..oci.document import MAX_DOCUMENT, Document
from ..oci.reference import Reference
from ..records import record, replace
from .destinations import Url
from .failover import Failover
from .hosts import PULL, RESOLVE
from .http import Response
from .http_errors import MAX_ERROR, naming
from .session import ApiRequest, Session, pull_scope

#: Largest number of pages of one list. A list with more pages counts as endless (oras-go #1215).
MAX_PAGES = 10_000
#: Largest number of entries of one list.
MAX_ENTRIES = 1_000_000
#: Largest number of consecutive pages without new entries. A registry that filters a list may send
#: some such pages.
MAX_PAGES_WITHOUT_NEW = 16
#: Largest number of characters of one entry. A tag has at most 128 characters, and the name of a
#: repository at most 255.
_MAX_ENTRY = 1024

#: A link and its parameters. A quoted string without an end reaches to the end of the header:
#: otherwise, each quotation mark could make the search read the whole rest of the header.
_LINK = lazy_pattern(r'<([^<>]*)>((?:[^",<]|"(?:[^"\\]|\\.)*(?:"|\\?\Z))*)', re.DOTALL)
_PARAMETER = lazy_pattern(r';\s*([^\s;="]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))')

#: A function that returns the entries of one page.
ReadPage = Callable[[Document], tuple[str, ...]]


def list_tags(
    hosts: Failover, reference: Reference, new_deadline: Callable[[], Deadline]
) -> Iterator[str]:
    """Yield the tags of a repository."""
    repository = reference.repository
    request = ApiRequest(
        "GET", f"{repository}/tags/list", f"tags of {repository}", (pull_scope(repository),)
    )
    return _entries(hosts, request, lambda page: page.texts("tags"), new_deadline)


def list_catalog(hosts: Failover, new_deadline: Callable[[], Deadline]) -> Iterator[str]:
    """Yield the repositories of a registry (distribution's API)."""
    request = ApiRequest("GET", "_catalog", "catalog", ("registry:catalog:*",))
    return _entries(hosts, request, lambda page: page.texts("repositories"), new_deadline)


def _entries(
    hosts: Failover, request: ApiRequest, read: ReadPage, new_deadline: Callable[[], Deadline]
) -> Iterator[str]:
    """Yield the entries of all pages; request each page only when it is needed.

    A page that equals an earlier page is skipped. If two different pages contain the same entry,
    the entry is yielded twice, because a list of all entries could need too much memory.
    """
    with naming(f"list {request.what}"):
        # All pages come from the host that sent the first page, because the links in a page
        # refer to that host.
        session, page = hosts.first_success(
            lambda session: (session, _request_page(session, request, read, new_deadline())),
            RESOLVE,
            PULL,
        )
    limits = ListLimits(f"the list of {request.what} at {session.host.base.origin}")
    while True:
        with naming(f"list {request.what}"):
            is_new = limits.check(page.entries)
        if is_new:
            yield from page.entries
        if page.next_url is None:
            return
        with naming(f"list {request.what}"):
            page = _request_page(session, replace(request, url=page.next_url), read, new_deadline())


class ListLimits:
    """Limits the pages and the entries of a list, so that no list is endless.

    A ``ListLimits`` stores one hash for each page. ``what`` names the list in errors.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._hashes: set[int] = set()
        self._pages = self._entries = self._pages_without_new = 0

    def check(self, entries: Sequence[str]) -> bool:
        """Count a page, and return whether it is new. An empty or a repeated page is not new.

        Raises RegistryError if the list has too many pages or entries, if too many consecutive
        pages are not new, or if an entry is too long.
        """
        self._pages += 1
        self._entries += len(entries)
        if max(map(len, entries), default=0) > _MAX_ENTRY:
            self._fail(f"has an entry of more than {_MAX_ENTRY} characters")
        if self._entries > MAX_ENTRIES:
            self._fail(f"has more than {MAX_ENTRIES} entries")
        if self._pages > MAX_PAGES:
            self._fail(f"has more than {MAX_PAGES} pages")
        page_hash = hash(tuple(entries))
        is_new = bool(entries) and page_hash not in self._hashes
        self._pages_without_new = 0 if is_new else self._pages_without_new + 1
        self._hashes.add(page_hash)
        if self._pages_without_new > MAX_PAGES_WITHOUT_NEW:
            self._fail("continues without new entries")
        return is_new

    def _fail(self, reason: str) -> NoReturn:
        raise RegistryError(f"{self._what} {reason}")


@record(frozen=True)
class _Page:
    """The entries of one page, and the URL of the next page, if there is one."""

    entries: tuple[str, ...]
    next_url: Url | None


def _request_page(
    session: Session, request: ApiRequest, read: ReadPage, deadline: Deadline
) -> _Page:
    def read_response(response: Response) -> _Page:
        body = response.read(MAX_DOCUMENT, request.what)
        try:
            return _Page(read(Document.parse(body, request.what)), next_page(response))
        except InvalidArgument as error:
            raise RegistryError(f"{response.url.origin} sent an invalid list: {error}") from None

    return session.send(request, deadline, read_response)


def next_page(response: Response) -> Url | None:
    """Return the URL of the next page from the ``Link`` header (RFC 8288), or ``None``.

    Raises RegistryError if the URL is invalid or has a different origin. A request for a page
    carries credentials, which must not be sent to a different origin.
    """
    for target, parameters in _LINK.findall(", ".join(response.header_list("Link"))[: 16 << 10]):
        if not _is_next(parameters):
            continue
        try:
            url = response.url.join(target)
        except InvalidArgument as error:
            raise RegistryError(
                f"{response.url.origin} links to an invalid next page: {error}"
            ) from None
        if url.origin != response.url.origin:
            raise RegistryError(
                f"{response.url.origin} links to a next page on {url.origin}; "
                "pages on another origin are not requested"
            )
        return url
    return None


def _is_next(parameters: str) -> bool:
    """Return whether the first ``rel`` parameter of a link contains the relation ``next``."""
    for match in _PARAMETER.finditer(parameters):
        if match[1].lower() == "rel":
            return "next" in (match[2] or match[3] or "").lower().split()
    return False


#: The kinds of content that a repository's API can delete.
Kind = Literal["manifests", "blobs"]


def delete_content(
    session: Session, repository: str, kind: Kind, name: str, deadline: Deadline
) -> None:
    """Delete a manifest, a tag or a blob. ``name`` is a digest or, for a tag, the tag itself."""
    request = ApiRequest(
        "DELETE",
        f"{repository}/{kind}/{name}",
        f"{kind[:-1]} {name}",
        (f"repository:{repository}:delete,pull,push",),
        expect=(202, 200, 204),
    )
    session.send(request, deadline, lambda response: response.snippet(MAX_ERROR))
