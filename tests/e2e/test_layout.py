"""Pulling into an OCI image layout, judged by umoci and skopeo; no daemon, no privileges."""

from __future__ import annotations

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from containerd_lite import Layout
from containerd_lite.errors import InvalidArgument, NotFound
from tests.harness import debian, images
from tests.harness.registry import Registry


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


def test_a_second_pull_fetches_nothing(registry: Registry, tmp_path: Path) -> None:
    name = images.push(images.random_image([100]), registry.host, "twice", "latest")
    Layout(tmp_path).pull(name)
    stages = set()
    Layout(tmp_path).pull(name, progress=lambda event: stages.add(event.stage))
    assert stages == {"resolving", "resolved", "exists", "done"}


def test_two_at_once(registry: Registry, tmp_path: Path) -> None:
    image = images.random_image([1 << 20, 2 << 20])
    names = [images.push(image, registry.host, f"both-{n}", "latest") for n in range(4)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda name: Layout(tmp_path).pull(name), names))
    assert {found.name for found in Layout(tmp_path).list_images()} == set(names)
    assert len(files(tmp_path)) == 2 + len(image.blobs)


def test_it_keeps_out_of_other_folders(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("x")
    with pytest.raises(InvalidArgument, match="no OCI image layout"):
        Layout(tmp_path)
    (tmp_path / "oci-layout").write_text('{"imageLayoutVersion": "2.0.0"}')
    with pytest.raises(InvalidArgument, match=r"version '2\.0\.0'"):
        Layout(tmp_path)
    (tmp_path / "oci-layout").write_text("{")
    with pytest.raises(InvalidArgument, match="no JSON"):
        Layout(tmp_path)
    assert (tmp_path / "precious").read_text() == "x"


def test_nothing_is_made_before_the_first_pull(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "none")
    assert layout.list_images() == []
    assert not (tmp_path / "none").exists()


def test_an_unreadable_folder_is_named(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    name = images.push(images.random_image([1]), registry.host, "file", "latest")
    with pytest.raises(OSError, match="file"):
        Layout(tmp_path / "file" / "layout").pull(name)
    assert os.listdir(tmp_path) == ["file"]
