"""Mirrors named by ``hosts.toml``: what they are asked, told and not told, and who stands in."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from containerd_lite.errors import (
    RegistryError,
    RegistryNotFound,
    RegistryUnauthorized,
    SizeMismatch,
)
from containerd_lite.oci import digest as digests
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.registry.credentials import Credentials
from containerd_lite.registry.registry import Registry
from tests.e2e.registry.rounds import asked, fetch, named, note, parts, push
from tests.harness.images import Image
from tests.harness.registry import Registry as Server

pytestmark = pytest.mark.registry

Open = Callable[[Any], Any]

SECRET = "hush-canary"
USER = Credentials("user", SECRET)


def mirrored(certs: Path, server: Server, *mirrors: tuple[Server, Iterable[str]]) -> None:
    """Writes the ``hosts.toml`` of a registry with mirrors, and what each of them may be asked."""
    lines = [f'server = "{server.url}"']
    for mirror, capabilities in mirrors:
        lines += [f'[host."{mirror.url}"]', f"capabilities = {list(capabilities)}"]
    folder = certs / server.host
    folder.mkdir(exist_ok=True)
    (folder / "hosts.toml").write_text("\n".join(lines))


def methods(server: Server, start: int = 0) -> set[str]:
    """By which methods a registry was asked for an image, from the request ``start`` on."""
    return {line.partition(" ")[0] for line, _ in asked(server)[start:] if " /v2/app/" in line}


READING = ("pull", "resolve")


@pytest.fixture
def joined(opened: Open, certs: Path) -> Callable[..., Registry]:
    """Makes a client that looks into the test's ``certs.d``."""
    return lambda server, **more: opened(Registry(server.host, hosts_dirs=[certs], **more))


Joined = Callable[..., Registry]


def test_a_pull_through_mirror_serves_and_is_told_for_whom(
    server: Server, opened: Open, certs: Path, joined: Joined, index: Image
) -> None:
    push(opened(Registry(server.host)), named(server.host), index)
    mirror = opened(Server(proxy=server.url))
    mirrored(certs, server, (mirror, READING))
    before = len(asked(server))
    assert fetch(joined(server), named(server.host)) == dict(index.blobs)
    lines = [line for line, _ in asked(mirror) if " /v2/app/" in line]
    assert len(lines) == len(index.blobs) + 1
    told = f"?ns={server.host.replace(':', '%3A')}"
    assert [line for line in lines if not line.endswith(told)] == []
    # The registry was asked by its mirror alone, which does not pass the field on.
    assert [line for line, _ in asked(server)[before:] if "ns=" in line] == []


def test_what_a_mirror_holds_needs_no_registry(
    server: Server, opened: Open, certs: Path, joined: Joined, index: Image
) -> None:
    push(opened(Registry(server.host)), named(server.host), index)
    mirror = opened(Server(proxy=server.url))
    mirrored(certs, server, (mirror, READING))
    registry, pinned = joined(server), named(server.host).with_digest(index.digest)
    top = registry.resolve(pinned)
    registry.fetch_manifest(pinned, top)
    server.stop()
    assert registry.resolve(pinned) == top
    assert registry.fetch_manifest(pinned, top) == index.blobs[index.digest]


def test_the_registry_itself_is_not_told_a_namespace(
    server: Server, certs: Path, joined: Joined, image: Image
) -> None:
    mirrored(certs, server)
    push(joined(server), named(server.host), image)
    assert fetch(joined(server), named(server.host)) == dict(image.blobs)
    assert [line for line, _ in asked(server) if "ns=" in line] == []


def test_where_the_mirror_is_down_the_registry_serves(
    server: Server, opened: Open, certs: Path, joined: Joined, image: Image
) -> None:
    push(opened(Registry(server.host)), named(server.host), image)
    mirror = opened(Server(proxy=server.url))
    mirrored(certs, server, (mirror, READING))
    mirror.stop()
    registry = joined(server)
    assert fetch(registry, named(server.host)) == dict(image.blobs)
    assert list(registry.tags(named(server.host))) == ["1"]
    assert methods(server) >= {"HEAD", "GET"}
    mirror.start()
    assert fetch(registry, named(server.host)) == dict(image.blobs)
    assert methods(mirror) == {"HEAD", "GET"}


def test_where_the_mirror_has_it_not_the_registry_serves(
    server: Server, opened: Open, certs: Path, joined: Joined, index: Image
) -> None:
    push(opened(Registry(server.host)), named(server.host), index)
    empty = opened(Server())
    mirrored(certs, server, (empty, READING))
    assert fetch(joined(server), named(server.host)) == dict(index.blobs)
    seen = [one for one in asked(empty) if " /v2/app/" in one[0]]
    assert len(seen) >= len(index.blobs)
    assert {status for _, status in seen} == {404}


def test_a_mirror_that_has_only_some_of_it_serves_that(
    server: Server, opened: Open, certs: Path, joined: Joined, image: Image
) -> None:
    push(opened(Registry(server.host)), named(server.host), image)
    partial = opened(Server())
    layer = list(parts(image))[1]
    opened(Registry(partial.host)).upload_blob(
        named(partial.host), layer, image.blobs[layer.digest]
    )
    mirrored(certs, server, (partial, READING))
    assert fetch(joined(server), named(server.host)) == dict(image.blobs)
    served = [line for line, status in asked(partial) if status == 200 and "ns=" in line]
    assert [line.partition("?")[0] for line in served] == [f"GET /v2/app/blobs/{layer.digest}"]


def test_mirrors_are_asked_in_their_order_and_what_nobody_has_is_not_found(
    server: Server, opened: Open, certs: Path, joined: Joined, image: Image
) -> None:
    first, second = opened(Server()), opened(Server())
    push(opened(Registry(second.host)), named(second.host), image)
    mirrored(certs, server, (first, READING), (second, READING))
    registry = joined(server)
    assert fetch(registry, named(server.host)) == dict(image.blobs)
    assert methods(first) == {"HEAD", "GET"}
    assert methods(server) == set()
    with pytest.raises(RegistryNotFound, match=server.url):
        registry.resolve(named(server.host, "nowhere"))


@pytest.mark.parametrize(
    ("capabilities", "at_mirror", "at_registry"),
    [
        (["pull"], {"GET"}, {"HEAD"}),
        (["resolve"], {"HEAD"}, {"GET"}),
        (["pull", "resolve"], {"HEAD", "GET"}, set()),
        (["push"], set(), {"HEAD", "GET"}),
    ],
)
def test_a_mirror_is_asked_what_it_may_be_asked(
    capabilities: list[str],
    at_mirror: set[str],
    at_registry: set[str],
    server: Server,
    opened: Open,
    certs: Path,
    joined: Joined,
    image: Image,
) -> None:
    mirror = opened(Server())
    for one in (server, mirror):
        push(opened(Registry(one.host)), named(one.host), image)
    mirrored(certs, server, (mirror, capabilities))
    starts = len(asked(server)), len(asked(mirror))
    assert fetch(joined(server), named(server.host)) == dict(image.blobs)
    assert methods(mirror, starts[1]) == at_mirror
    assert methods(server, starts[0]) == at_registry


def test_a_push_goes_past_the_mirror(
    server: Server, opened: Open, certs: Path, joined: Joined, image: Image
) -> None:
    mirror = opened(Server(proxy=server.url))
    mirrored(certs, server, (mirror, READING))
    registry = joined(server)
    top = push(registry, named(server.host), image)
    attached = note(top)
    push(registry, named(server.host, tag="note"), attached)
    assert methods(mirror) == set()
    pinned = named(server.host).with_digest(top.digest)
    assert [one.digest for one in registry.referrers(pinned)] == [attached.digest]
    registry.delete(pinned)
    assert not methods(mirror) & {"PUT", "POST", "DELETE"}


def test_a_mirror_is_told_for_whom_in_every_request_of_a_push(
    server: Server, opened: Open, certs: Path, joined: Joined, image: Image
) -> None:
    """Also where the URL comes from the mirror, with a query of its own."""
    mirror = opened(Server())
    mirrored(certs, server, (mirror, (*READING, "push")))
    registry, reference = joined(server), named(server.host)
    push(registry, reference, image)
    layer = list(parts(image))[1]
    body, more = image.blobs[layer.digest], b"more"
    whole = Descriptor(layer.media_type, digests.of(body + more), layer.size + len(more))
    registry.upload_blob(reference, whole, body + more, chunk_size=len(body))
    single = Descriptor(layer.media_type, digests.of(more), len(more))
    registry.upload_blob(reference, single, more, single_post=True)
    registry.upload_blob(named(server.host, "other"), layer, body, mount_from=["app"])
    with pytest.raises(SizeMismatch):  # and it cancels the upload
        registry.upload_blob(named(server.host, "third"), whole, body)
    seen = [line for line, _ in asked(mirror) if line != "GET /v2/"]
    assert {line.partition(" ")[0] for line in seen} >= {"HEAD", "POST", "PATCH", "PUT", "DELETE"}
    assert len([line for line in seen if "_state=" in line]) >= 5
    told = f"ns={server.host.replace(':', '%3A')}"
    assert [line for line in seen if line.count(told) != 1] == []
    assert methods(server) == set()


def test_where_no_host_may_be_asked_the_error_says_so(
    server: Server, opened: Open, certs: Path, joined: Joined, image: Image
) -> None:
    folder = certs / server.host
    folder.mkdir()
    text = f'server = "{server.url}"\ncapabilities = ["pull", "resolve"]\n'
    (folder / "hosts.toml").write_text(text)
    with pytest.raises(RegistryError, match=r"push.*hosts\.toml") as caught:
        push(joined(server), named(server.host), image)
    assert caught.value.status == 0
    assert methods(server) == set()


@pytest.mark.parametrize("form", ["pair", "source"])
def test_the_registrys_password_is_not_sent_to_its_mirror(
    form: str, opened: Open, certs: Path, joined: Joined, image: Image
) -> None:
    # Both know the same user: a mirror that were told the password would let us in.
    server, mirror = opened(Server(("user", SECRET))), opened(Server(("user", SECRET)))
    for one in (server, mirror):
        push(opened(Registry(one.host, credentials=USER)), named(one.host), image)
    mirrored(certs, server, (mirror, READING))
    start = len(asked(mirror))
    source: Any = USER if form == "pair" else {server.host: USER}.get
    assert fetch(joined(server, credentials=source), named(server.host)) == dict(image.blobs)
    seen = asked(mirror)[start:]
    assert seen
    assert {status for _, status in seen} == {401}
    assert "error authenticating user" not in mirror.log.read_text()


def test_a_mirror_has_a_password_of_its_own(
    opened: Open, certs: Path, joined: Joined, image: Image
) -> None:
    server, mirror = opened(Server(("user", SECRET))), opened(Server(("other", "own")))
    other = Credentials("other", "own")
    push(opened(Registry(mirror.host, credentials=other)), named(mirror.host), image)
    mirrored(certs, server, (mirror, READING))
    source = {server.host: USER, mirror.host: other}.get
    assert fetch(joined(server, credentials=source), named(server.host)) == dict(image.blobs)
    assert methods(server) == set()


def test_a_refusal_tells_more_than_a_mirror_that_is_down(
    opened: Open, certs: Path, joined: Joined
) -> None:
    server, mirror = opened(Server(("user", SECRET))), opened(Server())
    mirrored(certs, server, (mirror, READING))
    mirror.stop()
    with pytest.raises(RegistryUnauthorized, match=server.url):
        joined(server).resolve(named(server.host))
