"""The mounts of a spec."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Mapping, Sequence

from ...errors import InvalidArgument
from ...printable import quoted
from ...records import record
from .fields import Spec, entries, iterable, mapping, path, refuse, size, text, texts

#: Name that the option ``host_files`` accepts → path of the file.
HOST_FILES = {
    name: f"/etc/{name}"
    for name in ("hosts", "resolv.conf", "localtime")
}  # fmt: skip
_FORM = "a Mount, or a string such as /a:/b:ro or type=bind,src=/a,dst=/b,options=rbind:ro"
#: Key in ``ctr``'s syntax → field of ``Mount``.
_FIELDS = {
    "type": "type",
    "src": "source",
    "source": "source",
    "dst": "destination",
    "destination": "destination",
    "options": "options",
}
#: The options behind two paths. ``z`` and ``Z`` of Docker, which relabel files, are missing.
_OPTIONS_OF_PATHS = frozenset(
    ("ro", "rw", "bind", "rbind", "nosuid", "suid", "nodev", "dev", "noexec", "exec")
) | {f"{r}{mode}" for r in ("", "r") for mode in ("private", "shared", "slave")}
#: The options that Docker and nerdctl give to every tmpfs. The caller's options follow and override
#: these options.
_TMPFS_OPTIONS = ("noexec", "nosuid", "nodev")


@record(frozen=True)
class Mount:
    """A mount in a container.

    Attributes:
        destination: The absolute path in the container.
        source: The source. The source of a bind mount is an absolute path on the daemon's machine.
        type: The type of the filesystem; ``bind`` for a bind mount.
        options: Mount options, as in fstab(5). A bind mount with neither ``bind`` nor ``rbind``
            gets ``rbind``.
    """

    destination: str
    source: str = ""
    type: str = "bind"
    options: Sequence[str] = ()

    @property
    def is_bind(self) -> bool:
        """Whether this is a bind mount."""
        return self.type == "bind" or bool({"bind", "rbind"}.intersection(self.options))

    @classmethod
    def parse(cls, line: str) -> Mount:
        """Parse a mount in the syntax of ``ctr run --mount``, or of ``docker run --volume``.

        Args:
            line: Fields such as ``type=bind,src=/a,dst=/b,options=rbind:ro``. A comma within quotes
                does not separate fields. Or two absolute paths with options: ``/a:/b`` or
                ``/a:/b:ro,rslave``.

        Raises:
            InvalidArgument: ``line`` has a syntax error, or has no destination.
        """
        start = text("mounts", line, _FORM).partition(":")[0]
        if start.startswith("/") or "=" not in start:
            return cls._parse_paths(line)
        fields: dict[str, str] = {}
        for part in _split_line(line):
            key, equals, value = part.partition("=")
            if not equals or key not in _FIELDS:
                refuse("mounts", line, _FORM)
            fields[_FIELDS[key]] = value
        options = fields.pop("options", "")
        if "destination" not in fields:
            raise InvalidArgument(
                f"mounts cannot be {quoted(line)}, which has no destination",
                remedy="Add the path in the container, such as dst=/b",
            )
        return cls(**fields, options=tuple(options.split(":")) if options else ())

    @classmethod
    def _parse_paths(cls, line: str) -> Mount:
        source, _, rest = line.partition(":")
        destination, _, last = rest.partition(":")
        options = tuple(last.split(",")) if last else ()
        if not all(each.startswith("/") for each in (source, destination)):
            refuse("mounts", line, "two absolute paths, such as /a:/b or /a:/b:ro")
        if unknown := set(options) - _OPTIONS_OF_PATHS:
            refuse(
                "mounts", line, f"other options than {min(unknown)!r}: ro, rw, nosuid, rslave, ..."
            )
        return cls(destination, source, options=options)


def _split_line(line: str) -> list[str]:
    import csv  # only mounts that the caller gives as strings need this module

    try:
        rows = list(csv.reader([text("mounts", line)], strict=True))
    except csv.Error:
        refuse("mounts", line, _FORM)
    return rows[0] if len(rows) == 1 else refuse("mounts", line, _FORM)


def add_mounts(spec: Spec, mounts: object) -> None:
    """Add mounts, each a ``Mount`` or a string. Remove old mounts with the same destinations."""
    replace_mounts(spec, [document(mount) for mount in read_mounts(mounts)])


def read_mounts(mounts: object) -> list[Mount]:
    """Return the mounts in the option ``mounts``, each of them a ``Mount`` or a string."""
    return [
        mount if isinstance(mount, Mount) else Mount.parse(text("mounts", mount, _FORM))
        for mount in iterable("mounts", mounts, f"a list in which each item is {_FORM}")
    ]


def add_tmpfs(spec: Spec, mounts: object) -> None:
    """Add a tmpfs for each item of a mapping of destinations to options.

    The options of a tmpfs are one string, such as ``"size=64m,mode=755"``.
    """
    replace_mounts(
        spec,
        [
            {
                "destination": path("tmpfs", destination),
                "type": "tmpfs",
                "source": "tmpfs",
                "options": [*_TMPFS_OPTIONS, *filter(None, text("tmpfs", options).split(","))],
            }
            for destination, options in mapping("tmpfs", mounts).items()
        ],
    )


def remove_mounts(spec: Spec, destinations: object) -> None:
    """Remove the mounts at some destinations.

    Raises:
        InvalidArgument: The spec has no mount at a destination.
    """
    for destination in texts("without_mounts", destinations):
        found = _mounts_at(spec, path("without_mounts", destination))
        if not found:
            known = ", ".join(str(each.get("destination")) for each in entries(spec, "mounts"))
            refuse("without_mounts", destination, f"only destinations of mounts: {known}")
        spec["mounts"] = [each for each in entries(spec, "mounts") if each not in found]


def set_shm_size(spec: Spec, value: object) -> None:
    """Set the size of the tmpfs at ``/dev/shm``.

    Raises:
        InvalidArgument: ``value`` is not a size, or the spec has no tmpfs at ``/dev/shm``.
    """
    number = size("shm_size", value, 1, (1 << 63) - 1)
    found = [each for each in _mounts_at(spec, "/dev/shm") if each.get("type") == "tmpfs"]
    if not found:
        raise InvalidArgument(
            "shm_size= needs a tmpfs at /dev/shm, which the other options remove or replace",
            remedy="Leave out shm_size=, or the option that changes /dev/shm",
        )
    for mount in found:
        options = texts("spec: options", mount.get("options") or ())
        kept = [option for option in options if not option.startswith("size=")]
        mount["options"] = [*kept, f"size={number}"]


def _mounts_at(spec: Spec, destination: str) -> list[Spec]:
    wanted = posixpath.normpath(destination)
    return [
        mount
        for mount in entries(spec, "mounts")
        if posixpath.normpath(str(mount.get("destination", ""))) == wanted
    ]


def add_host_files(spec: Spec, names: Iterable[str]) -> None:
    """Mount files of the daemon's machine, read-only, at the same paths in the container.

    ``names`` are keys of ``HOST_FILES``.
    """
    mounts = entries(spec, "mounts")
    for name in names:
        if name not in HOST_FILES:
            refuse("host_files", name, f"only the names {', '.join(HOST_FILES)}")
        file = HOST_FILES[name]
        mounts.append(
            {"destination": file, "type": "bind", "source": file, "options": ["rbind", "ro"]}
        )


def add_own_files(spec: Spec, files: Mapping[str, str], *, read_only: bool) -> None:
    """Mount files of a container's own, by their paths in the container.

    A file is left out if the spec mounts something at its path.
    """
    mounts = entries(spec, "mounts")
    mounted = {posixpath.normpath(str(mount.get("destination", ""))) for mount in mounts}
    options = ["rbind", "rprivate", "ro" if read_only else "rw"]
    mounts += [
        {"destination": path, "type": "bind", "source": source, "options": [*options]}
        for path, source in files.items()
        if path not in mounted
    ]


def make_writable(spec: Spec, *kinds: str) -> None:
    """Make the read-only mounts whose type is in ``kinds`` writable."""
    for mount in entries(spec, "mounts"):
        if mount.get("type") in kinds:
            options = texts("spec: options", mount.get("options") or ())
            mount["options"] = ["rw" if option == "ro" else option for option in options]


def document(mount: Mount) -> Spec:
    """Return the JSON object for a mount in a spec.

    Raises:
        InvalidArgument: A field has the wrong type or an invalid value.
    """
    destination = path("mounts", mount.destination)
    kind, source = text("mounts", mount.type), text("mounts", mount.source)
    options = texts("mounts", mount.options)
    if mount.is_bind:
        # runc resolves a relative path against the container's bundle.
        if not source.startswith("/"):
            refuse("mounts", source, "an absolute path as the source of a bind mount")
        if "bind" not in options and "rbind" not in options:
            options.insert(0, "rbind")
    fields: Spec = {"destination": destination, "type": kind, "source": source, "options": options}
    return {name: value for name, value in fields.items() if value}


def replace_mounts(spec: Spec, added: list[Spec]) -> None:
    """Add mounts, and remove the existing mounts with the same destinations."""
    replaced = {posixpath.normpath(str(mount["destination"])) for mount in added}
    kept = [
        mount
        for mount in entries(spec, "mounts")
        if posixpath.normpath(str(mount.get("destination", ""))) not in replaced
    ]
    spec["mounts"] = kept + added
