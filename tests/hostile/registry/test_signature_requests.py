"""Registries that fail, or lead elsewhere, while the signatures of an image are looked for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from containerd_lite.errors import (
    ContainerdError,
    SignaturesUnavailable,
    Unsigned,
    Untrusted,
)
from containerd_lite.oci.reference import Reference
from containerd_lite.trust import Policy, Rule, Verdict
from tests.harness import images, signatures
from tests.harness.images import Image
from tests.harness.keypairs import KeyPair
from tests.hostile.registry.stage import Stage, endless, redirect
from tests.unit.registry.scripted import Script, Scripted, challenge, reply

pytestmark = pytest.mark.dependencies

KEY, OTHER = KeyPair.generate(), KeyPair.generate()
IMAGE = images.scratch({"one": b"1"})
TAG = signatures.tag(IMAGE.digest)
SIGNED = signatures.signed(IMAGE, KEY)
STATEMENT = signatures.statement(IMAGE.digest, "https://sigstore.dev/cosign/sign/v1", {})
BY_OTHER = signatures.referrer(IMAGE, [signatures.bundle(STATEMENT, OTHER)], signatures.BUNDLE)
POLICY = Policy({"**": Rule(keys=[KEY.public])})
REFERRERS = f"/v2/app/referrers/{IMAGE.digest}"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path) as found:
        yield found
        found.close_look()


def serve(server: Scripted) -> dict[str, bytes]:
    """Serve the image, a signature by our key under the tag, and a referrer by another key.

    Returns the answers by path.
    """
    entry = {**BY_OTHER.manifest, "artifactType": signatures.BUNDLE}
    index = {"schemaVersion": 2, "mediaType": images.OCI_INDEX, "manifests": [entry]}
    answers = {REFERRERS: reply(200, index, Content_Type=images.OCI_INDEX)}
    for image, tag in ((IMAGE, "v1"), (SIGNED, TAG), (BY_OTHER, "")):
        answers |= answers_of(image, tag)
    for path, answer in answers.items():
        server.on("GET", path, answer)
        server.on("HEAD", path, answer)
    return answers


def answers_of(image: Image, tag: str) -> dict[str, bytes]:
    """The answers that have an image, by path."""
    found = {}
    for digest, body in image.blobs.items():
        is_manifest = digest == image.digest
        kind = image.manifest["mediaType"] if is_manifest else "application/octet-stream"
        answer = reply(200, body, Content_Type=kind, Docker_Content_Digest=digest)
        found[f"/v2/app/{'manifests' if is_manifest else 'blobs'}/{digest}"] = answer
        if is_manifest and tag:
            found[f"/v2/app/manifests/{tag}"] = answer
    return found


def verify(stage: Stage, policy: Policy = POLICY, **options: object) -> Verdict:
    reference = Reference.parse(f"{stage.server.host}/app:v1")
    return stage.client(**options).verify_signatures(reference, policy)


def layer_of(image: Image) -> str:
    """The path of an image's only layer."""
    return f"/v2/app/blobs/{image.layers[0]['digest']}"


def requests(stage: Stage) -> list[str]:
    """The paths that a verification asks for, in order."""
    serve(stage.server)
    assert verify(stage).signatures
    return list(dict.fromkeys(request.path for request in stage.server.requests))


def cut_off(answer: bytes) -> Script:
    """The answer without its end, and a closed connection."""
    return lambda request: iter([answer[:-20] if request.method == "GET" else b""])


#: Answers that say nothing about signatures.
FAILURES: dict[str, Callable[[Stage, bytes], Script]] = {
    "unauthorized": lambda *_: challenge('Basic realm="x"'),
    "forbidden": lambda *_: reply(403, {"errors": [{"code": "DENIED", "message": "no"}]}),
    "a bad request": lambda *_: reply(400, "no"),
    "not allowed": lambda *_: reply(405),
    "too many requests": lambda *_: reply(429, Retry_After="0"),
    "an error": lambda *_: reply(500),
    "unavailable": lambda *_: reply(503),
    "a proxy": lambda *_: reply(511, "<html>log in</html>", Content_Type="text/html"),
    "nothing": lambda *_: b"",
    "noise": lambda *_: b"\x80\x00noise\r\n\r\n",
    "a body that is cut off": lambda _, answer: cut_off(answer),
    "a silence": lambda stage, _: stage.stall(b"HTTP/1.1 200 OK\r\n"),
    "a redirect to itself": lambda *_: lambda request: redirect(request.target),
    "a private network": lambda stage, _: redirect(stage.another("127.0.0.2").origin + "/x"),
    "a broken redirect": lambda *_: reply(307),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_registry_that_fails_at_each_request_in_turn(stage: Stage, failure: str) -> None:
    """It is never unsigned, and never accepted."""
    paths = requests(stage)
    assert len(paths) == 7
    for path in paths:
        answer = serve(stage.server)[path]
        for method in ("GET", "HEAD"):
            stage.server.on(method, path, FAILURES[failure](stage, answer))
        with pytest.raises(ContainerdError) as caught:
            verify(stage, timeout=1.0)
        assert not isinstance(caught.value, Unsigned | Untrusted), path
        assert isinstance(caught.value, SignaturesUnavailable) == (path != paths[0]), path
    for other in stage.others:
        assert not other.bytes_seen


@pytest.mark.parametrize("answer", ["missing", "other bytes", "empty", "longer", "endless"])
def test_content_that_is_missing_or_broken(stage: Stage, answer: str) -> None:
    """Broken content does not count, and does not hide the good signature beside it."""
    scripts: dict[str, Script] = {
        "missing": reply(404),
        "other bytes": lambda request: reply(200, b"x" * 500),
        "empty": reply(200, b""),
        "longer": reply(200, b" " * 100_000),
        "endless": endless(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 65536),
    }
    script = scripts[answer]
    serve(stage.server)
    stage.server.on("GET", layer_of(BY_OTHER), script)
    if answer != "endless":  # for a manifest, the registry counts as broken
        stage.server.on("GET", f"/v2/app/manifests/{BY_OTHER.digest}", script)
    (found,) = verify(stage).signatures
    assert found.where.startswith(f"tag {TAG}")
    for path in (f"/v2/app/manifests/{SIGNED.digest}", layer_of(SIGNED)):
        serve(stage.server)
        stage.server.on("GET", path, script)
        with pytest.raises((Untrusted, SignaturesUnavailable)):
            verify(stage)


def test_no_signatures_at_all(stage: Stage) -> None:
    """Only a registry that says so, by 404 and an empty list, has an image without signatures."""
    for path, answer in answers_of(IMAGE, "v1").items():
        stage.server.on("GET", path, answer)
        stage.server.on("HEAD", path, answer)
    with pytest.raises(Unsigned):
        verify(stage)
    empty = {"schemaVersion": 2, "mediaType": images.OCI_INDEX, "manifests": []}
    stage.server.on("GET", REFERRERS, reply(200, empty, Content_Type=images.OCI_INDEX))
    with pytest.raises(Unsigned):
        verify(stage)


def test_pages_without_end(stage: Stage) -> None:
    """CVE-2023-46737: the deadline bounds a list that brings something new on each page."""
    serve(stage.server)

    def page(request: object) -> bytes:
        number = len(stage.server.requests)
        entry = {**images.descriptor(images.OCI_MANIFEST, b"%d" % number), "size": 500}
        index = {"schemaVersion": 2, "mediaType": images.OCI_INDEX, "manifests": [entry]}
        link = f'<{REFERRERS}?n={number}>; rel="next"'
        return reply(200, index, Content_Type=images.OCI_INDEX, Link=link)

    stage.server.on("GET", REFERRERS, page)
    with pytest.raises(SignaturesUnavailable, match="in time"):
        verify(stage, timeout=0.5)


@pytest.mark.parametrize("address", ["127.0.0.2", "169.254.169.254"])
def test_a_signature_on_a_private_network(stage: Stage, address: str) -> None:
    serve(stage.server)
    target = f"http://{address}/x"
    if address == "127.0.0.2":
        target = stage.another(address).origin + "/x"
    for path in (layer_of(SIGNED), f"/v2/app/manifests/{SIGNED.digest}", REFERRERS):
        serve(stage.server)
        stage.server.on("GET", path, redirect(target))
        with pytest.raises(SignaturesUnavailable, match=r"private|network|address"):
            verify(stage)
    assert not any(other.bytes_seen for other in stage.others)


def test_a_signature_on_another_public_host(stage: Stage) -> None:
    """It is fetched, without the credentials of the registry."""
    serve(stage.server)
    other = stage.another("127.0.0.3")
    stage.server.on("GET", layer_of(SIGNED), redirect(f"{other.origin}/data"))
    other.on("GET", "/data", reply(200, SIGNED.blobs[SIGNED.layers[0]["digest"]]))
    assert verify(stage).signatures
    (request,) = other.requests
    assert "authorization" not in request.headers


def test_urls_of_a_signature_lead_to_a_private_network(stage: Stage) -> None:
    """The client uses URLs for content that a registry does not have, by its usual rules."""
    body = signatures.payload(IMAGE.digest, "by URL")
    for address, error in (("127.0.0.3", None), ("127.0.0.2", Untrusted)):
        other = stage.another(address)
        other.on("GET", "/data", reply(200, body))
        layer, _ = signatures.layer(body, KEY)
        layer["urls"] = [f"{other.origin}/data"]
        serve(stage.server)
        for path, answer in answers_of(signatures.manifest([(layer, body)]), TAG).items():
            stage.server.on("GET", path, reply(404) if "blobs" in path else answer)
            stage.server.on("HEAD", path, answer)
        if error is None:
            assert verify(stage).signatures
            continue
        with pytest.raises((error, SignaturesUnavailable)):
            verify(stage)
        assert not other.bytes_seen
