"""Whatever a registry sends without end, the client's memory stays as it was, near enough.

The client is a process of its own (``endless``); what counts is by how much the peak of its
resident memory is above what it was after one healthy answer.
"""

from __future__ import annotations

import gzip
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import containerd_lite
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types as mt
from tests.harness.process import run
from tests.hostile.registry import endless as child
from tests.hostile.registry.stage import endless
from tests.unit.registry.samples import manifest
from tests.unit.registry.scripted import Request, Script, Scripted, challenge, reply

pytestmark = pytest.mark.dependencies

#: What the client may grow by, in KiB: a few documents of 4 MiB, and what is made of them.
ALLOWED = 32 << 10
#: Bounds one attack and one child (seconds).
DEADLINE = 1.0
PATIENCE = 60.0

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
PIECE = b" " * 65536
TAGGED = "/v2/app/manifests/v1"
TAGS = "/v2/app/tags/list"
REFERRERS = f"/v2/app/referrers/{child.DIGEST}"
BLOB = f"/v2/app/blobs/{child.DIGEST}"
UPLOADS = "/v2/app/blobs/uploads/"
BOMB = gzip.compress(bytes(256 << 20))
PART = 4 << 20


@dataclass(frozen=True)
class Flood:
    """What the client is to do, and what is sent without end in answer to what."""

    verb: str
    path: str
    script: Script
    method: str = "GET"
    error: str = "RegistryError"


def _following(path: str, kind: str) -> Script:
    """Pages without end, each with something new and a link to the next."""

    def script(request: Request) -> bytes:
        number = int(request.target.partition("n=")[2] or 0) + 1
        link = f'<{path}?n={number}>; rel="next"'
        if kind == "tags":
            return reply(200, {"tags": [f"t{number}"]}, Link=link)
        if kind == "long tags":
            return reply(
                200, {"tags": [f"{number}-{n}-{'x' * 900}" for n in range(4000)]}, Link=link
            )
        digest = digests.of(str(number).encode())
        entry: dict[str, object] = {"mediaType": mt.OCI_MANIFEST, "digest": digest, "size": 5}
        if kind == "annotated":
            entry["annotations"] = {"a": "x" * (3 << 20)}
        index = {"schemaVersion": 2, "manifests": [entry]}
        return reply(200, index, Content_Type=mt.OCI_INDEX, Link=link)

    return script


def _parts(request: Request) -> Iterator[bytes]:
    """A part of zeros, as the range says."""
    start, _, end = request.headers["range"].removeprefix("bytes=").partition("-")
    size = child.LAYER.size
    head = f"HTTP/1.1 206 Part\r\nContent-Range: bytes {start}-{end}/{size}\r\n"
    yield f"{head}Content-Length: {int(end) + 1 - int(start)}\r\n\r\n".encode()
    for _ in range(PART // len(PIECE)):
        yield bytes(len(PIECE))


FLOODS: dict[str, Flood] = {
    "manifest": Flood("resolve", TAGGED, endless(OK + b"\r\n", PIECE)),
    "manifest-chunks": Flood("resolve", TAGGED, endless(CHUNKED, b"10000\r\n" + PIECE + b"\r\n")),
    "manifest-small-chunks": Flood("resolve", TAGGED, endless(CHUNKED, b"1\r\n \r\n" * 9000),
                                   error="RegistryUnavailable"),
    "manifest-declared": Flood("resolve", TAGGED, reply(200, length=1 << 40)),
    "manifest-gzip": Flood("resolve", TAGGED, reply(200, BOMB, Content_Encoding="gzip")),
    "error": Flood("resolve", TAGGED, endless(b"HTTP/1.1 404 No\r\n\r\n", PIECE),
                   error="RegistryNotFound"),
    "challenge": Flood("resolve", TAGGED, endless(b"HTTP/1.1 401 No\r\n\r\n", PIECE),
                       error="RegistryUnauthorized"),
    "token": Flood("resolve", "/token", endless(OK + b"\r\n", PIECE), "POST"),
    "token-gzip": Flood("resolve", "/token", reply(200, BOMB, Content_Encoding="gzip"), "POST"),
    "redirects": Flood("resolve", TAGGED, reply(307, Location=TAGGED)),
    "redirect-body": Flood("resolve", TAGGED, endless(
        b"HTTP/1.1 307 X\r\nLocation: /x\r\n\r\n", PIECE), error="RegistryNotFound"),
    "headers": Flood("resolve", TAGGED, endless(OK, b"A: b\r\n" * 9000),
                     error="RegistryUnavailable"),
    "header-100-mb": Flood("resolve", TAGGED, lambda _: iter([OK, b"A: ", *[PIECE] * 1600]),
                           error="RegistryUnavailable"),
    "status-line": Flood("resolve", TAGGED, endless(b"HTTP/1.1 200 ", PIECE),
                         error="RegistryUnavailable"),
    "continue": Flood("resolve", TAGGED, endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2000),
                      error="RegistryUnavailable"),
    "continue-headers": Flood("resolve", TAGGED, endless(
        b"HTTP/1.1 100 Continue\r\n", b"A: b\r\n" * 9000), error="RegistryUnavailable"),
    "extension": Flood("resolve", TAGGED, endless(CHUNKED + b"1;", PIECE),
                       error="RegistryUnavailable"),
    "trailers": Flood("resolve", TAGGED, endless(CHUNKED + b"0\r\n", b"A: b\r\n" * 9000),
                      error="RegistryUnavailable"),
    "list": Flood("tags", TAGS, endless(OK + b"\r\n", PIECE)),
    "list-one-page": Flood("tags", TAGS, reply(200, {"tags": [f"{n:x}" for n in range(200_000)]}),
                           error=""),
    "list-pages": Flood("tags", TAGS, _following(TAGS, "tags"), error="RegistryUnavailable"),
    "referrers": Flood("referrers", REFERRERS, endless(OK + b"\r\n", PIECE)),
    "list-long-entries": Flood("tags", TAGS, _following(TAGS, "long tags"),
                               error="RegistryUnavailable"),
    "referrers-annotated": Flood("referrers", REFERRERS, _following(REFERRERS, "annotated")),
    "referrers-pages": Flood("referrers", REFERRERS, _following(REFERRERS, "referrers"),
                             error="RegistryUnavailable"),
    "blob": Flood("drain", BLOB, endless(OK + b"\r\n", PIECE), error="RegistryUnavailable"),
    "blob-gzip": Flood("drain", BLOB, reply(200, BOMB, Content_Encoding="gzip"),
                       error="SizeMismatch"),
    "parts": Flood("stop", BLOB, _parts, error=""),
    "upload-answer": Flood("upload", UPLOADS, endless(b"HTTP/1.1 202 A\r\nLocation: /u\r\n\r\n",
                                                      PIECE), "POST", "RegistryNotFound"),
}  # fmt: skip


@pytest.mark.turns(3)
@pytest.mark.parametrize("name", FLOODS)
def test_memory_stays_bounded(name: str) -> None:
    flood = FLOODS[name]
    with Scripted() as server:
        server.on("HEAD", "/v2/healthy/manifests/v1", manifest())
        if flood.path == "/token":
            server.on("GET", TAGGED, challenge(f'Bearer realm="{server.origin}/token"'))
        server.on(flood.method, flood.path, flood.script)
        told = asked(server.host, flood.verb)
    assert told["error"] == flood.error
    assert int(str(told["after"])) - int(str(told["before"])) <= ALLOWED


def asked(host: str, verb: str) -> dict[str, object]:
    """What the client told that met the server."""
    program = Path(__file__).with_name("endless.py")
    command = [sys.executable, "-W", "error", str(program), host, verb, str(DEADLINE)]
    tested = Path(str(containerd_lite.__file__)).parents[1]
    done = run(command, timeout=PATIENCE, env={"PYTHONPATH": str(tested)})
    assert done.returncode == 0, done.stderr.decode()
    found: dict[str, object] = json.loads(done.stdout)
    return found
