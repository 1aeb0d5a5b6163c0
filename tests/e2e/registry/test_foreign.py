"""Layers at URLs of their descriptors, on other real registries: what is sent, and taken."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from containerd_lite.errors import RegistryError, SizeMismatch
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.registry.credentials import Credentials
from containerd_lite.registry.registry import Registry
from tests.e2e.registry.relay import DOWN, Relay
from tests.e2e.registry.rounds import asked, named, push
from tests.harness.images import Image
from tests.harness.registry import Registry as Server

pytestmark = pytest.mark.registry

Open = Callable[[Any], Any]

SECRET = "hush-canary"
USER = Credentials("user", SECRET)
COOKIE = "session=cookie-canary"
BODY = bytes(range(256)) * 4096
#: More than the buffers of two connections hold.
LARGE = bytes(24 << 20)


@pytest.fixture
def registry(opened: Open, certs: Path, image: Image) -> Registry:
    """A client that has shown its password and a cookie to its registry."""
    server = opened(Server(("user", SECRET)))
    folder = certs / server.host
    folder.mkdir()
    head = f'server = "{server.url}"\n[header]\ncookie = "{COOKIE}"\n'
    (folder / "hosts.toml").write_text(head)
    registry: Registry = opened(Registry(server.host, hosts_dirs=[certs], credentials=USER))
    push(registry, named(server.host), image)
    return registry


def layer_at(url: str, body: bytes, size: int, *, foreign: bool) -> Descriptor:
    """A layer of the first ``size`` bytes of ``body``, at the URL of all of it."""
    kind = media_types.DOCKER_FOREIGN_LAYER if foreign else media_types.OCI_LAYER_GZIP
    place = f"{url}/v2/far/blobs/{digests.of(body)}"
    return Descriptor(kind, digests.of(body[:size]), size, urls=(place,))


def put(
    opened: Open, other: Server, body: bytes = BODY, credentials: Credentials | None = None
) -> None:
    """Uploads a body to the other registry."""
    blob = layer_at("", body, len(body), foreign=True)
    theirs = opened(Registry(other.host, credentials=credentials))
    theirs.upload_blob(named(other.host, "far"), replace(blob, urls=()), body)


@pytest.mark.parametrize("foreign", [True, False], ids=["foreign", "missing"])
def test_another_port_is_told_no_secret(registry: Registry, opened: Open, foreign: bool) -> None:
    other = opened(Server())
    put(opened, other)
    relay = opened(Relay(other.host))
    blob = layer_at(f"http://{relay.host}", BODY, len(BODY), foreign=foreign)
    with registry.open_blob(named(registry.host), blob) as reader:
        assert reader.readall() == BODY
    heard = bytes(relay.heard).lower()
    assert heard.startswith(b"get /v2/far/blobs/")
    assert b"authorization" not in heard
    assert b"cookie" not in heard
    pair = b64encode(f"user:{SECRET}".encode()).lower()
    assert [secret for secret in (SECRET.encode(), pair, b"ns=") if secret in heard] == []


def test_the_same_password_elsewhere_is_not_tried(registry: Registry, opened: Open) -> None:
    other = opened(Server(("user", SECRET)))
    put(opened, other, credentials=USER)
    before = len(asked(other))
    blob = layer_at(other.url, BODY, len(BODY), foreign=True)
    with pytest.raises(RegistryError, match="sends no credentials to this URL"):
        registry.open_blob(named(registry.host), blob)
    assert [status for _, status in asked(other)[before:]] == [401]


def test_more_bytes_than_the_descriptor_says_are_not_read(registry: Registry, opened: Open) -> None:
    other = opened(Server())
    put(opened, other, LARGE)
    relay = opened(Relay(other.host))
    blob = layer_at(f"http://{relay.host}", LARGE, 10, foreign=True)
    with pytest.raises(SizeMismatch, match=f"announces {len(LARGE)} bytes"):
        registry.open_blob(named(registry.host), blob)
    assert relay.carried[DOWN] < len(LARGE) // 2
