"""Registries, and what stands before them, that mean no harm and do not work as they should.

Each is named after the issue in which somebody met it, or the clause that it breaks.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from containerd_lite.deadline import Deadline
from containerd_lite.errors import RegistryError, RegistryUnavailable, SizeMismatch
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types as mt
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.registry.parts import PART
from tests.hostile.registry.stage import Book, Stage, locked, read, redirect, resolve, upload
from tests.unit.registry.samples import BLOB, BLOB_PATH, LAYER, TAGGED, TARGET, manifest
from tests.unit.registry.scripted import Request, Script, challenge, reply

pytestmark = pytest.mark.dependencies

BOOK = Book()

BIG = bytes(range(256)) * (5 * PART // 512)
BIG_LAYER = Descriptor(mt.OCI_LAYER, digests.of(BIG), len(BIG))
BIG_PATH = f"/v2/app/blobs/{BIG_LAYER.digest}"
_HALF = len(BLOB) // 2
_CUT = reply(200, BLOB[:_HALF], length=len(BLOB), Connection="close")


def part(start: int, end: int, total: str, body: bytes) -> bytes:
    return reply(206, body, Content_Range=f"bytes {start}-{end}/{total}")


def rest(request: Request) -> bytes:
    """What a registry that knows ranges answers."""
    text = request.headers.get("range", "")
    start = int(text.removeprefix("bytes=").partition("-")[0] or 0)
    return part(start, len(BLOB) - 1, str(len(BLOB)), BLOB[start:]) if text else reply(200, BLOB)


# Too busy (containerd #10447).


@BOOK.case("containerd-10447-seconds", "429 says how long to wait")
def _(stage: Stage) -> None:
    stage.server.on("GET", TAGGED, reply(429, Retry_After="2"), manifest())
    assert resolve(stage) == TARGET
    assert stage.naps == [2.0]


@BOOK.case("containerd-10447-always", "429 each time, in HTML")
def _(stage: Stage) -> None:
    stage.server.on("GET", TAGGED, reply(429, "<html>slow down</html>"))
    with stage.refused(RegistryUnavailable, "HTTP 429", "Try again later"):
        resolve(stage)
    assert len(stage.server.seen("GET", TAGGED)) == 5


@BOOK.case("containerd-10447-years", "a wait longer than anybody has")
def _(stage: Stage) -> None:
    stage.server.on("GET", TAGGED, reply(429, Retry_After="99999999"))
    with stage.refused(RegistryUnavailable, "HTTP 429"):
        resolve(stage)
    assert stage.naps == []


for _value in ("-1", "soon", "1e9", "9" * 300, "Thu, 99 Foo 0000 00:00:00 GMT", "\u0661"):

    @BOOK.case(f"RFC-9110-10.2.3-{ascii(_value)[:16]}", "a Retry-After of no sense")
    def _(stage: Stage, value: str = _value) -> None:
        busy = reply(503).replace(b"\r\n", b"\r\nRetry-After: " + value.encode() + b"\r\n", 1)
        stage.server.on("GET", TAGGED, busy, manifest())
        assert resolve(stage) == TARGET
        assert all(wait <= 5 for wait in stage.naps)


# Cut (containerd #11365).


def _resumed(stage: Stage, second: Script) -> None:
    stage.server.on("GET", BLOB_PATH, _CUT, second)
    assert read(stage) == BLOB
    assert stage.server.requests[-1].headers["range"] == f"bytes={_HALF}-"


for _name, _about, _script in (
    ("range", "it goes on from there", rest),
    ("no-ranges", "the whole comes again", reply(200, BLOB)),
    ("unknown-size", "with a size of *", part(_HALF, len(BLOB) - 1, "*", BLOB[_HALF:])),
):
    BOOK.case(f"containerd-11365-{_name}", f"a blob is cut, then {_about}")(
        partial(_resumed, second=_script)
    )


@BOOK.case("containerd-11365-always", "it is cut at the same byte each time")
def _(stage: Stage) -> None:
    stage.server.on("GET", BLOB_PATH, _CUT)
    with stage.refused(RegistryUnavailable, "broke the connection", "can be kept"):
        read(stage)
    assert len(stage.server.requests) < 6


@BOOK.case("containerd-11365-redirect", "the store behind a redirect is asked anew after a cut")
def _(stage: Stage) -> None:
    store = stage.another("127.0.0.3")
    stage.server.on("GET", BLOB_PATH, locked(redirect(f"{store.origin}/x?sig=1")))
    store.on("GET", "/x", _CUT, rest)
    assert read(stage) == BLOB
    assert len(stage.server.seen("GET", BLOB_PATH)) == 3  # a challenge, and two redirects


# Ranges that are not understood (containerd #11864, #12291, microk8s #5404).

_WRONG_PARTS = {
    "other": part(0, len(BLOB) - 1, str(len(BLOB)), BLOB),
    "empty": part(_HALF, len(BLOB) - 1, str(len(BLOB)), b""),
    "total": part(_HALF, len(BLOB) - 1, "7", BLOB[_HALF:]),
    "none": reply(206, BLOB[_HALF:]),
    "garbage": reply(206, BLOB[_HALF:], Content_Range="bytes x"),
    "multipart": reply(206, b"--x\r\n", Content_Type="multipart/byteranges; boundary=x"),
}
for _name, _answer in _WRONG_PARTS.items():

    @BOOK.case(f"containerd-12291-{_name}", "a 206 that is not of the range asked for")
    def _(stage: Stage, answer: bytes = _answer, empty: bool = _name == "empty") -> None:
        stage.server.on("GET", BLOB_PATH, _CUT, answer)
        with stage.refused(SizeMismatch if empty else RegistryError):
            read(stage)


for _status in (400, 416, 501):

    @BOOK.case(f"containerd-11953-{_status}", "a range is an error to it")
    def _(stage: Stage, status: int = _status) -> None:
        stage.server.on("GET", BLOB_PATH, _CUT, reply(status))
        with stage.refused(RegistryError, f"HTTP {status}"):
            read(stage)
        assert stage.server.requests[0].headers.get("range") is None


for _name, _answer in {"refused": reply(416), "other": _WRONG_PARTS["other"]}.items():

    @BOOK.case(f"containerd-11953-{_name}-rest", "it has the whole, and not the rest")
    def _(stage: Stage, answer: bytes = _answer) -> None:
        stage.server.on("GET", BLOB_PATH, _CUT, answer, reply(200, BLOB))
        assert read(stage) == BLOB
        assert stage.server.requests[-1].headers.get("range") is None


def parallel(stage: Stage) -> bytes:
    with stage.client().open_blob(stage.ref, BIG_LAYER, connections=3) as reader:
        return reader.readall() or b""


@BOOK.case("microk8s-5404-ignored", "parts are asked for, and the whole comes")
def _(stage: Stage) -> None:
    stage.server.on("GET", BIG_PATH, reply(200, BIG))
    assert parallel(stage) == BIG
    assert len(stage.server.requests) == 1


@BOOK.case("containerd-11864-second-part", "the second part hangs")
def _(stage: Stage) -> None:
    head = part(0, PART - 1, str(len(BIG)), BIG[:PART])
    stage.server.on("GET", BIG_PATH, head, stage.stall(b""))
    with stage.refused(RegistryUnavailable, "in time"):
        parallel(stage)


@BOOK.case("containerd-11864-second-part-whole", "the second part is the whole")
def _(stage: Stage) -> None:
    head = part(0, PART - 1, str(len(BIG)), BIG[:PART])
    stage.server.on("GET", BIG_PATH, head, reply(200, BIG))
    assert parallel(stage) == BIG


@BOOK.case("containerd-11864-same-part", "each part is the first")
def _(stage: Stage) -> None:
    stage.server.on("GET", BIG_PATH, part(0, PART - 1, str(len(BIG)), BIG[:PART]))
    with stage.refused(RegistryError, "a range that was not requested"):
        parallel(stage)


# HEAD, types and places.

_HEADS: dict[str, bytes] = {
    "405": reply(405),
    "404": reply(404),
    "400": reply(400),
    "no-digest": reply(200, b"x" * 9, Content_Type=mt.OCI_MANIFEST),
    "no-type": reply(200, b"x" * 9, Docker_Content_Digest=TARGET.digest),
    "no-length": reply(
        200, length=-1, Content_Type=mt.OCI_MANIFEST, Docker_Content_Digest=TARGET.digest
    ),
}
for _name, _answer in _HEADS.items():

    @BOOK.case(f"distribution-spec-head-{_name}", "HEAD does not tell, and GET does")
    def _(stage: Stage, answer: bytes = _answer) -> None:
        stage.server.on("HEAD", TAGGED, answer)
        stage.server.on("GET", TAGGED, manifest())
        assert resolve(stage) == TARGET


@BOOK.case("distribution-spec-relative-location", "places without a host")
def _(stage: Stage) -> None:
    start = "/v2/app/blobs/uploads/"
    stage.server.on("POST", start, reply(202, Location="7?_state=a%2Fb"))
    stage.server.on("PUT", f"{start}7", reply(201))
    upload(stage)
    assert stage.server.requests[-1].target.startswith(f"{start}7?_state=a%2Fb&digest=")


@BOOK.case("RFC-9112-9.6-close", "a server that closes after each answer, and does not say so")
def _(stage: Stage) -> None:
    stage.server.on("HEAD", TAGGED, lambda _: iter([manifest().partition(b"\r\n\r\n")[0]
                                                    + b"\r\n\r\n"]))  # fmt: skip
    registry = stage.client()
    for _ in range(4):
        assert registry.resolve(stage.ref) == TARGET


@BOOK.case("RFC-9112-9.6-reset-once", "a connection that breaks before the answer")
def _(stage: Stage) -> None:
    stage.server.on("HEAD", TAGGED, b"", manifest())
    assert resolve(stage) == TARGET


@BOOK.case("token.md-lifetime", "a token that is dead on arrival is used all the same")
def _(stage: Stage) -> None:
    realm = f'Bearer realm="{stage.server.origin}/token"'
    dead = {"access_token": "t", "expires_in": -5, "issued_at": "1970-01-01T00:00:00Z"}
    stage.server.on("HEAD", TAGGED, challenge(realm), manifest())
    stage.server.on("POST", "/token", reply(405))
    stage.server.on("GET", "/token", reply(200, dead))
    assert resolve(stage) == TARGET


@BOOK.case("RFC-9110-8.3-late", "the deadline passes while it is waited for")
def _(stage: Stage) -> None:
    stage.server.on("GET", TAGGED, reply(503))
    registry = stage.client(sleep=lambda _: None)
    with stage.refused(RegistryUnavailable):
        registry.resolve(stage.ref, deadline=Deadline(0.0))
    assert stage.server.requests == []
    assert LAYER.size


@pytest.mark.parametrize("name", BOOK)
def test_attack(name: str, tmp_path: Path) -> None:
    BOOK.perform(name, tmp_path)
