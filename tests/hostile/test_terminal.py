"""No peer writes to the terminal: not by an error, a name, a label, a log line or a table."""

from __future__ import annotations

import io
import json
import logging
import pickle
import tarfile
import traceback
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from containerd_lite import Client, Layout
from containerd_lite import errors as package_errors
from containerd_lite.cli import main
from containerd_lite.cli.progress_display import show_progress
from containerd_lite.errors import BY_CODE, ContainerdError, Unknown
from containerd_lite.images.daemon.transfer_registry import CredentialAnswers, explain_failure
from containerd_lite.oci import digest as digests
from containerd_lite.oci import media_types as mt
from containerd_lite.oci.reference import Reference
from containerd_lite.printable import MAX_MESSAGE, printable
from containerd_lite.progress import ProgressEvent
from containerd_lite.registry.credentials import Credentials
from containerd_lite.schema.pool import CONTAINERD, encode
from tests.hostile.registry.stage import Stage
from tests.hostile.registry.test_canary import ACTS, PLACES, STATUSES_SENT, echo
from tests.unit.registry.samples import (
    CONFIG,
    TAGGED,
    TARGET,
    Uploads,
    manifest,
)
from tests.unit.registry.scripted import reply
from tests.unit.services.scripted_daemon import serving
from tests.wire.peer import RESPONSE, Peer, Request, Wire, answering

pytestmark = pytest.mark.dependencies

MARKS = "\x00\x07\x08\x1b\r\n\t\x7f\x85\x9b\u061c\u200e\u200f\u2028\u2029" + "".join(
    map(chr, (*range(0x202A, 0x202F), *range(0x2066, 0x206A)))
)
#: Words with all marks between them, and a sequence that sets a terminal's title.
EVIL = "a\x1b]0;owned\x07" + "b".join(MARKS) + "z"
#: The same for a header, which http.client reads as Latin-1, and which no line break can be in.
HEADER = "a\x1b]0;owned\x07b\x08c\x7fd\x9b31mz"


def dirty(text: str) -> list[str]:
    """The characters of ``text`` that would not simply be shown; line ends are the printer's."""
    return [char for line in text.split("\n") for char in line if not char.isprintable()]


def said_by(error: BaseException) -> Iterator[str]:
    yield from (str(error), repr(error), str(pickle.loads(pickle.dumps(error))))
    yield "".join(traceback.format_exception_only(error)).rstrip("\n")
    for other in getattr(error, "joined", ()):
        yield from said_by(other)


def assert_calm(error: ContainerdError) -> None:
    for text in said_by(error):
        assert text.isprintable(), ascii(text)
    assert error.message.isprintable()
    assert len(error.message) <= MAX_MESSAGE


# Texts and errors.


@pytest.mark.parametrize("mark", [*MARKS, "\ud800", "\U000e0001"])
def test_a_mark_is_not_printed(mark: str) -> None:
    assert printable(f"a{mark}b").isprintable()
    assert printable(f"a{mark}b")[0] + printable(f"a{mark}b")[-1] == "ab"


def test_ordinary_text_stays() -> None:
    for text in ("plain", "naïve café", "日本語", "🐳", r"\x1b is written so"):
        assert printable(text) == text
    assert printable("a\x1b[31m\nb") == r"a\x1b[31m b"


@pytest.mark.parametrize("length", [100, 1_000_000])
@pytest.mark.parametrize("char", ["x", "\x1b", "\U000e0001"])
def test_a_long_text_is_cut_in_the_middle(char: str, length: int) -> None:
    shown = printable(f"begin {char * length} end", 50)
    assert len(shown) <= 50
    assert shown.startswith("begin ")
    assert shown.endswith(" end")


@pytest.mark.parametrize("kind", [*BY_CODE.values(), package_errors.RegistryUnauthorized])
def test_an_error_keeps_the_raw_text_apart(kind: type[ContainerdError]) -> None:
    error = kind(EVIL, operation=EVIL, address=EVIL, remedy=EVIL)
    assert_calm(error)
    for again in (error, pickle.loads(pickle.dumps(error))):
        assert again.raw_message == EVIL
    error.message = EVIL + "again"
    assert_calm(error)
    assert error.raw_message == EVIL + "again"
    assert len(kind("x" * 10_000_000).message) <= MAX_MESSAGE


# Registries.


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with Stage(tmp_path) as opened:
        yield opened


@pytest.mark.turns(4)
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("act", ACTS)
def test_what_a_registry_says(
    act: str, place: str, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "containerd_lite")
    client = stage.client()
    method, path, do = ACTS[act]
    text = EVIL if place in ("(body)", "(error message)", "(error code)") else HEADER
    for status in (202, *STATUSES_SENT[3:]):
        Uploads(stage.server)
        if act == "GET upload":
            stage.server.on("PATCH", Uploads.PATH, reply(416))
        stage.server.on(method, path, echo(status, place, text))
        try:
            do(client, stage)
        except ContainerdError as error:
            assert_calm(error)
    assert not dirty("".join((*client.warnings, repr(client))))
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("containerd_lite")]
    assert not dirty("".join(ours))


def test_names_and_annotations_of_a_registry(
    stage: Stage, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG, "containerd_lite")
    broken: dict[str, object] = {
        "schemaVersion": 2, "mediaType": mt.OCI_MANIFEST, "config": CONFIG, "layers": [],
    }  # fmt: skip
    for change in (
        {"mediaType": EVIL},
        {"annotations": {EVIL: EVIL}},
        {"annotations": {EVIL: 1}},
        {"config": {**CONFIG, "digest": EVIL}},
        {"config": {**CONFIG, "mediaType": EVIL}},
        {"layers": [{**CONFIG, "mediaType": EVIL, "urls": [EVIL]}]},
        {"artifactType": EVIL, EVIL: EVIL},
    ):
        body = json.dumps({**broken, **change}).encode()
        digest = digests.of(body)
        stage.server.on("HEAD", TAGGED, manifest(body))
        stage.server.on("GET", f"/v2/app/manifests/{digest}", manifest(body))
        layout = str(stage.folder / digest[-8:])
        assert main(["pull", "--plain-http", "--to", layout, str(stage.ref)]) != 0
        with pytest.raises(ContainerdError) as caught:
            Layout(layout).pull(str(stage.ref))
        assert_calm(caught.value)
    assert not dirty("".join(capfd.readouterr()))
    assert not dirty("".join(record.getMessage() for record in caplog.records))


def test_the_error_of_a_pull_on_the_command_line(
    stage: Stage, capfd: pytest.CaptureFixture[str]
) -> None:
    said = {"errors": [{"code": EVIL, "message": EVIL}]}
    for status in (400, 401, 403, 404, 429, 500):
        for method in ("HEAD", "GET"):
            stage.server.on(method, TAGGED, reply(status, said))
        layout = str(stage.folder / "layout")
        if status not in (429, 500):  # these are tried again, with real waits
            assert main(["pull", "--plain-http", "--to", layout, str(stage.ref)]) != 0
    out, err = capfd.readouterr()
    assert "containerd-lite: " in err
    assert not dirty(out + err)


def test_referrers_and_tags_of_a_registry(stage: Stage) -> None:
    entry = {**TARGET.to_json(), "annotations": {EVIL: EVIL}, "artifactType": EVIL}
    index = {"schemaVersion": 2, "mediaType": mt.OCI_INDEX, "manifests": [entry]}
    path = f"/v2/app/referrers/{TARGET.digest}"
    stage.server.on("GET", path, reply(200, index, Content_Type=mt.OCI_INDEX))
    stage.server.on("GET", "/v2/app/tags/list", reply(200, {"tags": [EVIL]}))
    client = stage.client()
    subject = stage.ref.with_digest(TARGET.digest)
    for found in client.referrers(subject):
        assert not dirty(repr(found))
    assert list(client.tags(stage.ref)) == [EVIL]  # data stays as it is


# Archives.


def archive(name: str, annotation: str) -> io.BytesIO:
    config = json.dumps({"architecture": "amd64", "os": "linux", "config": {}}).encode()
    parts = {"config": config}
    document = {
        "schemaVersion": 2,
        "mediaType": mt.OCI_MANIFEST,
        "config": {"mediaType": mt.OCI_CONFIG, "digest": digests.of(config), "size": len(config)},
        "layers": [],
        "annotations": {annotation: annotation},
    }
    parts["manifest"] = json.dumps(document).encode()
    entry = {
        "mediaType": mt.OCI_MANIFEST,
        "digest": digests.of(parts["manifest"]),
        "size": len(parts["manifest"]),
        "annotations": {
            "io.containerd.image.name": name,
            "org.opencontainers.image.ref.name": name,
            annotation: annotation,
        },
    }
    files = {f"blobs/sha256/{digests.of(body)[7:]}": body for body in parts.values()}
    files["oci-layout"] = b'{"imageLayoutVersion": "1.0.0"}'
    files["index.json"] = json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as tar:
        for path, body in files.items():
            info = tarfile.TarInfo(path)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    target.seek(0)
    return target


@pytest.mark.parametrize(("name", "note"), [(EVIL, "x"), ("app:1", EVIL), ("a" + EVIL, EVIL)])
def test_names_of_an_archive(
    tmp_path: Path, name: str, note: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "containerd_lite")
    try:
        layout = Layout(tmp_path)
        for found in layout.import_images(archive(name, note), all_platforms=True):
            assert not dirty(repr(found) + repr(layout.check(found.name)))
    except ContainerdError as error:
        assert_calm(error)
    assert not dirty("".join(record.getMessage() for record in caplog.records))


# Daemons.


def failing(code: int, message: str, details: bytes = b"") -> Peer:
    """A daemon that answers each call with a status."""

    def answer(wire: Wire, request: Request) -> None:
        end = [*RESPONSE, ("grpc-status", str(code)), ("grpc-message", quote(message))]
        if details:
            end.append(("grpc-status-details-bin", _base64(details)))
        wire.send(wire.headers(request.stream_id, end, end=True))

    return Peer(answering(answer))


def _base64(value: bytes) -> str:
    return b64encode(value).decode().rstrip("=")


def status(code: int, message: str, *details: Mapping[str, object]) -> bytes:
    return encode(
        CONTAINERD.message("google.rpc.Status")(code=code, message=message, details=details)
    )


VERBS: dict[str, Callable[[Client], object]] = {
    "version": lambda client: client.version(),
    "images": lambda client: client.list_images(),
    "containers": lambda client: client.containers(),
    "load": lambda client: client.load_container("a"),
    "call": lambda client: client.image_service.get("a"),
}


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("code", [*BY_CODE, 17])
def test_a_status_of_a_daemon(code: int, verb: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "containerd_lite")
    inner = {"type_url": "google.rpc.Status", "value": status(code, EVIL)}
    odd = {"type_url": EVIL, "value": EVIL.encode()}
    with (
        failing(code, EVIL, status(code, EVIL, inner, odd)) as peer,
        Client(peer.address, timeout=5) as client,
        pytest.raises(ContainerdError) as caught,
    ):
        VERBS[verb](client)
    assert_calm(caught.value)
    assert caught.value.raw_message == EVIL
    assert [other.raw_message for other in caught.value.joined] == [EVIL]
    assert not dirty("".join(record.getMessage() for record in caplog.records))


def test_a_message_without_end_of_a_daemon() -> None:
    with (
        failing(5, "begin " + "x" * 12_000 + " end") as peer,
        Client(peer.address, timeout=5) as client,
        pytest.raises(package_errors.NotFound) as caught,
    ):
        client.version()
    assert len(caught.value.message) <= MAX_MESSAGE
    assert caught.value.message.startswith("begin ")
    assert caught.value.message.endswith(" end")


@pytest.mark.parametrize("number", [0, 401, 403, 404, 418, 429, 502])
def test_a_registrys_words_through_the_daemon(number: int) -> None:
    said = f"failed to resolve\n{EVIL}: unexpected status from HEAD request to x\n: {number} {EVIL}"
    answers = CredentialAnswers(
        lambda host: Credentials("user", "secret/word"), {"r.example": "r.example"}
    )
    answers._response("r.example")
    error = explain_failure(Unknown(said), Reference.parse("r.example/a:1"), None, answers)
    assert_calm(error)
    assert error.raw_message == said
    if number:
        assert getattr(error, "status", 0) == number
    leaky = explain_failure(
        Unknown(f"{said} secret%2Fword"), Reference.parse("r.example/a:1"), None, answers
    )
    assert "secret" not in leaky.raw_message.replace("a secret", "")


# The command line.


def image(name: str) -> dict[str, Any]:
    target = {"media_type": EVIL, "digest": TARGET.digest, "size": 7, "annotations": {EVIL: EVIL}}
    return {"name": name, "target": target, "labels": {EVIL: EVIL}}


ANSWERS: dict[str, Callable[[Any], Mapping[str, Any]]] = {
    "Version/Version": lambda _: {"version": EVIL, "revision": EVIL},
    "Images/List": lambda _: {"images": [image(EVIL), image("b" + EVIL)]},
    "Health/Check": lambda _: {"status": 1},
    "Namespaces/List": lambda _: {"namespaces": [{"name": EVIL, "labels": {EVIL: EVIL}}]},
    "Namespaces/Get": lambda _: {"namespace": {"name": EVIL, "labels": {EVIL: EVIL}}},
    "Introspection/Server": lambda _: {"deprecations": [{"id": EVIL, "message": EVIL}]},
    "Introspection/Plugins": lambda _: {
        "plugins": [
            {"type": "io.containerd.content.v1", "id": EVIL},
            {"type": "io.containerd.snapshotter.v1", "id": EVIL},
            {"type": EVIL, "id": EVIL, "init_err": {"code": 2, "message": EVIL}},
        ]
    },
}


@pytest.mark.parametrize(
    "words",
    [
        ["version"],
        ["images"],
        ["images", "--quiet"],
        ["images", "--no-trunc"],
        ["doctor"],
        *(
            [verb, "--format", form]
            for verb in ("version", "images", "doctor")
            for form in ("json", "jsonl")
        ),
    ],
)
def test_what_a_command_prints(words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    with serving(ANSWERS, []) as (channel, _):
        main([*words, "-a", channel.name])
    out, err = capfd.readouterr()
    assert out
    assert not dirty(out + err), ascii(out + err)
    if "json" in words and words[0] != "doctor":
        assert EVIL in [value for row in json.loads(out) for value in row.values()]


@pytest.mark.parametrize("code", [2, 5, 9, 13, 14])
@pytest.mark.parametrize(
    "words",
    [
        ["version"],
        ["images"],
        ["doctor"],
        ["pull", "127.0.0.1:1/a:1"],
        ["run", "--pull", "never", "a:1", "true"],
        ["run", "--pull", "never", "--detach", "a:1", "true"],
        ["exec", "a", "true"],
    ],
)
def test_a_command_that_fails(
    words: list[str], code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    with failing(code, EVIL) as peer:
        verb, *rest = words
        assert main([verb, "-a", peer.address, "--timeout", "5", *rest]) != 0
    out, err = capfd.readouterr()
    assert out + err
    assert not dirty(out + err), ascii(out + err)


def test_progress_on_the_command_line(capfd: pytest.CaptureFixture[str]) -> None:
    with show_progress(False) as show:
        assert show is not None
        show(ProgressEvent("downloading", EVIL, 1, 2, reason=EVIL))
    assert not dirty("".join(capfd.readouterr()))
    assert not dirty(str(ProgressEvent("retrying", EVIL, reason=EVIL)))
