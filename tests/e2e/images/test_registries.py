"""A client keeps its connections to a registry and its tokens from one verb to the next."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from containerd_lite import Channel, Client
from tests.e2e.registry.relay import Relay
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.realm import Realm
from tests.harness.registry import Registry

pytestmark = [pytest.mark.daemon, pytest.mark.registry]

USER = ("user", "hush-canary")
IMAGE = images.random_image([3000, 200])


@pytest.fixture(scope="module")
def realm() -> Iterator[Realm]:
    with Realm(dict([USER]), anonymous=False) as found:
        yield found


@pytest.fixture(scope="module")
def guarded(realm: Realm) -> Iterator[Registry]:
    """It has the image, and gives it to the user only."""
    with Registry() as stored:
        images.push(IMAGE, stored.host, "kept", "1")
        storage = {"filesystem": {"rootdirectory": str(stored.storage)}}
        with Registry(realm, overrides={"storage": storage}) as found:
            yield found


@pytest.fixture
def relay(guarded: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """What goes through it is counted. The user has logged in there."""
    with Relay(guarded.host) as found:
        auth = base64.b64encode(":".join(USER).encode()).decode()
        config = {"auths": {found.host: {"auth": auth}}}
        (tmp_path / "config.json").write_text(json.dumps(config))
        monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
        monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
        yield found


@pytest.fixture
def pulled(client: Client, relay: Relay) -> str:
    """The image's name, after a first pull."""
    return client.pull(f"{relay.host}/kept:1", unpack=False).name


def without_token(relay: Relay) -> int:
    """How many requests carried no token."""
    return relay.heard.count(b" HTTP/1.1\r\n") - relay.heard.count(b"uthorization: Bearer ")


def test_all_verbs_share_them(client: Client, relay: Relay) -> None:
    name = f"{relay.host}/kept:1"
    client.pull(name, unpack=False, max_concurrent_downloads=1)
    client.fetch_missing(name, max_concurrent_downloads=1)
    client.repair(name, max_concurrent_downloads=1)
    client.push(f"{relay.host}/pushed:1", name, max_concurrent_uploads=1)
    client.copy(name, f"{relay.host}/kept:2", max_concurrent=1)
    client.fetch(name, max_concurrent_downloads=1)
    assert (relay.clients, without_token(relay)) == (1, 1)


def test_a_view_of_another_namespace_shares_them(client: Client, relay: Relay, pulled: str) -> None:
    most = relay.clients
    with client.in_namespace(f"{client.namespace}-other") as view:
        view.pull(pulled, unpack=False)
        view.image_service.delete(pulled, sync=True)
    client.pull(pulled, unpack=False)
    assert (relay.clients, without_token(relay)) == (most, 1)


def test_close_closes_them(daemon: Daemon, namespace: str, relay: Relay) -> None:
    """Those of a client with a channel of the caller's own, too."""
    ref = f"{relay.host}/kept:1"
    with Channel(daemon.address) as channel:
        for count in (1, 2):
            with Client(channel=channel, namespace=namespace) as client:
                client.pull(ref, unpack=False)
            client.pull(ref, unpack=False)
            assert without_token(relay) == 2 * count


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_its_own(client: Client, relay: Relay, pulled: str) -> None:
    most = relay.clients
    pid = os.fork()
    if not pid:  # pragma: no cover - the child's coverage is lost
        status = 1
        with suppress(BaseException):
            client.pull(pulled, unpack=False)
            status = 0
        os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert (relay.clients, without_token(relay)) == (most + 1, 2)
    client.pull(pulled, unpack=False)
    assert (relay.clients, without_token(relay)) == (most + 1, 2)
