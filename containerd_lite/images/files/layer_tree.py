"""The tree of changes that one layer makes to a root filesystem, limited to wanted paths.

The entries of the layer are applied to an empty tree in memory, as containerd's pkg/archive
applies them to the upper directory of an overlay.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...errors import FailedPrecondition, ResourceExhausted
from ...records import field, record
from ...store.tar import FILE, FOLDER, LINK, SPARSE, SYMLINK, Entry, Source, TarReader

#: Most bytes of a file that is read (CVE-2026-47262).
MAX_FILE = 4 << 20
#: Most symbolic links on the way to one file, as in Linux.
MAX_HOPS = 40
#: Most characters of the names, and of the targets of symbolic links, that are kept of a layer.
_MAX_KEPT = 16 << 20

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


@record
class Folder:
    """A folder; an ``opaque`` one hides the content that lower layers have in it."""

    children: dict[str, Node] = field(default_factory=dict)
    opaque: bool = False


@record(frozen=True)
class File:
    """A regular file.

    Attributes:
        path: The path of its entry in the layer.
        data: The content; ``None`` if the path is not wanted, or if the file is sparse.
        is_sparse: Whether the file has holes.
    """

    path: str
    data: bytes | None = field(default=None, repr=False)
    is_sparse: bool = False


@record(frozen=True)
class Symlink:
    """A symbolic link."""

    target: str


@record(frozen=True)
class Lost:
    """A hard link whose target, ``path``, is not in the tree or is a folder."""

    path: str


@record(frozen=True)
class Gone:
    """A whiteout, or an entry that is not a file, such as a device."""


Node = Folder | File | Symlink | Lost | Gone


@record
class Wanted:
    """The paths that are wanted from layers.

    Attributes:
        paths: The files whose data is kept.
        parts: The names that may occur in a path that is looked up.
    """

    paths: set[str] = field(default_factory=set)
    parts: set[str] = field(default_factory=set)

    def add(self, path: str) -> None:
        """Add the path of a file."""
        self.paths.add(path)
        self.parts.update(path.split("/"))

    def copy(self) -> Wanted:
        """Return an independent copy."""
        return Wanted(set(self.paths), set(self.parts))


def read_tree(stream: Source, wanted: Wanted) -> Folder:
    """Return the tree of a layer: its entries with a wanted name, and all its symbolic links.

    Args:
        stream: The tar archive, not compressed.
        wanted: The wanted paths.

    Raises:
        InvalidArgument: The stream is not a tar archive.
        DataLoss: The archive is cut off.
        ResourceExhausted: A wanted file has more than 4 MiB, or there are too many links.
        FailedPrecondition: Symbolic links form a loop.
    """
    reader = TarReader(stream, is_layer=True)
    tree = _Tree(reader, wanted)
    for entry in reader:
        tree.apply(entry)
    return tree.root


class _Tree:
    """A tree built from a layer's entries in order; a later entry replaces an earlier one."""

    def __init__(self, reader: TarReader, wanted: Wanted) -> None:
        self.root = Folder()
        self._reader = reader
        self._wanted = wanted
        #: How many characters of names and targets have been kept.
        self._kept = 0
        #: The result of the last call of ``_folders``, with its argument.
        self._last: tuple[str, tuple[str, ...]] | None = None

    def apply(self, entry: Entry) -> None:
        """Add an entry to the tree; a whiteout replaces the node that it names."""
        parent, _, base = entry.name.rpartition("/")
        if not base:
            return  # the root itself
        folders = self._folders(parent)
        if base == _OPAQUE:
            self._make(folders).opaque = True
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
            self._count(entry.target)
            return Symlink(entry.target)
        return self._linked(entry.target) if entry.kind == LINK else Gone()

    def _file(self, entry: Entry, path: str) -> File:
        is_sparse = entry.kind == SPARSE
        if path not in self._wanted.paths or is_sparse:
            return File(path, is_sparse=is_sparse)
        if entry.size > MAX_FILE:  # even if a later entry would replace it
            raise ResourceExhausted(f"/{path} has {entry.size} bytes; at most {MAX_FILE} are read")
        data = bytearray(entry.size)
        self._reader.readinto(memoryview(data))
        return File(path, bytes(data))

    def _linked(self, target: str) -> Node:
        """Return the node that a hard link names; a symbolic link there is not followed."""
        parent, _, base = target.rstrip("/").rpartition("/")
        folders = self._resolved(parent)
        folder = self._folder_at(folders)
        found = folder.children.get(base) if folder else None
        if found is None or isinstance(found, Folder):
            return Lost("/".join((*folders, base)))
        return found

    def _put(self, folders: Sequence[str], base: str, node: Node) -> None:
        if isinstance(node, Symlink) or base in self._wanted.parts:
            self._count(base)
            self._make(folders).children[base] = node
            self._last = None
        else:
            self._remove(folders, base)

    def _put_folder(self, folders: Sequence[str], base: str) -> None:
        folder = self._folder_at(folders)
        # A folder that is there stays; the content of both entries is merged.
        if folder is None or not isinstance(folder.children.get(base), Folder):
            self._remove(folders, base)
            if base in self._wanted.parts:
                self._make((*folders, base))

    def _remove(self, folders: Sequence[str], base: str) -> None:
        folder = self._folder_at(folders)
        if folder is not None and folder.children.pop(base, None) is not None:
            self._last = None

    def _folder_at(self, folders: Iterable[str]) -> Folder | None:
        current = self.root
        for name in folders:
            child = current.children.get(name)
            if not isinstance(child, Folder):
                return None
            current = child
        return current

    def _make(self, folders: Iterable[str]) -> Folder:
        """Return the folder at a path; make the folders that are missing."""
        current = self.root
        for name in folders:
            child = current.children.get(name)
            if not isinstance(child, Folder):
                self._count(name)
                child = current.children[name] = Folder()
            current = child
        return current

    def _count(self, text: str) -> None:
        self._kept += len(text)
        if self._kept > _MAX_KEPT:
            raise ResourceExhausted("a layer has too many links, or too many files of wanted names")

    def _folders(self, parent: str) -> tuple[str, ...]:
        """Return the path of an entry's parent, with links resolved, as a tuple of names.

        The folders of this path are made, down to the last that has a wanted name. The last result
        is cached, because entries of one folder usually follow each other.
        """
        if self._last is None or self._last[0] != parent:
            folders = self._resolved(parent)
            wanted = [n for n, name in enumerate(folders, 1) if name in self._wanted.parts]
            self._make(folders[: wanted[-1] if wanted else 0])
            self._last = (parent, folders)
        return self._last[1]

    def _resolved(self, path: str) -> tuple[str, ...]:
        """Return the folders of a path after following the layer's own symbolic links."""
        current: list[str] = []
        rest = path.split("/")[::-1]
        hops = 0
        while rest:
            name = rest.pop()
            folder = self._folder_at(current)
            child = folder.children.get(name) if folder else None
            if isinstance(child, Symlink):
                hops += 1
                if hops > MAX_HOPS:
                    raise FailedPrecondition("a layer's symbolic links form a loop")
                current = follow(current, child.target, rest)
            elif name == "..":
                del current[-1:]
            elif name not in ("", "."):
                current.append(name)
        return tuple(current)


def follow(folder: list[str], target: str, rest: list[str]) -> list[str]:
    """Follow a symbolic link during the resolution of a path.

    Args:
        folder: The parts of the folder that the link is in.
        target: The target of the link.
        rest: The parts of the path that are not resolved yet, as a stack. The parts of the target
            are pushed on it.

    Returns:
        The parts of the folder from which the resolution continues.
    """
    rest.extend(target.split("/")[::-1])
    return [] if target.startswith("/") else folder
