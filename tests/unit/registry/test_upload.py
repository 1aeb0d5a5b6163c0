"""Blobs into a repository: found there, mounted, in one request or many, at whatever place."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from containerd_lite.errors import (
    ContainerdError,
    DigestMismatch,
    InvalidArgument,
    RegistryError,
    RegistryUnauthorized,
)
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types as mt
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.oci.reference import Reference
from containerd_lite.progress import ProgressEvent
from containerd_lite.registry.credentials import Credentials
from containerd_lite.registry.destinations import Destinations
from containerd_lite.registry.hosts import TlsFiles
from containerd_lite.registry.registry import Registry
from containerd_lite.registry.upload import Outcome
from tests.harness.tls import localhost_pem
from tests.unit.registry.samples import BLOB, BLOB_PATH, LAYER, OTHER, Uploads
from tests.unit.registry.scripted import Request, Scripted, challenge, reply
from tests.unit.registry.test_redirects import host_level

ROOT, ONE = Uploads.ROOT, Uploads.PATH
DIGEST = f"digest={LAYER.digest.replace(':', '%3A')}"
TAKEN = reply(201, Docker_Content_Digest=LAYER.digest)


def said(server: Scripted) -> list[str]:
    """The methods in the order in which they came."""
    return [request.method for request in server.requests]


def begun(location: str) -> bytes:
    return reply(202, Location=location)


def test_a_blob_that_is_there_is_not_sent(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    server.on("HEAD", BLOB_PATH, reply(200, BLOB, Docker_Content_Digest=LAYER.digest))
    events: list[ProgressEvent] = []
    assert registry.upload_blob(ref, LAYER, BLOB, progress=events.append) is Outcome.EXISTS
    assert said(server) == ["HEAD"]
    assert events == [ProgressEvent("exists", LAYER.digest, LAYER.size, LAYER.size)]


def test_a_head_that_names_another_digest(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    server.on("HEAD", BLOB_PATH, reply(200, BLOB, Docker_Content_Digest=OTHER))
    with pytest.raises(DigestMismatch, match="upload"):
        registry.upload_blob(ref, LAYER, BLOB)
    assert said(server) == ["HEAD"]


@pytest.mark.parametrize("status", [405, 500, 501])
def test_a_registry_that_cannot_say_whether_it_has_a_blob_is_sent_it(
    server: Scripted, registry: Registry, ref: Reference, status: int
) -> None:
    uploads = Uploads(server)
    server.on("HEAD", BLOB_PATH, reply(status))
    assert registry.upload_blob(ref, LAYER, BLOB) is Outcome.UPLOADED
    assert uploads.done == BLOB


def test_a_head_that_names_another_size_is_no_reason_not_to_send(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    uploads = Uploads(server)
    server.on("HEAD", BLOB_PATH, reply(200, BLOB[:-1]))
    assert registry.upload_blob(ref, LAYER, BLOB) is Outcome.UPLOADED
    assert uploads.done == BLOB


def test_the_whole_goes_in_one_put(server: Scripted, registry: Registry, ref: Reference) -> None:
    uploads = Uploads(server)
    assert registry.upload_blob(ref, LAYER, BLOB) is Outcome.UPLOADED
    assert said(server) == ["HEAD", "POST", "PUT"]
    post, put = server.requests[1:]
    assert (post.body, post.headers["content-length"]) == (b"", "0")
    assert put.headers["content-length"] == str(LAYER.size)
    assert put.headers["content-type"] == "application/octet-stream"
    assert "transfer-encoding" not in put.headers
    assert uploads.done == BLOB


def test_what_is_surely_not_there_need_not_be_asked_for(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    uploads = Uploads(server)
    assert registry.upload_blob(ref, LAYER, BLOB, ask=False) is Outcome.UPLOADED
    assert said(server) == ["POST", "PUT"]
    assert uploads.done == BLOB


def test_content_may_be_bytes_or_a_path_or_a_function(
    server: Scripted, registry: Registry, ref: Reference, tmp_path: Path
) -> None:
    path = tmp_path / "blob"
    path.write_bytes(BLOB)
    for content in (BLOB, path, str(path), lambda offset: io.BytesIO(BLOB[offset:])):
        uploads = Uploads(server)
        registry.upload_blob(ref, LAYER, content)
        assert uploads.done == BLOB


@pytest.mark.parametrize("size", [0, 1])
@pytest.mark.parametrize("options", [{}, {"chunk_size": 1}, {"chunk_size": 9}])
def test_the_smallest_blobs(
    server: Scripted, registry: Registry, ref: Reference, size: int, options: dict[str, int]
) -> None:
    body = b"x" * size
    uploads = Uploads(server, Descriptor(mt.OCI_LAYER, digests.of(body), size))
    registry.upload_blob(ref, uploads.descriptor, body, **options)  # type: ignore[arg-type]
    assert uploads.done == body
    assert said(server)[-1] == "PUT"


@pytest.mark.parametrize("size", [0, 1, len(BLOB)])
def test_a_post_that_has_it_all(
    server: Scripted, registry: Registry, ref: Reference, size: int
) -> None:
    blob = BLOB[:size]
    layer = Descriptor(mt.OCI_LAYER, digests.of(blob), size)
    server.on("GET", "/v2/", reply(200))
    server.on("POST", ROOT, reply(201, Docker_Content_Digest=layer.digest))
    assert registry.upload_blob(ref, layer, blob, single_post=True) is Outcome.UPLOADED
    (post,) = server.seen("POST", ROOT)
    assert post.body == blob
    assert parse_qs(urlsplit(post.target).query) == {"digest": [layer.digest]}
    assert said(server)[-1] == "POST"


def test_a_post_whose_content_is_not_wanted_goes_on_as_any_other(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    uploads = Uploads(server)
    server.on("GET", "/v2/", reply(200))
    assert registry.upload_blob(ref, LAYER, BLOB, single_post=True) is Outcome.UPLOADED
    assert uploads.done == BLOB
    assert said(server)[-2:] == ["POST", "PUT"]


@pytest.mark.parametrize(
    ("location", "target"),
    [
        (ONE, f"{ONE}?{DIGEST}"),
        ("one", f"{ONE}?{DIGEST}"),
        (f"{ONE}?_state=a%2Fb=&x", f"{ONE}?_state=a%2Fb=&x&{DIGEST}"),
        (f"{{origin}}{ONE}?A=%7E", f"{ONE}?A=%7E&{DIGEST}"),
        (f"{{origin}}{ONE}?A=%7e%2f", f"{ONE}?A=%7e%2f&{DIGEST}"),
        ("../../../../elsewhere/one", f"/elsewhere/one?{DIGEST}"),
    ],
)
def test_locations_are_kept_verbatim(
    server: Scripted, registry: Registry, ref: Reference, location: str, target: str
) -> None:
    server.on("POST", ROOT, begun(location.format(origin=server.origin)))
    server.on("PUT", target.partition("?")[0], TAKEN)
    registry.upload_blob(ref, LAYER, BLOB)
    assert server.requests[-1].target == target


def test_an_upload_without_a_place_is_an_error(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    server.on("POST", ROOT, reply(202))
    with pytest.raises(RegistryError, match="without a Location"):
        registry.upload_blob(ref, LAYER, BLOB)
    assert said(server) == ["HEAD", "POST"]


def opening(server: Scripted, tmp_path: Path, **options: object) -> Registry:
    """A client with credentials and a configured header, both of which are secret."""
    folder = tmp_path / "certs.d" / f"{server.host.replace(':', '_')}_"
    folder.mkdir(parents=True)
    toml = f'server = "{server.origin}"\n[host."{server.origin}"]\n'
    toml += f'capabilities = ["pull", "resolve", "push"]\nca = "{localhost_pem()}"\n'
    toml += f'[host."{server.origin}".header]\nx-secret = "canary"\n'
    (folder / "hosts.toml").write_text(toml)
    return Registry(
        server.host,
        hosts_dirs=[folder.parent],
        credentials=Credentials("me", "canary"),
        tls=TlsFiles(ca=(localhost_pem(),)),
        plain_http=not server.origin.startswith("https"),
        **options,  # type: ignore[arg-type]
    )


def guarded(answer: bytes) -> Callable[[Request], bytes]:
    return lambda request: (
        answer if "authorization" in request.headers else challenge('Basic realm="x"')
    )


def test_another_origin_gets_the_content_and_no_secret(
    server: Scripted, another: Callable[..., Scripted], ref: Reference, tmp_path: Path
) -> None:
    target = another()
    server.on("HEAD", BLOB_PATH, guarded(reply(404)))
    server.on("POST", ROOT, guarded(begun(f"{target.origin}/u?sig=1%2F2")))
    target.on("PATCH", "/u", begun("/v?sig=3"))
    target.on("PUT", "/v", TAKEN)
    with opening(server, tmp_path) as registry:
        registry.upload_blob(ref, LAYER, BLOB, chunk_size=LAYER.size)
    assert [r.target for r in target.requests] == ["/u?sig=1%2F2", f"/v?sig=3&{DIGEST}"]
    assert target.requests[0].body == BLOB
    for request in target.requests:
        assert not {"authorization", "x-secret"} & set(request.headers)
    post = server.seen("POST", ROOT)[-1]
    assert {"authorization", "x-secret"} <= set(post.headers)


@pytest.mark.parametrize("status", [401, 403])
def test_another_origin_that_wants_credentials_gets_none(
    server: Scripted, another: Callable[..., Scripted], ref: Reference, tmp_path: Path, status: int
) -> None:
    target = another()
    server.on("POST", ROOT, begun(f"{target.origin}/u"))
    target.on("PUT", "/u", reply(status, WWW_Authenticate='Basic realm="y"'))
    refused = pytest.raises(RegistryError, match="sends no credentials")
    with opening(server, tmp_path) as registry, refused:
        registry.upload_blob(ref, LAYER, BLOB)
    assert {r.method for r in target.requests} == {"PUT", "DELETE"}
    assert b"authorization" not in target.bytes_seen.lower()


def test_from_https_to_http_nothing_is_uploaded(
    another: Callable[..., Scripted], tmp_path: Path
) -> None:
    server, target = another(tls=True), another()
    server.on("POST", ROOT, begun(f"{target.origin}/u"))
    ref = Reference.parse(f"{server.host}/app:v1")
    with opening(server, tmp_path) as registry, pytest.raises(RegistryError, match="https"):
        registry.upload_blob(ref, LAYER, BLOB)
    assert target.connections == 0


def test_into_a_more_private_network_nothing_is_uploaded(
    server: Scripted, another: Callable[..., Scripted], ref: Reference, tmp_path: Path
) -> None:
    target = another("127.0.0.2")
    server.on("POST", ROOT, begun(f"{target.origin}/u"))
    network = Destinations(host_level, lambda host: [host])
    with (
        opening(server, tmp_path, network=network) as registry,
        pytest.raises(RegistryError, match="private"),
    ):
        registry.upload_blob(ref, LAYER, BLOB)
    assert target.connections == 0


def test_a_put_may_be_redirected_with_its_content(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    server.on("POST", ROOT, begun("one"))
    server.on("PUT", ONE, reply(307, Location="/store"))
    server.on("PUT", "/store", TAKEN)
    registry.upload_blob(ref, LAYER, BLOB)
    assert server.requests[-1].body == BLOB


@pytest.mark.parametrize("status", [201, 202])
def test_a_put_that_took_something_else(
    server: Scripted, registry: Registry, ref: Reference, status: int
) -> None:
    server.on("POST", ROOT, begun("one"))
    server.on("PUT", ONE, reply(status, Docker_Content_Digest=OTHER))
    with pytest.raises(DigestMismatch if status == 201 else RegistryError):
        registry.upload_blob(ref, LAYER, BLOB)
    assert said(server)[-2:] == ["PUT", "DELETE"]


def test_the_registry_may_name_a_digest_of_another_kind(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    server.on("POST", ROOT, begun("one"))
    server.on("PUT", ONE, reply(201, Docker_Content_Digest=digests.of(BLOB, "sha512")))
    assert registry.upload_blob(ref, LAYER, BLOB) is Outcome.UPLOADED


# Mounting


def test_a_blob_of_another_repository_is_mounted(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    server.on("POST", ROOT, TAKEN)
    events: list[ProgressEvent] = []
    found = registry.upload_blob(
        ref, LAYER, BLOB, mount_from=["its/base", "b"], progress=events.append
    )
    assert found is Outcome.MOUNTED
    assert said(server) == ["HEAD", "POST"]
    query = parse_qs(urlsplit(server.requests[-1].target).query)
    assert query == {"mount": [LAYER.digest], "from": ["its/base"]}
    assert [event.stage for event in events] == ["mounted"]


def test_a_mount_before_the_question_whether_the_blob_exists(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    server.on("POST", ROOT, TAKEN)
    for _ in range(3):
        found = registry.upload_blob(ref, LAYER, BLOB, mount_from=["base", "b"], mount_first=True)
        assert found is Outcome.MOUNTED
    assert said(server) == ["POST"] * 3
    assert server.connections == 1


def test_a_blob_that_cannot_be_mounted_but_exists(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    """The upload that the registry has started instead of the mount is cancelled."""
    Uploads(server)
    server.on("HEAD", BLOB_PATH, reply(200, BLOB))
    found = registry.upload_blob(ref, LAYER, BLOB, mount_from=["a", "b"], mount_first=True)
    assert found is Outcome.EXISTS
    assert said(server) == ["POST", "HEAD", "DELETE"]


def test_a_mount_that_names_another_digest(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    server.on("POST", ROOT, reply(201, Docker_Content_Digest=OTHER))
    with pytest.raises(DigestMismatch):
        registry.upload_blob(ref, LAYER, BLOB, mount_from=["base"])


def test_a_mount_that_became_an_upload_goes_on_there(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    uploads = Uploads(server)
    found = registry.upload_blob(ref, LAYER, BLOB, mount_from=["a", "b"])
    assert found is Outcome.UPLOADED
    assert said(server) == ["HEAD", "POST", "PUT"]
    assert uploads.done == BLOB


@pytest.mark.parametrize(
    "answer", [b"", *(reply(status) for status in (400, 401, 403, 404, 405, 503))]
)
def test_where_mounting_fails_the_blob_is_sent(
    server: Scripted, registry: Registry, ref: Reference, answer: bytes
) -> None:
    uploads = Uploads(server)
    server.on(
        "POST",
        ROOT,
        lambda request: answer if "mount=" in request.target else uploads.begin(request),
    )
    found = registry.upload_blob(ref, LAYER, BLOB, mount_from=["a", "b"])
    assert found is Outcome.UPLOADED
    mounts = {r.target for r in server.seen("POST", ROOT) if "mount=" in r.target}
    assert len(mounts) == 2
    assert uploads.done == BLOB


def test_a_mount_asks_for_a_token_to_read_the_other_repository(
    server: Scripted, registry: Registry, ref: Reference
) -> None:
    bearer = challenge(f'Bearer realm="{server.origin}/token",service="s"')

    def on(request: Request) -> bytes:
        return TAKEN if "authorization" in request.headers else bearer

    server.on("POST", ROOT, on)
    server.on("GET", "/token", reply(200, {"token": "t"}))
    registry.upload_blob(ref, LAYER, BLOB, mount_from=["base"])
    query = parse_qs(urlsplit(server.seen("GET", "/token")[0].target).query)
    scopes = set(" ".join(query["scope"]).split())
    assert scopes == {"repository:app:pull,push", "repository:base:pull"}


# What may not be


def test_no_chunks_of_nothing(server: Scripted, registry: Registry, ref: Reference) -> None:
    for size in (0, -1):
        with pytest.raises(InvalidArgument, match="chunk_size"):
            registry.upload_blob(ref, LAYER, BLOB, chunk_size=size)
    assert server.requests == []


@pytest.mark.parametrize("status", [401, 403])
def test_one_who_may_not_write(
    server: Scripted, registry: Registry, ref: Reference, status: int
) -> None:
    server.on("POST", ROOT, reply(status))
    with pytest.raises(RegistryUnauthorized) as caught:
        registry.upload_blob(ref, LAYER, BLOB)
    assert isinstance(caught.value, ContainerdError)
    assert LAYER.digest in str(caught.value)
    assert said(server) == ["HEAD", "POST"]
