"""No reader of foreign input becomes slow or large faster than its input grows.

``measuring`` measures, and ``shapes`` has a generator of inputs for each reader. An ordinary run
judges the growth of every shape at a small size. With ``--counts=full``, each is judged at a larger
size and at the limit of its reader, too.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.hostile.growth import measuring
from tests.hostile.growth.measuring import FULL, REDUCED, Care, Shape
from tests.hostile.growth.shapes.archives import ARCHIVES
from tests.hostile.growth.shapes.connections import CONNECTIONS
from tests.hostile.growth.shapes.documents import DOCUMENTS
from tests.hostile.growth.shapes.registries import REGISTRIES
from tests.hostile.growth.shapes.runtimes import RUNTIMES
from tests.hostile.growth.shapes.signatures import SIGNATURES

pytestmark = [pytest.mark.once, pytest.mark.slow]

Count = Callable[[int, int], int]

SHAPES = [*DOCUMENTS, *ARCHIVES, *REGISTRIES, *CONNECTIONS, *RUNTIMES, *SIGNATURES]
#: The hunt itself is tested with inputs that take little time.
QUICK = Care(0.0005, 2, 1.6)
#: How far an ordinary run trusts what it measures beside the work of others.
_SLACK = 3.0
#: How often to measure; the best counts. Beside the work of others, a single measure can be three
#: times too long.
_ROUNDS = 5


@pytest.fixture
def care(count: Count) -> Care:
    return FULL if count(0, 1) else REDUCED


@pytest.mark.turns(6)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_growth(shape: Shape, care: Care) -> None:
    size, found = measuring.judged_growth(shape, care)
    assert found <= care.max_growth(shape)
    peak, weight = measuring.peak_bytes(shape, size)
    assert measuring.is_frugal(shape, peak, weight), f"{peak} bytes for an input of {weight}"
    if care is FULL:
        _check_limit(shape, size)
    else:
        _foresee_limit(shape, size)


def _check_limit(shape: Shape, size: int) -> None:
    """Measure the largest input. Large outputs cost more than small ones, but not the square."""
    if shape.largest is None:
        assert _seconds_per_mib(shape, 4 * size) <= shape.per_mib
        return
    seconds = measuring.seconds_of(shape, shape.largest, 2)
    assert seconds <= measuring.MAX_SECONDS
    quarter = measuring.seconds_of(shape, max(1, shape.largest // 4), 2)
    assert seconds <= max(0.5, quarter * 4 ** (measuring.MAX_GROWTH + 0.4))


def _foresee_limit(shape: Shape, size: int) -> None:
    """Foresee the time of the largest input, whose growth is known to be good."""
    if shape.largest is None:
        assert _seconds_per_mib(shape, size) <= _SLACK * shape.per_mib
        return
    seconds = measuring.seconds_of(shape, size, _ROUNDS) * shape.largest / size
    assert seconds <= _SLACK * measuring.MAX_SECONDS


def _seconds_per_mib(shape: Shape, size: int) -> float:
    weight = max(1, shape.weigh(shape.make(size)))
    return measuring.seconds_of(shape, size, _ROUNDS) * (1 << 20) / weight


def test_there_are_shapes_of_many_readers() -> None:
    assert len(set(map(str, SHAPES))) == len(SHAPES) >= 64
    assert len({shape.reader for shape in SHAPES}) >= 30


# The hunt itself: it finds what it is meant to find, and nothing else.


def _count_pairs(text: str) -> int:
    return sum(one == other for one in text for other in text)


def _sum(text: str) -> int:
    return sum(map(ord, text))


def _find(text: str) -> list[int]:
    return [match.start() for match in re.finditer("z", text)]


def _copy_rest(text: str) -> str:
    while text:
        text = text[1:]
    return text


@pytest.mark.turns(3, "heavy")
@pytest.mark.parametrize("read", [_count_pairs, _copy_rest])
def test_a_quadratic_reader_is_found(read: Callable[[str], object]) -> None:
    shape = measuring.repeating("known", "quadratic", read, "x")
    assert measuring.judged_growth(shape, QUICK)[1] > measuring.MAX_GROWTH


@pytest.mark.turns(3, "heavy")
def test_a_quadratic_reader_with_a_limit_is_found() -> None:
    shape = measuring.repeating("known", "limited", _count_pairs, "x", limit=4_000)
    assert measuring.judged_growth(shape, QUICK)[1] > measuring.MAX_GROWTH


def test_a_reader_between_linear_and_quadratic_is_found() -> None:
    def read(text: str) -> None:
        for _ in range(int(len(text) ** 1.6)):
            pass

    shape = measuring.repeating("known", "power of 1.6", read, "x")
    assert measuring.judged_growth(shape, QUICK)[1] > measuring.MAX_GROWTH


@pytest.mark.parametrize("read", [_sum, _find, lambda text: {ord(c) for c in text}])
def test_a_linear_reader_is_good(read: Callable[[str], object], care: Care) -> None:
    shape = measuring.repeating("known", "linear", read, "xyz", memory=80)
    size, found = measuring.judged_growth(shape, care)
    assert found <= measuring.MAX_GROWTH
    assert measuring.is_frugal(shape, *measuring.peak_bytes(shape, size))


def test_a_quick_reader_is_good_whatever_its_growth(care: Care) -> None:
    shape = measuring.repeating("known", "short", _count_pairs, "x", limit=100)
    assert measuring.judged_growth(shape, care)[1] == 0


def test_a_hungry_reader_is_found() -> None:
    def read(text: str) -> list[list[str]]:
        return [list(text[:100]) for _ in text]

    shape = measuring.repeating("known", "hungry", read, "x")
    peak, weight = measuring.peak_bytes(shape, 10_000)
    assert peak > 500 * weight
    assert not measuring.is_frugal(shape, peak, weight)


def test_a_slow_reader_is_found() -> None:
    def read(text: str) -> None:
        for _ in range(200 * len(text)):
            pass

    shape = measuring.repeating("known", "slow", read, "x", limit=1 << 22)
    with pytest.raises(AssertionError):
        _foresee_limit(shape, measuring.first_size(shape, QUICK))
