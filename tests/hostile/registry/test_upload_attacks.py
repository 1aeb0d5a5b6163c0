"""Registries that take content somewhere else, without end, or for something that it is not."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from containerd_lite.errors import (
    ContainerdError,
    DigestMismatch,
    RegistryError,
    RegistryNotFound,
    RegistryUnauthorized,
    RegistryUnavailable,
    SizeMismatch,
)
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types as mt
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.registry.referrers import fallback_tag
from containerd_lite.registry.upload import Outcome
from tests.hostile.registry.stage import FORMS, Book, Stage, endless, locked, redirect, upload
from tests.unit.registry.samples import BLOB, BLOB_PATH, BODY, CONFIG, LAYER, OTHER, TARGET
from tests.unit.registry.samples import manifest as sent
from tests.unit.registry.scripted import Request, Script, challenge, reply

pytestmark = pytest.mark.dependencies

BOOK = Book()

START = "/v2/app/blobs/uploads/"
PLACE = "/v2/app/blobs/uploads/1"


def begun(location: str = PLACE, **headers: str) -> bytes:
    return reply(202, Location=location, **headers)  # type: ignore[arg-type]


def chunked(stage: Stage, size: int = 4096) -> Outcome:
    return stage.client().upload_blob(stage.ref, LAYER, BLOB, chunk_size=size)


def mounting(stage: Stage) -> Outcome:
    return stage.client().upload_blob(stage.ref, LAYER, BLOB, mount_from=("base",))


# Where the content goes.


def _elsewhere(stage: Stage, move: str, method: str) -> None:
    """The upload goes on at another origin, which gets the content, and no secret."""
    other = {
        "port": lambda: stage.another(),
        "host": lambda: stage.another("127.0.0.3"),
        "scheme": lambda: stage.another(tls=True),
    }[move]()
    place = f"{other.origin}/u?state=a%2Fb"
    stage.server.on("POST", START, locked(begun(place)))
    other.on("PATCH", "/u", reply(202, Location="/u?state=2"))
    other.on("PUT", "/u", reply(201))
    assert (upload if method == "PUT" else chunked)(stage) is Outcome.UPLOADED
    assert other.requests[0].target.startswith("/u?state=a%2Fb")
    assert b"".join(request.body for request in other.requests) == BLOB
    assert all("authorization" not in request.headers for request in other.requests)
    assert any(form in stage.server.bytes_seen for form in FORMS)


for _move in ("port", "host", "scheme"):
    for _method in ("PUT", "PATCH"):
        BOOK.case(f"CVE-2026-50151-{_move}-{_method}", "Location on another origin")(
            partial(_elsewhere, move=_move, method=_method)
        )


def _put_redirected(stage: Stage, status: int) -> None:
    other = stage.another()
    stage.server.on("POST", START, locked(begun()))
    stage.server.on("PUT", PLACE, redirect(f"{other.origin}/u", status))
    other.on("PUT", "/u", reply(201))
    assert upload(stage) is Outcome.UPLOADED
    assert other.requests[0].body == BLOB
    assert "authorization" not in other.requests[0].headers


for _status in (307, 308):
    BOOK.case(f"GHSA-vh4v-2xq2-g5cg-put-{_status}", "the content's PUT is redirected")(
        partial(_put_redirected, status=_status)
    )


def _post_redirected(stage: Stage, status: int) -> None:
    other = stage.another()
    stage.server.on("POST", START, redirect(f"{other.origin}/u", status))
    with stage.refused(RegistryError, f"HTTP {status}"):
        upload(stage)
    assert other.connections == 0


for _status in (301, 302, 303):
    BOOK.case(f"RFC-9110-15.4-post-{_status}", "a POST does not become a GET elsewhere")(
        partial(_post_redirected, status=_status)
    )


def _asks(stage: Stage, scheme: str) -> None:
    other = stage.another()
    stage.server.on("POST", START, locked(begun(f"{other.origin}/u")))
    other.on("PUT", "/u", challenge(f'{scheme} realm="{other.origin}/token"'))
    with stage.refused(RegistryError, "sends no credentials to this URL"):
        upload(stage)
    assert {request.method for request in other.requests} == {"PUT", "DELETE"}


for _scheme in ("Basic", "Bearer"):
    BOOK.case(f"CVE-2026-50151-asks-{_scheme}", "the other origin wants credentials")(
        partial(_asks, scheme=_scheme)
    )


@BOOK.case("CVE-2026-50151-inside", "Location in a private network")
def _(stage: Stage) -> None:
    inner = stage.another("127.0.0.2")
    stage.server.on("POST", START, begun(f"{inner.origin}/u"))
    with stage.refused(RegistryError, "more private network"):
        upload(stage)
    assert inner.connections == 0


@BOOK.case("CVE-2026-50151-https-to-http", "Location without TLS")
def _(stage: Stage) -> None:
    stage.secure()
    other = stage.another()
    stage.server.on("POST", START, begun(f"{other.origin}/u"))
    with stage.refused(RegistryError, "from https to http"):
        upload(stage)
    assert other.connections == 0


for _name, _location in (
    ("userinfo", "http://127.0.0.1:5000@127.0.0.2/u"),
    ("file", "file:///etc/passwd"),
    ("space", "/u HTTP/1.1"),
):
    BOOK.refusal(
        f"RFC-9110-10.2.2-upload-{_name}",
        "Location that is no place",
        upload,
        {("POST", START): begun(_location)},
        RegistryError,
        "invalid Location for the upload",
    )
BOOK.refusal(
    "distribution-spec-push-no-location",
    "an upload that is nowhere",
    upload,
    {("POST", START): reply(202)},
    RegistryError,
    "without a Location",
)

# What the registry says that it has.

_LIES: dict[str, tuple[str, Script, type[ContainerdError]]] = {
    "distribution-spec-push-digest": (
        "another digest at the end",
        reply(201, Docker_Content_Digest=OTHER),
        DigestMismatch,
    ),
    "distribution-spec-push-refused": ("the digest does not match", reply(400), RegistryError),
    "distribution-spec-push-accepted": ("202 is not the end", reply(202), RegistryError),
    "distribution-spec-push-too-large": ("413", reply(413), RegistryError),
    "distribution-spec-push-denied": ("403", reply(403), RegistryUnauthorized),
    "CVE-2020-1702-push-error": (
        "an error without end",
        endless(b"HTTP/1.1 400 No\r\n\r\n", b" " * 65536),
        RegistryError,
    ),
}
for _name, (_about, _script, _error) in _LIES.items():
    BOOK.refusal(_name, _about, upload, {("POST", START): begun(), ("PUT", PLACE): _script}, _error)
BOOK.refusal(
    "distribution-spec-mount-digest",
    "another blob was mounted",
    mounting,
    {("POST", START): reply(201, Docker_Content_Digest=OTHER)},
    DigestMismatch,
    OTHER,
)

_RANGES: dict[str, tuple[str, Script, type[ContainerdError]]] = {
    "garbage": ("a Range in words", begun(Range="all of it"), RegistryError),
    "beyond": ("more than was sent", begun(Range="0-9999999"), RegistryError),
    "nothing": ("nothing, each time", begun(Range="0-0"), RegistryError),
    "digits": ("a number of 40 digits", begun(Range="0-" + "9" * 40), RegistryError),
    "middle": ("a part in the middle", begun(Range="5-9"), RegistryError),
}
for _name, (_about, _script, _error) in _RANGES.items():

    @BOOK.case(f"distribution-spec-range-{_name}", _about)
    def _(stage: Stage, script: Script = _script, error: type[ContainerdError] = _error) -> None:
        stage.server.on("POST", START, begun())
        stage.server.on("PATCH", PLACE, script)
        stage.server.on("GET", PLACE, script)
        with pytest.raises(error) as caught:
            chunked(stage)
        assert stage.server.host in str(caught.value)
        assert len(stage.server.seen("PATCH", PLACE)) < 10
        assert stage.server.seen("DELETE", PLACE)  # what failed is not left behind


def _without_end(stage: Stage, answers: dict[str, bytes], error: type[ContainerdError]) -> None:
    """A registry that never comes further; it is given up after a few tries."""
    stage.server.on("POST", START, begun())
    for method, answer in answers.items():
        stage.server.on(method, PLACE, answer)
    with stage.refused(error):
        chunked(stage)
    assert len(stage.server.requests) < 30


_HOLDS_NONE = reply(204, Location=PLACE, Range="0-0")
for _name, _about, _answers, _error in (
    ("lost", "the upload is lost each time", {"PATCH": reply(404)}, RegistryNotFound),
    ("cut", "the connection is", {"PATCH": b"", "GET": _HOLDS_NONE}, RegistryUnavailable),
    ("503", "it cannot now, ever", {"PATCH": reply(503), "GET": _HOLDS_NONE}, RegistryUnavailable),
):
    BOOK.case(f"distribution-spec-push-{_name}", _about)(
        partial(_without_end, answers=_answers, error=_error)
    )


@BOOK.case("distribution-spec-416", "it is out of step for ever")
def _(stage: Stage) -> None:
    stage.server.on("POST", START, begun())
    stage.server.on("PATCH", PLACE, reply(416))
    stage.server.on("GET", PLACE, _HOLDS_NONE)
    with pytest.raises(RegistryError, match="did not expect the chunk"):
        chunked(stage)
    assert len(stage.server.requests) < 30


for _value in ("99999999999999999999", "-1", "1e9", "0x10", "\u00b2"):

    @BOOK.case(f"distribution-spec-chunk-min-{_value!a}", "a smallest chunk of no sense")
    def _(stage: Stage, value: str = _value) -> None:
        stage.server.on("POST", START, begun(OCI_Chunk_Min_Length=value))
        stage.server.on("PATCH", PLACE, lambda request: _took(request))
        stage.server.on("PUT", PLACE, reply(201))
        assert chunked(stage) is Outcome.UPLOADED


def _took(request: Request) -> bytes:
    end = request.headers["content-range"].partition("-")[2]
    return reply(202, Location=PLACE, Range=f"0-{end}")


@BOOK.case("distribution-spec-exists-other-size", "it has the blob, of another size")
def _(stage: Stage) -> None:
    stage.server.on("HEAD", BLOB_PATH, reply(200, length=7))
    stage.server.on("POST", START, begun())
    stage.server.on("PUT", PLACE, reply(201))
    assert upload(stage) is Outcome.UPLOADED


@BOOK.case("distribution-spec-exists-other-digest", "it has the blob, and calls it another")
def _(stage: Stage) -> None:
    stage.server.on("HEAD", BLOB_PATH, reply(200, length=len(BLOB), Docker_Content_Digest=OTHER))
    with stage.refused(DigestMismatch, OTHER):
        upload(stage)


@BOOK.case("distribution-spec-push-early", "a refusal in the midst of the content")
def _(stage: Stage) -> None:
    big = bytes(16 << 20)
    target = Descriptor(mt.OCI_LAYER, digests.of(big), len(big))
    stage.server.hasty.add(("PUT", PLACE))
    stage.server.on("POST", START, begun())
    stage.server.on("PUT", PLACE, reply(413, Connection="close"))
    with stage.refused(RegistryError, "HTTP 413"):
        stage.client().upload_blob(stage.ref, target, big)


@BOOK.case("containerd-11650-upload", "it takes the content and does not answer")
def _(stage: Stage) -> None:
    stage.server.on("POST", START, begun())
    stage.server.on("PUT", PLACE, stage.stall(b""))
    stage.server.on("GET", PLACE, reply(404))
    with stage.refused(RegistryUnavailable, "in time"):
        upload(stage)


@BOOK.case("distribution-spec-push-short-content", "content that ends early is not called whole")
def _(stage: Stage) -> None:
    stage.server.on("POST", START, begun())
    with pytest.raises(SizeMismatch):
        stage.client().upload_blob(stage.ref, LAYER, BLOB[:-1])
    assert all(len(put.body) < len(BLOB) for put in stage.server.seen("PUT", PLACE))


# Manifests with a subject.

ATTACHED = json.dumps({
    "schemaVersion": 2, "mediaType": mt.OCI_MANIFEST, "config": CONFIG, "layers": [],
    "subject": {"mediaType": mt.OCI_MANIFEST, "digest": TARGET.digest, "size": TARGET.size},
}).encode()  # fmt: skip
TAG = f"/v2/app/manifests/{fallback_tag(TARGET.digest)}"


def attach(stage: Stage) -> object:
    return stage.client().push_manifest(stage.ref, ATTACHED)


_TAGGED: dict[str, Script] = {
    "manifest": sent(),
    "page": reply(200, "<html>"),
    "index-without-end": endless(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 65536),
}
for _name, _script in _TAGGED.items():

    @BOOK.case(f"distribution-spec-subject-{_name}", "what is under the tag is not written over")
    def _(stage: Stage, script: Script = _script) -> None:
        stage.server.on("PUT", "/v2/app/manifests/v1", reply(201))
        stage.server.on("GET", TAG, script)
        with stage.refused(RegistryError):
            attach(stage)
        assert not stage.server.seen("PUT", TAG)


BOOK.refusal(
    "distribution-spec-push-manifest-digest",
    "it took another manifest",
    lambda stage: stage.client().push_manifest(stage.ref, BODY),
    {("PUT", "/v2/app/manifests/v1"): reply(201, Docker_Content_Digest=OTHER)},
    DigestMismatch,
    OTHER,
)


@pytest.mark.parametrize("name", BOOK)
def test_attack(name: str, tmp_path: Path) -> None:
    BOOK.perform(name, tmp_path)
