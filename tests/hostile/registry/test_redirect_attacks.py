"""Places that a registry, or a manifest, sends the client to: no secret comes along."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from containerd_lite.errors import (
    DigestMismatch,
    RegistryError,
    RegistryNotFound,
    SizeMismatch,
)
from containerd_lite.oci import media_types as mt
from containerd_lite.registry.destinations import Destinations
from tests.hostile.registry.stage import (
    FORMS,
    STATUSES,
    Book,
    Play,
    Stage,
    classify,
    endless,
    fetch,
    locked,
    read,
    redirect,
    referrers,
    resolve,
    tags,
)
from tests.unit.registry.samples import BLOB, BLOB_PATH, LAYER, PINNED, TAGGED, TARGET, manifest
from tests.unit.registry.scripted import Scripted, challenge, reply

pytestmark = pytest.mark.dependencies

BOOK = Book()


def knew(stage: Stage) -> None:
    """Wants the registry itself to have been told, else the case shows nothing."""
    assert any(form in stage.server.bytes_seen for form in FORMS)


# Another origin, by every status and every way to be another.

_MOVES: dict[str, Callable[[Stage], Scripted]] = {
    "port": lambda stage: stage.another(),
    "host": lambda stage: stage.another("127.0.0.3"),
    "scheme": lambda stage: stage.another(tls=True),
}


def _moved(stage: Stage, status: int, move: str) -> None:
    other = _MOVES[move](stage)
    stage.server.on("GET", BLOB_PATH, locked(redirect(f"{other.origin}/data?sig=1%2F2", status)))
    other.on("GET", "/data", reply(200, BLOB))
    assert read(stage) == BLOB
    (request,) = other.requests
    assert request.target == "/data?sig=1%2F2"
    assert "authorization" not in request.headers
    knew(stage)


for _status in STATUSES:
    for _move in _MOVES:
        BOOK.case(
            f"GHSA-vh4v-2xq2-g5cg-{_status}-{_move}", f"a redirect to another {_move} keeps nothing"
        )(partial(_moved, status=_status, move=_move))


def _asked(stage: Stage, scheme: str) -> None:
    other = stage.another()
    other.on("GET", "/data", challenge(f'{scheme} realm="{other.origin}/token"'))
    stage.server.on("GET", BLOB_PATH, locked(redirect(f"{other.origin}/data")))
    with stage.refused(RegistryError, other.host, "sends no credentials to this URL"):
        read(stage)
    assert len(other.requests) == 1
    knew(stage)


for _scheme in ("Basic", "Bearer"):
    BOOK.case(f"CVE-2020-15157-redirect-{_scheme}", "the other origin asks for it")(
        partial(_asked, scheme=_scheme)
    )

_VERBS: dict[str, tuple[str, str, Play]] = {
    "manifest": ("GET", PINNED, fetch),
    "head": ("HEAD", TAGGED, resolve),
    "referrers": ("GET", f"/v2/app/referrers/{TARGET.digest}", referrers),
    "tags": ("GET", "/v2/app/tags/list", tags),
}
_GOOD = {
    "manifest": manifest(),
    "head": manifest(),
    "referrers": reply(
        200, {"schemaVersion": 2, "mediaType": mt.OCI_INDEX, "manifests": []},
        Content_Type=mt.OCI_INDEX,
    ),
    "tags": reply(200, {"name": "app", "tags": ["v1"]}),
}  # fmt: skip


def _everywhere(stage: Stage, name: str) -> None:
    method, path, verb = _VERBS[name]
    other = stage.another("127.0.0.3")
    stage.server.on(method, path, locked(redirect(f"{other.origin}/x")))
    other.on(method, "/x", _GOOD[name])
    verb(stage)
    assert len(other.requests) == 1
    knew(stage)


for _name in _VERBS:
    BOOK.case(
        f"distribution-spec-redirects-{_name}", "MUST NOT forward Authorization across hosts"
    )(partial(_everywhere, name=_name))


@BOOK.case("CVE-2020-15157-way-back", "redirected away and back, it stays without")
def _(stage: Stage) -> None:
    other = stage.another()
    stage.server.on("GET", BLOB_PATH, locked(redirect(f"{other.origin}/a")))
    other.on("GET", "/a", redirect(f"{stage.server.origin}/b"))
    stage.server.on("GET", "/b", reply(200, BLOB))
    assert read(stage) == BLOB
    assert "authorization" not in stage.server.seen("GET", "/b")[0].headers


@BOOK.case("containerd-hosts.md-header", "a secret header of hosts.toml stays with its host")
def _(stage: Stage) -> None:
    other = stage.another()
    folder = stage.folder / stage.server.host
    folder.mkdir()
    text = f'server = "{stage.server.origin}"\n[header]\nx-key = "{FORMS[0].decode()}"\n'
    (folder / "hosts.toml").write_text(text)
    stage.server.on("GET", BLOB_PATH, redirect(f"{other.origin}/data"))
    other.on("GET", "/data", reply(200, BLOB))
    assert read(stage, hosts_dirs=(stage.folder,), tls=None) == BLOB
    assert len(other.requests) == 1
    knew(stage)


@BOOK.case("RFC-6265-cookies", "cookies are neither kept nor told to anybody")
def _(stage: Stage) -> None:
    other = stage.another()
    stage.server.on(
        "GET", BLOB_PATH, reply(307, Location=f"{other.origin}/a", Set_Cookie="id=7; Path=/")
    )
    other.on("GET", "/a", reply(307, Location="/b", Set_Cookie="id=8; Path=/"))
    other.on("GET", "/b", reply(200, BLOB))
    assert read(stage) == BLOB
    assert all("cookie" not in r.headers for r in other.requests + stage.server.requests)


# Into networks that the registry is not in.


def _inside(stage: Stage, location: str) -> None:
    inner = stage.another("127.0.0.2")
    port = inner.host.rpartition(":")[2]
    stage.server.on("GET", BLOB_PATH, redirect(location.format(port=port)))
    with stage.refused(RegistryError, "more private network"):
        read(stage)
    assert inner.requests == []


_INSIDE = {
    "private": "http://127.0.0.2:{port}/x",
    "mapped": "http://[::ffff:127.0.0.2]:{port}/x",
    "metadata": "http://metadata.test/latest/meta-data/",
    "name": "http://inner.test:{port}/x",
    "two-addresses": "http://both.test:{port}/x",
    "without-scheme": "//127.0.0.2:{port}/x",
}
for _name, _location in _INSIDE.items():
    BOOK.case(f"ggcr-2440-redirect-{_name}", "a redirect into a private network")(
        partial(_inside, location=_location)
    )


@BOOK.case("ggcr-2440-redirect-rebinding", "the name leads inside once it was judged")
def _(stage: Stage) -> None:
    inner = stage.another("127.0.0.2")
    stage.server.on("GET", BLOB_PATH, redirect(f"{inner.origin}/x"))
    with stage.refused(RegistryError, "more private network"):
        read(stage, network=Destinations(classify, lambda host: ["127.0.0.1"]))
    assert inner.requests == []


@BOOK.case("ggcr-2440-redirect-second-hop", "a public host redirects inside")
def _(stage: Stage) -> None:
    outer, inner = stage.another("127.0.0.3"), stage.another("127.0.0.2")
    stage.server.on("GET", BLOB_PATH, redirect(f"{outer.origin}/x"))
    outer.on("GET", "/x", redirect(f"{inner.origin}/y"))
    with stage.refused(RegistryError, "more private network"):
        read(stage)
    assert inner.connections == 0


@BOOK.case("distribution-spec-https-to-http", "content is not fetched without TLS then")
def _(stage: Stage) -> None:
    stage.secure()
    other = stage.another()
    stage.server.on("GET", BLOB_PATH, redirect(f"{other.origin}/x"))
    with stage.refused(RegistryError, "from https to http"):
        read(stage)
    assert other.connections == 0


@BOOK.case("distribution-spec-https-http-https", "not by a detour either")
def _(stage: Stage) -> None:
    stage.secure()
    middle, other = stage.another(tls=True), stage.another()
    stage.server.on("GET", BLOB_PATH, redirect(f"{middle.origin}/x"))
    middle.on("GET", "/x", redirect(f"{other.origin}/y"))
    with stage.refused(RegistryError, "from https to http"):
        read(stage)
    assert other.connections == 0


# Places that are none.

_NOWHERE = {
    "RFC-9110-10.2.2-file": "file:///etc/passwd",
    "RFC-9110-10.2.2-userinfo": "http://127.0.0.1:5000@127.0.0.2/x",
    "RFC-9110-10.2.2-backslash": "http://127.0.0.2\\@127.0.0.1/x",
    "RFC-9110-10.2.2-long": "http://127.0.0.1/" + "a" * 20_000,
    "ggcr-2440-redirect-decimal": "http://2130706434/x",
    "ggcr-2440-redirect-hexadecimal": "http://0x7f.2/x",
    "RFC-3986-3.2.3-port": "http://127.0.0.1:99999/x",
    "CVE-2019-9740-space": "http://127.0.0.1/x HTTP/1.1",
    "CVE-2019-9740-tab": "http://127.0.0.1/\tx",
}
for _name, _location in _NOWHERE.items():
    BOOK.refusal(
        _name,
        "a Location that cannot be followed",
        read,
        {("GET", BLOB_PATH): redirect(_location)},
        RegistryError,
        "invalid Location for blob",
    )
BOOK.refusal(
    "RFC-9110-10.2.2-none",
    "a redirect to nowhere",
    read,
    {("GET", BLOB_PATH): reply(307)},
    RegistryError,
    "without a Location",
)
BOOK.refusal(
    "CVE-2024-11168-brackets",
    "an address that older Pythons take for a host",
    read,
    {("GET", BLOB_PATH): redirect("http://[::1%25]x]/")},
    RegistryError,
)
BOOK.refusal(
    "RFC-9110-15.4-loop",
    "redirects without end",
    read,
    {("GET", BLOB_PATH): redirect(BLOB_PATH)},
    RegistryError,
    "more than 5 times",
)


@BOOK.case("RFC-9110-15.4-ping-pong", "two servers that redirect to each other")
def _(stage: Stage) -> None:
    other = stage.another()
    stage.server.on("GET", BLOB_PATH, redirect(f"{other.origin}/x"))
    other.on("GET", "/x", redirect(stage.server.origin + BLOB_PATH))
    with stage.refused(RegistryError, "more than 5 times"):
        read(stage)
    assert len(other.requests) + len(stage.server.requests) == 6


@BOOK.case("CVE-2019-9740-encoded-newline", "an encoded line break stays encoded")
def _(stage: Stage) -> None:
    stage.server.on("GET", BLOB_PATH, redirect("/x%0D%0AX-Evil:%201?y=%0A"))
    stage.server.on("GET", "/x%0D%0AX-Evil:%201", reply(200, BLOB))
    assert read(stage) == BLOB
    (_, second) = stage.server.requests
    assert "x-evil" not in second.headers


# Foreign layers.


def foreign(stage: Stage, *urls: str) -> bytes:
    """Reads a layer that the manifest has at ``urls``."""
    layer = replace(LAYER, media_type=mt.DOCKER_FOREIGN_LAYER, urls=urls)
    stage.server.on("HEAD", TAGGED, locked(manifest()))
    registry = stage.client()
    registry.resolve(stage.ref)  # so that the client has something to tell
    with registry.open_blob(stage.ref, layer) as reader:
        return reader.readall() or b""


def _foreign_asks(stage: Stage, scheme: str) -> None:
    other = stage.another()
    other.on("GET", "/layer", challenge(f'{scheme} realm="{other.origin}/token"'))
    with stage.refused(RegistryError, other.host, "sends no credentials to this URL"):
        foreign(stage, f"{other.origin}/layer")
    assert len(other.requests) == 1
    knew(stage)


for _scheme in ("Basic", "Bearer"):
    BOOK.case(f"CVE-2020-15157-{_scheme}", "a foreign layer's host asks for credentials")(
        partial(_foreign_asks, scheme=_scheme)
    )


@BOOK.case("CVE-2020-15157-own-host", "a foreign layer at the registry itself gets none")
def _(stage: Stage) -> None:
    stage.server.on("GET", "/layer", locked(reply(200, BLOB)))
    with stage.refused(RegistryError, "sends no credentials to this URL"):
        foreign(stage, f"{stage.server.origin}/layer")
    assert "authorization" not in stage.server.seen("GET", "/layer")[0].headers


def _foreign_moves(stage: Stage, move: str) -> None:
    """The layer's host sends the client on."""
    other = stage.another()
    last = stage.server if move == "back" else _MOVES[move](stage)
    other.on("GET", "/layer", redirect(f"{last.origin}/last"))
    last.on("GET", "/last", reply(200, BLOB))
    assert foreign(stage, f"{other.origin}/layer") == BLOB
    (request,) = last.seen("GET", "/last")
    for headers in (other.requests[0].headers, request.headers):
        assert not {"authorization", "cookie"} & set(headers)
    knew(stage)


for _move in (*_MOVES, "back"):
    BOOK.case(
        f"containerd-2.3.7-urls-{_move}", f"a foreign layer redirected ({_move}) takes no secret"
    )(partial(_foreign_moves, move=_move))


@BOOK.case("containerd-2.3.7-urls-endless", "a foreign layer that does not end")
def _(stage: Stage) -> None:
    other = stage.another()
    other.on("GET", "/layer", endless(b"HTTP/1.1 200 OK\r\n\r\n" + BLOB, b" " * 65536))
    with stage.refused(SizeMismatch, LAYER.digest):
        foreign(stage, f"{other.origin}/layer")


@BOOK.case("CVE-2020-15157-inside", "a foreign layer in a private network")
def _(stage: Stage) -> None:
    inner = stage.another("127.0.0.2")
    with stage.refused(RegistryError, "more private network"):
        foreign(stage, f"{inner.origin}/layer")
    assert inner.connections == 0


@BOOK.case("CVE-2020-15157-file", "a foreign layer on the disk")
def _(stage: Stage) -> None:
    with stage.refused(RegistryError, "not an absolute http"):
        foreign(stage, "file:///etc/passwd")


@BOOK.case("image-spec-urls-many", "a thousand URLs of one layer")
def _(stage: Stage) -> None:
    other = stage.another()
    with stage.refused(RegistryNotFound, other.host):
        foreign(stage, *(f"{other.origin}/{number}" for number in range(1000)))
    assert len(other.requests) == 8


@BOOK.case("image-spec-urls-other-content", "a foreign layer that is something else")
def _(stage: Stage) -> None:
    other = stage.another()
    other.on("GET", "/layer", reply(200, bytes(len(BLOB))))
    with stage.refused(DigestMismatch, LAYER.digest):
        foreign(stage, f"{other.origin}/layer")


@pytest.mark.parametrize("name", BOOK)
def test_attack(name: str, tmp_path: Path) -> None:
    BOOK.perform(name, tmp_path)
