"""A daemon that moves images, and registries of each kind that have the same ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from containerd_lite import Client
from containerd_lite.images.daemon.by_daemon import DaemonTransfers
from tests.e2e.images.by_daemon.moving import IMAGE, INDEX, LARGE, USER
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.leaks import Watch
from tests.harness.realm import Realm
from tests.harness.registry import Registry
from tests.harness.tls import Pair, localhost_pem


@pytest.fixture(scope="package")
def stored(registry: Registry) -> Registry:
    """A registry without TLS; the others have its storage."""
    images.push(IMAGE, registry.host, "library/image", "1")
    images.push(LARGE, registry.host, "library/large", "1")
    images.push(INDEX, registry.host, "library/index", "1")
    return registry


def over_tls(stored: Registry, auth: tuple[str, str] | Realm | None) -> Registry:
    storage = {"filesystem": {"rootdirectory": str(stored.storage)}}
    pair = Pair(localhost_pem(), localhost_pem())
    return Registry(auth, tls=pair, overrides={"storage": storage})


@pytest.fixture(scope="package")
def everybody(stored: Registry) -> Iterator[Registry]:
    with over_tls(stored, None) as found:
        yield found


@pytest.fixture(scope="package")
def by_password(stored: Registry) -> Iterator[Registry]:
    with over_tls(stored, USER) as found:
        yield found


@pytest.fixture(scope="package")
def by_token(stored: Registry) -> Iterator[Registry]:
    pair = Pair(localhost_pem(), localhost_pem())
    with (
        Realm(dict([USER]), anonymous=False, tls=pair) as realm,
        over_tls(stored, realm) as found,
    ):
        yield found


@pytest.fixture(params=["by_password", "by_token"])
def guarded(request: pytest.FixtureRequest) -> Registry:
    found: Registry = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="package")
def mover(daemon: Daemon, by_password: Registry, by_token: Registry) -> Iterator[Daemon]:
    """A daemon that can transfer, and believes the registries' certificate.

    They run before it does: their threads are not what a test leaves.
    """
    if daemon.version_info < (1, 7):
        pytest.skip("containerd moves images itself since 1.7")
    with Daemon(daemon.generation, env={"SSL_CERT_FILE": str(localhost_pem())}) as own:
        yield own


@pytest.fixture
def client(mover: Daemon) -> Iterator[Client]:
    """In a namespace of its own, in which nothing may stay when its images are deleted."""
    namespace = mover.new_namespace()
    watch = Watch(mover, namespace)
    with Client(mover.address, namespace=namespace) as found:
        yield found
        for image in found.image_service.list():
            found.image_service.delete(image.name, sync=True)
    watch.check()


@pytest.fixture
def transfers(client: Client) -> Iterator[DaemonTransfers]:
    """Within a lease; a test that fails leaves through it."""
    with client.lease():
        yield DaemonTransfers.of(client)
