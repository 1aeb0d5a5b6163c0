"""No secret is seen by anybody but those it is for: not on the wire, not in a log, not in an error.

Every combination of a road (``roads``), a scheme and a source of credentials is walked.  Then all
that foreign servers got, all that was logged, printed or raised, and all that the client's parts
say of themselves is searched for each secret, in every form that it can take.
"""

from __future__ import annotations

import json
import logging
import pickle
import traceback
import warnings
from base64 import b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from containerd_lite.errors import ContainerdError
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.destinations import Destinations
from containerd_lite.registry.redaction import REMOVED
from containerd_lite.registry.registry import Registry
from tests.hostile.registry.roads import (
    ALL,
    BEARER,
    HEADER,
    IDENTITY,
    MAY_KNOW,
    PASSWORD,
    PROXY,
    ROADS,
    USER,
    combinations,
    forms,
    open_client,
)
from tests.hostile.registry.stage import Stage, classify, locked
from tests.unit.registry.samples import (
    BLOB,
    BLOB_PATH,
    BODY,
    LAYER,
    PINNED,
    TAGGED,
    TARGET,
    Uploads,
    manifest,
)
from tests.unit.registry.scripted import Scripted, reply

pytestmark = pytest.mark.dependencies

_DEEP = 12


def parts(thing: object, seen: dict[int, object] | None = None, depth: int = 0) -> Iterator[object]:
    """Everything that can be reached from ``thing`` by attributes, items and closures."""
    seen = {} if seen is None else seen
    if id(thing) in seen or depth > _DEEP or isinstance(thing, (str, bytes, int, type)):
        return
    seen[id(thing)] = thing
    yield thing
    inner: list[object] = list(getattr(thing, "__dict__", {}).values())
    for kind in type(thing).__mro__:
        slots = getattr(kind, "__slots__", ())
        names = (slots,) if isinstance(slots, str) else slots
        inner += [getattr(thing, name, None) for name in names if name != "__weakref__"]
    if isinstance(thing, dict):
        inner += [*thing.keys(), *thing.values()]
    elif isinstance(thing, (list, tuple, set, frozenset)):
        inner += list(thing)
    inner += [cell.cell_contents for cell in getattr(thing, "__closure__", None) or ()]
    for one in inner:
        yield from parts(one, seen, depth + 1)


def words_of_parts(client: Registry) -> Iterator[str]:
    """What the client and its parts of this package say of themselves."""
    for thing in parts(client):
        if type(thing).__module__.partition(".")[0] == "containerd_lite":
            yield from (repr(thing), str(thing))


def words_of_error(error: BaseException) -> Iterator[str]:
    """What an error says, and all that led to it, shown or not."""
    yield "".join(traceback.format_exception(error))
    chain: list[BaseException] = [error]
    for one in chain:
        yield from (str(one), repr(one), repr(vars(one)))
        for other in (one.__cause__, one.__context__):
            if other is not None and all(other is not known for known in chain):
                chain.append(other)


def walked(stage: Stage, road: str, scheme: str, source: str) -> Iterator[str]:
    """Walks a road to its end; gives what was said on the way."""
    walk = ROADS[road](stage, scheme, source)
    client = next(walk)
    error: BaseException | None = None
    try:
        next(walk, None)
    except ContainerdError as failure:
        error = failure
    yield from words_of_parts(client)
    if error is not None:
        yield from words_of_error(error)


@pytest.mark.turns(6)
@pytest.mark.parametrize(("road", "scheme", "source"), combinations())
def test_no_secret_leaves(
    road: str,
    scheme: str,
    source: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    with Stage(tmp_path) as stage, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        said = list(walked(stage, road, scheme, source))
        said += [f"{record.getMessage()} {record.args!r}" for record in caplog.records]
        said += [str(warning.message) for warning in warned]
        said += [*capfd.readouterr(), *map(str, stage.naps)]
        text = "\n".join(said).encode()
        assert not [form for form in ALL if form in text]
        hidden = ALL - MAY_KNOW.get(road, set())
        for server in stage.others:
            assert not [form for form in hidden if form in server.bytes_seen]
        if not road.startswith("proxy"):
            assert HEADER.encode() in stage.server.bytes_seen  # so it was on its way


def test_there_are_enough_combinations() -> None:
    found = combinations()
    print(f"{len(found)} combinations of roads, schemes and sources")
    assert len(found) == len(set(found)) >= 100


@pytest.mark.parametrize(
    ("scheme", "source", "secrets"),
    [
        ("Basic", "explicit", (HEADER, PASSWORD)),
        ("Basic", "helper", (HEADER, PASSWORD)),
        ("Bearer", "file", (HEADER, IDENTITY, BEARER)),
        ("Bearer", "helper", (HEADER, PASSWORD, BEARER)),
        ("Bearer", "helper-token", (HEADER, IDENTITY, BEARER)),
    ],
)
def test_the_right_server_is_told_and_the_search_finds_it(
    scheme: str,
    source: str,
    secrets: tuple[str, ...],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with Stage(tmp_path) as stage:
        prepare(stage.server, scheme)
        assert open_client(stage, source).resolve(stage.ref) == TARGET
        for secret in (HEADER, PASSWORD, IDENTITY, BEARER):
            found = any(form in stage.server.bytes_seen for form in forms(secret))
            assert found == (secret in secrets)
    assert any(record.name.startswith("urllib3") for record in caplog.records)


def test_a_proxy_is_told_its_own_password(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        list(walked(stage, "proxy-407", "Bearer", "explicit"))
        assert any(form in stage.others[0].bytes_seen for form in forms(PROXY))


def prepare(server: Scripted, scheme: str) -> None:
    wanted = f'{scheme} realm="{server.origin}/token"'
    server.on("POST", "/token", reply(200, {"token": BEARER}))
    server.on("HEAD", TAGGED, locked(manifest(), wanted))


def test_the_search_finds_what_errors_hide() -> None:
    """In a context that is not shown, in an attribute, and in a part of a part."""

    def fail() -> None:
        try:
            raise ValueError(PASSWORD)
        except ValueError:
            raise KeyError("other") from None

    with pytest.raises(KeyError) as caught:
        fail()
    assert PASSWORD in "".join(words_of_error(caught.value))
    assert PASSWORD not in "".join(traceback.format_exception_only(caught.value))

    class Leaky:
        def __repr__(self) -> str:
            return PASSWORD

    Leaky.__module__ = "containerd_lite.somewhere"
    with Registry("127.0.0.1") as client:
        client.__dict__["further"] = {"a": [Leaky()]}
        assert PASSWORD in words_of_parts(client)


# Echoes: a registry repeats what it was told, in any part of any response.

REFRESH = "refresh canary/+6f?"
ECHOED = (PASSWORD, IDENTITY, HEADER, BEARER, REFRESH)
ECHOES = frozenset().union(*map(forms, ECHOED))
PLACES = (
    "Docker-Content-Digest",
    "Content-Range",
    "Content-Type",
    "Content-Length",
    "Location",
    "Link",
    "Range",
    "OCI-Subject",
    "OCI-Chunk-Min-Length",
    "OCI-Filters-Applied",
    "Retry-After",
    "Warning",
    "WWW-Authenticate",
    "Docker-Distribution-API-Version",
    "Transfer-Encoding",
    "(a line that is no header)",
    "(reason)",
    "(status line)",
    "(body)",
    "(error message)",
    "(error code)",
)
STATUSES_SENT = (200, 201, 202, 206, 307, 400, 401, 404, 416, 503)
CODINGS: tuple[Callable[[str], str], ...] = (
    str,
    lambda text: quote(text, ""),
    lambda text: "".join(f"\\u{ord(char):04x}" for char in text),
    lambda text: b64encode(f"{USER}:{text}".encode()).decode(),
    lambda text: json.dumps(text)[1:-1],
    lambda text: "".join(f"%{ord(char):02X}" for char in text),
    lambda text: f"http://{text}.example/",
    lambda text: f"sha256:{text}",
    lambda text: f'<{quote(text)}>; rel="next"',
)


def echo(status: int, place: str, text: str) -> bytes:
    """A response with ``text`` at one place; everything else is as in a good one."""
    lines = [f"HTTP/1.1 {status} Fine"]
    headers = {"Content-Type": TARGET.media_type, "Location": "/v2/app/blobs/uploads/1"}
    error = {"errors": [{"code": "DENIED", "message": "no"}]}
    body = json.dumps(error).encode()
    if place == "(reason)":
        lines = [f"HTTP/1.1 {status} {text}"]
    elif place == "(status line)":
        lines = [f"HTTP/1.1 {text}"]
    elif place == "(a line that is no header)":
        lines.append(text)
    elif place == "(body)":
        body = text.encode()
    elif place == "(error message)":
        error["errors"][0]["message"] = text
        body = json.dumps(error).encode()
    elif place == "(error code)":
        error["errors"][0]["code"] = text
        body = json.dumps(error).encode()
    else:
        headers[place] = f'299 - "{text}"' if place == "Warning" else text
        if place == "WWW-Authenticate":
            headers[place] = f'Bearer realm="http://127.0.0.1:1/{text}",service="{text}"'
    headers.setdefault("Content-Length", str(len(body)))
    headers["Connection"] = "close"
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


ACTS: dict[str, tuple[str, str, Callable[[Registry, Stage], object]]] = {
    "HEAD manifest": ("HEAD", TAGGED, lambda client, stage: client.resolve(stage.ref)),
    "GET manifest": ("GET", PINNED, lambda client, stage: client.fetch_manifest(stage.ref, TARGET)),
    "GET blob": (
        "GET",
        BLOB_PATH,
        lambda client, stage: client.open_blob(stage.ref, LAYER).readall(),
    ),
    "HEAD blob": ("HEAD", BLOB_PATH, lambda client, stage: client.blob_size(stage.ref, LAYER)),
    "POST upload": (
        "POST",
        Uploads.ROOT,
        lambda client, stage: client.upload_blob(stage.ref, LAYER, BLOB),
    ),
    "POST mount": (
        "POST",
        Uploads.ROOT,
        lambda client, stage: client.upload_blob(stage.ref, LAYER, BLOB, mount_from=("base",)),
    ),
    "PATCH upload": (
        "PATCH",
        Uploads.PATH,
        lambda client, stage: client.upload_blob(stage.ref, LAYER, BLOB, chunk_size=4096),
    ),
    "GET upload": (
        "GET",
        Uploads.PATH,
        lambda client, stage: client.upload_blob(stage.ref, LAYER, BLOB, chunk_size=5000),
    ),
    "PUT upload": (
        "PUT",
        Uploads.PATH,
        lambda client, stage: client.upload_blob(stage.ref, LAYER, BLOB),
    ),
    "PUT manifest": (
        "PUT",
        TAGGED,
        lambda client, stage: client.push_manifest(stage.ref, BODY),
    ),
    "DELETE manifest": ("DELETE", PINNED, lambda client, stage: client.delete(pinned(stage))),
    "GET tags": ("GET", "/v2/app/tags/list", lambda client, stage: list(client.tags(stage.ref))),
    "GET referrers": (
        "GET",
        f"/v2/app/referrers/{TARGET.digest}",
        lambda client, stage: client.referrers(pinned(stage)),
    ),
}


def pinned(stage: Stage) -> Reference:
    return stage.ref.with_digest(TARGET.digest)


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[tuple[Stage, Registry]]:
    """A registry, and a client that has sent it each of the secrets."""
    with Stage(tmp_path) as stage:
        tokens = reply(200, {"token": BEARER, "refresh_token": REFRESH})
        stage.server.on("POST", "/token", tokens)
        nowhere = Destinations(classify, lambda host: [host] if host == "127.0.0.1" else [])
        client = open_client(stage, "explicit", timeout=5.0, network=nowhere)
        wanted = f'Bearer realm="{stage.server.origin}/token"'
        for scope in (TAGGED, "/v2/_catalog"):
            stage.server.on("HEAD", scope, locked(manifest(), wanted))
        assert client.resolve(stage.ref) == TARGET
        yield stage, client


def leaked(text: str) -> list[bytes]:
    """Those of the secrets that ``text`` contains, in any form, whole or in a long part."""
    low = text.lower()
    found = [form for form in ECHOES if form.decode().lower() in low]
    parts_of = [text[at : at + 12] for text in ECHOED for at in (0, 1)]
    return found + [part.encode() for part in parts_of if part.lower() in low]


@pytest.mark.turns(6)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("act", ACTS)
def test_no_echo_is_in_an_error(
    act: str, place: str, canary: tuple[Stage, Registry], caplog: pytest.LogCaptureFixture
) -> None:
    stage, client = canary
    caplog.set_level(logging.DEBUG)
    method, path, do = ACTS[act]
    said: list[str] = []
    for number, status in enumerate(STATUSES_SENT):
        for turn in range(2):
            secret = ECHOED[(number + 2 * turn) % len(ECHOED)]
            coding = CODINGS[(2 * number + turn) % len(CODINGS)]
            Uploads(stage.server)
            if act == "GET upload":
                stage.server.on("PATCH", Uploads.PATH, reply(416))
            stage.server.on(method, path, echo(status, place, coding(secret)))
            try:
                do(client, stage)
            except ContainerdError as error:
                said += words_of_error(error)
                said += [repr(pickle.dumps(error)), repr(vars(pickle.loads(pickle.dumps(error))))]
    said += [str(client.warnings), repr(client)]
    said += [
        f"{record.getMessage()} {record.args!r} {record.exc_info}" for record in caplog.records
    ]
    for text in said:
        assert not leaked(text), text


@pytest.mark.parametrize("coding", CODINGS)
def test_no_echo_of_a_proxy_is_in_an_error(tmp_path: Path, coding: Callable[[str], str]) -> None:
    with Stage(tmp_path) as stage:
        proxy = stage.another()
        error = {"errors": [{"code": "DENIED", "message": coding(PROXY)}]}
        for method in ("HEAD", "GET"):
            for status in (407, 404):
                target = f"http://outer.test{TAGGED.replace('v1', str(status))}"
                proxy.on(method, target, reply(status, error))
        way = f"http://{USER}:{PROXY}@{proxy.host}"
        with Registry("outer.test", plain_http=True, proxy=way, hosts_dirs=()) as client:
            for status in (407, 404):
                with pytest.raises(ContainerdError) as caught:
                    client.resolve(Reference.parse(f"outer.test/app:{status}"))
                assert str(status) in str(caught.value)
                for text in words_of_error(caught.value):
                    assert not [form for form in forms(PROXY) if form.decode() in text], text


def test_an_error_still_says_what_is_not_secret(canary: tuple[Stage, Registry]) -> None:
    stage, client = canary
    error = {"errors": [{"code": "DENIED", "message": f"token {BEARER} is not for app"}]}
    stage.server.on("HEAD", BLOB_PATH, reply(400))
    stage.server.on("GET", PINNED, reply(400, error))
    with pytest.raises(ContainerdError) as caught:
        client.fetch_manifest(stage.ref, TARGET)
    assert f"DENIED: token {REMOVED} is not for app" in str(caught.value)
