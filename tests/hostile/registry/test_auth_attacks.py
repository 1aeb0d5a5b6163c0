"""Registries that ask who we are in order to learn it, or to send us somewhere."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from containerd_lite.errors import (
    ContainerdError,
    RegistryError,
    RegistryNotFound,
    RegistryUnauthorized,
    RegistryUnavailable,
)
from containerd_lite.registry.credentials import docker_config
from containerd_lite.registry.destinations import Destinations
from tests.hostile.registry.stage import (
    FORMS,
    ME,
    STATUSES,
    Book,
    Stage,
    classify,
    endless,
    locked,
    read,
    redirect,
)
from tests.unit.registry.samples import BLOB, BLOB_PATH, TAGGED, TARGET, manifest
from tests.unit.registry.scripted import Request, Script, challenge, reply

pytestmark = pytest.mark.dependencies

BOOK = Book()

OWN = "http://{server}/token"


def ask(stage: Stage, realm: str = OWN, more: str = "", **options: object) -> None:
    """Resolves at a registry that wants a token of ``realm``, where ``{server}`` is itself."""
    for method in ("HEAD", "GET"):
        stage.server.on(method, TAGGED, challenge(bearer(stage, realm, more)))
    stage.client(**options).resolve(stage.ref)


def bearer(stage: Stage, realm: str, more: str = "") -> str:
    return f'Bearer realm="{realm.format(server=stage.server.host)}",service="s"{more}'


def tokens(stage: Stage, *answers: Script) -> None:
    stage.server.on("POST", "/token", *answers)
    stage.server.on("GET", "/token", *answers)


def token(text: object = "t1", **fields: object) -> bytes:
    return reply(200, {"token": text, **fields})


# Realms that must not be asked.


def inside(stage: Stage, realm: str, tls: bool = False) -> None:
    """An anonymous client is sent to ``realm``, where ``{port}`` is a server's within."""
    inner = stage.another("127.0.0.2", tls=tls)
    port = inner.host.rpartition(":")[2]
    with stage.refused(RegistryError, "more private network"):
        ask(stage, realm.format(port=port), credentials=None)
    assert inner.requests == []


_INSIDE = {
    "CVE-2026-48978-private": ("a realm at a private address", "http://127.0.0.2:{port}/t"),
    "CVE-2026-48978-mapped": ("the same, as IPv6", "http://[::ffff:127.0.0.2]:{port}/t"),
    "CVE-2026-48978-metadata": ("a cloud's metadata service", "http://metadata.test/latest"),
    "CVE-2026-48978-loopback": ("this machine itself", "http://127.0.0.9:{port}/t"),
    "CVE-2026-48978-unspecified": ("this machine as 0.0.0.0", "http://0.0.0.0:{port}/t"),
    "ggcr-2440-name": ("a name that leads inside", "http://inner.test:{port}/t"),
    "ggcr-2440-two-addresses": ("a name with an address inside", "http://both.test:{port}/t"),
}
for _name, (_about, _realm) in _INSIDE.items():
    BOOK.case(_name, _about)(partial(inside, realm=_realm))


@BOOK.case("ggcr-2440-rebinding", "the realm's name leads inside once it was judged")
def _(stage: Stage) -> None:
    inner = stage.another("127.0.0.2")
    fickle = Destinations(classify, lambda host: ["127.0.0.1"])
    with stage.refused(RegistryError, "more private network"):
        ask(stage, f"{inner.origin}/token", credentials=None, network=fickle)
    assert inner.requests == []


@BOOK.case("CVE-2026-33540-foreign-realm", "a realm on somebody else's host wants the password")
def _(stage: Stage) -> None:
    other = stage.another("127.0.0.3", tls=True)
    with stage.refused(RegistryError, "127.0.0.3", "realm_hosts=('127.0.0.3',)"):
        ask(stage, f"{other.origin}/token")
    assert other.connections == 0


@BOOK.case("CVE-2026-33540-https-to-http", "a registry with TLS names a realm without")
def _(stage: Stage) -> None:
    stage.secure()
    for credentials in (ME, None):
        with stage.refused(RegistryError, "does not use TLS"):
            ask(stage, OWN, credentials=credentials)
    assert all(request.path == TAGGED for request in stage.server.requests)


@BOOK.case("ggcr-2193-plain-http-realm", "a realm without TLS on another host wants the password")
def _(stage: Stage) -> None:
    other = stage.another("127.0.0.3")
    with stage.refused(RegistryError, "does not use TLS"):
        ask(stage, f"{other.origin}/token", realm_hosts=("127.0.0.3",))
    assert other.connections == 0


def _redirecting(stage: Stage, status: int) -> None:
    other = stage.another()
    tokens(stage, redirect(f"{other.origin}/token", status))
    with stage.refused(RegistryError, "redirects"):
        ask(stage)
    assert other.connections == 0
    (first, *_) = stage.server.seen("POST", "/token")
    assert b"grant_type=password" in first.body


for _status in STATUSES:
    BOOK.case(f"ggcr-2193-redirect-{_status}", "the realm redirects the password elsewhere")(
        partial(_redirecting, status=_status)
    )


_IMPOSSIBLE = {
    "RFC-3986-3.2.1-userinfo": "http://{server}@127.0.0.2/token",
    "RFC-6750-3-file-realm": "file:///etc/passwd",
    "RFC-6750-3-relative-realm": "/token",
    "RFC-6750-3-realm-with-spaces": "http://{server}/to ken",
    "CVE-2026-48978-decimal": "http://2130706434/token",
    "CVE-2026-48978-octal": "http://0177.0.0.02/token",
    "RFC-6750-3-realm-of-bad-port": "http://127.0.0.1:99999/token",
}
for _name, _realm in _IMPOSSIBLE.items():

    @BOOK.case(_name, "a realm that is no URL to ask")
    def _(stage: Stage, realm: str = _realm) -> None:
        with stage.refused(RegistryError, "realm"):
            ask(stage, realm)
        assert len(stage.server.requests) == 1


# Challenges without an end, or without a sense.


def refusing(stage: Stage, *values: str) -> int:
    """A registry that only ever gives 401; tells how many requests it got."""
    stage.server.on("HEAD", TAGGED, *map(challenge, values))
    with stage.refused(RegistryUnauthorized, "Check the user name and password"):
        stage.client().resolve(stage.ref)
    return len(stage.server.requests)


@BOOK.case("RFC-7617-2-endless", "Basic is asked for again and again")
def _(stage: Stage) -> None:
    assert refusing(stage, 'Basic realm="x"') == 2


@BOOK.case("RFC-6750-3.1-invalid-token", "each token is invalid_token")
def _(stage: Stage) -> None:
    tokens(stage, *(token(f"t{number}") for number in range(100)))
    assert refusing(stage, bearer(stage, OWN, ',error="invalid_token"')) < 8


@BOOK.case("RFC-6750-3.1-insufficient-scope", "each token lacks one scope more")
def _(stage: Stage) -> None:
    tokens(stage, *(token(f"t{number}") for number in range(100)))
    more = [f',scope="repository:x{n}:pull",error="insufficient_scope"' for n in range(100)]
    assert refusing(stage, *(bearer(stage, OWN, text) for text in more)) < 8


@BOOK.case("RFC-9110-11.6.1-unknown-schemes", "schemes that a library might know too well")
def _(stage: Stage) -> None:
    assert refusing(stage, "Negotiate, NTLM TlRMTVNTUAACAA==, Digest realm=x,nonce=y") == 1


@BOOK.case("RFC-9110-11.6.1-no-challenge", "a 401 that does not say what it wants")
def _(stage: Stage) -> None:
    stage.server.on("HEAD", TAGGED, reply(401))
    with stage.refused(RegistryUnauthorized):
        stage.client().resolve(stage.ref)
    assert len(stage.server.requests) == 1


@BOOK.case("RFC-9110-11.6.1-flood", "90 headers of challenges that are hard to read")
def _(stage: Stage) -> None:
    hard = 'x="' + "\\" * 30_000, "a=b " * 8_000, "," * 32_000, 'x "=' * 8_000
    lines = "".join(f"WWW-Authenticate: {hard[n % 4]}\r\n" for n in range(90))
    head = f"HTTP/1.1 401 No\r\n{lines}Content-Length: 0\r\n\r\n"
    stage.server.on("HEAD", TAGGED, head.encode())
    with stage.refused(RegistryUnauthorized):
        stage.client().resolve(stage.ref)


@BOOK.case("RFC-6750-1-bearer-without-realm", "Bearer that names no realm gets no password")
def _(stage: Stage) -> None:
    assert refusing(stage, 'Bearer service="s"') == 1


@BOOK.case("CVE-2020-15157-downgrade", "where Bearer and Basic are offered, Basic is not sent")
def _(stage: Stage) -> None:
    tokens(stage, token())
    both = 'Basic realm="x", ' + bearer(stage, OWN)
    stage.server.on("HEAD", TAGGED, challenge(both), manifest())
    assert stage.client().resolve(stage.ref) == TARGET
    (_, second) = stage.server.seen("HEAD", TAGGED)
    assert second.headers["authorization"] == "Bearer t1"


# Tokens that are none.


def _unreadable(stage: Stage, answer: Script, error: type[RegistryError], word: str) -> None:
    tokens(stage, answer)
    with stage.refused(error, word):
        ask(stage)
    assert all(
        "authorization" not in request.headers for request in stage.server.seen("HEAD", TAGGED)
    )


_SPACES = endless(b"HTTP/1.1 200 OK\r\n\r\n", b" " * 65536)
_NO_TOKENS: dict[str, tuple[str, Script, type[RegistryError], str]] = {
    "RFC-6750-2.1-newline": (
        "a token that is a header of its own",
        token("t\r\nX-Evil: 1"),
        RegistryUnauthorized,
        "sent no valid token",
    ),
    "RFC-6750-2.1-empty": ("no token", token(""), RegistryUnauthorized, "no valid token"),
    "RFC-6750-2.1-long": (
        "a token of 33 KiB",
        token("t" * (33 << 10)),
        RegistryUnauthorized,
        "no valid token",
    ),
    "RFC-6750-2.1-unicode": ("not ASCII", token("t\u00e9"), RegistryUnauthorized, "no valid token"),
    "CVE-2020-1702-token-endless": ("a token without end", _SPACES, RegistryError, "1048576"),
    "CVE-2020-1702-token-declared": (
        "a token of 5 GiB",
        reply(200, length=5 << 30),
        RegistryError,
        "1048576",
    ),
    "CVE-2020-10735-token-number": (
        "a number of 100,000 digits",
        reply(200, b'{"token":"t","expires_in":' + b"9" * 100_000 + b"}"),
        RegistryError,
        "cannot be read",
    ),
    "token.md-nested": (
        "JSON nested deeply",
        reply(200, b"[" * 99_999),
        RegistryError,
        "cannot be read",
    ),
    "token.md-html": ("a login page", reply(200, b"<html>"), RegistryError, "cannot be read"),
    "token.md-list": ("tokens in a list", token(["t"]), RegistryError, "cannot be read"),
    "token.md-bad-lifetime": (
        "a lifetime in words",
        token(expires_in="long"),
        RegistryError,
        "cannot be read",
    ),
    "token.md-forbidden": ("a realm that refuses", reply(403), RegistryUnauthorized, "HTTP 403"),
    "token.md-teapot": ("a realm of another kind", reply(418), RegistryError, "HTTP 418"),
    "token.md-unavailable": ("a realm that is down", reply(503), RegistryUnavailable, "503"),
}
for _name, (_about, *_rest) in _NO_TOKENS.items():

    @BOOK.case(_name, _about)
    def _(stage: Stage, rest: tuple[object, ...] = tuple(_rest)) -> None:
        _unreadable(stage, *rest)  # type: ignore[arg-type]


@BOOK.case("containerd-11650-token", "a realm that takes the password and says nothing")
def _(stage: Stage) -> None:
    tokens(stage, stage.stall(b"HTTP/1.1 200 OK\r\n"))
    with stage.refused(RegistryUnavailable, "in time"):
        ask(stage)


@BOOK.case("token.md-quotes-the-password", "a realm that repeats in its error what it was told")
def _(stage: Stage) -> None:
    def echo(request: Request) -> bytes:
        said = request.body.decode() + str(request.headers)
        return reply(403, {"errors": [{"code": "DENIED", "message": said}]})

    tokens(stage, echo)
    with stage.refused(RegistryUnauthorized):
        ask(stage)


@BOOK.case("token.md-quotes-the-token", "a token that cannot be read is not repeated")
def _(stage: Stage) -> None:
    tokens(stage, token(f"x {FORMS[0].decode()}"))
    with stage.refused(RegistryUnauthorized):
        ask(stage)


# Helpers and mirrors.

_HELPERS = {
    "missing": ("mine", ""),
    "garbage": ("mine", "echo garbage"),
    "failing": ("mine", f"echo {FORMS[0].decode()} | tee /dev/stderr; exit 1"),
    "empty": ("mine", """echo '{"Username":"","Secret":""}'"""),
    "traversal": ("../mine", f"echo {FORMS[0].decode()}"),
    "shell": ("mine; touch evil", f"echo {FORMS[0].decode()}"),
}


def _helped(stage: Stage, name: str, script: str) -> None:
    """The helper fails; the password in the same file, which is another's, stays where it is."""
    program = stage.folder / "docker-credential-mine"
    if script:
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
    auths = f'"auths":{{"{stage.server.host}":{{"auth":"{FORMS[1].decode()}"}}}}'
    config = f'{{{auths},"credHelpers":{{"{stage.server.host}":"{name}"}}}}'
    (stage.folder / "config.json").write_text(config)
    environ = {"DOCKER_CONFIG": str(stage.folder), "PATH": f"{stage.folder}:/usr/bin:/bin"}
    stage.server.on("HEAD", TAGGED, locked(manifest()))
    with stage.refused(RegistryUnauthorized, "helper", "config.json"):
        stage.client(credentials=lambda host: docker_config(host, environ)).resolve(stage.ref)
    assert not any(form in stage.server.bytes_seen for form in FORMS)
    assert not (stage.folder / "evil").exists()


for _name, (_helper, _script) in _HELPERS.items():
    BOOK.case(f"CVE-2021-41092-{_name}", "a broken helper: nothing else is tried in its place")(
        partial(_helped, name=_helper, script=_script)
    )


@BOOK.case("distribution-spec-proxying", "a mirror that asks is not told the registry's password")
def _(stage: Stage) -> None:
    mirror = stage.another("127.0.0.3")
    mirror.on("GET", BLOB_PATH, challenge('Basic realm="x"'))
    stage.server.on("GET", BLOB_PATH, reply(200, BLOB))
    folder = stage.folder / stage.server.host
    folder.mkdir()
    (folder / "hosts.toml").write_text(f'[host."{mirror.origin}"]\n')
    assert read(stage, hosts_dirs=(stage.folder,), tls=None) == BLOB
    assert [request.target for request in mirror.requests] == [
        f"{BLOB_PATH}?ns={stage.server.host.replace(':', '%3A')}"
    ]


# Registries that quote what they were told.


def _quoting(stage: Stage, status: int, error: type[ContainerdError]) -> None:
    def quote(request: Request) -> bytes:
        said = f"no: {request.headers['authorization']}"
        code = f"DENIED {request.headers['authorization']}"
        return reply(status, {"errors": [{"code": code, "message": said}]})

    stage.server.on("GET", BLOB_PATH, locked(quote))
    with stage.refused(error, str(status)):
        read(stage)


for _status, _error in (
    (400, RegistryError),
    (403, RegistryUnauthorized),
    (404, RegistryNotFound),
    (500, RegistryUnavailable),
):
    BOOK.case(f"RFC-9110-17.16.1-quoted-{_status}", "an error that quotes the Authorization")(
        partial(_quoting, status=_status, error=_error)
    )


@pytest.mark.parametrize("name", BOOK)
def test_attack(name: str, tmp_path: Path) -> None:
    BOOK.perform(name, tmp_path)
