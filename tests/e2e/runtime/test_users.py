"""Users of real images and snapshots, beside what ``ctr`` makes of them, and without its mounts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from containerd_lite import Client, Layout
from containerd_lite.errors import NotFound
from containerd_lite.images.files.image_files import read_layer_files, read_snapshot_files
from containerd_lite.images.image import Image
from containerd_lite.oci.descriptor import Descriptor
from containerd_lite.runtime.users.image_users import ImageUsers, SnapshotUsers
from containerd_lite.runtime.users.users import User
from tests.e2e.runtime.conftest import snapshot_layers
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.registry import Registry

pytestmark = [pytest.mark.daemon, pytest.mark.registry, pytest.mark.usefixtures("nothing_left")]

ROOT = Path(__file__).resolve().parents[3]
#: As Alpine has them: root is in many groups.
PASSWD = b"""\
root:x:0:0:root:/root:/bin/sh
bin:x:1:1:bin:/bin:/sbin/nologin
app:x:1000:1000:App:/home/app:/bin/sh
alias:x:1000:1001::/:/bin/sh
1234:x:77:78::/:
"""
GROUP = b"""\
root:x:0:root
bin:x:1:root,bin,daemon
daemon:x:2:root,bin,daemon
adm:x:4:root,adm,daemon
wheel:x:10:root,app
app:x:1000:app
audio:x:18:app,alias
"""
LAYERS = (
    images.layer({"etc": None, "etc/passwd": b"old:x:5:5::/:\n", "etc/group": b"root:x:0:\n"}),
    images.layer({"usr/share/group": GROUP, "etc/passwd": PASSWD}, "none"),
    images.layer({"etc/group": "../usr/share/group", "etc/x": b"x"}),
    images.layer({"opt": None}),
)
USERS = ["", "root", "0", "app", "1000", "app:", "bin", "1", "1234", "4000", "2147483647",
         "app:wheel", "app:18", "1000:audio", "1000:1000", "4000:4001", "0:1", "alias",
         "alias:root"]  # fmt: skip


def pulled(client: Client, registry: Registry, tag: str, user: str = "") -> Image:
    built = images.build(LAYERS, cmd=["x"], config={"User": user} if user else None)
    return client.pull(images.push(built, registry.host, "users", tag))


@pytest.fixture
def image(client: Client, registry: Registry) -> Image:
    return pulled(client, registry, "plain")


def theirs(daemon: Daemon, namespace: str, image: Image, *options: str) -> Any:
    """The user of a container that ``ctr`` makes."""
    daemon.ctr("containers", "create", *options, image.name, "theirs", "x", namespace=namespace)
    told = daemon.ctr("containers", "info", "theirs", namespace=namespace).stdout
    daemon.ctr("containers", "rm", "theirs", namespace=namespace)
    return json.loads(told)["Spec"]["process"]["user"]


def as_spec(user: User) -> dict[str, object]:
    return {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.additional_gids)}


@pytest.mark.turns(3)
@pytest.mark.generations
def test_a_callers_user_is_the_one_that_ctr_finds(
    daemon: Daemon, namespace: str, image: Image
) -> None:
    if daemon.version_info < (1, 7):
        return  # its ctr cannot be told of a user
    users = ImageUsers(image)
    for user in filter(None, USERS):
        assert as_spec(users.find(user)) == theirs(daemon, namespace, image, "--user", user), user


@pytest.mark.turns(3)
@pytest.mark.generations
def test_an_images_own_user_is_the_one_that_ctr_finds(
    daemon: Daemon, namespace: str, client: Client, registry: Registry
) -> None:
    for number, user in enumerate(USERS):
        image = pulled(client, registry, f"own-{number}", user)
        found = ImageUsers(image).find(None)
        assert as_spec(found) == theirs(daemon, namespace, image), user
        assert ImageUsers(image).find(user) == found


def test_a_snapshot_that_was_changed(client: Client, image: Image) -> None:
    layers, store = snapshot_layers(client), client.content_store
    snapshots, differ = layers.snapshots, layers.differ
    names = ["etc/passwd", "etc/group", "etc/x", "no/such"]
    with client.lease():
        top = image.unpack()
        assert read_snapshot_files(layers, store, top, names) == {
            "etc/passwd": PASSWD, "etc/group": GROUP, "etc/x": b"x", "no/such": None,
        }  # fmt: skip
        snapshots.prepare("changed", top)
        snapshots.view("looked-at", top)
        upper = images.layer({"etc/passwd": b"new:x:6:7::/:\n", "etc/.wh.group": b""}, "none")
        digest = images.digest_of(upper.blob)
        with store.writer("upper", size=len(upper.blob), expected=digest) as writer:
            writer.write(upper.blob)
            writer.commit()
        layer = Descriptor(images.OCI_LAYER, digest, len(upper.blob))
        differ.apply(layer, snapshots.mounts("changed"))
        blobs = {info.digest for info in store.walk()}
        for key, user in (("changed", User(6, 7, (7,), "/")), ("looked-at", None)):
            users = SnapshotUsers(layers, store, key, client.lease())
            if user is None:
                with pytest.raises(NotFound, match="no users found"):
                    users.find("new")
            else:
                assert users.find("new") == user
        with pytest.raises(NotFound):
            read_snapshot_files(layers, store, "nosuch", names)
        assert {info.digest for info in store.walk()} == blobs
        assert {info.name for info in snapshots.list() if info.kind != "committed"} == {
            "changed", "looked-at",
        }  # fmt: skip
        snapshots.remove("changed")
        snapshots.remove("looked-at")


def test_a_container_whose_image_has_moved(
    client: Client, image: Image, registry: Registry
) -> None:
    """A name stands for another image by now; the container still stands on the old one."""
    container = client.new_container("moved", image=image, args=["x"])
    assert container.find_user("app") == ImageUsers(image).find("app")
    other = images.scratch({"etc/passwd": b"app:x:0:0::/:\n"}, cmd=["x"])
    client.pull(images.push(other, registry.host, "users", "plain"))
    try:
        assert client.get_image(image.name).target != image.target
        assert container.find_user("app") == ImageUsers(image).find("app")
    finally:
        container.delete()
        images.push(images.build(LAYERS, cmd=["x"]), registry.host, "users", "plain")


def test_content_that_somebody_else_has_is_left(client: Client, image: Image) -> None:
    """The layer of an empty snapshot is always the same."""
    layers, store = snapshot_layers(client), client.content_store
    snapshots, differ = layers.snapshots, layers.differ
    with client.lease():
        mounts = snapshots.view("empty", "")
        made = differ.diff((), mounts, media_type=images.OCI_LAYER)
        assert read_snapshot_files(layers, store, "empty", ["a"]) == {"a": None}
        assert store.info(made.digest).digest == made.digest
        snapshots.remove("empty")


def test_layers_whose_content_is_gone(client: Client, image: Image) -> None:
    image.unpack()
    for layer in image.manifest().layers:
        client.content_store.delete(layer.digest)
    with pytest.raises(NotFound):
        read_layer_files(client.content_store, image.manifest().layers, ["etc/passwd"])
    before = {info.digest for info in client.content_store.walk()}
    found = ImageUsers(image).find("app", ["adm"])
    assert found == User(1000, 1000, (1000, 10, 18, 4), "/home/app")
    assert {info.digest for info in client.content_store.walk()} == before


#: Whoever is told to becomes nobody first.
LOOK_UP = """
import os, sys
from containerd_lite import Client, Layout, load
from containerd_lite.runtime.users.image_users import ImageUsers
place, name, namespace, whoami = sys.argv[1:]
if whoami == "nobody":
    load()
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
if namespace:
    with Client(place, namespace=namespace) as client:
        print(ImageUsers(client.get_image(name)).find("app", ["adm"]))
else:
    print(ImageUsers(Layout(place).get_image(name)).find("app", ["adm"]))
"""
ANSWER = "User(uid=1000, gid=1000, additional_gids=(1000, 10, 18, 4), home='/home/app')\n"


def look_up(*args: str, prefix: Sequence[str] = ()) -> str:
    argv = [*prefix, sys.executable, "-c", LOOK_UP, *args]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(argv, env=environment, capture_output=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def test_from_another_mount_namespace(daemon: Daemon, namespace: str, image: Image) -> None:
    """One in which the daemon's snapshots are not to be seen, nor any mount be made."""
    hide = 'mount -t tmpfs -o ro none "$0" && exec "$@"'
    prefix = ["unshare", "-m", "sh", "-c", hide, str(daemon.folder / "r")]
    assert look_up(daemon.address, image.name, namespace, "", prefix=prefix) == ANSWER


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that everybody may look into."""
    with tempfile.TemporaryDirectory(prefix="lite-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


def test_as_nobody(daemon: Daemon, namespace: str, image: Image, open_folder: Path) -> None:
    """Of the daemon only the socket can be reached."""
    place = open_folder / "c.sock"
    mode = daemon.socket.stat().st_mode
    os.link(daemon.socket, place)
    os.chmod(daemon.socket, 0o666)  # its folder is closed
    try:
        assert look_up(f"unix://{place}", image.name, namespace, "nobody") == ANSWER
    finally:
        os.chmod(daemon.socket, mode & 0o777)


def test_as_nobody_from_a_layout(registry: Registry, open_folder: Path) -> None:
    built = images.build(LAYERS, cmd=["x"])
    name = images.push(built, registry.host, "users", "layout")
    Layout(open_folder / "layout").pull(name)
    for path in open_folder.rglob("*"):
        os.chmod(path, 0o755)
    assert look_up(str(open_folder / "layout"), name, "", "nobody") == ANSWER


def test_a_layout_cannot_do_without_content(registry: Registry, tmp_path: Path) -> None:
    name = images.push(images.build(LAYERS, cmd=["x"]), registry.host, "users", "gone")
    with Layout(tmp_path / "layout") as layout:
        image = layout.pull(name)
    for layer in image.manifest().layers:
        (tmp_path / "layout" / "blobs" / layer.digest.replace(":", "/")).unlink()
    assert ImageUsers(image).find("5:6", ["7"]) == User(5, 6, (6, 7))
    with pytest.raises(NotFound):
        ImageUsers(image).find("app")


def test_a_container_s_users_are_those_that_it_has_now(client: Client, registry: Registry) -> None:
    image = pulled(client, registry, "changed")
    container = client.new_container("changed", image=image, args=["x"])
    try:
        assert container.find_user("app").uid == 1000
        assert container.find_user("7:8") == User(7, 8, (8,))
        with pytest.raises(NotFound, match="no users found"):
            container.find_user("fresh")
        _change(client, container.info.snapshot_key)
        assert container.find_user("fresh", ["wheel"]) == User(5000, 5001, (5001, 10), "/home")
        image.delete()
        assert container.find_user("fresh").uid == 5000
    finally:
        container.delete()


def _change(client: Client, key: str) -> None:
    """Give a snapshot another passwd file, as its container would."""
    layer = images.layer({"etc/passwd": b"fresh:x:5000:5001::/home:\n"}, "none")
    descriptor = Descriptor(
        "application/vnd.oci.image.layer.v1.tar", layer.diff_id, len(layer.blob)
    )
    with client.lease():
        with client.content_store.writer("fresh", size=descriptor.size) as writer:
            writer.write(layer.blob)
            writer.commit()
        client.diff_service.apply(descriptor, client.snapshot_service().mounts(key))
