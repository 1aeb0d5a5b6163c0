"""Short calls that show what a daemon can do with this client: a function for each row of a table.

No function looks at the daemon's version. Each returns what the table says in the daemon's column.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import dataclass
from hashlib import sha256, sha512
from pathlib import Path
from typing import Any

from containerd_lite import Client
from containerd_lite.errors import AlreadyExists, ContainerdError, NotFound, Unimplemented
from containerd_lite.images.image import Image
from containerd_lite.oci import platform
from containerd_lite.progress import ProgressEvent
from containerd_lite.records import replace
from containerd_lite.services.introspection import RuntimeRequest
from containerd_lite.services.leases import Resource

_REF, _DIFF_ID = "containerd.io/snapshot.ref", "containerd.io/snapshot/diff-id"
#: The diff ID of a layer that the EROFS cache holds.
CACHED = "sha256:" + "ab" * 32


@dataclass(frozen=True)
class Ground:
    """A client of a daemon, and what it works on.

    Attributes:
        client: The client, in a namespace of its own.
        image: The runnable image, pulled by the client.
        over_tls: The reference of this image in a registry with TLS.
        folder: A folder for files.
    """

    client: Client
    image: Image
    over_tls: str
    folder: Path


Probe = Callable[[Ground], str]
PROBES: dict[str, Probe] = {}


def row(name: str) -> Callable[[Probe], Probe]:
    """Return a decorator that adds a function for the row of a name."""

    def add(probe: Probe) -> Probe:
        PROBES[name] = probe
        return probe

    return add


def works(call: Callable[[], object], refusal: type[ContainerdError] = Unimplemented) -> str:
    """Return "yes" if a call succeeds, or "no" if it raises the refusal."""
    try:
        call()
    except refusal:
        return "no"
    return "yes"


# ---- images --------------------------------------------------------------------------------


@row("Pull, unpack, push, export and import")
def by_client(ground: Ground) -> str:
    host = ground.image.name.partition("/")[0]
    ground.client.push(f"{host}/supported/by-client:1", ground.image)
    ground.client.export_images(ground.folder / "image.tar", ground.image)
    (again,) = ground.client.import_images(ground.folder / "image.tar", unpack=True)
    return "yes" if again.is_unpacked() and again.target == ground.image.target else "no"


@row("Layers unpacked side by side (`overlayfs`)")
def in_parallel(ground: Ground) -> str:
    """A layer that was prepared alone gets its parent afterwards."""
    snapshots = ground.client.snapshot_service("overlayfs")
    with ground.client.lease():
        snapshots.prepare("below")
        snapshots.commit("base", "below")
        snapshots.prepare("alone")
        return works(lambda: snapshots.commit("top", "alone", parent="base"))


@row("Blobs with sha512 digests")
def sha512_blobs(ground: Ground) -> str:
    digest = f"sha512:{sha512(b'x').hexdigest()}"
    return works(lambda: write(ground.client, b"x", digest), ContainerdError)


def write(client: Client, data: bytes, digest: str, labels: dict[str, str] | None = None) -> None:
    with closing(client.content_service.write(digest)) as writing:
        writing.commit(0, len(data), digest, labels, data=data)


# ---- images, by the daemon ----------------------------------------------------------------


@row('`via="daemon"`: pull and push, registry with TLS')
def by_daemon_over_tls(ground: Ground) -> str:
    return works(lambda: round_trip(ground, ground.over_tls))


@row('`via="daemon"`: pull and push, registry without TLS')
def by_daemon(ground: Ground) -> str:
    return works(lambda: round_trip(ground, ground.image.name))


def round_trip(ground: Ground, name: str) -> None:
    client = ground.client.in_namespace(f"{ground.client.namespace}-by-daemon")
    image = client.pull(name, via="daemon")
    assert image.is_unpacked()
    client.push(f"{name.rpartition(':')[0]}:by-daemon", image, via="daemon")
    image.delete(sync=True)


@row('`via="daemon"`: export and import')
def archives_by_daemon(ground: Ground) -> str:
    path = ground.folder / "by-daemon.tar"

    def both() -> None:
        ground.client.export_images(path, ground.image, via="daemon")
        ground.client.import_images(path, via="daemon")

    return works(both)


@row('`via="daemon"`: progress of unpacking')
def progress_of_unpacking(ground: Ground) -> str:
    events: list[ProgressEvent] = []
    client = ground.client.in_namespace(f"{ground.client.namespace}-progress")
    with suppress(Unimplemented):
        image = client.pull(ground.over_tls, via="daemon", progress=events.append)
        image.delete(sync=True)
    return "yes" if "unpacked" in {event.stage for event in events} else "no"


# ---- snapshotters and mounts --------------------------------------------------------------


@row("`temp_mount`")
def temp_mount(ground: Ground) -> str:
    snapshots = ground.client.snapshot_service()
    with ground.client.lease():
        mounts = snapshots.view("look", ground.image.unpack())
        with ground.client.temp_mount(mounts, read_only=True) as path:
            found = (path / "bin/busybox").exists()
        snapshots.remove("look")
    return "yes" if found else "no"


@row("Mounts service")
def mounts_service(ground: Ground) -> str:
    return works(lambda: list(ground.client.mount_service.list()))


@row("Snapshotter `erofs`")
def erofs(ground: Ground) -> str:
    snapshots = ground.client.snapshot_service("erofs")
    return works(lambda: snapshots.prepare("writable"), ContainerdError)


@row("Native EROFS layers")
def erofs_layers(ground: Ground) -> str:
    """The snapshotter lists the platform whose images have such layers."""
    native = replace(platform.default(), os_features=("erofs",))
    return "yes" if ground.client.snapshot_service("erofs").supports(native) else "no"


@row("Layers from the EROFS layer cache")
def erofs_cache(ground: Ground) -> str:
    """A layer that the cache holds is mounted read-only: there is nothing to fetch or to apply."""
    snapshots = ground.client.snapshot_service("erofs")
    labels = {_REF: CACHED, _DIFF_ID: CACHED}
    with suppress(ContainerdError):
        mounts = snapshots.prepare("cached", labels=labels)
        return "yes" if "ro" in mounts[-1].options else "no"
    return "no"


@row("`Prepare` leases a snapshot that exists")
def leased_by_prepare(ground: Ground) -> str:
    """The daemon answers AlreadyExists, and holds the snapshot for the lease all the same."""
    snapshots = ground.client.snapshot_service()
    top = ground.image.unpack()
    with ground.client.lease() as lease:
        with suppress(AlreadyExists):
            snapshots.prepare("again", labels={_REF: top})
        held = ground.client.lease_service.list_resources(lease)
    return "yes" if Resource(top, "snapshots/overlayfs") in held else "no"


# ---- containers ----------------------------------------------------------------------------


@row("Run, exec, checkpoint and restore of files")
def containers(ground: Ground) -> str:
    client = ground.client
    script = "echo kept > /file; exec sleep 1000"
    container = client.run(ground.image, ["sh", "-c", script], detach=True)
    try:
        assert container.exec(["cat", "/etc/passwd"]).exit_code == 0
        container.checkpoint("saved", task=False)
    finally:
        container.task().delete(force=True)
        container.delete()
    restored = client.restore("restored", "saved")
    try:
        with client.temp_mount(client.snapshot_service().mounts(restored.id)) as path:
            return "yes" if (path / "file").read_text() == "kept\n" else "no"
    finally:
        restored.delete()


@row("User namespaces")
def user_namespaces(ground: Ground) -> str:
    return works(lambda: run_mapped(ground, [(0, 100_000, 65_536)]))


@row("User namespace with one range, files not copied")
def one_range(ground: Ground) -> str:
    return "no" if run_mapped(ground, [(0, 100_000, 65_535)]) else "yes"


@row("User namespace with several ranges, files not copied")
def several_ranges(ground: Ground) -> str:
    return "no" if run_mapped(ground, [(0, 100_000, 1000), (1000, 300_000, 64_535)]) else "yes"


def run_mapped(ground: Ground, ranges: list[tuple[int, int, int]]) -> set[str]:
    """Run a container in a user namespace; return the snapshots that it has left, the copies."""
    snapshots = ground.client.snapshot_service()
    with ground.client.lease():
        before = {info.name for info in snapshots.list()}
        options: Any = {"uid_map": ranges, "gid_map": ranges}
        done = ground.client.run(ground.image, ["cat", "/proc/self/uid_map"], check=True, **options)
        assert done.stdout.split()[1] == b"100000"
        return {info.name for info in snapshots.list()} - before


@row("Sandboxes")
def sandboxes(ground: Ground) -> str:
    return works(lambda: ground.client.sandbox_store.list())


@row("Metrics of a sandbox")
def sandbox_metrics(ground: Ground) -> str:
    try:
        ground.client.sandbox_controller.metrics("none", sandboxer="podsandbox")
    except Unimplemented:
        return "no"
    except ContainerdError:  # the daemon has no sandbox "none"
        return "yes"
    raise AssertionError("metrics of a sandbox that does not exist")


@row("Information about the runtime")
def runtime_info(ground: Ground) -> str:
    service = ground.client.introspection_service
    request = RuntimeRequest("io.containerd.runc.v2").to_any()
    return works(lambda: service.plugin_info("io.containerd.runtime.v2", "task", request))


# ---- keeping and observing -----------------------------------------------------------------


@row("A lease holds an image")
def lease_of_image(ground: Ground) -> str:
    service = ground.client.lease_service
    with ground.client.lease() as lease:
        return works(lambda: service.add_resource(lease, Resource(ground.image.name, "images")))


@row("Content that lives as long as an image (`gc.bref`)")
def back_reference(ground: Ground) -> str:
    client, digest = ground.client, f"sha256:{sha256(b'kept').hexdigest()}"
    with client.lease():
        write(client, b"kept", digest, {"containerd.io/gc.bref.image": ground.image.name})
    client.tag(ground.image, "127.0.0.1/spare:1").delete(sync=True)  # collects what is not kept
    return works(lambda: client.content_service.info(digest), NotFound)


@row("Deprecated features are reported")
def deprecations(ground: Ground) -> str:
    return "yes" if ground.client.server().deprecations else "no"


# ---- the CRI ---------------------------------------------------------------------------------


def cri_row(name: str, method: str, **fields: object) -> None:
    """Add a row for a method of the CRI, which is there unless the daemon says Unimplemented."""

    def probe(ground: Ground) -> str:
        stub = ground.client.stub("runtime.v1.RuntimeService", timeout=10)
        try:
            found = getattr(stub, method)(**fields)
            for _ in found if hasattr(found, "receive") else ():
                break
        except Unimplemented:
            return "no"
        except ContainerdError:  # the daemon has no pod or container "none"
            return "yes"
        return "yes"

    PROBES[name] = probe


cri_row("CRI: pods and containers", "ListPodSandbox")
cri_row("CRI: checkpoint of a container", "CheckpointContainer", container_id="none")
cri_row("CRI: metrics of pods", "ListPodSandboxMetrics")
cri_row("CRI: resources of a running pod", "UpdatePodSandboxResources", pod_sandbox_id="none")
cri_row("CRI: lists as streams", "StreamContainers")
