"""What a client leaves to the next one of the same registry, and what it does not."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from containerd_lite.errors import RegistryError, RegistryUnauthorized, RegistryUnavailable
from containerd_lite.oci.reference import Reference
from containerd_lite.progress import ProgressEvent
from containerd_lite.registry import host_cache
from containerd_lite.registry.addresses import AddressLevel
from containerd_lite.registry.credentials import Credentials
from containerd_lite.registry.destinations import Destinations
from containerd_lite.registry.host_cache import HostCache
from containerd_lite.registry.hosts import TlsFiles
from containerd_lite.registry.registry import Registry
from containerd_lite.registry.session import MAX_TRIES
from tests.harness.tls import Authority, localhost_pem
from tests.unit.registry.asking import ME, forms, granted, wanted
from tests.unit.registry.samples import BLOB, BLOB_PATH, LAYER, TAGGED, TARGET, Naps, manifest
from tests.unit.registry.scripted import Reply, Request, Scripted, reply

pytestmark = pytest.mark.dependencies

YOU = Credentials("you", "other-canary")


@pytest.fixture
def cache() -> Iterator[HostCache]:
    made = HostCache()
    yield made
    made.close()


def guard(server: Scripted, *answers: Reply) -> None:
    """Lets only tokens in, each of which names its user. ``answers`` come before the manifest."""
    rest = list(answers)

    def give(request: Request) -> Reply:
        if not request.headers.get("authorization", "").startswith("Bearer of-"):
            return reply(401, WWW_Authenticate=wanted(server)[0])
        return rest.pop(0) if rest else manifest()

    def grant(request: Request) -> Reply:
        user = forms(server)[-1]["username"] if request.method == "POST" else "nobody"
        return granted(f"of-{user}-{len(server.seen(request.method, '/token'))}")

    server.on("HEAD", TAGGED, give)
    server.on("POST", "/token", grant)
    server.on("GET", "/token", grant)


def resolve(server: Scripted, cache: HostCache, **options: object) -> str:
    """A client of its own asks for the manifest; returns the token that it has sent."""
    reference = Reference.parse(f"{server.host}/app:v1")
    with Registry(server.host, cache=cache, **options) as registry:  # type: ignore[arg-type]
        assert registry.resolve(reference) == TARGET
    return server.seen("HEAD", TAGGED)[-1].headers.get("authorization", "").removeprefix("Bearer ")


# ---- what is kept ------------------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
def test_the_next_client_needs_neither_a_connection_nor_a_token(
    another: Callable[..., Scripted], cache: HostCache, tls: bool
) -> None:
    server = another(tls=tls)
    guard(server)
    options: dict[str, object] = {"tls": TlsFiles(ca=(localhost_pem(),))} if tls else {}
    assert resolve(server, cache, credentials=ME, **options) == "of-canary-1"
    requests, connections = len(server.requests), server.connections
    assert resolve(server, cache, credentials=ME, **options) == "of-canary-1"
    assert (len(server.requests), server.connections) == (requests + 1, connections)


def test_basic_authentication_is_kept_too(server: Scripted, cache: HostCache) -> None:
    def give(request: Request) -> Reply:
        wants = reply(401, WWW_Authenticate='Basic realm="x"')
        return manifest() if "authorization" in request.headers else wants

    server.on("HEAD", TAGGED, give)
    assert resolve(server, cache, credentials=ME) == resolve(server, cache, credentials=ME)
    assert len(server.requests) == 3
    with pytest.raises(RegistryUnauthorized):
        resolve(server, cache)
    assert "authorization" not in server.requests[-1].headers


def test_a_client_without_a_cache_closes_what_it_has(server: Scripted) -> None:
    guard(server)
    with Registry(server.host, credentials=ME) as registry:
        registry.resolve(Reference.parse(f"{server.host}/app:v1"))
        assert server.clients == 1
    assert server.clients == 0


# ---- what is not -------------------------------------------------------------------------------


def test_each_client_asks_for_the_credentials_again(server: Scripted, cache: HostCache) -> None:
    """Once, and only after the host has wanted them: a source may run a program."""
    guard(server)
    current: Credentials | None = ME
    asked: list[str] = []

    def source(host: str) -> Credentials | None:
        asked.append(host)
        return current

    assert resolve(server, cache, credentials=source) == "of-canary-1"
    current = YOU
    assert resolve(server, cache, credentials=source) == "of-you-2"
    current = None
    assert resolve(server, cache, credentials=source) == "of-nobody-1"
    current = YOU
    assert resolve(server, cache, credentials=source) == "of-you-3"
    assert resolve(server, cache, credentials=source) == "of-you-3"
    assert asked == [server.host] * 5
    assert server.connections == 1


def test_two_users_at_the_same_time_have_tokens_of_their_own(
    server: Scripted, cache: HostCache, ref: Reference
) -> None:
    guard(server)
    with (
        Registry(server.host, credentials=ME, cache=cache) as mine,
        Registry(server.host, credentials=YOU, cache=cache) as yours,
    ):
        for registry in (mine, yours, mine, yours):
            registry.resolve(ref)
    sent = [request.headers.get("authorization", "") for request in server.seen("HEAD", TAGGED)]
    assert sent == [
        *("", "Bearer of-canary-1", "", "Bearer of-you-2"),
        *("Bearer of-canary-1", "Bearer of-you-2"),
    ]


def test_after_a_failure_nothing_is_kept(server: Scripted, cache: HostCache) -> None:
    """Such as 403 for a token that was issued before the user was let in."""
    guard(server, manifest(), reply(403))
    assert resolve(server, cache, credentials=ME) == "of-canary-1"
    with pytest.raises(RegistryUnauthorized):
        resolve(server, cache, credentials=ME)
    assert server.clients == 0
    assert resolve(server, cache, credentials=ME) == "of-canary-2"


def test_a_client_that_fails_takes_nothing_from_one_that_runs(
    server: Scripted, cache: HostCache, ref: Reference
) -> None:
    guard(server, manifest(), reply(403))
    with Registry(server.host, credentials=ME, cache=cache) as registry:
        registry.resolve(ref)
        with pytest.raises(RegistryUnauthorized):
            resolve(server, cache, credentials=ME)
        registry.resolve(ref)
        assert len(server.seen("POST", "/token")) == 1
    assert server.clients == 0


def test_a_change_of_hosts_toml_is_heeded(
    server: Scripted, another: Callable[..., Scripted], cache: HostCache, tmp_path: Path
) -> None:
    mirror = another()
    server.on("HEAD", TAGGED, manifest())
    mirror.on("HEAD", TAGGED, manifest())
    file = tmp_path / server.host / "hosts.toml"
    file.parent.mkdir()
    for text in ("", '[header]\nx-mine = "1"\n', '[header]\nx-mine = "2"\n', ""):
        file.write_text(f'server = "http://{server.host}"\n{text}')
        resolve(server, cache, hosts_dirs=[tmp_path])
    assert [request.headers.get("x-mine") for request in server.requests] == [None, "1", "2", None]
    file.write_text(f'[host."http://{mirror.host}"]\n')
    resolve(server, cache, hosts_dirs=[tmp_path])
    assert (len(server.requests), len(mirror.requests)) == (4, 1)


def test_who_stops_skipping_verification_connects_again(
    another: Callable[..., Scripted], cache: HostCache, tmp_path: Path
) -> None:
    server = another(tls=True)
    server.on("HEAD", TAGGED, manifest())
    file = tmp_path / server.host / "hosts.toml"
    file.parent.mkdir()
    file.write_text(f'server = "{server.origin}"\nskip_verify = true\n')
    resolve(server, cache, hosts_dirs=[tmp_path])
    file.write_text(f'server = "{server.origin}"\n')
    with pytest.raises(RegistryUnavailable, match="certificate"):
        resolve(server, cache, hosts_dirs=[tmp_path])


@pytest.mark.parametrize("where", ["file", "system"])
def test_a_change_of_the_authorities_is_heeded(
    another: Callable[..., Scripted],
    cache: HostCache,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    """The file is the same one, but what is in it is not."""
    server = another(tls=True)
    server.on("HEAD", TAGGED, manifest())
    file = tmp_path / "ca.pem"
    shutil.copy(localhost_pem(), file)
    options: dict[str, object] = {"plain_http": False}
    if where == "file":
        options["tls"] = TlsFiles(ca=(file,))
    else:
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
    resolve(server, cache, **options)
    resolve(server, cache, **options)
    assert server.connections == 1
    shutil.copy(Authority(tmp_path).certificate, file)
    with pytest.raises(RegistryUnavailable, match="certificate"):
        resolve(server, cache, **options)


def test_events_go_to_the_client_that_tries_again(server: Scripted, cache: HostCache) -> None:
    server.on("HEAD", TAGGED, manifest(), reply(503), manifest(), reply(503), manifest())
    told: list[list[ProgressEvent]] = [[], [], []]
    for events in told:
        resolve(server, cache, progress=events.append, sleep=Naps())
    assert [[event.stage for event in events] for events in told] == [
        [],
        ["retrying"],
        ["retrying"],
    ]


# ---- idle connections --------------------------------------------------------------------------


def test_a_connection_that_was_idle_for_long_is_closed(
    server: Scripted, cache: HostCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.on("HEAD", TAGGED, manifest())
    resolve(server, cache)
    resolve(server, cache)
    assert (server.connections, server.clients) == (1, 1)
    monkeypatch.setattr(host_cache, "IDLE_LIMIT", 0.0)
    resolve(server, cache)
    assert (server.connections, server.clients) == (2, 1)


def test_also_if_another_registry_is_used(
    server: Scripted,
    another: Callable[..., Scripted],
    cache: HostCache,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = another()
    for one in (server, other):
        one.on("HEAD", TAGGED, manifest())
    resolve(server, cache)
    monkeypatch.setattr(host_cache, "IDLE_LIMIT", 0.0)
    resolve(other, cache)
    assert server.clients == 0


def test_connections_in_use_are_not_idle(
    server: Scripted, cache: HostCache, ref: Reference, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_cache, "IDLE_LIMIT", 0.0)
    server.on("HEAD", TAGGED, manifest())
    server.on("GET", BLOB_PATH, reply(200, BLOB))
    with (
        Registry(server.host, cache=cache) as registry,
        registry.open_blob(ref, LAYER) as reader,
    ):
        assert reader.read(1) == BLOB[:1]
        resolve(server, cache)
        assert reader.read() == BLOB[1:]
    assert server.connections == 2


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("when", ["before", "meanwhile"])
@pytest.mark.parametrize("role", ["registry", "mirror"])
def test_a_connection_that_the_registry_has_closed_is_no_failure(
    another: Callable[..., Scripted],
    cache: HostCache,
    tmp_path: Path,
    when: str,
    tls: bool,
    role: str,
) -> None:
    """Before the request, or while it is on its way. Requests to a mirror are tried only once."""
    server = another(tls=tls)
    (tmp_path / "_default").mkdir()
    own = f'ca = "{localhost_pem()}"\n' if tls else ""
    first = f'[host."{server.origin}"]' if role == "mirror" else f'server = "{server.origin}"'
    (tmp_path / "_default" / "hosts.toml").write_text(f"{first}\n{own}")
    namespace = "nowhere.test" if role == "mirror" else server.host
    reference = Reference.parse(f"{namespace}/app:v1")
    server.on("HEAD", TAGGED, manifest(), *[b""] * (when == "meanwhile"), manifest())
    events: list[ProgressEvent] = []
    for _ in range(2):
        with Registry(
            namespace, cache=cache, hosts_dirs=[tmp_path], progress=events.append
        ) as registry:
            assert registry.resolve(reference) == TARGET
        if when == "before":
            server.hang_up()
    assert (server.connections, events) == (2, [])


def test_a_connection_of_its_own_that_breaks_is_one(
    server: Scripted, cache: HostCache, ref: Reference
) -> None:
    server.on("HEAD", TAGGED, manifest(), manifest(), b"", manifest())
    events: list[ProgressEvent] = []
    resolve(server, cache)
    with Registry(server.host, cache=cache, progress=events.append, sleep=Naps()) as registry:
        registry.resolve(ref)
        registry.resolve(ref)
    assert [event.stage for event in events] == ["retrying"]


@pytest.mark.parametrize("closed", [False, True])
def test_a_registry_that_breaks_each_connection_is_not_asked_for_ever(
    another: Callable[..., Scripted], cache: HostCache, closed: bool
) -> None:
    server, naps = another(tls=True), Naps()
    options = {"tls": TlsFiles(ca=(localhost_pem(),))}
    server.on("HEAD", TAGGED, manifest(), b"")
    resolve(server, cache, **options)
    if closed:
        server.hang_up()
    with pytest.raises(RegistryUnavailable):
        resolve(server, cache, sleep=naps, **options)
    over_old_connection = 0 if closed else 1
    assert (len(server.requests), len(naps)) == (1 + over_old_connection + MAX_TRIES, 4)


# ---- the ends ----------------------------------------------------------------------------------


def test_close_leaves_nothing_and_later_clients_keep_nothing(
    server: Scripted, cache: HostCache, ref: Reference
) -> None:
    guard(server)
    resolve(server, cache, credentials=ME)
    with Registry(server.host, credentials=ME, cache=cache) as running:
        running.resolve(ref)
        cache.close()
        assert server.clients == 0
        running.resolve(ref)
    assert server.clients == 0
    assert resolve(server, cache, credentials=ME) == "of-canary-2"
    assert server.clients == 0


def test_a_cache_that_is_forgotten_closes_its_connections(server: Scripted) -> None:
    """Warnings are errors in these tests: the garbage collector finds no open socket."""
    server.on("HEAD", TAGGED, manifest())
    cache = HostCache()
    resolve(server, cache)
    assert server.clients == 1
    del cache
    gc.collect()
    assert server.clients == 0


def test_only_so_many_hosts_are_kept(
    another: Callable[..., Scripted], cache: HostCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host_cache, "MAX_HOSTS", 2)
    servers = [another() for _ in range(3)]
    for server in servers:
        server.on("HEAD", TAGGED, manifest())
        server.on("GET", BLOB_PATH, reply(200, BLOB))
    first, second, third = servers
    reference = Reference.parse(f"{second.host}/app:v1")
    with ExitStack() as stack:
        resolve(first, cache)
        running = stack.enter_context(Registry(second.host, cache=cache))
        running.resolve(reference)
        resolve(first, cache)  # so the second one was used least recently
        resolve(third, cache)
        assert [server.clients for server in servers] == [1, 0, 1]
        running.resolve(reference)
    assert [server.clients for server in servers] == [1, 0, 1]


# ---- networks ----------------------------------------------------------------------------------


def test_dns_says_nothing_about_a_connection_that_is_open(
    another: Callable[..., Scripted], cache: HostCache
) -> None:
    """A registry at a public address cannot make itself private by a new entry in DNS.

    It would then refer the client to a private address (DNS rebinding).
    """
    server, inner = another(), another("127.0.0.2")
    server.host = server.host.replace("127.0.0.1", "localhost")
    server.on("HEAD", TAGGED, manifest(), reply(307, Location=f"{inner.origin}{TAGGED}"))
    inner.on("HEAD", TAGGED, manifest())
    levels = {"127.0.0.1": AddressLevel.PUBLIC, "127.0.0.2": AddressLevel.PRIVATE}
    resolve(server, cache, network=Destinations(levels.__getitem__, lambda host: ["127.0.0.1"]))
    moved = Destinations(levels.__getitem__, lambda host: ["127.0.0.2"])
    with pytest.raises(RegistryError, match="more private network"):
        resolve(server, cache, network=moved)
    assert (server.connections, inner.requests) == (1, [])


def test_a_connection_to_a_private_address_is_only_for_who_may_go_there(
    another: Callable[..., Scripted], cache: HostCache
) -> None:
    server, inner = another("127.0.0.2"), another()
    named = inner.origin.replace("127.0.0.1", "localhost")
    server.on("HEAD", TAGGED, reply(307, Location=f"{named}{TAGGED}"))
    inner.on("HEAD", TAGGED, manifest())
    levels = dict.fromkeys(["127.0.0.1", "127.0.0.2"], AddressLevel.PRIVATE)
    found = {"localhost": "127.0.0.1"}
    network = Destinations(levels.__getitem__, lambda host: [found.get(host, host)])
    resolve(server, cache, network=network)
    levels.update({"127.0.0.2": AddressLevel.PUBLIC, "127.0.0.3": AddressLevel.PUBLIC})
    found["localhost"] = "127.0.0.3"
    network = Destinations(levels.__getitem__, lambda host: [found.get(host, host)])
    with pytest.raises(RegistryError, match="more private network"):
        resolve(server, cache, network=network)
    assert len(inner.requests) == 1
