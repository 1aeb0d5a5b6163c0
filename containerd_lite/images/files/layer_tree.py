"""The tree of changes that one layer makes to a root filesystem, limited to wanted paths.

The entries of the layer are applied to an empty tree in memory, as containerd's pkg/archive
applies them to the upper directory of an overlay.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...errors import FailedPrecondition, ResourceExhausted
from ...records import field, record
from ...store.tar import FILE, FOLDER, LINK, SPARSE, SYMLINK, Entry, Source, TarReader

#: The maximum size in bytes of a file whose content is read (CVE-2026-47262).
MAX_FILE = 4 << 20
#: The maximum number of symbolic links on the path to one file, as in Linux.
MAX_HOPS = 40
#: The maximum number of characters in all names and symbolic link targets of a layer's tree.
_MAX_CHARACTERS = 16 << 20

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"


@record
class Folder:
    """A folder. An opaque folder hides the same folder in lower layers."""

    children: dict[str, Node] = field(default_factory=dict)
    opaque: bool = False


@record(frozen=True)
class File:
    """A regular file.

    Attributes:
        path: The path of the file's entry in the layer.
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
class BrokenLink:
    """A hard link whose target, ``path``, is not in the tree or is a folder."""

    path: str


@record(frozen=True)
class NoFile:
    """A whiteout, or an entry that is not a file, folder or link, such as a device."""


Node = Folder | File | Symlink | BrokenLink | NoFile


@record
class Wanted:
    """The paths to look up in layers.

    Attributes:
        paths: The paths of the files whose content is wanted.
        parts: All names of files and folders in the paths to look up.
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
        stream: The uncompressed tar archive.
        wanted: The wanted paths.

    Raises:
        InvalidArgument: The stream is not a tar archive.
        DataLoss: The archive is cut off.
        ResourceExhausted: A wanted file is larger than 4 MiB, or the names and symbolic link
            targets are too long in total.
        FailedPrecondition: Symbolic links form a loop.
    """
    reader = TarReader(stream, is_layer=True)
    tree = _Tree(reader, wanted)
    for entry in reader:
        tree.apply(entry)
    return tree.root


class _Tree:
    """The tree of a layer, built from the entries in order; later entries replace earlier ones."""

    def __init__(self, reader: TarReader, wanted: Wanted) -> None:
        self.root = Folder()
        self._reader = reader
        self._wanted = wanted
        #: The number of characters in all names and symbolic link targets of the tree.
        self._characters = 0
        #: The argument and the result of the last call of ``_folders``.
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
            self._put(folders, base.removeprefix(_WHITEOUT), NoFile())
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
        return self._linked(entry.target) if entry.kind == LINK else NoFile()

    def _file(self, entry: Entry, path: str) -> File:
        is_sparse = entry.kind == SPARSE
        if path not in self._wanted.paths or is_sparse:
            return File(path, is_sparse=is_sparse)
        if entry.size > MAX_FILE:  # raise even if a later entry replaces the file
            raise ResourceExhausted(f"/{path} has {entry.size} bytes; at most {MAX_FILE} are read")
        data = bytearray(entry.size)
        self._reader.readinto(memoryview(data))
        return File(path, bytes(data))

    def _linked(self, target: str) -> Node:
        """Return the node at the target of a hard link, even if the node is a symbolic link."""
        parent, _, base = target.rstrip("/").rpartition("/")
        folders = self._resolved(parent)
        folder = self._folder_at(folders)
        found = folder.children.get(base) if folder else None
        if found is None or isinstance(found, Folder):
            return BrokenLink("/".join((*folders, base)))
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
        # If the folder exists, it stays, and later entries add to its content.
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
        """Return the folder at a path; make the missing folders."""
        current = self.root
        for name in folders:
            child = current.children.get(name)
            if not isinstance(child, Folder):
                self._count(name)
                child = current.children[name] = Folder()
            current = child
        return current

    def _count(self, text: str) -> None:
        self._characters += len(text)
        if self._characters > _MAX_CHARACTERS:
            raise ResourceExhausted(
                "the names and symbolic link targets in a layer are too long in total"
            )

    def _folders(self, parent: str) -> tuple[str, ...]:
        """Return the path of an entry's parent, with links resolved, as a tuple of names.

        This method adds the folders on this path to the tree, down to the last folder with a wanted
        name. The result of the last call is cached, because entries of one folder usually follow
        each other.
        """
        if self._last is None or self._last[0] != parent:
            folders = self._resolved(parent)
            wanted = [n for n, name in enumerate(folders, 1) if name in self._wanted.parts]
            self._make(folders[: wanted[-1] if wanted else 0])
            self._last = (parent, folders)
        return self._last[1]

    def _resolved(self, path: str) -> tuple[str, ...]:
        """Return the names in a path after all symbolic links of this layer have been followed."""
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
        folder: The path of the folder that contains the link, as a list of names.
        target: The target of the link.
        rest: The names in the path that are not resolved yet, as a stack. The names in ``target``
            are pushed onto this stack.

    Returns:
        The path of the folder from which the resolution continues, as a list of names.
    """
    rest.extend(target.split("/")[::-1])
    return [] if target.startswith("/") else folder
