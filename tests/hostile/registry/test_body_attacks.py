"""Answers that are too long, too short, too slow, or no HTTP."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from containerd_lite.deadline import Deadline
from containerd_lite.errors import (
    ContainerdError,
    DigestMismatch,
    RegistryError,
    RegistryNotFound,
    RegistryUnauthorized,
    RegistryUnavailable,
    SizeMismatch,
)
from containerd_lite.oci import media_types as mt
from tests.hostile.registry.stage import (
    Book,
    Play,
    Stage,
    endless,
    fetch,
    read,
    referrers,
    resolve,
    tags,
)
from tests.unit.registry.samples import BLOB, BLOB_PATH, BODY, LAYER, PINNED, TAGGED, TARGET
from tests.unit.registry.scripted import Request, Script, reply

pytestmark = pytest.mark.dependencies

BOOK = Book()

_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
_SPACES = b" " * 65536
_REFERRERS = f"/v2/app/referrers/{TARGET.digest}"
_TAGS = "/v2/app/tags/list"
_4_MIB = "4194304"


def body(name: str, about: str, verb: Play, path: str, script: Script,
         error: type[ContainerdError], *words: str) -> None:  # fmt: skip
    BOOK.refusal(name, about, verb, {("GET", path): script}, error, *words)


# Without an end (CVE-2020-1702, GHSA-f36w-mj3v-6jqv).

for _name, _verb, _path in (
    ("manifest", resolve, TAGGED),
    ("list", tags, _TAGS),
    ("referrers", referrers, _REFERRERS),
):
    for _kind, _script in (
        ("endless", endless(_OK + b"\r\n", _SPACES)),
        ("chunked", endless(_CHUNKED, b"10000\r\n" + _SPACES + b"\r\n")),
        ("declared", reply(200, length=5 << 30)),
        ("declared-2-63", reply(200, length=(1 << 63) - 1)),
    ):
        body(
            f"CVE-2020-1702-{_name}-{_kind}",
            "a document of more than 4 MiB",
            _verb, _path, _script, RegistryError, _4_MIB,
        )  # fmt: skip
body(
    "RFC-9112-7.1-small",
    "a document in chunks of one byte, which take far more CPU time than their bytes",
    tags, _TAGS, endless(_CHUNKED, b"1\r\n \r\n" * 4096), RegistryUnavailable, "broke",
)  # fmt: skip
body(
    "GHSA-f36w-mj3v-6jqv-error",
    "an error that is told without end",
    resolve, TAGGED, endless(b"HTTP/1.1 404 No\r\n\r\n", _SPACES), RegistryNotFound, "HTTP 404",
)  # fmt: skip
body(
    "GHSA-f36w-mj3v-6jqv-unauthorized",
    "the same, in place of a challenge",
    resolve, TAGGED, endless(b"HTTP/1.1 401 No\r\n\r\n", _SPACES), RegistryUnauthorized,
)  # fmt: skip


@BOOK.case("CVE-2023-25153-head", "HEAD declares a manifest of 5 GiB")
def _(stage: Stage) -> None:
    stage.server.on("HEAD", TAGGED, reply(200, length=5 << 30, Content_Type=mt.OCI_MANIFEST,
                                          Docker_Content_Digest=TARGET.digest))  # fmt: skip
    with stage.refused(RegistryError, _4_MIB):
        resolve(stage)


# Blobs that are not what was promised.

for _name, _script, _error in (
    ("other", reply(200, bytes(len(BLOB))), DigestMismatch),
    ("longer", reply(200, BLOB + b"x"), SizeMismatch),
    ("shorter", reply(200, BLOB[:-1]), SizeMismatch),
    ("longer-undeclared", reply(200, BLOB + b"x", length=-1, Connection="close"), SizeMismatch),
    ("shorter-undeclared", reply(200, BLOB[:-1], length=-1, Connection="close"), SizeMismatch),
    ("endless", endless(_OK + b"\r\n" + BLOB, _SPACES), SizeMismatch),
    ("empty", reply(200), SizeMismatch),
    ("a-page", reply(200, "<html>log in</html>", Content_Type="text/html"), SizeMismatch),
    ("a-manifest", reply(200, BLOB, Content_Type=mt.OCI_MANIFEST), RegistryError),
    ("no-content", reply(204), RegistryError),
    ("partial", reply(206, BLOB, Content_Range=f"bytes 0-9/{len(BLOB)}"), RegistryError),
    ("not-modified", reply(304), RegistryError),
):
    body(
        f"distribution-spec-pull-{_name}",
        "the body does not match the digest",
        read, BLOB_PATH, _script, _error, LAYER.digest,
    )  # fmt: skip


# Compressed, though nobody asked for it.

_BOMB = gzip.compress(bytes(64 << 20))
for _name, _verb, _path, _error in (
    ("manifest", resolve, TAGGED, RegistryError),
    ("pinned", fetch, PINNED, SizeMismatch),
    ("list", tags, _TAGS, RegistryError),
    ("blob", read, BLOB_PATH, SizeMismatch),
):
    body(
        f"CVE-2025-66471-{_name}",
        "64 MiB of zeros, compressed: it is not unpacked",
        _verb, _path, reply(200, _BOMB, Content_Encoding="gzip"), _error,
    )  # fmt: skip
body(
    "CVE-2025-66418-chain",
    "a thousand encodings, one in another",
    resolve, TAGGED, reply(200, _BOMB, Content_Encoding=", ".join(["gzip"] * 1000)), RegistryError,
)  # fmt: skip


@BOOK.case("CVE-2026-21441-redirect", "the bomb is the body of a redirect")
def _(stage: Stage) -> None:
    bomb = reply(307, _BOMB, Content_Encoding="gzip", Location="/x")
    stage.server.on("GET", BLOB_PATH, bomb)
    stage.server.on("GET", "/x", reply(200, BLOB))
    assert read(stage) == BLOB


# What is hardly HTTP.


def closing(answer: bytes) -> Script:
    """``answer``, and the end of the connection."""

    def script(_: Request) -> Iterator[bytes]:
        yield answer

    return script


_ODD: dict[str, tuple[str, bytes, type[ContainerdError]]] = {
    "RFC-9112-4-status": (
        "a status that is no number",
        b"HTTP/1.1 OK\r\n\r\n",
        RegistryUnavailable,
    ),
    "RFC-9112-4-status-0": ("a status of 0", b"HTTP/1.1 000 X\r\n\r\n", RegistryUnavailable),
    "RFC-9112-2.2-other": ("another protocol", b"SSH-2.0-OpenSSH_9\r\n", RegistryUnavailable),
    "RFC-9112-2.2-nothing": ("no answer", b"", RegistryUnavailable),
    "RFC-9112-5-long-header": (
        "a header of 100,000 bytes",
        _OK + b"A: " + b"b" * 100_000 + b"\r\n\r\n",
        RegistryUnavailable,
    ),
    "RFC-9112-5-many-headers": (
        "a thousand headers",
        _OK + b"A: b\r\n" * 1000 + b"\r\n",
        RegistryUnavailable,
    ),
    "RFC-9112-7.1-size": ("a chunk of size x", _CHUNKED + b"x\r\n", RegistryUnavailable),
    "RFC-9112-7.1-negative": ("a chunk below 0", _CHUNKED + b"-5\r\n12345", RegistryUnavailable),
    "RFC-9112-7.1-huge": ("a chunk of 2^80", _CHUNKED + b"f" * 20 + b"\r\n", RegistryUnavailable),
    "RFC-9112-7.1-cut": ("a chunk that is cut", _CHUNKED + b"9\r\n123", RegistryUnavailable),
    "RFC-9112-6.3-length": (
        "a Content-Length below 0",
        _OK + b"Content-Length: -5\r\nConnection: close\r\n\r\nx",
        RegistryError,
    ),
    "RFC-9112-6.1-both": (
        "a Content-Length beside chunks",
        _OK + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        RegistryError,
    ),
}
for _name, (_about, _bytes, _wrong) in _ODD.items():
    body(_name, _about, resolve, TAGGED, closing(_bytes), _wrong)


# Slow, or silent (containerd #11650).

_SLOW: dict[str, tuple[str, bytes]] = {
    "containerd-11650-no-answer": ("nothing comes", b""),
    "containerd-11650-status": ("the status line stops", b"HTTP/1.1 2"),
    "containerd-11650-headers": ("the headers stop", _OK + b"Content-Le"),
    "containerd-11650-manifest": ("the body stops", reply(200, BODY[:20], length=len(BODY))),
    "containerd-11650-chunk": ("a chunk stops", _CHUNKED + b"ff\r\nx"),
}
for _name, (_about, _bytes) in _SLOW.items():

    @BOOK.case(_name, _about)
    def _(stage: Stage, head: bytes = _bytes) -> None:
        stage.server.on("GET", TAGGED, stage.stall(head))
        with stage.refused(RegistryUnavailable, "did not answer in time", "network"):
            resolve(stage)


def _drip(stage: Stage, head: bytes, drop: bytes) -> None:
    """Each byte comes before the stall time-out is over; the deadline ends it."""

    def script(_: Request) -> Iterator[bytes]:
        yield head
        while not stage.server.closing.wait(0.01):
            yield drop

    stage.server.on("GET", TAGGED, script)
    with stage.refused(RegistryUnavailable, "in time"):
        stage.client().resolve(stage.ref, deadline=Deadline(0.5))


for _name, _head, _drop in (
    ("header", _OK, b"A"),
    ("body", reply(200, length=1 << 20), b" "),
    ("continue", b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    ("chunks", _CHUNKED, b"1\r\n \r\n"),
    ("trailers", _CHUNKED + b"0\r\n", b"A: b\r\n"),
):
    BOOK.case(f"containerd-11650-drip-{_name}", "just enough comes that it is no stall")(
        partial(_drip, head=_head, drop=_drop)
    )


def _flood(stage: Stage, head: bytes, piece: bytes) -> None:
    """As fast as it can; the deadline ends it."""
    stage.server.on("GET", TAGGED, endless(head, piece))
    with stage.refused(RegistryUnavailable):
        stage.client().resolve(stage.ref, deadline=Deadline(0.5))


for _name, _about, _head, _piece in (
    ("CVE-2021-3737-continue", "100 Continue for ever", b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 99),
    ("RFC-9112-7.1.2-trailers", "trailers for ever", _CHUNKED + b"0\r\n", b"A: b\r\n" * 999),
    ("RFC-9112-7.1.1-extension", "a chunk's extension for ever", _CHUNKED + b"1;", b"x" * 65536),
    ("CVE-2013-1752-header", "one header for ever", _OK + b"A: ", b"x" * 65536),
    ("CVE-2019-9740-headers", "headers for ever", _OK, b"A: b\r\n" * 999),
    ("CVE-2013-1752-status", "a status line for ever", b"HTTP/1.1 200 ", b"x" * 65536),
):
    BOOK.case(_name, _about)(partial(_flood, head=_head, piece=_piece))


@BOOK.case("containerd-11650-least-rate", "a blob at a rate below the least")
def _(stage: Stage) -> None:
    def script(_: Request) -> Iterator[bytes]:
        yield reply(200, length=len(BLOB))
        while not stage.server.closing.wait(0.01):
            yield b"x"

    stage.server.on("GET", BLOB_PATH, script)
    with stage.refused(RegistryUnavailable, "bytes per second", "least_rate"):
        read(stage, least_rate=100_000, stall_timeout=0.1)


@BOOK.case("RFC-9112-9.2-unasked", "an answer that nobody asked for is not taken for the next")
def _(stage: Stage) -> None:
    evil = reply(200, b"{}", Content_Type=mt.OCI_MANIFEST)
    stage.server.on("GET", PINNED, reply(200, BODY, Content_Type=mt.OCI_MANIFEST) + evil)
    registry = stage.client()
    for _ in range(3):
        assert registry.fetch_manifest(stage.ref, TARGET) == BODY


@BOOK.case("RFC-9112-7.1.2-blob-trailers", "trailers for ever, behind a blob that is whole")
def _(stage: Stage) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n" % len(BLOB)
    trailers = endless(head + BLOB + b"\r\n0\r\n", b"A: b\r\n" * 9000)
    stage.server.on("GET", BLOB_PATH, trailers)
    with stage.refused(RegistryUnavailable):
        read(stage)


@BOOK.case("RFC-9110-15.2-interim", "answers before the answer are passed over")
def _(stage: Stage) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\n"
    early = hints + b"HTTP/1.1 102 Processing\r\n\r\n"
    stage.server.on("GET", BLOB_PATH, early + reply(200, BLOB))
    assert read(stage) == BLOB


@BOOK.case("RFC-9110-15.2-endless", "answers before the answer for ever")
def _(stage: Stage) -> None:
    hint = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    stage.server.on("GET", BLOB_PATH, endless(b"", hint * 99))
    with stage.refused(RegistryUnavailable):
        read(stage)


@pytest.mark.parametrize("name", BOOK)
def test_attack(name: str, tmp_path: Path) -> None:
    BOOK.perform(name, tmp_path)
