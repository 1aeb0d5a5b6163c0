"""skopeo, crane and oras say of what we push what we say of it, and we fetch what they push."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.registry.credentials import Credentials
from containerd_lite.registry.hosts import TlsFiles
from containerd_lite.registry.registry import Registry
from tests.e2e.registry.conftest import have
from tests.e2e.registry.rounds import KIND, fetch, named, note, push
from tests.harness.images import Image, digest_of, random_image, write_layout
from tests.harness.judges import Judge, Oras, Skopeo
from tests.harness.realm import Realm
from tests.harness.registry import Registry as Server
from tests.harness.tls import Files

pytestmark = [pytest.mark.registry, pytest.mark.turns(2)]

Open = Callable[[Any], Any]

LOGIN = ("user", "hush-canary")


class Copier(Skopeo):
    """skopeo, which can also bring an image into a folder."""

    def pull(self, ref: str, folder: Path) -> None:
        """Copies an image, or all that an index lists, into an OCI layout."""
        flags = (*self._flags(ref, "src-"), "--all", "--preserve-digests")
        self._run_skopeo("copy", *flags, f"docker://{ref}", f"oci:{folder}:latest")


class Attacher(Oras):
    """oras, which can also attach files to an image, and list what is attached."""

    def attach(self, ref: str, path: Path) -> None:
        """Attaches a file to an image as an artifact."""
        flags = (*self._flags(ref), "--disable-path-validation", f"--artifact-type={KIND}")
        self._run("attach", *flags, "--annotation=org.example.text=by oras", ref, f"{path}:a/b")

    def discover(self, ref: str) -> list[Any]:
        """The referrers of an image."""
        said = json.loads(self._run("discover", *self._flags(ref), "--format=json", ref))
        found: list[Any] = said["referrers"]
        return found


class Place:
    """A registry as we and a judge come to it."""

    def __init__(self, registry: Registry, theirs: dict[str, Any]) -> None:
        self.registry = registry
        self._theirs = theirs

    def judge(self, kind: type[Judge]) -> Any:
        """A judge that may enter."""
        return kind(**self._theirs)


@pytest.fixture(params=["http", "https", "password", "https with tokens"])
def place(request: pytest.FixtureRequest, opened: Open, files: Files) -> Place:
    """A registry of each kind of access, how we come to it, and how a judge does."""
    way: str = request.param
    tls = files.server if "https" in way else None
    auth: Any = LOGIN if way == "password" else None
    if "tokens" in way:
        auth = opened(Realm(dict([LOGIN]), tls=tls))
    server = opened(Server(auth, tls=tls))
    ours: dict[str, Any] = {"credentials": Credentials(*LOGIN)} if auth else {}
    theirs: dict[str, Any] = {"logins": {server.host: LOGIN}} if auth else {}
    if tls:
        ours["tls"] = TlsFiles((files.authority.certificate,))
        theirs["authority"] = files.authority.certificate
    else:
        theirs["plain"] = [server.host]
    return Place(opened(Registry(server.host, **ours)), theirs)


@pytest.fixture(params=["index", "docker"])
def pushed(request: pytest.FixtureRequest, index: Image) -> Image:
    """An index over two images, and one image of Docker's types."""
    return index if request.param == "index" else random_image([5000, 6000], docker=True)


def blobs(layout: Path) -> Iterator[tuple[str, bytes]]:
    """All blobs of a layout by digest."""
    for path in (layout / "blobs").glob("*/*"):
        yield f"{path.parent.name}:{path.name}", path.read_bytes()


def test_they_read_what_we_push(kind: type[Judge], place: Place, pushed: Image) -> None:
    reference = named(place.registry.host)
    push(place.registry, reference, pushed)
    judge = place.judge(kind)
    for ref in (str(reference), f"{reference.name}@{pushed.digest}"):
        assert judge.digest(ref) == pushed.digest
        assert judge.manifest(ref) == pushed.blobs[pushed.digest]
    assert judge.tags(reference.name) == ["1"]
    copy = named(place.registry.host, "copy", "2")
    judge.copy(str(reference), str(copy))  # for which it reads every blob
    assert fetch(place.registry, copy) == dict(pushed.blobs)


def test_we_read_what_they_push(
    kind: type[Judge], place: Place, pushed: Image, tmp_path: Path
) -> None:
    reference = named(place.registry.host)
    place.judge(kind).push(write_layout(pushed, tmp_path, "latest"), str(reference))
    assert place.registry.resolve(reference) == Descriptor.from_json(pushed.manifest)
    assert fetch(place.registry, reference) == dict(pushed.blobs)
    assert list(place.registry.tags(reference)) == ["1"]


def test_what_we_push_comes_out_as_a_layout_of_the_same_digests(
    place: Place, pushed: Image, tmp_path: Path
) -> None:
    have("skopeo", required=False)
    reference = named(place.registry.host)
    push(place.registry, reference, pushed)
    place.judge(Copier).pull(str(reference), tmp_path / "layout")
    found = dict(blobs(tmp_path / "layout"))
    assert found == dict(pushed.blobs)
    assert all(digest_of(body) == digest for digest, body in found.items())
    (only,) = json.loads((tmp_path / "layout" / "index.json").read_bytes())["manifests"]
    assert only["digest"] == pushed.digest


def test_what_a_judge_attaches_is_among_the_referrers(
    place: Place, image: Image, tmp_path: Path
) -> None:
    have("oras", required=False)
    reference = named(place.registry.host)
    top = push(place.registry, reference, image)
    path = tmp_path / "note.txt"
    path.write_bytes(b"a note")
    place.judge(Attacher).attach(str(reference), path)
    (found,) = place.registry.referrers(reference.with_digest(top.digest), KIND)
    assert found.artifact_type == KIND
    assert found.annotations["org.example.text"] == "by oras"
    manifest = json.loads(place.registry.fetch_manifest(reference, found))
    assert manifest["subject"]["digest"] == image.digest
    (layer,) = manifest["layers"]
    with place.registry.open_blob(reference, Descriptor.from_json(layer)) as reader:
        assert reader.read() == b"a note"


def test_what_we_attach_is_discovered_by_a_judge(
    place: Place, image: Image, tmp_path: Path
) -> None:
    have("oras", required=False)
    reference = named(place.registry.host)
    top = push(place.registry, reference, image)
    path = tmp_path / "note.txt"
    path.write_bytes(b"a note")
    judge = place.judge(Attacher)
    judge.attach(str(reference), path)  # whose entry ours must not wipe out
    ours = note(top, "ours")
    push(place.registry, named(place.registry.host, tag="note"), ours)
    found = judge.discover(f"{reference.name}@{top.digest}")
    assert {one["artifactType"] for one in found} == {KIND}
    texts = {one["digest"]: one["annotations"]["org.example.text"] for one in found}
    assert len(texts) == 2
    assert texts.pop(ours.digest) == "ours"
    assert list(texts.values()) == ["by oras"]
