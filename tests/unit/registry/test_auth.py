"""Challenges, tokens, and who may be told a secret."""

from __future__ import annotations

import base64
import pickle
import threading
import traceback
from collections.abc import Callable

import pytest

from containerd_lite.errors import (
    ContainerdError,
    InvalidArgument,
    RegistryError,
    RegistryUnauthorized,
    RegistryUnavailable,
)
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.challenges import Challenge, parse_challenges
from containerd_lite.registry.credentials import Credentials
from containerd_lite.registry.destinations import Destinations, Url
from containerd_lite.registry.realms import check_realm
from containerd_lite.registry.registry import Registry
from tests.unit.registry.samples import TAGGED, TARGET, manifest
from tests.unit.registry.scripted import Request, Scripted, challenge, reply
from tests.unit.registry.test_redirects import CANARY, SECRETS, host_level

ME = Credentials("canary", CANARY)
SCOPE = "repository:app:pull"


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([], []),
        ([""], []),
        (["Basic"], [("basic", {})]),
        (['Basic realm="x"'], [("basic", {"realm": "x"})]),
        (['BEARER Realm="x",SERVICE=y'], [("bearer", {"realm": "x", "service": "y"})]),
        (['Bearer realm="a,b=c \\"q\\" \\\\",scope="r:x:pull,push"'],
         [("bearer", {"realm": 'a,b=c "q" \\', "scope": "r:x:pull,push"})]),
        (['Basic realm="x", Bearer realm="y"'],
         [("basic", {"realm": "x"}), ("bearer", {"realm": "y"})]),
        (['Basic realm="x"', 'Bearer realm="y"'],
         [("basic", {"realm": "x"}), ("bearer", {"realm": "y"})]),
        (["Negotiate, Basic"], [("negotiate", {}), ("basic", {})]),
        (["Negotiate abc==, Basic realm=x"], [("negotiate", {}), ("basic", {"realm": "x"})]),
        (['Bearer realm = "x" , service= y'], [("bearer", {"realm": "x", "service": "y"})]),
        (['Bearer realm="a",realm="b"'], [("bearer", {"realm": "a"})]),
        (["Bearer ,,, realm=x,"], [("bearer", {"realm": "x"})]),
        (['Bearer realm="open'], [("bearer", {})]),
        (['Bearer realm="open, Basic realm="x"'], [("bearer", {}), ("basic", {"realm": "x"})]),
        (["realm=x"], []),
        (["=, ;;; ,\"\""], []),
        (["Bearer realm="], [("bearer", {})]),
        (["Bearer realm=\"x\"junk"], [("bearer", {})]),
    ],
)  # fmt: skip
def test_challenges(values: list[str], wanted: list[tuple[str, dict[str, str]]]) -> None:
    assert parse_challenges(values) == tuple(Challenge(*pair) for pair in wanted)


def test_challenges_are_bounded() -> None:
    assert len(parse_challenges(["a," * 100_000])) < 10_000
    assert parse_challenges(['Bearer realm="' + "\\" * 100_000]) == (Challenge("bearer"),)


def bearer(server: Scripted, realm: str = "", extra: str = ',service="svc"') -> None:
    """A registry that wants the token ``good`` from ``realm``."""
    value = f'Bearer realm="{realm or server.origin + "/token"}"{extra}'

    def script(request: Request) -> bytes:
        good = request.headers.get("authorization") == "Bearer good"
        return manifest() if good else challenge(value)

    server.on("HEAD", TAGGED, script)


def resolve(server: Scripted, credentials: Credentials | None = ME, **options: object) -> object:
    with Registry(server.host, credentials=credentials, **options) as registry:  # type: ignore[arg-type]
        return registry.resolve(Reference.parse(f"{server.host}/app:v1"))


def test_basic_only_after_it_was_asked_for(server: Scripted) -> None:
    server.on("HEAD", TAGGED, challenge('Basic realm="x"'), manifest())
    with Registry(server.host, credentials=ME) as registry:
        for _ in range(2):
            assert registry.resolve(Reference.parse(f"{server.host}/app:v1")) == TARGET
    sent = [request.headers.get("authorization") for request in server.requests]
    assert sent == [None, ME.basic(), ME.basic()]


@pytest.mark.parametrize("credentials", [None, ME])
def test_bearer(server: Scripted, credentials: Credentials | None) -> None:
    bearer(server)
    server.on("GET", "/token", reply(200, {"token": "good"}))
    assert resolve(server, credentials) == TARGET
    (request,) = server.seen("GET", "/token")
    assert request.target == "/token?service=svc&scope=repository%3Aapp%3Apull"
    assert request.headers.get("authorization") == (ME.basic() if credentials else None)


def test_bearer_is_preferred_and_a_query_kept(server: Scripted) -> None:
    value = f'Basic realm="x", Bearer realm="{server.origin}/token?a=b"'
    server.on("HEAD", TAGGED, challenge(value), manifest())
    server.on("GET", "/token", reply(200, {"access_token": "good"}))
    assert resolve(server) == TARGET
    assert server.seen("GET", "/token")[0].target.startswith("/token?a=b&scope=")


def test_tokens_are_kept_for_their_scope(server: Scripted) -> None:
    bearer(server)
    server.on("GET", "/token", reply(200, {"token": "good", "expires_in": 300}))
    server.on("HEAD", "/v2/other/manifests/v1", manifest())
    with Registry(server.host, credentials=ME) as registry:
        for name in ("app", "app", "other", "other"):
            registry.resolve(Reference.parse(f"{server.host}/{name}:v1"))
    assert len(server.seen("GET", "/token")) == 2
    others = server.seen("HEAD", "/v2/other/manifests/v1")
    assert [r.headers.get("authorization") for r in others] == ["Bearer good"] * 2


def test_a_token_that_is_refused_is_fetched_again_once(server: Scripted) -> None:
    bearer(server)
    token = [reply(200, {"token": name}) for name in ("good", "bad")]
    server.on("GET", "/token", *token)
    with Registry(server.host) as registry:
        reference = Reference.parse(f"{server.host}/app:v1")
        registry.resolve(reference)
        server.on("HEAD", TAGGED, challenge(f'Bearer realm="{server.origin}/token"'))
        with pytest.raises(RegistryUnauthorized):
            registry.resolve(reference)
    assert len(server.seen("GET", "/token")) == 2


def test_one_fetch_in_flight_for_a_scope(server: Scripted) -> None:
    """Four threads want the same token; the realm waits until all of them had their 401."""
    asked = threading.Barrier(5)
    value = f'Bearer realm="{server.origin}/token"'

    def script(request: Request) -> bytes:
        if request.headers.get("authorization") == "Bearer good":
            return manifest()
        asked.wait(5)
        return challenge(value)

    server.on("HEAD", TAGGED, script)

    def token(_: Request) -> bytes:
        return reply(200, {"token": "good"})

    server.on("GET", "/token", token)
    found: list[object] = []
    with Registry(server.host) as registry:
        reference = Reference.parse(f"{server.host}/app:v1")
        threads = [
            threading.Thread(target=lambda: found.append(registry.resolve(reference)))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        asked.wait(5)
        for thread in threads:
            thread.join(5)
    assert found == [TARGET] * 4
    assert len(server.seen("GET", "/token")) == 1


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (reply(401, {"details": "no"}), RegistryUnauthorized),
        (reply(403), RegistryUnauthorized),
        (reply(404), RegistryError),
        (reply(500), RegistryUnavailable),
        (reply(307, Location="/other"), RegistryError),
        (reply(200), RegistryError),
        (reply(200, "<html>"), RegistryError),
        (reply(200, {}), RegistryUnauthorized),
        (reply(200, {"token": 7}), RegistryError),
        (reply(200, {"token": "a\r\nX: y"}), RegistryUnauthorized),
        (reply(200, {"token": "bad token"}), RegistryUnauthorized),
        (reply(200, {"token": "good", "expires_in": "x"}), RegistryError),
        (reply(200, {"token": "wrong"}), RegistryUnauthorized),
        (reply(200, b"", length=2 << 20), RegistryError),
        (reply(200, b" " * (1 << 20) + b"{}", length=-1, Connection="close"), RegistryError),
        (b"", RegistryUnavailable),
    ],
)
def test_token_answers_that_are_wrong(
    server: Scripted, answer: bytes, error: type[ContainerdError]
) -> None:
    bearer(server)
    server.on("GET", "/token", answer)
    with pytest.raises(error) as caught:
        resolve(server, sleep=lambda _: None)
    text = "".join(traceback.format_exception(caught.value))
    assert "app:v1" in str(caught.value)
    assert not any(secret.decode() in text for secret in SECRETS)
    assert server.seen("GET", "/other") == []


@pytest.mark.parametrize(
    "value", ["", "Bearer", 'Bearer service="x"', "Negotiate", "Digest realm=x", "garbage=;"]
)
def test_challenges_that_cannot_be_answered(server: Scripted, value: str) -> None:
    server.on("HEAD", TAGGED, challenge(value))
    with pytest.raises(RegistryUnauthorized, match="containerd-lite login"):
        resolve(server)
    assert not any(secret in server.bytes_seen for secret in SECRETS)


def test_a_plain_401_without_credentials(server: Scripted) -> None:
    server.on("HEAD", TAGGED, challenge('Basic realm="x"'))
    with pytest.raises(RegistryUnauthorized, match="Give credentials") as caught:
        resolve(server, None)
    assert caught.value.status == 401
    assert len(server.requests) == 1


def test_wrong_credentials(server: Scripted) -> None:
    server.on("HEAD", TAGGED, challenge('Basic realm="x"'))
    with pytest.raises(RegistryUnauthorized, match="Check the user name"):
        resolve(server)
    assert len(server.requests) == 2


def test_credentials_are_looked_for_once_and_late(server: Scripted) -> None:
    asked: list[str] = []

    def source(host: str) -> Credentials:
        asked.append(host)
        return ME

    server.on("HEAD", TAGGED, manifest(), challenge('Basic realm="x"'), manifest())
    with Registry(server.host, credentials=source) as registry:
        for expected in (0, 1, 1):
            registry.resolve(Reference.parse(f"{server.host}/app:v1"))
            assert len(asked) == expected
    assert asked == [server.host]


# realms

REGISTRY, LOOPBACK = "https://registry.example.com", "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("registry", "realm"),
    [
        (REGISTRY, "https://registry.example.com/token"),
        (REGISTRY, "https://registry.example.com:8443/token"),
        ("https://registry.gitlab.com", "https://gitlab.com/jwt/auth"),
        ("https://registry-1.docker.io", "https://auth.docker.io/token"),
        ("https://quay.io", "https://quay.io/v2/auth"),
        ("https://gcr.io", "https://gcr.io/v2/token"),
        ("https://mine.azurecr.io", "https://mine.azurecr.io/oauth2/token"),
        ("https://10.0.0.5", "https://10.0.0.5/token"),
        (LOOPBACK, "http://127.0.0.1:5001/token"),
        (LOOPBACK, "https://127.0.0.1/token"),
        ("http://localhost:5000", "http://localhost:5001/token"),
        ("http://[::1]:5000", "http://[::1]:5001/token"),
    ],
)
def test_realms_that_may_be_told_secrets(registry: str, realm: str) -> None:
    check_realm(Url.parse(registry), Url.parse(realm), secret=True)


@pytest.mark.parametrize(
    ("registry", "realm", "anonymous"),
    [
        (REGISTRY, "https://evil.test/token", True),
        (REGISTRY, "https://auth.example.com/token", True),
        (REGISTRY, "https://example.com/jwt/auth", True),
        (REGISTRY, "https://a.registry.example.com/token", True),
        (REGISTRY, "https://registry.example.com.evil.test/token", True),
        (REGISTRY, "https://evilexample.com/token", True),
        (REGISTRY, "https://com/token", True),
        (REGISTRY, "http://registry.example.com/token", False),
        (REGISTRY, "http://auth.example.com/token", False),
        ("https://registry.co.uk", "https://evil.co.uk/token", True),
        ("https://registry.co.uk", "https://co.uk/token", True),
        ("https://mine.azurecr.io", "https://evil.azurecr.io/token", True),
        ("https://mine.github.io", "https://github.io/token", True),
        ("https://docker.io", "https://evil-docker.io/token", True),
        ("https://10.0.0.5", "https://10.0.0.6/token", True),
        (LOOPBACK, "http://127.0.0.2:5000/token", True),
        (LOOPBACK, "http://localhost:5000/token", True),
        (LOOPBACK, "https://auth.docker.io/token", True),
        ("http://10.0.0.5", "http://10.0.0.5/token", True),
    ],
)
def test_cve_2026_48978_realms_that_may_not(registry: str, realm: str, anonymous: bool) -> None:
    with pytest.raises(RegistryError, match=Url.parse(realm).host):
        check_realm(Url.parse(registry), Url.parse(realm), secret=True)
    if anonymous:
        check_realm(Url.parse(registry), Url.parse(realm), secret=False)
    else:
        with pytest.raises(RegistryError, match="TLS"):
            check_realm(Url.parse(registry), Url.parse(realm), secret=False)


def test_a_foreign_realm_gets_nothing_unless_named(
    server: Scripted, another: Callable[..., Scripted]
) -> None:
    foreign = another("127.0.0.2")
    bearer(server, f"{foreign.origin}/token")
    foreign.on("GET", "/token", reply(200, {"token": "good"}))
    with pytest.raises(RegistryError, match="does not use TLS"):
        resolve(server)
    assert foreign.requests == []
    assert resolve(server, None) == TARGET
    assert "authorization" not in foreign.requests[0].headers


def test_an_option_names_further_realms() -> None:
    registry, realm = Url.parse(REGISTRY), Url.parse("https://sso.test/token")
    with pytest.raises(RegistryError, match=r"realm_hosts=\('sso.test',\)"):
        check_realm(registry, realm, secret=True)
    check_realm(registry, realm, secret=True, trusted={"sso.test"})


@pytest.mark.parametrize("resolved", ["127.0.0.2", "127.0.0.1"])
def test_cve_2026_33540_a_realm_in_a_more_private_network(
    server: Scripted, another: Callable[..., Scripted], resolved: str
) -> None:
    """Judged by what its name resolves to, and again by the address connected to."""
    inner = another("127.0.0.2")
    bearer(server, f"{inner.origin}/token")
    network = Destinations(host_level, lambda host: [resolved])
    with pytest.raises(RegistryError, match="private"):
        resolve(server, None, network=network)
    assert inner.requests == []


@pytest.mark.parametrize(
    "realm",
    ["http://169.254.169.254/latest", "http://metadata.test/x", "http://[fd00::1]/x",
     "http://[::ffff:10.0.0.1]/x", "http://0.0.0.0/x", "http://[64:ff9b::a00:1]/x"],
)  # fmt: skip
def test_realms_inside_as_a_public_registry_would_name_them(server: Scripted, realm: str) -> None:
    from containerd_lite.registry.addresses import AddressLevel, address_level

    def classify(address: str) -> AddressLevel:
        return AddressLevel.PUBLIC if address == "127.0.0.1" else address_level(address)

    def addresses(host: str) -> list[str]:
        return ["10.1.2.3"] if host == "metadata.test" else [host]

    bearer(server, realm)
    with pytest.raises(RegistryError, match="private"):
        resolve(server, None, network=Destinations(classify, addresses))


@pytest.mark.parametrize(
    "realm", ["/token", "ftp://x/", "http://u:p@x/", "x", "http://", "http://a b/"]
)
def test_realms_that_cannot_be(server: Scripted, realm: str) -> None:
    bearer(server, realm)
    with pytest.raises(RegistryError, match="realm"):
        resolve(server)
    assert not any(secret in server.bytes_seen for secret in SECRETS)


def test_secrets_do_not_show() -> None:
    shown = repr(ME) + str(ME) + repr(Registry("127.0.0.1", credentials=ME))
    assert CANARY not in shown
    assert "canary" not in shown
    assert pickle.loads(pickle.dumps(ME)) == ME
    assert base64.b64decode(ME.basic()[6:]) == f"canary:{CANARY}".encode()
    with pytest.raises(InvalidArgument):
        Credentials("a:b", "c")
