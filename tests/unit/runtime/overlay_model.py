"""Layers as lists of entries, and what an overlay of them shows, said as plainly as can be.

Each layer is unpacked whole into an empty tree, trees are merged whole from the bottom up, and
paths are walked in what results.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence

from hypothesis import strategies as st

#: Before the target of a link, in place of a file's bytes.
SYMLINK, LINK = "symlink:", "link:"
Item = tuple[str, bytes | str | None]
"""A name as in the archive, and a file's bytes, a link or (``None``) a folder."""

OPAQUE = ".wh..wh..opq"


def packed(items: Sequence[Item]) -> bytes:
    """The items as an archive, in their order."""
    archive = io.BytesIO()
    with tarfile.open(
        fileobj=archive, mode="w", format=tarfile.GNU_FORMAT, errors="surrogateescape"
    ) as tar:
        for name, content in items:
            info = tarfile.TarInfo(name)
            data = b""
            if content is None:
                info.type = tarfile.DIRTYPE
            elif isinstance(content, bytes):
                data, info.size = content, len(content)
            else:
                kind, _, info.linkname = content.partition(":")
                info.type = tarfile.SYMTYPE if kind + ":" == SYMLINK else tarfile.LNKTYPE
            tar.addfile(info, io.BytesIO(data))
    return archive.getvalue()


class Refused(Exception):
    """No daemon unpacks such a layer."""


class Tree(dict[str, "Tree | Leaf"]):
    """A folder."""

    opaque = False


class Leaf:
    """A file (bytes), a symbolic link (its target), a whiteout (``None``), or what is broken."""

    def __init__(self, content: bytes | str | LookupError | None) -> None:
        self.content = content


def _walk(root: Tree, path: str, *, make: bool = False) -> tuple[list[str], Tree | Leaf | None]:
    """Where a path leads, links followed, and what is there; ``make`` makes folders on the way."""
    done: list[str] = []
    todo = path.split("/")
    hops = 0
    while todo:
        part = todo.pop(0)
        if part == "..":
            done = done[:-1]
        if part in ("", ".", ".."):
            continue
        here = root
        for name in done:
            below = here[name]
            assert isinstance(below, Tree)
            here = below
        found = here.get(part)
        if isinstance(found, Leaf) and isinstance(found.content, str):
            hops += 1
            if hops > 40:
                raise Refused
            todo = found.content.split("/") + todo
            done = [] if found.content.startswith("/") else done
        elif make:
            if isinstance(found, Leaf):
                raise Refused
            here.setdefault(part, Tree())
            done.append(part)
        elif isinstance(found, Tree):
            done.append(part)
        else:
            return [*done, part], found if not any(todo) else None
    here = root
    for name in done:
        child = here[name]
        assert isinstance(child, Tree)
        here = child
    return done, here


def _folder(root: Tree, path: str) -> Tree:
    found = _walk(root, path, make=True)[1]
    assert isinstance(found, Tree)
    return found


def _unpacked(items: Sequence[Item]) -> Tree:
    root = Tree()
    for name, content in items:
        place, _, base = name.strip("/").rpartition("/")
        if base in ("", ".", ".."):
            continue
        folder = _folder(root, place)
        if base == OPAQUE:
            folder.opaque = True
        elif base.startswith(".wh."):
            folder[base.removeprefix(".wh.")] = Leaf(None)
        elif content is None:
            if not isinstance(folder.get(base), Tree):
                folder[base] = Tree()
        elif isinstance(content, str) and content.startswith(LINK):
            folder[base] = _linked(root, content.removeprefix(LINK))
        elif isinstance(content, str):
            folder[base] = Leaf(content.removeprefix(SYMLINK))
        else:
            folder[base] = Leaf(content)
    return root


def _linked(root: Tree, target: str) -> Leaf:
    place, _, base = target.strip("/").rpartition("/")
    parts = _walk_in(root, place)
    found = parts.get(base) if parts is not None else None
    return found if isinstance(found, Leaf) else Leaf(LookupError(target))


def _walk_in(root: Tree, path: str) -> Tree | None:
    found = _walk(root, path)[1] if path else root
    return found if isinstance(found, Tree) else None


def _merged(lower: Tree, upper: Tree) -> Tree:
    result = Tree() if upper.opaque else Tree(lower)
    for name, node in upper.items():
        below = result.get(name)
        if isinstance(node, Tree):
            result[name] = _merged(below if isinstance(below, Tree) else Tree(), node)
        else:
            result[name] = node
    return result


def expected(layers: Sequence[Sequence[Item]], name: str) -> bytes | LookupError | None:
    """The file of that name, or the error that it is."""
    root = Tree()
    for items in layers:
        root = _merged(root, _unpacked(items))
    try:
        found = _walk(root, name)[1]
    except Refused:  # links in a circle
        return None
    if isinstance(found, Leaf) and isinstance(found.content, bytes | LookupError):
        return found.content
    return None


_NAMES = st.sampled_from(["etc", "a", "passwd"])
_PATHS = st.lists(_NAMES, min_size=1, max_size=3).map("/".join)
_TARGETS = st.builds(
    "{}{}{}".format, st.sampled_from(["", "/", "../", "../../"]), _PATHS, st.sampled_from(["", "/"])
)
_ITEMS: st.SearchStrategy[Item] = st.one_of(
    st.tuples(_PATHS, st.binary(min_size=1, max_size=3)),
    st.tuples(_PATHS, st.none()),
    st.tuples(_PATHS, st.builds("symlink:{}".format, _TARGETS)),
    st.tuples(_PATHS, st.builds("link:{}".format, _PATHS)),
    st.tuples(_PATHS.map(lambda path: path.rpartition("/")).map(
        lambda parts: f"{parts[0]}/.wh.{parts[2]}"), st.just(b"")),
    st.tuples(_PATHS.map(lambda path: f"{path}/{OPAQUE}"), st.just(b"")),
)  # fmt: skip
LAYERS = st.lists(st.lists(_ITEMS, max_size=6), min_size=1, max_size=4)
