"""The image config (image-spec config.md) and the chain IDs made from it.

What lives here: the record and its strict reading.  What may not: making a runtime spec of it.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import InvalidArgument
from ..records import field, record
from . import digest as digests
from .document import Document, quoted
from .platform import Platform

_FIELDS = (
    "created", "author", "architecture", "os", "os.version", "os.features", "variant", "config",
    "rootfs", "history",
)  # fmt: skip
_PROCESS_FIELDS = (
    "User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels",
    "StopSignal", "ArgsEscaped",
)  # fmt: skip


@record(frozen=True)
class History:
    """How one layer came to be; ``empty_layer`` entries have no layer."""

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


@record(frozen=True)
class ImageConfig:
    """What an image is for and how it is run: the platform, the layers, the process.

    ``diff_ids`` are digests of the uncompressed layers, bottom first; ``env`` holds
    ``NAME=value``; ``labels`` are the image's and must never become containerd's own
    (CVE-2026-53488).
    """

    platform: Platform
    diff_ids: tuple[str, ...]
    created: str = ""
    author: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    working_dir: str = ""
    user: str = ""
    stop_signal: str = ""
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: dict[str, str] = field(default_factory=dict, hash=False)
    history: tuple[History, ...] = ()

    @classmethod
    def parse(cls, body: bytes) -> ImageConfig:
        """Reads an image config of at most 4 MiB, OCI's or Docker's.

        Raises InvalidArgument for fields of a wrong type, diff IDs that are not digests, and a
        root file system that is not made of layers.
        """
        document = Document.parse(body, "the image config").known(_FIELDS)
        process = document.document("config") or Document({}, document.what)
        process.known(_PROCESS_FIELDS)
        return cls(
            platform=Platform.read(document),
            diff_ids=_diff_ids(document),
            created=document.text("created"),
            author=document.text("author"),
            env=process.texts("Env"),
            entrypoint=process.texts("Entrypoint"),
            cmd=process.texts("Cmd"),
            working_dir=process.text("WorkingDir"),
            user=process.text("User"),
            stop_signal=process.text("StopSignal"),
            exposed_ports=process.names("ExposedPorts"),
            volumes=process.names("Volumes"),
            labels=process.table("Labels"),
            history=document.each("history", _history),
        )


def _diff_ids(document: Document) -> tuple[str, ...]:
    rootfs = document.document("rootfs")
    if rootfs is None:
        raise InvalidArgument(f"{document.what} has no 'rootfs'")
    kind = rootfs.known(("type", "diff_ids")).text("type")
    if kind not in ("", "layers"):
        raise InvalidArgument(f"{rootfs.what} is of type {quoted(kind)}, not 'layers'")
    return tuple(digests.validate(text, rootfs.what) for text in rootfs.texts("diff_ids"))


def _history(document: Document) -> History:
    return History(
        document.text("created"),
        document.text("created_by"),
        document.text("author"),
        document.text("comment"),
        document.flag("empty_layer"),
    )


def chain_ids(diff_ids: Iterable[str]) -> tuple[str, ...]:
    """The chain ID of every layer, bottom first (config.md, Layer ChainID).

    Raises InvalidArgument for a diff ID that is not a digest.
    """
    chain: list[str] = []
    for diff_id in map(digests.validate, diff_ids):
        chain.append(digests.of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return tuple(chain)
