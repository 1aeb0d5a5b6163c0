"""What a failed block leaves: nothing."""

from __future__ import annotations

from contextlib import suppress

import pytest

from containerd_lite.errors import ContainerdError, InvalidArgument, NotFound
from containerd_lite.undo import Undo, end_block


def test_a_block_that_succeeds_keeps_what_it_made() -> None:
    called: list[str] = []
    with Undo(lambda: called.append("given")) as undo:
        undo.add(lambda: called.append("added"))
    assert called == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), InvalidArgument("no"), OSError()])
def test_a_block_that_fails_is_undone_from_its_end(error: BaseException) -> None:
    called: list[str] = []

    def work() -> None:
        with Undo(lambda: called.append("given")) as undo:
            undo.add(lambda: called.append("added"))
            raise error

    with pytest.raises(type(error)) as raised:
        work()
    assert raised.value is error
    assert called == ["added", "given"]


@pytest.mark.parametrize("error", [NotFound("it"), KeyboardInterrupt(), OSError()])
def test_each_is_called_whatever_another_raises(error: BaseException) -> None:
    called: list[str] = []

    def fail() -> None:
        raise error

    with suppress(BaseException), Undo(lambda: called.append("first"), fail):
        raise InvalidArgument("no")
    assert called == ["first"]


def test_an_error_of_the_clean_up_does_not_hide_that_of_the_block() -> None:
    def fail() -> None:
        raise NotFound("it")

    with pytest.raises(InvalidArgument), Undo(fail):
        raise InvalidArgument("no")


def test_cleared_it_calls_nothing() -> None:
    called: list[str] = []
    with suppress(InvalidArgument), Undo(lambda: called.append("given")) as undo:
        undo.clear()
        raise InvalidArgument("no")
    assert called == []


@pytest.mark.parametrize(
    ("kind", "raised", "expected"),
    [
        (None, None, ["close"]),
        (NotFound, None, ["quietly"]),
        (KeyboardInterrupt, None, ["quietly"]),
        (None, NotFound("it"), ["close"]),
        (None, KeyboardInterrupt(), ["close", "quietly"]),
    ],
)
def test_the_end_of_a_block(
    kind: type[BaseException] | None, raised: BaseException | None, expected: list[str]
) -> None:
    called: list[str] = []

    def close() -> None:
        called.append("close")
        if raised is not None:
            raise raised

    with suppress(ContainerdError, KeyboardInterrupt):
        end_block(kind, close, lambda: called.append("quietly"))
    assert called == expected
