"""Lists page by page, each page when it is wanted and from nowhere else; and deletion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count

import pytest

from containerd_lite.errors import (
    ContainerdError,
    InvalidArgument,
    RegistryError,
    RegistryNotFound,
    RegistryUnauthorized,
)
from containerd_lite.oci.reference import Reference
from containerd_lite.registry import listing
from containerd_lite.registry.credentials import Credentials
from containerd_lite.registry.registry import Registry
from tests.unit.registry.samples import BLOB_PATH, LAYER, PINNED, TAGGED, TARGET
from tests.unit.registry.scripted import Request, Scripted, challenge, reply

TAGS = "/v2/app/tags/list"
CATALOG = "/v2/_catalog"


def page(*tags: str, link: str = "") -> bytes:
    return reply(200, {"name": "app", "tags": list(tags)}, Link=link)


def following(target: str) -> str:
    return f'<{target}>; rel="next"'


def test_tags_of_one_page(server: Scripted, registry: Registry, ref: Reference) -> None:
    server.on("GET", TAGS, page("v1", "v2"))
    assert list(registry.tags(ref)) == ["v1", "v2"]
    assert [r.target for r in server.requests] == [TAGS]


@pytest.mark.parametrize("body", [{"name": "app"}, {"name": "app", "tags": None}, {"tags": []}])
def test_no_tags(server: Scripted, registry: Registry, ref: Reference, body: object) -> None:
    server.on("GET", TAGS, reply(200, body))
    assert list(registry.tags(ref)) == []


@pytest.mark.parametrize(
    "link",
    [
        f'<{TAGS}?last=a%2Fb=&n=1>; rel="next"',
        f'<{{origin}}{TAGS}?last=a%2Fb=&n=1>; rel="next"',
        '<list?last=a%2Fb=&n=1>; rel="next"',
        '<?last=a%2Fb=&n=1>; rel="next"',
        f"<{TAGS}?last=a%2Fb=&n=1>; rel=next",
        f"<{TAGS}?last=a%2Fb=&n=1>;rel=NEXT;title=x",
        f'<{TAGS}?last=a%2Fb=&n=1>; title="a, b; rel=prev"; rel="next"',
        f'<{TAGS}?last=a%2Fb=&n=1>; rel = "last next"',
        f'<{TAGS}?first=1>; rel="first", <{TAGS}?last=a%2Fb=&n=1>; rel="next", </x>; rel="last"',
        f'<{TAGS}?first=1>; title="say \\"hi\\", <b>"; rel=prev,<{TAGS}?last=a%2Fb=&n=1>;rel=next',
    ],
)
def test_the_next_page_is_where_the_link_says(
    server: Scripted, registry: Registry, ref: Reference, link: str
) -> None:
    server.on("GET", TAGS, page("a", link=link.format(origin=server.origin)), page("b"))
    assert list(registry.tags(ref)) == ["a", "b"]
    assert server.requests[1].target == f"{TAGS}?last=a%2Fb=&n=1"


@pytest.mark.parametrize(
    "link",
    [
        f'<{TAGS}?n=1>; rel="prev"',
        f"<{TAGS}?n=1>",
        f'<{TAGS}?n=1>; rel="nextly"',
        f'<{TAGS}?n=1>; rel="prev"; rel="next"',
        f'<{TAGS}?n=1>; title="x; rel=next"',
        f'<{TAGS}?n=1>; title="<y>; rel=next"; rel=prev',
        "next",
        '"' * 9000,
    ],
)
def test_links_that_do_not_lead_on(
    server: Scripted, registry: Registry, ref: Reference, link: str
) -> None:
    server.on("GET", TAGS, page("a", link=link), page("b"))
    assert list(registry.tags(ref)) == ["a"]
    assert len(server.requests) == 1


def test_links_may_come_in_several_headers(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    both = page("a", link='</first>; rel="first"').replace(
        b"Link:", f"Link: {following('list?n=1')}\r\nLink:".encode(), 1
    )
    server.on("GET", TAGS, both, page("b"))
    assert list(registry.tags(ref)) == ["a", "b"]


def test_a_next_page_elsewhere_is_not_asked_for(
    server: Scripted, another: Callable[..., Scripted], ref: Reference
) -> None:
    target = another()
    server.on("GET", TAGS, page("a", link=following(f"{target.origin}{TAGS}")))
    with (
        Registry(server.host, credentials=Credentials("me", "pw")) as registry,
        pytest.raises(RegistryError, match="not requested"),
    ):
        list(registry.tags(ref))
    assert target.connections == 0


@pytest.mark.parametrize("target", ["ftp://127.0.0.1/x", "http://[", "http://me:pw@127.0.0.1/x"])
def test_a_next_page_that_cannot_be(
    server: Scripted, registry: Registry, ref: Reference, target: str
) -> None:
    server.on("GET", TAGS, page("a", link=following(target)))
    with pytest.raises(RegistryError, match="next page") as caught:
        list(registry.tags(ref))
    assert "pw" not in str(caught.value)


def test_pages_are_asked_for_when_they_are_wanted(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    server.on("GET", TAGS, page("a", "b", link=following("list?n=1")), page("c"))
    tags = registry.tags(ref)
    assert server.requests == []
    assert (next(tags), next(tags), len(server.requests)) == ("a", "b", 1)
    assert (next(tags), len(server.requests)) == ("c", 2)


def test_a_page_that_comes_twice_is_given_once(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    again = page("a", "b", link=following("list?n=1"))
    server.on("GET", TAGS, again, again, page("c"))
    assert list(registry.tags(ref)) == ["a", "b", "c"]


def endless(fresh: bool) -> Callable[[Request], bytes]:
    numbers = count()
    return lambda _: page(f"t{next(numbers)}" if fresh else "same", link=following("list?n=1"))


def test_pages_without_end(
    server: Scripted, registry: Registry, ref: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MAX_PAGES", 7)
    server.on("GET", TAGS, endless(True))
    with pytest.raises(RegistryError, match="7 pages"):
        list(registry.tags(ref))
    assert len(server.requests) <= 8


def test_entries_without_end(
    server: Scripted, registry: Registry, ref: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "MAX_ENTRIES", 7)
    server.on("GET", TAGS, endless(True))
    with pytest.raises(RegistryError, match="7 entries"):
        list(registry.tags(ref))
    assert len(server.requests) == 8


def test_pages_that_bring_nothing_new(server: Scripted, registry: Registry, ref: Reference) -> None:
    server.on("GET", TAGS, endless(False))
    tags = registry.tags(ref)
    assert next(tags) == "same"
    with pytest.raises(RegistryError, match="without new entries"):
        next(tags)
    assert 2 < len(server.requests) < 30


def test_some_pages_may_be_empty(server: Scripted, registry: Registry, ref: Reference) -> None:
    empty = [page(link=following("list?n=1"))] * 9
    server.on("GET", TAGS, *empty, page("a", link=following("list?n=1")), *empty, page("b"))
    assert list(registry.tags(ref)) == ["a", "b"]


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b'"tags"', b'{"tags": "v1"}', b'{"tags": [1]}', b'{"tags": [null]}',
     b'{"tags": {"v1": 1}}', b'{"tags": ["a"], "tags": []}', b'{"tags": ["\xff"]}',
     b'{"tags": ["' + b"a" * 5000 + b'"]}'],
)  # fmt: skip
def test_what_is_no_list(server: Scripted, registry: Registry, ref: Reference, body: bytes) -> None:
    server.on("GET", TAGS, reply(200, body))
    with pytest.raises(RegistryError, match="list"):
        list(registry.tags(ref))


def test_a_page_without_end(server: Scripted, registry: Registry, ref: Reference) -> None:
    def script(_: Request) -> Iterator[bytes]:
        yield b'HTTP/1.1 200 OK\r\n\r\n{"tags": ["'
        while True:
            yield b"a" * 65536

    server.on("GET", TAGS, script)
    with pytest.raises(RegistryError, match="bytes allowed"):
        list(registry.tags(ref))


@pytest.mark.parametrize(
    ("status", "error"),
    [(404, RegistryNotFound), (401, RegistryUnauthorized), (400, RegistryError)],
)
def test_a_list_that_is_refused(
    server: Scripted,
    registry: Registry,
    ref: Reference,
    status: int,
    error: type[ContainerdError],
) -> None:
    server.on("GET", TAGS, reply(status))
    with pytest.raises(error, match="list tags of app"):
        list(registry.tags(ref))


def test_another_registry_is_not_asked(registry: Registry) -> None:
    with pytest.raises(InvalidArgument):
        registry.tags(Reference.parse("registry.example/app"))


def test_the_catalog_has_a_scope_of_its_own(server: Scripted, registry: Registry) -> None:
    bearer = challenge(f'Bearer realm="{server.origin}/token",service="s"')
    link = following(f"{CATALOG}?last=b")

    def script(request: Request) -> bytes:
        if "authorization" not in request.headers:
            return bearer
        more = "last" not in request.target
        names = ["a", "b"] if more else ["c"]
        return reply(200, {"repositories": names}, Link=link if more else "")

    server.on("GET", CATALOG, script)
    server.on("GET", "/token", reply(200, {"token": "t"}))
    assert list(registry.catalog()) == ["a", "b", "c"]
    (asked,) = server.seen("GET", "/token")
    assert "scope=registry%3Acatalog%3A%2A" in asked.target


def test_a_registry_without_a_catalog(server: Scripted, registry: Registry) -> None:
    with pytest.raises(RegistryNotFound, match="catalog"):
        list(registry.catalog())


# Deletion


@pytest.mark.parametrize("status", [200, 202, 204])
def test_a_manifest_a_tag_and_a_blob_are_deleted(
    server: Scripted, registry: Registry, ref: Reference, status: int
) -> None:
    for path in (TAGGED, PINNED, BLOB_PATH):
        server.on("DELETE", path, reply(status))
    registry.delete(ref)
    registry.delete(Reference(ref.host, "app", digest=TARGET.digest))
    registry.delete(Reference(ref.host, "app", "v1", TARGET.digest))
    registry.delete(ref, LAYER)
    deleted = [r.target for r in server.requests if r.method == "DELETE"]
    assert deleted == [TAGGED, PINNED, PINNED, BLOB_PATH]


def test_a_deletion_that_is_not_allowed(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    error = {"errors": [{"code": "UNSUPPORTED", "message": "not here"}]}
    server.on("DELETE", TAGGED, reply(405, error))
    with pytest.raises(RegistryError, match="not here") as caught:
        registry.delete(ref)
    assert (caught.value.status, caught.value.codes) == (405, ("UNSUPPORTED",))
    assert len(server.requests) == 1


def test_what_is_not_there_cannot_be_deleted(registry: Registry, ref: Reference) -> None:
    with pytest.raises(RegistryNotFound, match=LAYER.digest):
        registry.delete(ref, LAYER)


def test_a_deletion_asks_for_a_token_that_allows_it(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    bearer = challenge(f'Bearer realm="{server.origin}/token",service="s"')
    server.on("DELETE", TAGGED, lambda r: reply(202) if "authorization" in r.headers else bearer)
    server.on("GET", "/token", reply(200, {"token": "t"}))
    registry.delete(ref)
    assert "delete" in server.seen("GET", "/token")[0].target
