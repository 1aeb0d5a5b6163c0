"""What one layer changes of a root filesystem, as far as somebody asks for it.

What lives here: applying a layer's entries to an empty tree, as containerd's pkg/archive applies
them to the upper directory of an overlay.  What may not: other layers, a file of this machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...errors import FailedPrecondition, ResourceExhausted
from ...records import field, record
from ...store.tar import FILE, FOLDER, LINK, SPARSE, SYMLINK, Entry, Source, TarReader

#: Of a file that is read (bytes): CVE-2026-47262.
MAX_FILE = 4 << 20
#: Symbolic links on the way to one file: Linux' own bound.
MAX_HOPS = 40
#: Of the names that are kept of a layer, and the targets of its symbolic links.
_MAX_KEPT = 16 << 20

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


@record
class Folder:
    """A folder; what an ``opaque`` one has in lower layers is gone."""

    children: dict[str, Node] = field(default_factory=dict)
    opaque: bool = False


@record(frozen=True)
class File:
    """A regular file by the ``path`` where it came; ``data`` is ``None`` if it was not asked for
    there, or has holes."""

    path: str
    data: bytes | None = field(default=None, repr=False)
    is_sparse: bool = False


@record(frozen=True)
class Symlink:
    target: str


@record(frozen=True)
class Lost:
    """A hard link to what the layer was not asked for, or does not have, by its ``path``."""

    path: str


@record(frozen=True)
class Gone:
    """A whiteout, or what is no file: a device, say."""


Node = Folder | File | Symlink | Lost | Gone


@record
class Wanted:
    """What is asked of layers: ``paths`` whose data is to be kept, and ``parts``, the names of
    everything that may be looked up on the way."""

    paths: set[str] = field(default_factory=set)
    parts: set[str] = field(default_factory=set)

    def add(self, path: str) -> None:
        self.paths.add(path)
        self.parts.update(path.split("/"))

    def copy(self) -> Wanted:
        return Wanted(set(self.paths), set(self.parts))


def read_tree(stream: Source, wanted: Wanted) -> Folder:
    """The tree of a layer's tar: what has a wanted name, and all symbolic links.

    Raises as ``TarReader``, ``ResourceExhausted`` for a wanted file of more than 4 MiB and for
    links without end, ``FailedPrecondition`` for links in a circle.
    """
    reader = TarReader(stream, is_layer=True)
    tree = _Tree(reader, wanted)
    for entry in reader:
        tree.apply(entry)
    return tree.root


class _Tree:
    """A tree that grows by a layer's entries in their order: the last one of a name stays."""

    def __init__(self, reader: TarReader, wanted: Wanted) -> None:
        self.root = Folder()
        self._reader = reader
        self._wanted = wanted
        self._kept = 0
        self._last: tuple[str, tuple[str, ...]] | None = None

    def apply(self, entry: Entry) -> None:
        place, _, base = entry.name.rpartition("/")
        if not base:
            return  # the root itself
        folders = self._folders(place)
        if base == _OPAQUE:
            self._grown(folders).opaque = True
        elif base.startswith(_WHITEOUT):
            self._put(folders, base.removeprefix(_WHITEOUT), Gone())
        elif entry.kind == FOLDER:
            self._put_folder(folders, base)
        else:
            self._put(folders, base, self._node(entry, "/".join((*folders, base))))

    def _node(self, entry: Entry, path: str) -> Node:
        if entry.kind in (FILE, SPARSE):
            return self._file(entry, path)
        if entry.kind == SYMLINK:
            self._keep(entry.target)
            return Symlink(entry.target)
        return self._linked(entry.target) if entry.kind == LINK else Gone()

    def _file(self, entry: Entry, path: str) -> File:
        is_sparse = entry.kind == SPARSE
        if path not in self._wanted.paths or is_sparse:
            return File(path, is_sparse=is_sparse)
        if entry.size > MAX_FILE:  # the rest is not read for a better one
            raise ResourceExhausted(f"/{path} has {entry.size} bytes; {MAX_FILE} are read")
        data = bytearray(entry.size)
        self._reader.readinto(memoryview(data))
        return File(path, bytes(data))

    def _linked(self, target: str) -> Node:
        """What a hard link is another name of, which is a symbolic link's own where it is one."""
        place, _, base = target.rstrip("/").rpartition("/")
        folders = self._resolved(place)
        folder = self._at(folders)
        found = folder.children.get(base) if folder else None
        if found is None or isinstance(found, Folder):
            return Lost("/".join((*folders, base)))
        return found

    def _put(self, folders: Sequence[str], base: str, node: Node) -> None:
        if isinstance(node, Symlink) or base in self._wanted.parts:
            self._keep(base)
            self._grown(folders).children[base] = node
            self._last = None
        else:
            self._remove(folders, base)

    def _put_folder(self, folders: Sequence[str], base: str) -> None:
        folder = self._at(folders)
        if folder is None or not isinstance(folder.children.get(base), Folder):  # else one of both
            self._remove(folders, base)
            if base in self._wanted.parts:
                self._grown((*folders, base))

    def _remove(self, folders: Sequence[str], base: str) -> None:
        folder = self._at(folders)
        if folder is not None and folder.children.pop(base, None) is not None:
            self._last = None

    def _at(self, folders: Iterable[str]) -> Folder | None:
        here = self.root
        for name in folders:
            child = here.children.get(name)
            if not isinstance(child, Folder):
                return None
            here = child
        return here

    def _grown(self, folders: Iterable[str]) -> Folder:
        """The folder of that place, made if there is none."""
        here = self.root
        for name in folders:
            child = here.children.get(name)
            if not isinstance(child, Folder):
                self._keep(name)
                child = here.children[name] = Folder()
            here = child
        return here

    def _keep(self, text: str) -> None:
        self._kept += len(text)
        if self._kept > _MAX_KEPT:
            raise ResourceExhausted("a layer has too many links, or files of one name, to look at")

    def _folders(self, place: str) -> tuple[str, ...]:
        """The folders that an entry lies in, which are made as far as somebody asks for them.

        Entries of one folder come one after the other, so the last answer is kept.
        """
        if self._last is None or self._last[0] != place:
            folders = self._resolved(place)
            wanted = [n for n, name in enumerate(folders, 1) if name in self._wanted.parts]
            self._grown(folders[: wanted[-1] if wanted else 0])
            self._last = (place, folders)
        return self._last[1]

    def _resolved(self, place: str) -> tuple[str, ...]:
        """The folders of a place, once the layer's own symbolic links are followed."""
        done: list[str] = []
        todo = place.split("/")[::-1]
        hops = 0
        while todo:
            name = todo.pop()
            folder = self._at(done)
            child = folder.children.get(name) if folder else None
            if isinstance(child, Symlink):
                hops += 1
                if hops > MAX_HOPS:
                    raise FailedPrecondition("a layer's symbolic links go in a circle")
                done = follow(done, child.target, todo)
            elif name == "..":
                del done[-1:]
            elif name not in ("", "."):
                done.append(name)
        return tuple(done)


def follow(done: list[str], target: str, todo: list[str]) -> list[str]:
    """Go on at a symbolic link in the folder ``done``: puts its parts on the stack ``todo``, and
    returns the folder that they start from."""
    todo.extend(target.split("/")[::-1])
    return [] if target.startswith("/") else done
