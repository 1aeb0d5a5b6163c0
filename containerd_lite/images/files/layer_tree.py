"""The tree of changes that one layer makes to a root filesystem, limited to wanted paths.

The entries of the layer are applied to an empty tree in memory, as containerd's pkg/archive
applies them to the upper directory of an overlay.
"""

from __future__ import annotations

from ...errors import FailedPrecondition, ResourceExhausted
from ...records import field, record
from ...store.tar import FILE, FOLDER, LINK, MAX_NAME, SPARSE, SYMLINK, Entry, Source, TarReader

#: The maximum size in bytes of a file whose content is read (CVE-2026-47262).
MAX_FILE = 4 << 20
#: The maximum number of symbolic links on the path to one file, as in Linux.
MAX_HOPS = 40
#: The maximum number of characters in all names and symbolic link targets of an image's trees.
_MAX_CHARACTERS = 24 << 20
#: The number of characters for which a node counts in addition to its name. A folder takes 270
#: bytes of memory, even if its name has one character. So an image can have 768 Ki nodes.
_NODE_CHARACTERS = 32
#: The maximum number of steps (see ``Steps``) for one image. They take about 0.5 s.
MAX_STEPS = 2_000_000

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


class Steps:
    """Counts the steps that symbolic links and layers add to the resolution of paths.

    A short symbolic link can lead to a path of 2,048 names, and 40 links can follow each other. So
    a layer of a few kilobytes could ask for any amount of work. The steps of all layers of an image
    count together, and so does the size of their trees.
    """

    def __init__(self) -> None:
        self._left = MAX_STEPS
        self._characters = _MAX_CHARACTERS

    def take_node(self, name: str, target: str = "") -> None:
        """Count a node. Raise ``ResourceExhausted`` if there are too many in total.

        A layer that compresses to a few kilobytes can have millions of nodes.
        """
        self._characters -= len(name) + len(target) + _NODE_CHARACTERS
        if self._characters < 0:
            raise ResourceExhausted(
                "the image has too many symbolic links, or their names and targets are too long in "
                "total",
                remedy="Pass user= as numbers, such as 1000:1000, or build the image again",
            )

    def take(self, count: int) -> None:
        """Count steps. Raise ``ResourceExhausted`` if there are too many in total."""
        self._left -= count
        if self._left < 0:
            raise ResourceExhausted(
                "the image's symbolic links take too many steps to follow",
                remedy="Pass user= as numbers, such as 1000:1000, or build the image again",
            )


def read_tree(stream: Source, wanted: Wanted, steps: Steps) -> Folder:
    """Return the tree of a layer: its entries with a wanted name, and all its symbolic links.

    Args:
        stream: The uncompressed tar archive.
        wanted: The wanted paths.
        steps: The steps and the nodes of all layers of the image.

    Raises:
        InvalidArgument: The stream is not a tar archive.
        DataLoss: The archive is cut off.
        ResourceExhausted: A wanted file is larger than 4 MiB, there are too many symbolic links,
            their names and targets are too long in total, or they take too many steps to follow.
        FailedPrecondition: Symbolic links form a loop, or lead to a path of more than 4,096
            characters.
    """
    reader = TarReader(stream, is_layer=True)
    tree = _Tree(reader, wanted, steps)
    for entry in reader:
        tree.apply(entry)
    return tree.root


@record
class _LayerPath:
    """A path in the tree, after all symbolic links have been followed.

    Attributes:
        names: The names in the path.
        folders: The folder at each name, or ``None`` if the tree does not have it. The first folder
            is the root, so that ``folders`` is one longer than ``names``.
    """

    names: list[str]
    folders: list[Folder | None]

    @property
    def folder(self) -> Folder | None:
        return self.folders[-1]

    def path_of(self, base: str) -> str:
        """Return the path of an entry in this folder."""
        return "/".join((*self.names, base))

    def child(self, name: str) -> Node | None:
        folder = self.folders[-1]
        return None if folder is None else folder.children.get(name)

    def enter(self, name: str, folder: Folder | None) -> None:
        self.names.append(name)
        self.folders.append(folder)

    def leave(self) -> None:
        """Go to the parent; the parent of the root is the root."""
        if self.names:
            self.names.pop()
            self.folders.pop()

    def go_to_root(self) -> None:
        self.names.clear()
        del self.folders[1:]


class _Tree:
    """The tree of a layer, built from the entries in order; later entries replace earlier ones."""

    def __init__(self, reader: TarReader, wanted: Wanted, steps: Steps) -> None:
        self.root = Folder()
        self._reader = reader
        self._wanted = wanted
        self._steps = steps
        #: The argument and the result of the last call of ``_parent``.
        self._last: tuple[str, _LayerPath] | None = None

    def apply(self, entry: Entry) -> None:
        """Add an entry to the tree; a whiteout replaces the node that it names."""
        path, _, base = entry.name.rpartition("/")
        if not base:
            return  # the root itself
        parent = self._parent(path)
        if base == _OPAQUE:
            self._make(parent).opaque = True
        elif base.startswith(_WHITEOUT):
            self._put(parent, base.removeprefix(_WHITEOUT), NoFile())
        elif entry.kind == FOLDER:
            self._put_folder(parent, base)
        else:
            self._put(parent, base, self._node(entry, parent, base))

    def _node(self, entry: Entry, parent: _LayerPath, base: str) -> Node:
        if entry.kind == SYMLINK:
            return Symlink(entry.target)
        if base not in self._wanted.parts:
            return NoFile()  # ``_put`` does not keep it
        if entry.kind in (FILE, SPARSE):
            return self._file(entry, parent.path_of(base))
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
        path, _, base = target.rstrip("/").rpartition("/")
        parent = self._resolved(path)
        found = parent.child(base)
        if found is None or isinstance(found, Folder):
            return BrokenLink(parent.path_of(base))
        return found

    def _put(self, parent: _LayerPath, base: str, node: Node) -> None:
        if isinstance(node, Symlink) or base in self._wanted.parts:
            self._steps.take_node(base, node.target if isinstance(node, Symlink) else "")
            self._make(parent).children[base] = node
            self._last = None
        else:
            self._remove(parent, base)

    def _put_folder(self, parent: _LayerPath, base: str) -> None:
        # If the folder exists, it stays, and later entries add to its content.
        if isinstance(parent.child(base), Folder):
            return
        self._remove(parent, base)
        if base in self._wanted.parts:
            self._steps.take_node(base)
            self._make(parent).children[base] = Folder()

    def _remove(self, parent: _LayerPath, base: str) -> None:
        if parent.folder is not None and parent.folder.children.pop(base, None) is not None:
            self._last = None

    def _make(self, place: _LayerPath, depth: int | None = None) -> Folder:
        """Return the folder at a path; make the missing folders.

        Args:
            place: The path.
            depth: The number of names in the path to make. Default: all.
        """
        folder = self.root
        for number, name in enumerate(place.names[:depth], 1):
            child = place.folders[number]
            if child is None:
                self._steps.take_node(name)
                child = folder.children[name] = place.folders[number] = Folder()
            folder = child
        return folder

    def _parent(self, path: str) -> _LayerPath:
        """Return the path of an entry's parent.

        This method adds the folders on this path to the tree, down to the last folder with a wanted
        name. The result of the last call is cached, because entries of one folder usually follow
        each other.
        """
        if self._last is None or self._last[0] != path:
            place = self._resolved(path)
            wanted = [n for n, name in enumerate(place.names, 1) if name in self._wanted.parts]
            self._make(place, wanted[-1] if wanted else 0)
            self._last = (path, place)
        return self._last[1]

    def _resolved(self, path: str) -> _LayerPath:
        """Return a path after all symbolic links of this layer have been followed."""
        place = _LayerPath([], [self.root])
        rest = path.split("/")[::-1]
        hops = 0
        while rest:
            name = rest.pop()
            if name == "..":
                place.leave()
            elif name not in ("", "."):
                child = place.child(name)
                if not isinstance(child, Symlink):
                    place.enter(name, child if isinstance(child, Folder) else None)
                    continue
                hops += 1
                if hops > MAX_HOPS:
                    raise FailedPrecondition("a layer's symbolic links form a loop")
                if child.target.startswith("/"):
                    place.go_to_root()
                rest.extend(names_in(child.target, self._steps))
        if hops and sum(map(len, place.names)) + len(place.names) > MAX_NAME:
            raise FailedPrecondition(
                f"a layer's symbolic links lead to a path of more than {MAX_NAME} characters"
            )
        return place


def names_in(target: str, steps: Steps) -> list[str]:
    """Return the names in the target of a symbolic link, last name first, and count the steps."""
    names = target.split("/")[::-1]
    steps.take(len(names))
    return names
