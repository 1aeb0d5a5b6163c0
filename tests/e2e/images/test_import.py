"""Import into daemons and folders of what ctr, skopeo and tarfile write."""

from __future__ import annotations

import gzip
import io
import json
import os
import subprocess
import threading
from importlib import import_module
from pathlib import Path

import pytest

from containerd_lite import Client, Layout, ProgressEvent
from containerd_lite.errors import DigestMismatch, InvalidArgument, NotFound
from tests.harness import debian, images
from tests.harness.daemon import Daemon
from tests.unit.images import archives

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.turns(2),
    pytest.mark.usefixtures("nothing_left"),
]

HERE = images.machine_platform()
OTHER = "linux/s390x"
NAME = "docker.io/library/app:1"


def tool(program: str, *args: str, folder: Path) -> bytes:
    argv = [*debian.program(program).argv, *args]
    env = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder)}
    done = subprocess.run(argv, capture_output=True, timeout=60, check=False, env=env)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def listed(daemon: Daemon, namespace: str) -> dict[str, str]:
    """Name to digest, as ctr lists them."""
    lines = daemon.ctr("images", "ls", namespace=namespace).stdout.decode().splitlines()[1:]
    return {line.split()[0]: line.split()[2] for line in lines}


def is_complete(daemon: Daemon, namespace: str, name: str) -> bool:
    """What ``ctr images check`` says: ``NAME TYPE DIGEST complete (3/3) …``."""
    said = daemon.ctr("images", "check", f"name=={name}", namespace=namespace).stdout.decode()
    (line,) = [line for line in said.splitlines() if line.startswith(name)]
    return " complete " in line


def collected(client: Client) -> set[str]:
    """The digests that are left when garbage has been collected."""
    lease = client.lease_service.create("collect", {})
    client.lease_service.delete(lease.id, sync=True)
    return {found.digest for found in client.content_store.walk()}


def runs(client: Client, name: str) -> bool:
    return client.run(name, ["echo", "it", "runs"]).stdout == b"it runs\n"


@pytest.mark.generations
@pytest.mark.parametrize("kind", ["oci", "docker", "plain docker", "index"])
def test_it_runs(client: Client, daemon: Daemon, namespace: str, tmp_path: Path, kind: str) -> None:
    image = images.busybox(
        docker="docker" in kind, compression="none" if "plain" in kind else "gzip"
    )
    if kind == "index":
        other = images.random_image([1000], platform=OTHER)
        image = images.index_of({OTHER: other, HERE: image})
    path = tmp_path / "given.tar"
    path.write_bytes(
        archives.docker({"app:1": image})
        if "docker" in kind
        else archives.oci([archives.named(image, NAME)], image)
    )
    (found,) = client.import_images(path, unpack=True, labels={"made": "here"})
    assert (found.name, found.target.digest) == (NAME, image.digest)
    assert client.get_image(NAME).labels == {"made": "here"}
    assert found.is_unpacked()
    assert listed(daemon, namespace) == {NAME: image.digest}
    assert is_complete(daemon, namespace, NAME)
    assert runs(client, NAME)


def test_what_is_kept(client: Client) -> None:
    """What was asked for, once garbage is collected; all with all_platforms."""
    ours, theirs = images.random_image([1000]), images.random_image([900], seed=1, platform=OTHER)
    index = images.index_of({OTHER: theirs, HERE: ours})
    stranger = images.random_image([10], seed=9)
    archive = archives.oci([archives.named(index, NAME)], index, stranger)
    client.import_images(io.BytesIO(archive))
    assert collected(client) == {index.digest, *ours.blobs}
    client.import_images(io.BytesIO(archive), all_platforms=True)
    assert collected(client) == index.blobs.keys()


@pytest.mark.parametrize("compression", ["gzip", "none", "zstd"])
def test_a_pipe(client: Client, compression: str) -> None:
    image = images.random_image([3_000_000, 500])
    archive = archives.oci([archives.named(image, NAME)], image)
    if compression == "zstd":
        modules = ("compression.zstd", "backports.zstd")
        found = [name for name in modules if _has(name)]
        if not found:
            pytest.skip("this Python has no zstd")
        archive = import_module(found[0]).compress(archive)
    elif compression == "gzip":
        archive = gzip.compress(archive, 1)
    reading, writing = os.pipe()

    def write() -> None:
        with open(writing, "wb") as file:
            file.write(archive)

    thread = threading.Thread(target=write)
    thread.start()
    with open(reading, "rb") as file:
        assert client.import_images(file)[0].target.digest == image.digest
    thread.join()
    assert collected(client) == image.blobs.keys()


def _has(name: str) -> bool:
    try:
        import_module(name)
    except ImportError:
        return False
    return True


@pytest.mark.generations
@pytest.mark.parametrize("kind", ["manifest", "index"])
def test_what_ctr_exports(
    client: Client, daemon: Daemon, namespace: str, tmp_path: Path, kind: str
) -> None:
    image = images.busybox()
    if kind == "index":
        image = images.index_of({HERE: image})
    given, path = tmp_path / "given.tar", tmp_path / "exported.tar"
    given.write_bytes(archives.oci([archives.named(image, NAME)], image))
    theirs = daemon.new_namespace()
    daemon.ctr("images", "import", str(given), namespace=theirs)
    daemon.export(NAME, theirs, str(path))
    assert client.import_images(path, unpack=True)[0].target.digest == image.digest
    folder = Layout(tmp_path / "layout")
    assert folder.import_images(path)[0].name == NAME
    assert runs(client, NAME)
    daemon.ctr("images", "rm", "--sync", NAME, namespace=theirs)


@pytest.mark.generations
@pytest.mark.parametrize("compression", ["gzip", "none"])
def test_docker_archives_have_the_digests_that_ctr_gives(
    client: Client, daemon: Daemon, namespace: str, tmp_path: Path, compression: str
) -> None:
    path = tmp_path / "given.tar"
    two = {
        "app:1": images.busybox(compression=compression),
        "app:2": images.random_image([500], seed=3, compression=compression),
    }
    path.write_bytes(archives.docker(two))
    client.import_images(path)
    ours = listed(daemon, namespace)
    theirs = daemon.new_namespace()
    daemon.ctr("images", "import", str(path), namespace=theirs)
    assert ours == listed(daemon, theirs)
    assert len(ours) == 2
    for name in ours:
        daemon.ctr("images", "rm", "--sync", name, namespace=theirs)


def without_diff_ids(rootfs: images.Json) -> bytes:
    """A docker archive whose config has this ``rootfs``."""
    image = images.random_image([500], change_config=lambda config: config.update(rootfs=rootfs))
    return archives.docker({"app:1": image})


def mixed_types(media_type: str, own: str) -> bytes:
    """An OCI archive whose manifest states a type of its own, with Docker's types within."""
    image = images.random_image([500], docker=True)
    body = images.encode({**image.json(), "mediaType": own})
    entry = {**images.descriptor(media_type, body), "annotations": {archives.IMAGE_NAME: NAME}}
    blobs = [*archives.blobs(image), (f"blobs/{images.digest_of(body).replace(':', '/')}", body)]
    index = ("index.json", archives.index_json([entry]))
    return archives.packed([*blobs, index, ("oci-layout", archives.LAYOUT)])


@pytest.mark.generations
@pytest.mark.turns(2)
@pytest.mark.parametrize(
    ("archive", "warning"),
    [
        (without_diff_ids({}), "no diff IDs"),
        (without_diff_ids({"type": "layers", "diff_ids": []}), "no diff IDs"),
        (mixed_types(images.OCI_MANIFEST, images.DOCKER_MANIFEST), "its descriptor says"),
        (mixed_types(images.DOCKER_MANIFEST, images.OCI_MANIFEST), "its descriptor says"),
        (mixed_types(images.OCI_MANIFEST, images.OCI_MANIFEST), ""),
    ],
    ids=["no diff_ids", "empty diff_ids", "docker in oci", "oci in docker", "within"],
)
def test_odd_archives_that_ctr_takes(
    client: Client,
    daemon: Daemon,
    namespace: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    archive: bytes,
    warning: str,
) -> None:
    path = tmp_path / "odd.tar"
    path.write_bytes(archive)
    (image,) = client.import_images(path)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == bool(warning), warnings
    assert warning in "".join(warnings)
    theirs = daemon.new_namespace()
    daemon.ctr("images", "import", "--no-unpack", str(path), namespace=theirs)
    assert listed(daemon, namespace) == listed(daemon, theirs) == {NAME: image.target.digest}
    daemon.ctr("images", "rm", "--sync", NAME, namespace=theirs)
    if "diff IDs" in warning:
        with pytest.raises(InvalidArgument, match="0 diff IDs"):
            image.unpack()
    assert client.check(NAME)
    client.export_images(tmp_path / "out.tar", NAME)
    assert is_complete(daemon, namespace, NAME)


@pytest.mark.parametrize("form", ["oci-archive", "docker-archive", "oci"])
def test_what_skopeo_writes(client: Client, tmp_path: Path, form: str) -> None:
    image = images.busybox()
    source = images.write_layout(image, tmp_path / "source", "judged")
    path = tmp_path / "given"
    name = ":docker.io/library/app:1" if form != "oci" else ":1"
    tool(
        "skopeo", "copy", "--insecure-policy", f"--tmpdir={tmp_path}", f"oci:{source}:judged",
        f"{form}:{path}{name}", folder=tmp_path,
    )  # fmt: skip
    (found,) = client.import_images(path, ref="app", unpack=True)
    assert found.name == NAME
    if form != "docker-archive":
        assert found.target.digest == image.digest
    assert found.rootfs() == tuple(image.config["rootfs"]["diff_ids"])
    assert runs(client, NAME)


def test_what_umoci_makes(client: Client, tmp_path: Path) -> None:
    layout = tmp_path / "layout"
    tool("umoci", "init", "--layout", str(layout), folder=tmp_path)
    tool("umoci", "new", "--image", f"{layout}:1", folder=tmp_path)
    (found,) = client.import_images(layout, ref="app")
    entry = json.loads((layout / "index.json").read_bytes())["manifests"][0]
    assert (found.name, found.target.digest) == (NAME, entry["digest"])


def test_a_delta_on_what_is_there(client: Client, daemon: Daemon, namespace: str) -> None:
    base = images.random_image([300_000], seed=5)
    image = images.random_image([300_000, 200_000], seed=5)
    shared = base.layers[0]["digest"]
    delta = archives.oci([archives.named(image, NAME)], image, without={shared})
    with pytest.raises(NotFound, match=shared):
        client.import_images(io.BytesIO(delta))
    assert collected(client) == set()
    client.import_images(io.BytesIO(archives.oci([archives.named(base, "base:1")], base)))
    client.import_images(io.BytesIO(delta))
    client.get_image("base:1").delete(sync=True)
    assert is_complete(daemon, namespace, NAME)
    assert collected(client) == image.blobs.keys()


def test_content_of_another_namespace(client: Client, daemon: Daemon) -> None:
    """The daemon shares it, but not with those who have never had it."""
    image = images.random_image([2_000_000, 100])
    archive = archives.oci([archives.named(image, NAME)], image)
    with Client(daemon.address, namespace=daemon.new_namespace()) as other:
        other.import_images(io.BytesIO(archive))
        assert client.import_images(io.BytesIO(archive))[0].target.digest == image.digest
        other.get_image(NAME).delete(sync=True)
    assert collected(client) == image.blobs.keys()


def test_a_wrong_digest_leaves_nothing(client: Client, tmp_path: Path) -> None:
    image = images.random_image([3_000_000] * 4)
    files = archives.unpacked(archives.oci([archives.named(image, NAME)], image))
    place = f"blobs/sha256/{image.layers[1]['digest'][7:]}"
    files[place] = files[place][:-1] + b"?"
    path = tmp_path / "given.tar"
    path.write_bytes(archives.packed(files.items()))
    for source in (path, io.BytesIO(path.read_bytes())):
        with pytest.raises(DigestMismatch):
            client.import_images(source)
        assert client.list_images() == []
        assert client.content_store.statuses() == []
        assert collected(client) == set()


def test_a_callback_that_raises(client: Client, tmp_path: Path) -> None:
    image = images.random_image([3_000_000] * 4)
    path = tmp_path / "given.tar"
    path.write_bytes(archives.oci([archives.named(image, NAME)], image))

    def stop(event: ProgressEvent) -> None:
        if event.offset > 1 << 20:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.import_images(path, progress=stop)
    assert client.content_store.statuses() == []
    assert collected(client) == set()
