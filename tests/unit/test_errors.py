"""The error tree: what its classes are, say, and keep through a pickle."""

from __future__ import annotations

import ast
import copy
import pickle
from collections.abc import Iterator
from pathlib import Path

import pytest

from containerd_lite import errors
from containerd_lite.errors import BY_CODE, ContainerdError

pytestmark = pytest.mark.interpreter

PARTS = {
    "operation": "Images.Get",
    "address": "unix:///a",
    "remedy": "Do it again",
}


def tree(kind: type[ContainerdError] = ContainerdError) -> Iterator[type[ContainerdError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from tree(child)


KINDS = sorted(set(tree()), key=lambda kind: kind.__name__)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_keeps_all_parts(kind: type[ContainerdError], protocol: int) -> None:
    error = kind("image 'a' is gone", **PARTS)  # type: ignore[arg-type]
    error.details = (("type", b"\1"),)
    for name in ("status", "remote", "codes"):
        if hasattr(error, name):
            setattr(error, name, ("X",))
    for again in (pickle.loads(pickle.dumps(error, protocol)), copy.copy(error)):
        assert type(again) is kind
        assert again.__dict__ == error.__dict__
        assert str(again) == str(error)
        assert again.args == error.args


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_names_all_that_helps(kind: type[ContainerdError]) -> None:
    error = kind("image 'a' is gone", **PARTS)  # type: ignore[arg-type]
    assert str(error) == "Images.Get: image 'a' is gone [unix:///a]. Do it again"
    assert str(kind("just this")) == "just this"
    assert error.message == "image 'a' is gone"
    assert kind.__doc__


def test_by_code() -> None:
    assert sorted(BY_CODE) == list(range(1, 17))
    assert len(set(BY_CODE.values())) == 16
    assert BY_CODE[5] is errors.NotFound
    assert BY_CODE[14] is errors.Unavailable


@pytest.mark.parametrize(
    ("kind", "parent"),
    [
        (errors.DeadlineExceeded, TimeoutError),
        (errors.InvalidArgument, ValueError),
        (errors.Conflict, errors.FailedPrecondition),
        (errors.NotModified, errors.FailedPrecondition),
        (errors.SocketNotFound, errors.Unavailable),
        (errors.ConnectionRefused, errors.Unavailable),
        (errors.SocketPermissionDenied, errors.PermissionDenied),
        (errors.DigestMismatch, errors.DataLoss),
        (errors.RegistryNotFound, errors.NotFound),
        (errors.RegistryUnauthorized, errors.Unauthenticated),
        (errors.RegistryUnavailable, errors.Unavailable),
    ],
)
def test_parents(kind: type, parent: type) -> None:
    assert issubclass(kind, parent)
    assert issubclass(kind, ContainerdError)


#: What Go's durations and Go's JSON have. No message contains them.
_OF_GO = {"\u00b5s", "\u03bcs", "<>&\u2028\u2029"}


def test_texts_are_ascii() -> None:
    """A terminal without UTF-8 can show them, and print() does not fail there."""
    package = Path(errors.__file__).parent
    for path in package.rglob("*.py"):
        tree = ast.parse(path.read_bytes())
        docstrings = {
            id(node.value)
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and id(node) not in docstrings:
                text = node.value
                assert not isinstance(text, str) or text.isascii() or text in _OF_GO, (path, text)
