"""Pulling into an OCI image layout, judged by umoci and skopeo; no daemon, no privileges."""

from __future__ import annotations

import io
import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from containerd_lite import Layout
from containerd_lite.errors import DataLoss, InvalidArgument, NotFound, ResourceExhausted
from tests.harness import Unavailable, debian, images, kernel
from tests.harness.registry import Registry
from tests.unit.images import archives

pytestmark = pytest.mark.registry


def judge(program: str, *args: str) -> bytes:
    done = subprocess.run(
        [*debian.program(program).argv, *args], capture_output=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", ["manifest", "index"])
def test_skopeo_reads_it(registry: Registry, tmp_path: Path, kind: str) -> None:
    image = images.busybox()
    if kind == "index":
        image = images.index_of({images.machine_platform(): image})
    name = images.push(image, registry.host, f"layout-{kind}", "latest")
    pulled = Layout(tmp_path / "layout").pull(name)
    assert pulled.target.digest == image.digest
    folder = tmp_path / "layout"
    blobs = {f"blobs/sha256/{digest[7:]}" for digest in image.blobs}
    assert files(folder) == {"oci-layout", "index.json", *blobs}
    raw = judge("skopeo", "inspect", "--raw", f"oci:{folder}:{name}")
    assert raw == image.blobs[image.digest]
    copied = f"dir:{tmp_path / 'copied'}"
    judge("skopeo", "copy", "--insecure-policy", f"oci:{folder}:{name}", copied)


def test_docker_media_types_are_kept(registry: Registry, tmp_path: Path) -> None:
    image = images.busybox(docker=True)
    name = images.push(image, registry.host, "docker", "latest")
    assert Layout(tmp_path / "layout").pull(name).target.digest == image.digest
    # skopeo looks at no manifest of Docker's in a layout; crane does.
    again = f"{registry.host}/docker:again"
    pushed = judge("crane", "push", "--insecure", str(tmp_path / "layout"), again)
    assert pushed.decode().strip().endswith(image.digest)


def test_umoci_unpacks_it(registry: Registry, tmp_path: Path) -> None:
    name = images.push(images.busybox(), registry.host, "umoci", "latest")
    folder = tmp_path / "layout"
    Layout(folder).pull(name)
    # umoci takes names without a slash or colon only, so it looks under one of its own.
    index = json.loads((folder / "index.json").read_bytes())
    annotations = index["manifests"][0]["annotations"]
    assert annotations == {"org.opencontainers.image.ref.name": name}
    annotations["org.opencontainers.image.ref.name"] = "judged"
    (folder / "index.json").write_text(json.dumps(index))
    judge("umoci", "unpack", "--image", f"{folder}:judged", str(tmp_path / "bundle"))
    assert (tmp_path / "bundle" / "rootfs" / "bin" / "busybox").stat().st_mode & 0o111


def test_names_and_shared_blobs(registry: Registry, tmp_path: Path) -> None:
    layout = Layout(tmp_path / "layout")
    first, second = images.random_image([100], seed=1), images.random_image([100], seed=2)
    name = images.push(first, registry.host, "names", "latest")
    other = images.push(second, registry.host, "other", "latest")
    assert layout.list_images() == []
    layout.pull(name)
    layout.pull(other)
    assert [image.name for image in layout.list_images()] == [name, other]
    images.push(second, registry.host, "names", "latest")
    layout.pull(name)
    assert layout.get_image(name).target.digest == second.digest
    assert len(layout.list_images()) == 2
    with pytest.raises(NotFound):
        layout.get_image("nothing")
    assert Layout(tmp_path / "layout").list_images() == layout.list_images()


def test_an_archive_that_was_extracted(tmp_path: Path) -> None:
    """All of its images have one tag, and full names beside it."""
    app, web = images.random_image([100], seed=1), images.random_image([100], seed=2)
    layout = Layout(tmp_path / "layout")
    names = ["docker.io/library/app:1", "docker.io/library/web:1"]
    given = [archives.named(image, name) for image, name in zip((app, web), names, strict=True)]
    layout.import_images(io.BytesIO(archives.oci(given, app, web)))
    archive = io.BytesIO()
    layout.export_images(archive, "app:1", "web:1")
    for name, body in archives.unpacked(archive.getvalue()).items():
        path = tmp_path / "extracted" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
    extracted = Layout(tmp_path / "extracted")
    assert extracted.list_images() != layout.list_images()  # they are in another store
    assert [image.name for image in extracted.list_images()] == names
    assert extracted.get_image("web:1").target.digest == web.digest
    extracted.get_image("app:1").delete()
    assert [image.name for image in extracted.list_images()] == names[1:]
    for place in (f"{tmp_path}/extracted:1", f"{tmp_path}/layout:{names[1]}"):
        assert judge("skopeo", "inspect", "--raw", f"oci:{place}") == web.blobs[web.digest]


def test_others_write_to_it_too(tmp_path: Path) -> None:
    """umoci makes a layout, we name an image in it, skopeo adds one, and all see all."""
    folder, image = tmp_path / "layout", images.random_image([100])
    judge("umoci", "init", "--layout", str(folder))
    layout = Layout(folder)
    assert layout.list_images() == []
    named = archives.named(image, "docker.io/library/app:1")
    layout.import_images(io.BytesIO(archives.oci([named], image)))
    source = f"oci:{folder}:docker.io/library/app:1"
    judge("skopeo", "copy", "--insecure-policy", source, f"oci:{folder}:theirs")
    assert [one.name for one in layout.list_images()] == ["docker.io/library/app:1", "theirs"]
    layout.get_image("theirs").tag("app:2")
    assert judge("umoci", "ls", "--layout", str(folder)).decode().split() == [
        "docker.io/library/app:1", "theirs", "docker.io/library/app:2",
    ]  # fmt: skip
    layout.get_image("theirs").delete()
    assert len(layout.list_images()) == 2


def test_a_second_pull_fetches_nothing(registry: Registry, tmp_path: Path) -> None:
    name = images.push(images.random_image([100]), registry.host, "twice", "latest")
    Layout(tmp_path).pull(name)
    stages = set()
    Layout(tmp_path).pull(name, progress=lambda event: stages.add(event.stage))
    assert stages == {"resolving", "resolved", "waiting", "exists", "done"}


def test_two_at_once(registry: Registry, tmp_path: Path) -> None:
    image = images.random_image([1 << 20, 2 << 20])
    names = [images.push(image, registry.host, f"both-{n}", "latest") for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: Layout(tmp_path).pull(name), names))
    assert {found.name for found in Layout(tmp_path).list_images()} == set(names)
    assert len(files(tmp_path)) == 2 + len(image.blobs)


def test_what_a_first_import_that_failed_leaves_is_a_layout(tmp_path: Path) -> None:
    image = images.random_image([100_000])
    archive = archives.oci([archives.named(image, "docker.io/library/app:1")], image)
    with pytest.raises(DataLoss, match="cut off"):
        Layout(tmp_path / "layout").import_images(io.BytesIO(archive[:50_000]))
    assert judge("umoci", "ls", "--layout", f"{tmp_path}/layout") == b""
    judge("umoci", "new", "--image", f"{tmp_path}/layout:theirs")
    assert [found.name for found in Layout(tmp_path / "layout").list_images()] == ["theirs"]


def test_it_keeps_out_of_other_folders(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(InvalidArgument, match="not an OCI image layout"):
        Layout(tmp_path)
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion": "2.0.0"}')
    with pytest.raises(InvalidArgument, match=r"version '2\.0\.0'"):
        Layout(tmp_path)
    (tmp_path / "oci-layout").write_text("{")
    with pytest.raises(InvalidArgument, match="oci-layout is not valid JSON"):
        Layout(tmp_path)
    (tmp_path / "oci-layout").write_text("[" * 2000)
    with pytest.raises(InvalidArgument, match=r"oci-layout is n"):
        Layout(tmp_path)
    assert (tmp_path / "precious").read_text() == "x"


def test_nothing_is_made_before_the_first_pull(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "none")
    assert layout.list_images() == []
    assert not (tmp_path / "none").exists()


def test_an_unreadable_folder_is_named(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    name = images.push(images.random_image([1]), registry.host, "file", "latest")
    with pytest.raises(InvalidArgument, match="file"):
        Layout(tmp_path / "file" / "layout").pull(name)
    assert os.listdir(tmp_path) == ["file"]


def test_a_full_disk(tmp_path: Path) -> None:
    large = images.random_image([400_000] * 4, compression="none")
    small = images.random_image([1000], seed=1)
    try:
        with kernel.small_disk(tmp_path, 1 << 20):
            _fill(Layout(tmp_path / "layout"), large, small)
    except Unavailable as error:
        pytest.skip(str(error))


def _fill(layout: Layout, large: images.Image, small: images.Image) -> None:
    named = archives.named(large, "docker.io/library/large:1")
    with pytest.raises(ResourceExhausted, match=r"layout: No space left .* disk space"):
        layout.import_images(io.BytesIO(archives.oci([named], large)))
    assert layout.content_store.statuses() == []
    assert layout.list_images() == []
    named = archives.named(small, "docker.io/library/small:1")
    layout.import_images(io.BytesIO(archives.oci([named], small)))
    with pytest.raises(OSError, match="space"):  # to the last byte
        (layout.path.parent / "rest").write_bytes(bytes(1 << 20))
    before = files(layout.path)
    with pytest.raises(ResourceExhausted, match="disk space"):
        layout.tag("small:1", "other:1")
    assert files(layout.path) == before
    assert [image.name for image in layout.list_images()] == ["docker.io/library/small:1"]
