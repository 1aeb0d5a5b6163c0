"""The image config (image-spec config.md), and the chain IDs of its layers."""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import InvalidArgument
from ..printable import quoted
from ..records import field, record
from . import digest as digests
from .document import Document
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
    """One step of an image's build.

    Attributes:
        created: The time of the step, as the config states it (RFC 3339).
        created_by: The command that the step ran.
        author: The author of the step.
        comment: A comment on the step.
        empty_layer: Whether the step has no layer.
    """

    created: str = ""
    created_by: str = ""
    author: str = ""
    comment: str = ""
    empty_layer: bool = False


@record(frozen=True)
class ImageConfig:
    """The config of an image: its platform, its layers, and the defaults of its process.

    Attributes:
        platform: The platform that the image is for.
        diff_ids: The digests of the uncompressed layers, bottom first.
        created: The time of the build, as the config states it (RFC 3339).
        author: The author of the image.
        env: The environment variables, each ``NAME=value``.
        entrypoint: The first part of the command line.
        cmd: The default arguments of ``entrypoint``. If ``entrypoint`` is empty, ``cmd`` is the
            whole command line.
        working_dir: The working directory of the process.
        user: The user of the process: ``user``, ``uid``, ``user:group`` or ``uid:gid``.
        stop_signal: The signal that stops the container, such as ``SIGTERM``.
        exposed_ports: The ports that the process listens on, such as ``8080/tcp``.
        volumes: The directories in which the process stores data.
        labels: The image's labels. Some labels have names that containerd reserves. A client must
            not copy these labels to containerd's objects (CVE-2026-53488).
        history: The steps of the build, oldest first.
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
        """Parse an image config of OCI or Docker.

        Args:
            body: The JSON document, of at most 4 MiB.

        Raises:
            InvalidArgument: The document is not valid JSON, a field has the wrong type, a diff ID
                is not a digest, or the type of ``rootfs`` is not ``layers``.
        """
        document = Document.parse(body, "the image config").check_case(_FIELDS)
        process = document.document("config") or Document({}, document.what)
        process.check_case(_PROCESS_FIELDS)
        return cls(
            platform=Platform.read(document),
            diff_ids=_read_diff_ids(document),
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
            history=document.each("history", _read_history),
        )


def _read_diff_ids(document: Document) -> tuple[str, ...]:
    rootfs = document.document("rootfs")
    if rootfs is None:
        raise InvalidArgument(f"{document.what} has no 'rootfs'")
    kind = rootfs.check_case(("type", "diff_ids")).text("type")
    if kind not in ("", "layers"):
        raise InvalidArgument(f"{rootfs.what} is of type {quoted(kind)}, not 'layers'")
    return tuple(digests.validate(text, rootfs.what) for text in rootfs.texts("diff_ids"))


def _read_history(document: Document) -> History:
    return History(
        document.text("created"),
        document.text("created_by"),
        document.text("author"),
        document.text("comment"),
        document.flag("empty_layer"),
    )


def chain_ids(diff_ids: Iterable[str]) -> tuple[str, ...]:
    """Return the chain ID of each layer, bottom first (config.md, Layer ChainID).

    Args:
        diff_ids: The digests of the uncompressed layers, bottom first.

    Raises:
        InvalidArgument: A diff ID is not a digest.
    """
    chain: list[str] = []
    for diff_id in map(digests.validate, diff_ids):
        chain.append(digests.of(f"{chain[-1]} {diff_id}".encode()) if chain else diff_id)
    return tuple(chain)
