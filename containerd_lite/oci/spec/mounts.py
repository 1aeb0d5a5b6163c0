"""Mounts of a spec.

What lives here: the record, its forms, and what replaces what.  What may not: whether a source
exists, which is the daemon's to know.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence

from ...records import record
from .fields import Spec, entries, mapping, path, refuse, several, text, texts

#: Files that ``host_files`` may name.
HOST_FILES = {
    name: f"/etc/{name}"
    for name in ("hosts", "resolv.conf", "localtime")
}  # fmt: skip
_FORM = "a Mount, or a string such as type=bind,src=/a,dst=/b,options=rbind:ro"
_KEYS = {
    "type": "type",
    "src": "source",
    "source": "source",
    "dst": "destination",
    "destination": "destination",
    "options": "options",
}
#: What Docker and nerdctl give a tmpfs; the caller's come after, and the last one counts.
_TMPFS = ("noexec", "nosuid", "nodev")


@record(frozen=True)
class Mount:
    """Something to be seen at ``destination`` within a container.

    ``source`` is a path on the daemon's machine for a bind mount; ``options`` are fstab(5)'s,
    and ``rbind`` is added to a bind mount that has neither ``bind`` nor ``rbind``.
    """

    destination: str
    source: str = ""
    type: str = "bind"
    options: Sequence[str] = ()

    @classmethod
    def parse(cls, line: str) -> Mount:
        """Reads ``ctr``'s form, in which commas within quotes are no separators."""
        found: dict[str, str] = {}
        for part in _parts(line):
            key, equals, value = part.partition("=")
            if not equals or key not in _KEYS:
                refuse("mounts", line, _FORM)
            found[_KEYS[key]] = value
        options = found.pop("options", "")
        if "destination" not in found:
            refuse("mounts", line, "a mount with dst=")
        return cls(**found, options=tuple(options.split(":")) if options else ())


def _parts(line: str) -> list[str]:
    import csv  # for mounts that are written as text

    try:
        rows = list(csv.reader([text("mounts", line)], strict=True))
    except csv.Error:
        refuse("mounts", line, _FORM)
    return rows[0] if len(rows) == 1 else refuse("mounts", line, _FORM)


def add_mounts(spec: Spec, mounts: object) -> None:
    """Add mounts, each a ``Mount`` or its string; they replace what was at their destinations."""
    added = [
        document(mount if isinstance(mount, Mount) else Mount.parse(text("mounts", mount, _FORM)))
        for mount in several("mounts", mounts, f"a list, each item {_FORM}")
    ]
    _add(spec, added)


def add_tmpfs(spec: Spec, given: object) -> None:
    """Add a tmpfs at each destination, with options such as ``"size=64m,mode=755"``."""
    _add(
        spec,
        [
            {
                "destination": path("tmpfs", to),
                "type": "tmpfs",
                "source": "tmpfs",
                "options": [*_TMPFS, *filter(None, text("tmpfs", options).split(","))],
            }
            for to, options in mapping("tmpfs", given).items()
        ],
    )


def add_host_files(spec: Spec, names: Iterable[str]) -> None:
    """Show files of the daemon's machine, read-only, at their own paths."""
    mounts = entries(spec, "mounts")
    for name in names:
        if name not in HOST_FILES:
            refuse("host_files", name, f"some of {', '.join(HOST_FILES)}")
        place = HOST_FILES[name]
        mounts.append(
            {"destination": place, "type": "bind", "source": place, "options": ["rbind", "ro"]}
        )


def make_writable(spec: Spec, *kinds: str) -> None:
    """Make mounts of some types writable that are not."""
    for mount in entries(spec, "mounts"):
        if mount.get("type") in kinds:
            options = texts("spec: options", mount.get("options") or ())
            mount["options"] = ["rw" if option == "ro" else option for option in options]


def document(mount: Mount) -> Spec:
    """A mount as it stands in a spec.  Raises ``InvalidArgument``."""
    destination = path("mounts", mount.destination)
    kind, source = text("mounts", mount.type), text("mounts", mount.source)
    options = texts("mounts", mount.options)
    if kind == "bind" or "bind" in options or "rbind" in options:
        if not source.startswith("/"):  # runc would look for it beside the container's bundle
            refuse("mounts", source, "an absolute path as the source of a bind mount")
        if "bind" not in options and "rbind" not in options:
            options.insert(0, "rbind")
    found: Spec = {"destination": destination, "type": kind, "source": source, "options": options}
    return {name: value for name, value in found.items() if value}


def _add(spec: Spec, added: list[Spec]) -> None:
    taken = {posixpath.normpath(str(mount["destination"])) for mount in added}
    kept = [
        mount
        for mount in entries(spec, "mounts")
        if posixpath.normpath(str(mount.get("destination", ""))) not in taken
    ]
    spec["mounts"] = kept + added
