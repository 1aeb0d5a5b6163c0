"""The ways on which secrets could leave: where they come from, and where a registry points.

A road is set up on a stage and then walked: the registry asks for credentials, gets them, and
sends the client on.  What is then searched for secrets is ``test_canary``'s.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from urllib.parse import quote, quote_plus

from containerd_lite.oci import media_types as mt
from containerd_lite.registry.credentials import Credentials, CredentialSource, docker_config
from containerd_lite.registry.registry import Registry
from tests.harness.tls import localhost_pem
from tests.hostile.registry.stage import STATUSES, Stage, locked, redirect
from tests.unit.registry.samples import BLOB, BLOB_PATH, LAYER, TAGGED, manifest
from tests.unit.registry.scripted import Script, Scripted, challenge, reply

USER = "canary-user"
PASSWORD = "pass canary/+1f?"
IDENTITY = "identity canary/+2f?"
HEADER = "header canary/+3f?"
BEARER = "bearer.canary/+4f"
PROXY = "proxycanary5f"


def forms(secret: str) -> set[bytes]:
    """A secret as it could be found: plain, coded for URLs, in base64, in Basic."""
    plain = secret.encode()
    pair = f"{USER}:{secret}".encode()
    texts = {secret, quote(secret), quote(secret, ""), quote_plus(secret)}
    found = {text.encode() for text in texts} | {b64encode(plain), b64encode(pair)}
    return found | {json.dumps(secret).strip('"').encode()}


ALL = frozenset().union(*map(forms, (PASSWORD, IDENTITY, HEADER, BEARER, PROXY)))


# Where secrets come from.


def _explicit(stage: Stage) -> CredentialSource:
    return lambda host: Credentials(USER, PASSWORD, identity_token=IDENTITY)


def _config(stage: Stage, script: str = "", **fields: object) -> CredentialSource:
    """Docker's file, and perhaps a helper."""
    (stage.folder / "config.json").write_text(json.dumps(fields))
    if script:
        program = stage.folder / "docker-credential-mine"
        program.write_text(f"#!/bin/sh\ncat > /dev/null\n{script}\n")
        program.chmod(0o755)
    environ = {"DOCKER_CONFIG": str(stage.folder), "PATH": f"{stage.folder}:/usr/bin:/bin"}
    return lambda host: docker_config(host, environ)


def _file(stage: Stage) -> CredentialSource:
    auth = b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    return _config(stage, auths={stage.server.host: {"auth": auth, "identitytoken": IDENTITY}})


def _helper(stage: Stage, user: str, secret: str) -> CredentialSource:
    said = json.dumps({"ServerURL": stage.server.host, "Username": user, "Secret": secret})
    return _config(stage, f"echo '{said}'", credsStore="mine")


def _failing(stage: Stage) -> CredentialSource:
    return _config(stage, f"echo '{PASSWORD}'; echo '{PASSWORD}' >&2; exit 1", credsStore="mine")


SOURCES: dict[str, Callable[[Stage], CredentialSource]] = {
    "explicit": _explicit,
    "file": _file,
    "helper": partial(_helper, user=USER, secret=PASSWORD),
    "helper-token": partial(_helper, user="<token>", secret=IDENTITY),
    "helper-fails": _failing,
}


def open_client(stage: Stage, source: str, **options: object) -> Registry:
    """A client that has all the secrets."""
    folder = stage.folder / stage.server.host
    folder.mkdir()
    place = f'server = "{stage.server.origin}"\nca = "{localhost_pem()}"\n'
    (folder / "hosts.toml").write_text(f'{place}[header]\nx-key = "{HEADER}"\n')
    given: dict[str, object] = {"hosts_dirs": (stage.folder,), "tls": None, "plain_http": None}
    return stage.client(credentials=SOURCES[source](stage), **{**given, **options})


# What the registry does with those who come.


def guarded(stage: Stage, scheme: str, answer: Script) -> Script:
    """``answer`` for those who have shown a secret, by ``scheme``."""
    if scheme == "Basic":
        return locked(answer)
    for method in ("POST", "GET"):
        stage.server.on(method, "/token", reply(200, {"token": BEARER}))
    return locked(answer, f'Bearer realm="{stage.server.origin}/token",service="s"')


def greedy(server: Scripted, *paths: str) -> None:
    """A server that asks for everything, and takes it."""
    both = f'Basic realm="x", Bearer realm="{server.origin}/token"'
    for path in paths:
        for method in ("GET", "HEAD", "PUT", "POST", "PATCH", "DELETE"):
            server.on(method, path, locked(reply(200, BLOB), both))


def _read(stage: Stage, client: Registry) -> None:
    with client.open_blob(stage.ref, LAYER) as reader:
        reader.readall()


Walk = Callable[[Stage, str, str], Iterator[Registry]]
MOVES: dict[str, Callable[[Stage], Scripted]] = {
    "port": lambda stage: stage.another(),
    "host": lambda stage: stage.another("127.0.0.3"),
    "scheme": lambda stage: stage.another(tls=True),
    "private": lambda stage: stage.another("127.0.0.2"),
}


def _by_realm(
    stage: Stage, scheme: str, source: str, *, realm: str, secure: bool
) -> Iterator[Registry]:
    """``realm`` may name the ports of the registry and of a server that is not its own."""
    if secure:
        stage.secure()
    address = next((a for a in ("127.0.0.1:{port}", "127.0.0.2") if a in realm), "127.0.0.3")
    if "inner" in realm:
        address = "127.0.0.2"
    other = stage.another(address.partition(":")[0], tls=realm.startswith("https"))
    greedy(other, "/token")
    for method in ("POST", "GET"):
        stage.server.on(method, "/token", reply(200, {"token": BEARER}))
    ports = {"own": stage.server.host.rpartition(":")[2], "port": other.host.rpartition(":")[2]}
    for status in STATUSES:
        for method in ("GET", "POST"):
            stage.server.on(method, f"/r{status}", redirect(f"{other.origin}/token", status))
    wanted = f'Bearer realm="{realm.format(**ports)}",service="s"'
    stage.server.on("HEAD", TAGGED, challenge(wanted))
    with open_client(stage, source) as client:
        yield client
        client.resolve(stage.ref)


def _by_redirect(
    stage: Stage, scheme: str, source: str, *, status: int, move: str
) -> Iterator[Registry]:
    other = MOVES[move](stage)
    greedy(other, "/x", "/token")
    answer = redirect(f"{other.origin}/x", status)
    stage.server.on("GET", BLOB_PATH, guarded(stage, scheme, answer))
    with open_client(stage, source) as client:
        yield client
        _read(stage, client)


def _by_failure(stage: Stage, scheme: str, source: str, *, status: int) -> Iterator[Registry]:
    """The registry itself fails those who have shown a secret, or sends them round and round."""
    answer = redirect(BLOB_PATH, status) if status in STATUSES else reply(status)
    stage.server.on("GET", BLOB_PATH, guarded(stage, scheme, answer))
    with open_client(stage, source) as client:
        yield client
        _read(stage, client)


def _by_upload(
    stage: Stage, scheme: str, source: str, *, status: int, move: str
) -> Iterator[Registry]:
    """By ``Location`` of the upload, or by a redirect of its PUT."""
    other = MOVES[move](stage)
    greedy(other, "/u", "/token")
    start, place = "/v2/app/blobs/uploads/", f"{other.origin}/u"
    stage.server.on("PUT", "/own", redirect(place, status))
    begun = reply(202, Location=place if status == 202 else "/own")
    stage.server.on("POST", start, guarded(stage, scheme, begun))
    with open_client(stage, source) as client:
        yield client
        client.upload_blob(stage.ref, LAYER, BLOB)


def _by_layer(stage: Stage, scheme: str, source: str, *, move: str) -> Iterator[Registry]:
    other = MOVES[move](stage)
    greedy(other, "/layer", "/token")
    stage.server.on("HEAD", TAGGED, guarded(stage, scheme, manifest()))
    layer = replace(LAYER, media_type=mt.DOCKER_FOREIGN_LAYER, urls=(f"{other.origin}/layer",))
    with open_client(stage, source) as client:
        yield client
        client.resolve(stage.ref)
        with client.open_blob(stage.ref, layer) as reader:
            reader.readall()


def _by_link(stage: Stage, scheme: str, source: str, *, move: str) -> Iterator[Registry]:
    other = MOVES[move](stage)
    greedy(other, "/next", "/token")
    page = reply(200, {"tags": ["a"]}, Link=f'<{other.origin}/next>; rel="next"')
    stage.server.on("GET", "/v2/app/tags/list", guarded(stage, scheme, page))
    with open_client(stage, source) as client:
        yield client
        list(client.tags(stage.ref))


def _by_proxy(stage: Stage, scheme: str, source: str, *, status: int) -> Iterator[Registry]:
    """A proxy on the way to a registry with TLS; it knows its own password and no other."""
    proxy = stage.another()
    proxy.on("CONNECT", "outer.test:443", reply(status, Proxy_Authenticate='Basic realm="x"'))
    folder = stage.folder / "outer.test"
    folder.mkdir()
    text = f'server = "https://outer.test"\n[header]\nx-key = "{HEADER}"\n'
    (folder / "hosts.toml").write_text(text)
    given: dict[str, object] = {"hosts_dirs": (stage.folder,), "tls": None, "plain_http": None}
    credentials = SOURCES[source](stage)
    way = f"http://{USER}:{PROXY}@{proxy.host}"
    with Registry("outer.test", credentials=credentials, proxy=way, **given) as client:  # type: ignore[arg-type]
        yield client
        client.resolve(replace(stage.ref, host="outer.test"))


_REALMS = {
    "own": ("http://127.0.0.1:{own}/token", False),
    "port": ("http://127.0.0.1:{port}/token", False),
    "host": ("http://127.0.0.3:{port}/token", False),
    "host-tls": ("https://127.0.0.3:{port}/token", False),
    "below-tls": ("http://127.0.0.1:{own}/token", True),
    "host-below-tls": ("http://127.0.0.3:{port}/token", True),
    "name": ("http://localhost:{port}/token", False),
    "private": ("http://127.0.0.2:{port}/token", False),
    "private-name": ("https://inner.test:{port}/token", False),
    "metadata": ("http://metadata.test/token", False),
    "mapped": ("http://[::ffff:127.0.0.3]:{port}/token", False),
    "userinfo": ("http://127.0.0.1:{own}@127.0.0.3:{port}/token", False),
    **{f"redirecting-{s}": (f"http://127.0.0.1:{{own}}/r{s}", False) for s in STATUSES},
}


def _roads() -> Iterator[tuple[str, Walk]]:
    for name, (realm, secure) in _REALMS.items():
        yield f"realm-{name}", partial(_by_realm, realm=realm, secure=secure)
    for move in MOVES:
        for status in STATUSES:
            yield f"redirect-{status}-{move}", partial(_by_redirect, status=status, move=move)
        for status in (202, 307, 308):
            yield f"upload-{status}-{move}", partial(_by_upload, status=status, move=move)
        yield f"layer-{move}", partial(_by_layer, move=move)
        yield f"link-{move}", partial(_by_link, move=move)
    for status in (307, 400, 401, 403, 404, 500):
        yield f"failure-{status}", partial(_by_failure, status=status)
    for status in (407, 502):
        yield f"proxy-{status}", partial(_by_proxy, status=status)


ROADS: dict[str, Walk] = dict(_roads())
#: What a server that is not the registry may be told: its own proxy's password; and what a token
#: costs, where the realm is on the registry's own host, for that is one party, whatever the port.
MAY_KNOW = {
    "realm-port": forms(PASSWORD) | forms(IDENTITY),
    "proxy-407": forms(PROXY),
    "proxy-502": forms(PROXY),
}


def combinations() -> list[tuple[str, str, str]]:
    """Road, scheme and source; a realm that is itself the road is of one scheme."""
    return [
        (road, scheme, source)
        for road in ROADS
        for scheme in ("Basic", "Bearer")
        for source in SOURCES
        if scheme == "Bearer" or not road.startswith(("realm", "proxy"))
    ]
