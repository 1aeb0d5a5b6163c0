"""Lists, page by page, and deletion (distribution-spec, Listing Tags, Content Management).

What lives here: what is asked, and the bounds of what is read.  What may not: referrers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NoReturn

from ..deadline import Deadline
from ..errors import InvalidArgument, RegistryError
from ..lazy import lazy_pattern
from ..oci.document import MAX_DOCUMENT, Document
from ..oci.reference import Reference
from ..records import record, replace
from .destinations import Url
from .download import pull_scope
from .failover import Failover
from .hosts import PULL, RESOLVE
from .http import Response
from .http_errors import MAX_ERROR, naming
from .session import Ask, Session

#: Pages of one list; a registry that has more is believed to have no end (oras-go #1215).
MAX_PAGES = 10_000
#: Entries of one list.
MAX_ENTRIES = 1_000_000
#: Pages in a row that bring nothing: a registry that filters may have some.
MAX_FRUITLESS = 16
#: Characters of one entry: a tag has 128 at most, a repository's name 255.
_MAX_ENTRY = 1024

_LINK = lazy_pattern(r'<([^<>]*)>((?:[^",<]|"(?:[^"\\]|\\.)*")*)')
_PARAMETER = lazy_pattern(r';\s*([^\s;="]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]*))')

#: The entries of one page.
ReadPage = Callable[[Document], tuple[str, ...]]


def list_tags(
    hosts: Failover, reference: Reference, until: Callable[[], Deadline]
) -> Iterator[str]:
    """The tags of a repository."""
    repository = reference.repository
    ask = Ask("GET", f"{repository}/tags/list", f"tags of {repository}", (pull_scope(repository),))
    return _entries(hosts, ask, lambda page: page.texts("tags"), until)


def list_catalog(hosts: Failover, until: Callable[[], Deadline]) -> Iterator[str]:
    """The repositories of a registry (distribution's API)."""
    ask = Ask("GET", "_catalog", "catalog", ("registry:catalog:*",))
    return _entries(hosts, ask, lambda page: page.texts("repositories"), until)


def _entries(
    hosts: Failover, ask: Ask, read: ReadPage, until: Callable[[], Deadline]
) -> Iterator[str]:
    """The entries of all pages, each page once; it is asked for when it is wanted.

    An entry that comes twice is given twice: to remember all would take what memory there is.
    """
    with naming(f"list {ask.what}"):
        # All pages come from the host that gave the first: its links lead to it.
        session, page = hosts.first(
            lambda session: (session, _page(session, ask, read, until())), RESOLVE, PULL
        )
    watch = Watch(f"the list of {ask.what} at {session.host.base.origin}")
    while True:
        with naming(f"list {ask.what}"):
            is_new = watch.check(page.entries)
        if is_new:
            yield from page.entries
        if page.following is None:
            return
        with naming(f"list {ask.what}"):
            page = _page(session, replace(ask, url=page.following), read, until())


class Watch:
    """Sees that a list comes to an end; keeps no more of its pages than a number each."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._marks: set[int] = set()
        self._pages = self._entries = self._fruitless = 0

    def check(self, entries: Sequence[str]) -> bool:
        """Takes the next page; false for one that is empty or has been there.

        Raises RegistryError for a page, or an entry, too many.
        """
        self._pages += 1
        self._entries += len(entries)
        if max(map(len, entries), default=0) > _MAX_ENTRY:
            self._fail(f"has an entry of more than {_MAX_ENTRY} characters")
        if self._entries > MAX_ENTRIES:
            self._fail(f"has more than {MAX_ENTRIES} entries")
        if self._pages > MAX_PAGES:
            self._fail(f"has more than {MAX_PAGES} pages")
        mark = hash(tuple(entries))
        is_new = bool(entries) and mark not in self._marks
        self._fruitless = 0 if is_new else self._fruitless + 1
        self._marks.add(mark)
        if self._fruitless > MAX_FRUITLESS:
            self._fail("goes on without anything new")
        return is_new

    def _fail(self, why: str) -> NoReturn:
        raise RegistryError(f"{self._what} {why}")


@record(frozen=True)
class _Page:
    entries: tuple[str, ...]
    following: Url | None


def _page(session: Session, ask: Ask, read: ReadPage, deadline: Deadline) -> _Page:
    def use(answer: Response) -> _Page:
        body = answer.read(MAX_DOCUMENT, ask.what)
        try:
            return _Page(read(Document.parse(body, ask.what)), next_page(answer))
        except InvalidArgument as error:
            raise RegistryError(f"{answer.url.origin} gave no list: {error}") from None

    return session.send(ask, deadline, use)


def next_page(answer: Response) -> Url | None:
    """The URL of the next page, where a ``Link`` names one (RFC 8288).

    Raises RegistryError for one that leads to another origin: pages are asked for with
    credentials.
    """
    for target, parameters in _LINK.findall(", ".join(answer.header_list("Link"))[: 16 << 10]):
        if not _leads_on(parameters):
            continue
        try:
            url = answer.url.join(target)
        except InvalidArgument as error:
            raise RegistryError(f"{answer.url.origin}: the next page is at {error}") from None
        if url.origin != answer.url.origin:
            raise RegistryError(
                f"{answer.url.origin} has its next page at {url.origin}; it is not asked there"
            )
        return url
    return None


def _leads_on(parameters: str) -> bool:
    """Whether a link's parameters have the relation ``next``; the first ``rel`` counts."""
    for match in _PARAMETER.finditer(parameters):
        if match[1].lower() == "rel":
            return "next" in (match[2] or match[3] or "").lower().split()
    return False


#: What of a repository can be deleted.
Kind = Literal["manifests", "blobs"]


def delete_content(
    session: Session, repository: str, kind: Kind, name: str, deadline: Deadline
) -> None:
    """Deletes one of a repository's ``"manifests"``, by digest or tag, or of its ``"blobs"``."""
    ask = Ask(
        "DELETE",
        f"{repository}/{kind}/{name}",
        f"{kind[:-1]} {name}",
        (f"repository:{repository}:delete,pull,push",),
        expect=(202, 200, 204),
    )
    session.send(ask, deadline, lambda answer: answer.snippet(MAX_ERROR))
