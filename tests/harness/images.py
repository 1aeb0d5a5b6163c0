"""Makes images as plain bytes and dicts, pushes them, and writes them as OCI layouts.

An image depends only on the arguments (and busybox's version): the same call gives the same
digests. This module does not use the package under test, which must not judge itself.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import http.client
import io
import json
import platform
import random
import stat
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from . import Unavailable, debian
from .process import run

Json = dict[str, Any]
Change = Callable[[Json], None]

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
_MANIFESTS = frozenset((OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST))

CREATED = "1970-01-01T00:00:00Z"
_RAW_BLOCK = 128 << 10
_MACHINES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm/v7",
    "i686": "386",
    "loongarch64": "loong64",
}


@dataclass(frozen=True)
class Entry:
    """An entry of a layer with its mode and owner, or of a kind that `Files` has no value for."""

    data: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    kind: bytes = tarfile.REGTYPE
    target: str = ""
    capability: bytes = b""


Files = Mapping[str, bytes | str | Entry | None]
"""Path → content: bytes are a file, a string is a symbolic link, None is a folder."""


@dataclass(frozen=True)
class Layer:
    """A layer's blob, as stored, and the digest of the tar in it."""

    blob: bytes
    diff_id: str
    suffix: str = "+gzip"
    media_type: str = OCI_LAYER
    """The type in an OCI image, without the suffix."""


@dataclass(frozen=True)
class Image:
    """The descriptor of a manifest or index, and the blobs below it, by digest."""

    manifest: Json
    blobs: Mapping[str, bytes]

    @property
    def digest(self) -> str:
        """The digest of the manifest or index."""
        digest: str = self.manifest["digest"]
        return digest

    def json(self, digest: str | None = None) -> Json:
        """Return a blob as JSON. Default: the manifest or index."""
        parsed: Json = json.loads(self.blobs[digest or self.digest])
        return parsed

    @property
    def config(self) -> Json:
        """The configuration of a single image, as JSON."""
        return self.json(self.json()["config"]["digest"])

    @property
    def layers(self) -> list[Json]:
        """The descriptors of a single image's layers, lowest first."""
        descriptors: list[Json] = self.json()["layers"]
        return descriptors


def digest_of(blob: bytes) -> str:
    """Return the `sha256:…` digest of some bytes."""
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def descriptor(media_type: str, blob: bytes) -> Json:
    """Return the descriptor of a blob."""
    return {"mediaType": media_type, "digest": digest_of(blob), "size": len(blob)}


def encode(value: Json) -> bytes:
    """Return the bytes of a JSON document, without spaces, in the order of the dict."""
    return json.dumps(value, separators=(",", ":")).encode()


def machine_platform() -> str:
    """Return this machine's platform, such as `linux/amd64` or `linux/arm/v7`."""
    machine = platform.machine()
    return f"linux/{_MACHINES.get(machine, machine)}"


def platform_json(name: str) -> Json:
    """Return the fields of a descriptor's platform for `os[(+feature)]/architecture[/variant]`."""
    fields: Json = dict(zip(("os", "architecture", "variant"), name.split("/"), strict=False))
    fields["os"], *options = fields["os"].rstrip(")").split("(+")
    if options:
        fields["os.features"] = options[0].split("+")
    return {"architecture": fields.pop("architecture"), **fields}


def layer(files: Files, compression: str = "gzip") -> Layer:
    """Make a layer: a tar whose times are 0, compressed with gzip or (`"none"`) plain."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for path, content in files.items():
            entry = _entry(content)
            info = tarfile.TarInfo(path.strip("/"))
            info.type, info.mode, info.linkname = entry.kind, entry.mode, entry.target
            info.uid, info.gid, info.size = entry.uid, entry.gid, len(entry.data)
            if entry.capability:
                value = entry.capability.decode("utf-8", "surrogateescape")
                info.pax_headers = {"SCHILY.xattr.security.capability": value}
            archive.addfile(info, io.BytesIO(entry.data))
    plain = buffer.getvalue()
    if compression == "none":
        return Layer(plain, digest_of(plain), "")
    packer = zlib.compressobj(1, zlib.DEFLATED, 16 + zlib.MAX_WBITS)  # zlib's header has no time
    return Layer(packer.compress(plain) + packer.flush(), digest_of(plain))


def zstd(plain: Layer) -> Layer:
    """Compress a plain layer with zstd: one frame (RFC 8878) of raw blocks."""
    data = plain.blob
    out = [bytes.fromhex("28b52ffd e0"), len(data).to_bytes(8, "little")]
    for place in range(0, len(data), _RAW_BLOCK):
        block = data[place : place + _RAW_BLOCK]
        is_last = place + _RAW_BLOCK >= len(data)
        out += [(is_last | len(block) << 3).to_bytes(3, "little"), block]
    return replace(plain, blob=b"".join(out), suffix="+zstd")


def build(
    layers: Sequence[Layer],
    *,
    cmd: Sequence[str] = (),
    env: Sequence[str] = (),
    config: Json | None = None,
    platform: str | None = None,
    docker: bool = False,
    change_config: Change | None = None,
    change_manifest: Change | None = None,
) -> Image:
    """Make an image of layers, lowest first.

    `config` adds to the container's settings (User, WorkingDir, …). To make a faulty image,
    `change_config` alters the whole configuration before it is hashed, and `change_manifest`
    alters the manifest.
    """
    settings: Json = {"Env": list(env), "Cmd": list(cmd), **(config or {})}
    whole: Json = {
        "created": CREATED,
        **platform_json(platform or machine_platform()),
        "config": settings,
        "rootfs": {"type": "layers", "diff_ids": [layer.diff_id for layer in layers]},
        "history": [{"created": CREATED, "created_by": f"layer {n}"} for n in range(len(layers))],
    }
    if change_config:
        change_config(whole)
    config_blob = encode(whole)
    kinds = (DOCKER_MANIFEST, DOCKER_CONFIG) if docker else (OCI_MANIFEST, OCI_CONFIG)
    manifest: Json = {
        "schemaVersion": 2,
        "mediaType": kinds[0],
        "config": descriptor(kinds[1], config_blob),
        "layers": [descriptor(_layer_type(layer, docker), layer.blob) for layer in layers],
    }
    if change_manifest:
        change_manifest(manifest)
    blob = encode(manifest)
    blobs = {digest_of(b): b for b in (*(layer.blob for layer in layers), config_blob, blob)}
    return Image(descriptor(kinds[0], blob), blobs)


def wrong_diff_ids(config: Json) -> None:
    """Give every layer a wrong diff ID. It is for `change_config`."""
    rootfs = config["rootfs"]
    rootfs["diff_ids"] = [digest_of(diff_id.encode()) for diff_id in rootfs["diff_ids"]]


def index_of(images: Mapping[str, Image], *, docker: bool = False, **extra: object) -> Image:
    """Make an index of images by platform (`linux/arm/v7`), in the order given."""
    index: Json = {
        "schemaVersion": 2,
        "mediaType": DOCKER_INDEX if docker else OCI_INDEX,
        "manifests": [
            {**image.manifest, "platform": platform_json(name)} for name, image in images.items()
        ],
        **extra,
    }
    blob = encode(index)
    blobs = {digest: body for image in images.values() for digest, body in image.blobs.items()}
    return Image(descriptor(index["mediaType"], blob), {**blobs, digest_of(blob): blob})


def busybox(*, compression: str = "gzip", **options: Any) -> Image:
    """Make the runnable image: Debian's static busybox, its applets, and the users root and nobody.

    `options` are those of `build`. Raises `Unavailable` if busybox is unavailable.
    """
    options = {"cmd": ["sh"], "env": ["PATH=/bin"], **options}
    return build([busybox_layer(compression)], **options)


def scratch(files: Files | None = None, *, compression: str = "gzip", **options: Any) -> Image:
    """Make an image with one layer of these files, or without layers."""
    return build([] if files is None else [layer(files, compression)], **options)


def random_image(
    sizes: Sequence[int], *, seed: int = 0, compression: str = "gzip", **options: Any
) -> Image:
    """Make an image with a layer of random bytes for each size, in bytes."""
    source = random.Random(seed)
    parts = [_random_bytes(source, size) for size in sizes]
    layers = [layer({f"blob-{n}": part}, compression) for n, part in enumerate(parts)]
    return build(layers, **options)


def write_layout(image: Image, folder: Path, ref: str | None = None) -> Path:
    """Write an image as an OCI layout, with `ref` as its name in the index; return the folder."""
    for digest, blob in image.blobs.items():
        algorithm, _, encoded = digest.partition(":")
        path = folder / "blobs" / algorithm / encoded
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(blob)
    name = {"annotations": {"org.opencontainers.image.ref.name": ref}} if ref else {}
    entry = {**image.manifest, **name}
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry]}
    (folder / "index.json").write_bytes(encode(index))
    (folder / "oci-layout").write_bytes(encode({"imageLayoutVersion": "1.0.0"}))
    return folder


def push(
    image: Image, host: str, repository: str, tag: str, auth: tuple[str, str] | None = None
) -> str:
    """Push an image to a registry over plain HTTP, blobs first; return `host/repository:tag`.

    Raises `RuntimeError` with the registry's response if it refuses the push.
    """
    headers: dict[str, str] = {}
    if auth is not None:
        token = base64.b64encode(":".join(auth).encode()).decode()
        headers["Authorization"] = f"Basic {token}"
    with contextlib.closing(http.client.HTTPConnection(host, timeout=60)) as connection:
        manifests = list(_manifests(image, image.manifest))
        digests = {manifest["digest"] for manifest in manifests}
        base = f"/v2/{repository}"
        for digest, blob in image.blobs.items():
            if digest not in digests:
                _push_blob(connection, base, digest, blob, headers)
        for manifest in manifests:
            name = tag if manifest["digest"] == image.digest else manifest["digest"]
            typed = {**headers, "Content-Type": manifest["mediaType"]}
            blob = image.blobs[manifest["digest"]]
            _request(connection, "PUT", f"{base}/manifests/{name}", blob, typed)
    return f"{host}/{repository}:{tag}"


def _manifests(image: Image, target: Json) -> Iterator[Json]:
    """Yield the descriptors of the manifests in the image, children before parents."""
    if target["mediaType"] in _MANIFESTS and target["digest"] in image.blobs:
        for child in image.json(target["digest"]).get("manifests", ()):
            yield from _manifests(image, child)
        yield target


def _push_blob(
    connection: http.client.HTTPConnection,
    base: str,
    digest: str,
    blob: bytes,
    headers: Mapping[str, str],
) -> None:
    response = _request(connection, "POST", f"{base}/blobs/uploads/", b"", headers)
    location = urlsplit(response.getheader("Location") or "")
    query = "&".join(filter(None, (location.query, urlencode({"digest": digest}))))
    typed = {**headers, "Content-Type": "application/octet-stream"}
    _request(connection, "PUT", f"{location.path}?{query}", blob, typed)


def _request(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: bytes,
    headers: Mapping[str, str],
) -> http.client.HTTPResponse:
    connection.request(method, path, body, dict(headers))
    response = connection.getresponse()
    content = response.read(64 << 10)
    if response.status not in (201, 202):
        text = content.decode("utf-8", "replace")
        raise RuntimeError(f"{method} {urlsplit(path).path}: {response.status} {text}")
    return response


def _entry(content: bytes | str | Entry | None) -> Entry:
    if content is None:
        return Entry(mode=0o755, kind=tarfile.DIRTYPE)
    if isinstance(content, str):
        return Entry(mode=0o777, kind=tarfile.SYMTYPE, target=content)
    return Entry(content) if isinstance(content, bytes) else content


def _layer_type(layer: Layer, docker: bool) -> str:
    if docker:
        return DOCKER_LAYER + layer.suffix.replace("+gzip", ".gzip")
    return layer.media_type + layer.suffix


def _random_bytes(source: random.Random, size: int) -> bytes:
    """Return random bytes. Make them in chunks, because the generator makes each as one integer."""
    chunk = 1 << 20
    chunks = [chunk] * (size // chunk) + [size % chunk]
    return b"".join(source.randbytes(length) for length in chunks)


@functools.cache
def busybox_layer(compression: str = "gzip") -> Layer:
    """Make the layer of `busybox`. Raises `Unavailable` if busybox is unavailable."""
    program = debian.program("busybox")
    done = run([*program.argv, "--list"], timeout=30)
    if done.returncode:
        raise Unavailable(f"busybox does not list its applets: exit code {done.returncode}")
    executable = Entry(program.path.read_bytes(), 0o755)
    applets = {f"bin/{name}": "busybox" for name in sorted(done.stdout.decode().split())}
    sticky = Entry(mode=0o777 | stat.S_ISVTX, kind=tarfile.DIRTYPE)
    users = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"
    groups = b"root:x:0:\nnogroup:x:65534:\n"
    files: dict[str, bytes | str | Entry | None] = {
        "bin": None,
        "bin/busybox": executable,
        **{path: link for path, link in applets.items() if path != "bin/busybox"},
        "etc": None,
        "etc/group": groups,
        "etc/passwd": users,
        "root": Entry(mode=0o700, kind=tarfile.DIRTYPE),
        "tmp": sticky,
    }
    return layer(files, compression)
