"""Lists that do not end, or go on somewhere else."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from containerd_lite.deadline import Deadline
from containerd_lite.errors import ContainerdError, RegistryError, RegistryUnavailable
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types as mt
from containerd_lite.registry.referrers import fallback_tag
from tests.hostile.registry.stage import FORMS, Book, Play, Stage, locked, referrers, tags
from tests.unit.registry.samples import OTHER, TARGET, manifest
from tests.unit.registry.scripted import Request, Script, reply

pytestmark = pytest.mark.dependencies

BOOK = Book()

TAGS = "/v2/app/tags/list"
CATALOG = "/v2/_catalog"
REFERRERS = f"/v2/app/referrers/{TARGET.digest}"
FALLBACK = f"/v2/app/manifests/{fallback_tag(TARGET.digest)}"


def catalog(stage: Stage) -> object:
    return list(stage.client().catalog())


def entry(name: object) -> dict[str, object]:
    digest = digests.of(str(name).encode())
    return {"mediaType": mt.OCI_MANIFEST, "digest": digest, "size": 5}


def page(entries: object, link: str = "", kind: str = "tags") -> bytes:
    headers = {"Link": link} if link else {}
    if kind == "referrers":
        index = {"schemaVersion": 2, "mediaType": mt.OCI_INDEX, "manifests": entries}
        return reply(200, index, Content_Type=mt.OCI_INDEX, **headers)  # type: ignore[arg-type]
    return reply(200, {"name": "app", kind: entries}, **headers)  # type: ignore[arg-type]


def following(target: str) -> str:
    return f'<{target}>; rel="next"'


_LISTS: dict[str, tuple[str, Play, Callable[[object], object]]] = {
    "tags": (TAGS, tags, str),
    "repositories": (CATALOG, catalog, str),
    "referrers": (REFERRERS, referrers, entry),
}


# Pages without end.


def _new_each_time(kind: str, path: str, make: Callable[[object], object]) -> Script:
    """A page with a link to the next, and something new on each."""

    def script(request: Request) -> bytes:
        number = int(request.target.partition("n=")[2] or 0) + 1
        return page([make(number)], following(f"{path}?n={number}"), kind)

    return script


def _endless(stage: Stage, kind: str) -> None:
    """The deadline of the whole bounds a list that brings something new for ever."""
    path, _, make = _LISTS[kind]
    stage.server.on("GET", path, _new_each_time(kind, path, make))
    registry, deadline = stage.client(), Deadline(0.5)
    with stage.refused(RegistryUnavailable, "in time"):
        if kind == "referrers":
            pinned = stage.ref.with_digest(TARGET.digest)
            registry.referrers(pinned, deadline=deadline)
        for _ in registry.tags(stage.ref, deadline=deadline) if kind == "tags" else ():
            pass
        for _ in registry.catalog(deadline=deadline) if kind == "repositories" else ():
            pass
    assert len(stage.server.requests) > 2


for _kind, _name in (
    ("tags", "oras-go-1215"),
    ("repositories", "oras-go-1215-catalog"),
    ("referrers", "CVE-2023-46737"),
):
    BOOK.case(f"{_name}-new-pages", "each page brings something, and a link")(
        partial(_endless, kind=_kind)
    )


def _counted(stage: Stage, kind: str, entries: object) -> None:
    """The same page again and again, with a link to itself."""
    path, verb, _ = _LISTS[kind]
    stage.server.on("GET", path, page(entries, following(path), kind))
    with pytest.raises(RegistryError, match="continues without new entries"):
        verb(stage)
    assert len(stage.server.requests) < 20


for _kind, _list in _LISTS.items():
    BOOK.case(f"oras-go-1215-{_kind}-same", "the next page is the same")(
        partial(_counted, kind=_kind, entries=[_list[2]("a")])
    )
    BOOK.case(f"oras-go-1215-{_kind}-empty", "pages with nothing, for ever")(
        partial(_counted, kind=_kind, entries=[])
    )


@BOOK.case("CVE-2023-46737-entries", "a million referrers")
def _(stage: Stage) -> None:
    rows = [[entry(f"{number}.{k}") for k in range(5000)] for number in range(3)]
    pages = [page(row, following(f"{REFERRERS}?n=1"), "referrers") for row in rows]
    stage.server.on("GET", REFERRERS, *pages)
    with stage.refused(RegistryError, "more than the 10000 referrers"):
        referrers(stage)


BOOK.refusal(
    "CVE-2024-29902-size",
    "referrers whose annotations take more than 4 MiB",
    referrers,
    {("GET", REFERRERS): page([{**entry(1), "annotations": {"a": "x" * (5 << 20)}}],
                              kind="referrers")},
    RegistryError,
    "4194304",
)  # fmt: skip


@BOOK.case("CVE-2024-29902-declared", "a referrer of 8 EiB is listed, not fetched")
def _(stage: Stage) -> None:
    huge = {**entry(1), "size": (1 << 63) - 1}
    stage.server.on("GET", REFERRERS, page([huge], kind="referrers"))
    referrers(stage)
    assert len(stage.server.requests) == 1


# Pages elsewhere.


def _away(stage: Stage, kind: str, move: str) -> None:
    path, verb, make = _LISTS[kind]
    if move == "plain":
        stage.secure()
    other = {
        "port": lambda: stage.another(),
        "host": lambda: stage.another("127.0.0.3"),
        "private": lambda: stage.another("127.0.0.2"),
        "scheme": lambda: stage.another(tls=True),
        "plain": lambda: stage.another(),
    }[move]()
    stage.server.on("GET", path, locked(page([make("a")], following(f"{other.origin}/next"), kind)))
    with stage.refused(RegistryError, other.origin, "are not requested"):
        verb(stage)
    assert other.connections == 0
    assert any(form in stage.server.bytes_seen for form in FORMS)


for _kind in _LISTS:
    for _move in ("port", "host", "private", "scheme", "plain"):
        BOOK.case(f"RFC-8288-{_kind}-{_move}", "the next page is on another origin")(
            partial(_away, kind=_kind, move=_move)
        )

_LINKS = {
    "RFC-8288-3-userinfo": following("http://a@127.0.0.2/next"),
    "RFC-8288-3-file": following("file:///etc/passwd"),
    "RFC-8288-3-script": following("javascript:alert(1)"),
    "RFC-8288-3-space": following("/v2/app/tags/list?n=1 HTTP/1.1"),
}
for _name, _link in _LINKS.items():
    BOOK.refusal(
        _name,
        "a link that leads nowhere",
        tags,
        {("GET", TAGS): page(["a"], _link)},
        RegistryError,
        "next page",
    )

_NOT_NEXT = {
    "prev": '</v2/x>; rel="prev"',
    "no-relation": "</v2/x>",
    "next-in-title": '</v2/x>; title="rel=next"; rel="last"',
    "no-brackets": '/v2/x; rel="next"',
    "nested": "<" * 30_000,
    "quotes": '</v2/x>; rel="' + '";rel="' * 4_000,
    "commas": "," * 30_000,
}
for _name, _link in _NOT_NEXT.items():

    @BOOK.case(f"RFC-8288-3.3-{_name}", "a link that is none to the next page")
    def _(stage: Stage, link: str = _link) -> None:
        stage.server.on("GET", TAGS, page(["a"], link))
        assert tags(stage) == ["a"]
        assert len(stage.server.requests) == 1


# Lists of something else.

_WRONG: dict[str, object] = {
    "numbers": {"tags": [1, 2]},
    "an-object": {"tags": {"a": "b"}},
    "a-string": {"tags": "v1"},
    "twice": '{"tags":["a"],"tags":["b"]}',
    "nested": "[" * 500_000,
    "surrogates": '{"tags":["\\ud800"]}',
    "html": "<html>",
}
for _name, _body in _WRONG.items():
    BOOK.refusal(
        f"distribution-spec-tags-{_name}",
        "a list of tags that is none",
        tags,
        {("GET", TAGS): reply(200, _body)},
        RegistryError,
        "sent an invalid list",
    )


@BOOK.case("distribution-spec-tags-null", "a repository without tags, as Go writes it")
def _(stage: Stage) -> None:
    stage.server.on("GET", TAGS, reply(200, {"name": "app", "tags": None}))
    assert tags(stage) == []


@BOOK.case("distribution-spec-tags-million", "as many as fit in one page")
def _(stage: Stage) -> None:
    names = [f"{number:x}" for number in range(400_000)]
    stage.server.on("GET", TAGS, page(names))
    assert tags(stage) == names


_TEXT = json.dumps({"schemaVersion": 2, "manifests": []})
_NO_INDEX: dict[str, tuple[bytes, type[ContainerdError]]] = {
    "manifest": (manifest(), RegistryError),
    "html": (reply(200, "<html>", Content_Type="text/html"), RegistryError),
    "json": (reply(200, _TEXT, Content_Type="application/json"), RegistryError),
    "both": (
        reply(200, f'{_TEXT[:-1]},"layers":[]}}', Content_Type=mt.OCI_INDEX),
        RegistryError,
    ),
    "digest": (page([{**entry(1), "digest": "sha256:../x"}], kind="referrers"), RegistryError),
    "unavailable": (reply(503), RegistryUnavailable),
}
for _name, (_answer, _error) in _NO_INDEX.items():
    BOOK.refusal(
        f"distribution-spec-referrers-{_name}",
        "referrers that are no index",
        referrers,
        {("GET", REFERRERS): _answer},
        _error,
    )
    BOOK.refusal(
        f"distribution-spec-fallback-{_name}",
        "the same under the fallback tag",
        referrers,
        {("GET", REFERRERS): reply(404), ("GET", FALLBACK): _answer},
        _error,
    )


@BOOK.case("distribution-spec-referrers-unfiltered", "a filter that the registry leaves to us")
def _(stage: Stage) -> None:
    rows = [{**entry(1), "artifactType": "a/b"}, {**entry(2), "artifactType": "c/d"}]
    stage.server.on("GET", REFERRERS, page(rows, kind="referrers"))
    pinned = stage.ref.with_digest(TARGET.digest)
    (found,) = stage.client().referrers(pinned, "c/d")
    assert found.digest == rows[1]["digest"]


@BOOK.case("distribution-spec-referrers-404", "no referrers at all, and no tag")
def _(stage: Stage) -> None:
    assert referrers(stage) == ()
    assert [r.path for r in stage.server.requests] == [REFERRERS, FALLBACK]
    assert OTHER not in stage.server.requests[0].target


@pytest.mark.parametrize("name", BOOK)
def test_attack(name: str, tmp_path: Path) -> None:
    BOOK.perform(name, tmp_path)
