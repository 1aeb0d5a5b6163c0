"""``RegistryOptions`` of clients, layouts and verbs, on real registries."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from containerd_lite import Client, Credentials, Layout, RegistryOptions
from containerd_lite.errors import (
    InvalidArgument,
    RegistryError,
    RegistryUnauthorized,
    RegistryUnavailable,
)
from containerd_lite.images import RegistryResolver
from containerd_lite.registry import TlsFiles
from tests.harness import images
from tests.harness.registry import Registry
from tests.harness.tls import Files

pytestmark = [pytest.mark.registry]

USER = ("user", "hush-canary")
SECURED = RegistryOptions(credentials=USER)


@pytest.fixture(scope="module")
def guarded() -> Iterator[str]:
    """The reference of an image in a registry that wants a password."""
    with Registry(USER) as registry:
        yield images.push(images.busybox(), registry.host, "a/b", "1", USER)


def test_options_of_a_layout_and_of_verbs(guarded: str, tmp_path: Path) -> None:
    pushed = f"{guarded}-2"
    with Layout(tmp_path / "own", registry=SECURED) as layout:
        layout.pull(guarded)
        layout.push(pushed, guarded)
        layout.copy(guarded, f"{guarded}-3")
        layout.repair(guarded)
        with pytest.raises(RegistryUnauthorized):
            layout.fetch(pushed, registry=RegistryOptions(credentials=None))
    with Layout(tmp_path / "other") as layout:
        with pytest.raises(RegistryUnauthorized):
            layout.pull(guarded)
        layout.pull(guarded, credentials=USER)
        layout.pull(guarded, credentials=Credentials(*USER), plain_http=True)
        layout.fetch(pushed, registry=RegistryOptions(credentials=lambda host: Credentials(*USER)))
        with pytest.raises(InvalidArgument, match="resolver= excludes registry="):
            layout.pull(guarded, resolver=RegistryResolver(), credentials=USER)
        with pytest.raises(InvalidArgument, match="credentials cannot be of the type tuple"):
            layout.pull(guarded, credentials=("user",))  # type: ignore[arg-type]


@pytest.mark.daemon
def test_options_of_a_client(client: Client, guarded: str) -> None:
    options = RegistryOptions(credentials=USER, plain_http=True)
    with Client(client.address, namespace=client.namespace, registry=options) as own:
        assert own.run(guarded, ["echo", "hello"], pull="always").stdout == b"hello\n"
        again = pickle.loads(pickle.dumps(own))
        again.pull(guarded)
        again.close()
        with pytest.raises(RegistryUnauthorized):
            own.in_namespace("other").fetch(guarded, credentials=("user", "wrong"))
        own.in_namespace("other").fetch(guarded).delete()
        own.get_image(guarded).delete()


def test_options_show_no_secrets() -> None:
    options = RegistryOptions(USER, proxy="http://user:hush-canary@127.0.0.1:1")
    assert "hush-canary" not in repr(options)
    with pytest.raises(InvalidArgument, match="max_rate"):
        RegistryOptions(max_rate=0)
    with pytest.raises(InvalidArgument, match="connections"):
        RegistryOptions(connections=0)


@pytest.mark.daemon
@pytest.mark.generations
def test_what_a_daemon_can_do(client: Client, guarded: str) -> None:
    """The Transfer service takes credentials; other options need this process."""
    with pytest.raises(InvalidArgument, match="does not support registry"):
        client.pull(guarded, registry=RegistryOptions(USER, max_rate=1e6), via="daemon")
    image = client.pull(guarded, credentials=USER, plain_http=True, via="auto")
    assert image.name == guarded
    with pytest.raises(RegistryUnauthorized):
        client.pull(guarded, credentials=("user", "wrong"), plain_http=True, via="auto")


def test_http_and_https_are_told_apart(tmp_path: Path) -> None:
    files = Files(tmp_path)
    built = images.scratch({"a": "b"})
    with Registry() as plain, Layout(tmp_path / "layout") as layout:
        ref = images.push(built, plain.host, "a/b", "1")
        with pytest.raises(RegistryUnavailable, match="pass plain_http=True"):
            layout.pull(ref, plain_http=False)
        storage = {"storage": {"filesystem": {"rootdirectory": str(plain.storage)}}}
        with Registry(tls=files.server, overrides=storage) as secure:
            ref = f"{secure.host}/a/b:1"
            with pytest.raises(RegistryError, match=r"HTTP 400.* pass plain_http=False"):
                layout.pull(ref)
            layout.pull(
                ref, registry=RegistryOptions(tls=TlsFiles(ca=(files.authority.certificate,)))
            )
