"""What the tests of tokens share: who asks, what for, and how a realm answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import parse_qsl, urlsplit

from containerd_lite.deadline import Deadline
from containerd_lite.registry.auth import Authenticator
from containerd_lite.registry.credentials import Credentials
from containerd_lite.registry.destinations import Destinations
from containerd_lite.registry.host_cache import CachedHost
from containerd_lite.registry.hosts import own_host
from containerd_lite.registry.http import Bounds, Connections, Transport
from tests.unit.registry.scripted import Scripted, reply
from tests.unit.registry.test_redirects import CANARY

ME = Credentials("canary", CANARY)
LOGGED_IN = Credentials("", "", identity_token=CANARY)
PULL = frozenset({"repository:app:pull"})
OTHER = frozenset({"repository:other:pull"})
#: The answers to a POST that send the client to GET.
FALLBACK = (400, 401, 404, 405)
#: Against hanging (seconds).
PATIENCE = 5.0

Connect = Callable[..., Authenticator]


@contextmanager
def connecting(server: Scripted) -> Iterator[Connect]:
    """Makes authenticators for the scripted server, with credentials or a source of them."""
    with ExitStack() as stack:

        def make(
            credentials: Credentials | None = ME, source: object = None, **options: object
        ) -> Authenticator:
            host = own_host(server.host)
            cached = CachedHost(Connections(host.base.origin))
            stack.callback(cached.connections.close)
            transport = Transport(
                cached.connections,
                bounds=Bounds(),
                user_agent="tester/1",
                network=Destinations(),
            )
            found = source or (lambda _: credentials)
            return Authenticator(host, transport, cached, found, **options)  # type: ignore[arg-type]

        yield make


def wanted(server: Scripted, path: str = "/token", service: str = "svc", **more: str) -> list[str]:
    """The headers of a 401 that wants a token."""
    fields = {"realm": server.origin + path, "service": service, **more}
    return ["Bearer " + ",".join(f'{name}="{value}"' for name, value in fields.items())]


def within() -> Deadline:
    return Deadline(PATIENCE)


def granted(token: str = "t1", **fields: object) -> bytes:
    return reply(200, {"access_token": token, "expires_in": 300, **fields})


def forms(server: Scripted, path: str = "/token") -> list[dict[str, str]]:
    return [dict(parse_qsl(post.body.decode(), True)) for post in server.seen("POST", path)]


def queries(server: Scripted) -> list[list[tuple[str, str]]]:
    return [parse_qsl(urlsplit(get.target).query, True) for get in server.seen("GET", "/token")]
