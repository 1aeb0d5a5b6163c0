"""Records are dataclasses, before their methods are compiled and after."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import json
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import FrozenInstanceError
from datetime import datetime, timedelta, timezone
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, ClassVar, cast, get_origin, is_typeddict

import pytest

import containerd_lite
from containerd_lite import records, services
from containerd_lite.errors import FailedPrecondition
from containerd_lite.records import field, record
from tests.wire.peer import Worker

pytestmark = pytest.mark.interpreter

PACKAGES = ("images", "registry", "runtime", "runtime.io", "runtime.network", "services", "store",
            "oci", "oci.spec")  # fmt: skip


@record(frozen=True)
class Base:
    """A record with a field of each kind."""

    kind: ClassVar[str] = "base"

    name: str
    size: int = 0
    notes: dict[str, str] = field(default_factory=dict, hash=False)
    secret: str = field(default="", repr=False)
    rate: float = field(default=0.0, compare=False)
    here: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError("negative")


@record(frozen=True)
class Derived(Base):
    """One more field, which has a default as the others."""

    more: tuple[int, ...] = ()


@record
class Mutable:
    """One that is not frozen, with a field that nobody gives."""

    count: int = 0
    found: list[int] = field(default_factory=list)
    late: str = field(init=False)


class Plain(Base):
    """A subclass that is no record of its own."""


@record(frozen=True)
class Own:
    """One with methods of its own."""

    name: str

    def __repr__(self) -> str:
        return "<Own>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Own)


ROOT = Path(__file__).resolve().parents[2]
CHANGED = Mutable(3, [4])
CHANGED.late = "now"


def fresh(kind: type, frozen: bool) -> Any:
    """The same class anew, of which no object has been made, as a record."""
    parts = {"__annotations__": {}, "__module__": __name__, "__qualname__": kind.__qualname__}
    return record(frozen=frozen)(type(kind.__name__, (kind,), parts))


@pytest.fixture(params=["general", "compiled"])
def warm(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether objects are made the general way, or by what is compiled."""
    monkeypatch.setattr(records, "_MAX_GENERAL", 10**9 if request.param == "general" else 0)


@pytest.mark.usefixtures("warm")
def test_a_repr_is_short() -> None:
    make = fresh(Derived, True)
    long = make("n" * 1000, 1, {str(n): "x" * 50 for n in range(50)}, more=tuple(range(1000)))
    text = repr(long)
    assert len(text) <= 200
    assert text.startswith("Derived(name='" + "n" * 70)
    assert text.endswith(", ...)")
    for digits in range(40):
        shown = repr(make("n" * 90, 10**digits, {"k": "x" * 90}, more=tuple(range(1000))))
        assert len(shown) <= 200, shown


class Odd:
    def __str__(self) -> str:
        return "odd"


def test_a_record_as_a_dict() -> None:
    time = datetime(2026, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    inner = Derived("i", more=(1, 2))
    values: dict[str, Any] = {"time": time, "data": b"\x00\xff", "inner": [inner], "odd": Odd()}
    values |= {"span": timedelta(minutes=1), "none": None}
    found = records.to_dict(Base("n", 3, values))
    assert found["notes"] == {
        "time": "2026-01-02T03:04:05+00:00",
        "data": "AP8=",
        "inner": [records.to_dict(inner)],
        "odd": "odd",
        "span": 60.0,
        "none": None,
    }
    assert (found["name"], found["size"], found["notes"]["inner"][0]["more"]) == ("n", 3, [1, 2])
    assert json.loads(json.dumps(found)) == found
    wrong: Any
    for wrong in ({}, None, Base):
        with pytest.raises(TypeError):
            records.to_dict(wrong)


def public_classes() -> set[type]:
    """The classes that the public packages name, and all others of the services."""
    found = {getattr(containerd_lite, name) for name in containerd_lite.__all__}
    for name in PACKAGES:
        package = import_module(f"containerd_lite.{name}")
        for each in dir(package):
            with suppress(FailedPrecondition):  # a lane has no package for signatures
                found |= {getattr(package, each)} if each[0] != "_" else set()
    for module in iter_modules(services.__path__, "containerd_lite.services."):
        for name, value in vars(import_module(module.name)).items():
            if name[0] != "_" and getattr(value, "__module__", "") == module.name:
                found.add(value)
    # On Python 3.10, ``Callable[...]`` is an instance of ``type``.
    return {each for each in found if isinstance(each, type) and get_origin(each) is None}


def test_public_objects_say_what_they_are() -> None:
    public = {each for each in public_classes() if not getattr(each, "_is_protocol", False)}
    assert len(public) > 150
    for each in public:
        if not is_typeddict(each):
            assert vars(object)["__repr__"] != each.__repr__, each


def test_errors_show_their_message() -> None:
    error = containerd_lite.NotFound()
    error.message = "image 'x' not found\n"
    assert "image 'x' not found" in repr(error)
    assert repr(containerd_lite.InvalidArgument("no", remedy="Do")) == "InvalidArgument('no')"


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize("kind", [Base, Derived])
def test_like_a_dataclass(kind: type[Base]) -> None:
    make = fresh(kind, True)
    made = make("n", 2, {"a": "b"}, secret="s", here="h")
    same = make(name="n", size=2, notes={"a": "b"}, secret="s", rate=7.0, here="h")
    assert made == same
    assert hash(made) == hash(same) == hash(dataclasses.replace(made, notes={}))
    assert made != make("n", 2) != make("m")
    assert made != "n"
    assert "secret" not in repr(made)
    assert repr(make("n")) == repr(make("n", 0, {}))
    assert repr(make("n")) == f"{kind.__qualname__}(name='n')"  # defaults are left out
    assert repr(made).startswith(f"{kind.__qualname__}(name='n', size=2, notes={{'a': 'b'}}, ")
    assert (make("n").notes, make("n").notes is make("n").notes) == ({}, False)
    assert (kind.kind, kind.size, hasattr(kind, "notes")) == ("base", 0, False)


@pytest.mark.usefixtures("warm")
def test_what_others_do_with_dataclasses() -> None:
    make = fresh(Derived, True)
    made: Any = make("n", more=(1, 2))
    assert dataclasses.is_dataclass(type(made))
    assert [one.name for one in dataclasses.fields(made)] == [*vars(Base("x")), "more"]
    assert dataclasses.asdict(made)["more"] == (1, 2)
    assert dataclasses.astuple(make("n"))[0] == "n"
    assert dataclasses.replace(made, size=3) == make("n", 3, more=(1, 2))
    assert records.replace(made, size=3) == make("n", 3, more=(1, 2))
    assert copy.deepcopy(made) == copy.copy(made) == made
    match made:
        case Base(name, size):
            assert (name, size) == ("n", 0)
        case _:
            raise AssertionError
    assert list(inspect.signature(make).parameters)[:2] == ["name", "size"]


@pytest.mark.parametrize("made", [Base("n", 1, {"a": "b"}), Derived("n", more=(1,)), CHANGED])
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickled(made: object, protocol: int) -> None:
    assert pickle.loads(pickle.dumps(made, protocol)) == made


@pytest.mark.usefixtures("warm")
@pytest.mark.parametrize(
    ("work", "words"),
    [
        (lambda make: make(), "missing 1 required positional argument: 'name'"),
        (lambda make: make("n", name="m"), "multiple values for argument 'name'"),
        (lambda make: make("n", other=1), "unexpected keyword argument 'other'"),
        (lambda make: make("n", 1, {}, "s", 0.0, "h"), "takes from 2 to 6 positional arguments"),
    ],
)
def test_wrong_arguments(work: Callable[[Any], object], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        work(fresh(Base, True))


@pytest.mark.usefixtures("warm")
def test_frozen_ones_stay_as_they_are() -> None:
    made = fresh(Base, True)("n")
    for name in ("name", "other"):
        with pytest.raises(FrozenInstanceError):
            setattr(made, name, "m")
    with pytest.raises(FrozenInstanceError):
        del made.name
    plain: Any = Plain("n")
    plain.more = 1
    with pytest.raises(FrozenInstanceError):
        plain.name = "m"
    del plain.more
    assert plain.name == "n"


@pytest.mark.usefixtures("warm")
def test_one_that_may_change() -> None:
    make = fresh(Mutable, False)
    made = make()
    made.count, made.late = 1, "now"
    assert made.count == 1
    assert not hasattr(make(), "late")
    assert make.__hash__ is None
    with pytest.raises(TypeError, match="late"):
        make(late="x")


def test_a_post_init_sees_to_it_that_values_can_be() -> None:
    with pytest.raises(ValueError, match="negative"):
        Base("n", -1)


def test_its_own_methods_stay() -> None:
    for _ in range(40):
        assert repr(Own("n")) == "<Own>"
        assert Own("n") == Own("m")
    assert hash(Own("n")) == hash(Own("n"))


def test_equal_and_hashed_alike_whoever_made_them(monkeypatch: pytest.MonkeyPatch) -> None:
    make = fresh(Derived, True)
    monkeypatch.setattr(records, "_MAX_GENERAL", 1)
    made = [make("n", more=(1,)) for _ in range(5)]
    assert len(set(map(hash, made))) == len(set(made)) == 1


def test_a_class_that_is_much_used_is_compiled() -> None:
    """The general way is too slow for many objects."""

    @record
    class Used:
        number: int

    general = Used.__init__
    for number in range(100):
        Used(number)
    assert Used.__init__ is not general
    assert Used.__init__ is vars(Used)["__init__"]
    assert Used(7) == Used(number=7)


def test_many_threads_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(records, "_MAX_GENERAL", 5)
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(20):
            make, gate = fresh(Derived, True), threading.Barrier(8)

            def work(make: Any = make, gate: threading.Barrier = gate) -> set[Any]:
                gate.wait(5)
                return {make("n", 1, more=(2,)) for _ in range(20)}

            workers = [Worker(work) for _ in range(8)]
            made: set[object] = set()
            for worker in workers:
                made.update(cast("set[object]", worker.result()))
            assert len(made) == 1
    finally:
        sys.setswitchinterval(interval)


def test_defining_one_compiles_nothing() -> None:
    code = (
        "import sys\n"
        "from containerd_lite.oci.descriptor import Descriptor\n"
        "made = Descriptor('a/b', 'sha256:' + 64 * '0', 1)\n"
        "assert made == Descriptor('a/b', 'sha256:' + 64 * '0', 1) and repr(made)\n"
        "assert 'dataclasses' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, timeout=60)
