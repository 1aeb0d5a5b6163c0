"""Records that are read late look like records that are not."""

from __future__ import annotations

import copy
import pickle
import weakref
from collections.abc import Callable
from dataclasses import FrozenInstanceError, asdict, replace

import pytest

from containerd_lite.records import field, record
from containerd_lite.unread import Unread, absent, list_read_late, read_late


@record(frozen=True)
class Pair(Unread):
    left: str
    right: int | None = field(default_factory=absent)


class Source:
    """Counts how often it is read."""

    def __init__(self) -> None:
        self.reads = 0

    def read(self) -> int:
        self.reads += 1
        return 7


READERS = {"right": lambda source: source.read()}


def unread() -> tuple[Pair, Source]:
    source = Source()
    made = read_late(Pair, source, READERS)
    made.__dict__["left"] = "l"
    return made, source


def test_a_field_is_read_once_and_then_the_source_is_let_go() -> None:
    made, source = unread()
    assert made.left == "l"
    assert source.reads == 0
    assert [made.right, made.right] == [7, 7]
    assert source.reads == 1
    assert vars(made) == {"left": "l", "right": 7}


def test_of_many_each_reads_its_own() -> None:
    sources = [Source(), Source()]
    many = list_read_late(Pair, sources, READERS)
    for made, left in zip(many, "ab", strict=True):
        made.__dict__["left"] = left
    assert many[1].right == 7
    assert [source.reads for source in sources] == [0, 1]
    assert many == [Pair("a", 7), Pair("b", 7)]
    assert [source.reads for source in sources] == [1, 1]
    kept = weakref.ref(sources[0])
    del sources
    assert kept() is None


def test_what_has_a_plain_default_need_not_be_read() -> None:
    @record(frozen=True)
    class Named(Unread):
        right: int
        name: str = ""

    source = Source()
    made = read_late(Named, source, READERS)
    assert made == Named(7)
    kept = weakref.ref(source)
    del source
    assert kept() is None


def test_two_may_read_at_once() -> None:
    class Slow(Source):
        def read(self) -> int:
            if not self.reads:
                self.reads += 1
                assert made.right == 7  # as another thread would, meanwhile
            return super().read()

    source = Slow()
    made = read_late(Pair, source, READERS)
    made.__dict__["left"] = "l"
    assert made.right == 7
    assert source.reads == 3
    # The other one had found nothing in the record yet, and comes to where the source was.
    assert vars(Pair)["right"].__get__(made) == 7


@pytest.mark.parametrize(
    "same",
    [
        lambda made: made,
        copy.copy,
        copy.deepcopy,
        lambda made: pickle.loads(pickle.dumps(made)),
        lambda made: replace(made),
        lambda made: Pair(**asdict(made)),
    ],
)
def test_it_is_the_same_as_one_that_was_read_at_once(same: Callable[[Pair], Pair]) -> None:
    made = same(unread()[0])
    assert made == Pair("l", 7)
    assert hash(made) == hash(Pair("l", 7))
    assert repr(made) == "Pair(left='l', right=7)"


def test_a_default_may_be_left_out() -> None:
    assert Pair("l") == Pair("l", None)


def test_other_attributes_are_none() -> None:
    made, _ = unread()
    with pytest.raises(AttributeError, match="Pair has no 'middle'"):
        made.middle  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(FrozenInstanceError):
        made.right = 8  # type: ignore[misc]


@pytest.mark.parametrize("error", [ValueError, AttributeError])
def test_a_source_that_cannot_be_read_says_so_each_time(error: type[Exception]) -> None:
    class Unreadable(Source):
        def read(self) -> int:
            raise error("unreadable")

    made = read_late(Pair, Unreadable(), READERS)
    for _ in range(2):
        with pytest.raises(error, match="unreadable"):
            made.right  # noqa: B018


def test_the_class_has_no_such_attribute() -> None:
    assert unread()[0].right == 7
    assert not hasattr(Pair, "right")
