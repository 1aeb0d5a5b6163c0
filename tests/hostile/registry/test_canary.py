"""No secret is seen by anybody but those it is for: not on the wire, not in a log, not in an error.

Every combination of a road (``roads``), a scheme and a source of credentials is walked.  Then all
that foreign servers got, all that was logged, printed or raised, and all that the client's parts
say of themselves is searched for each secret, in every form that it can take.
"""

from __future__ import annotations

import logging
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from containerd_lite.errors import ContainerdError
from containerd_lite.registry.registry import Registry
from tests.hostile.registry.roads import (
    ALL,
    BEARER,
    HEADER,
    IDENTITY,
    MAY_KNOW,
    PASSWORD,
    PROXY,
    ROADS,
    combinations,
    forms,
    open_client,
)
from tests.hostile.registry.stage import Stage, locked
from tests.unit.registry.samples import TAGGED, TARGET, manifest
from tests.unit.registry.scripted import Scripted, reply

pytestmark = pytest.mark.dependencies

_DEEP = 12


def parts(thing: object, seen: dict[int, object] | None = None, depth: int = 0) -> Iterator[object]:
    """Everything that can be reached from ``thing`` by attributes, items and closures."""
    seen = {} if seen is None else seen
    if id(thing) in seen or depth > _DEEP or isinstance(thing, (str, bytes, int, type)):
        return
    seen[id(thing)] = thing
    yield thing
    inner: list[object] = list(getattr(thing, "__dict__", {}).values())
    for kind in type(thing).__mro__:
        slots = getattr(kind, "__slots__", ())
        names = (slots,) if isinstance(slots, str) else slots
        inner += [getattr(thing, name, None) for name in names if name != "__weakref__"]
    if isinstance(thing, dict):
        inner += [*thing.keys(), *thing.values()]
    elif isinstance(thing, (list, tuple, set, frozenset)):
        inner += list(thing)
    inner += [cell.cell_contents for cell in getattr(thing, "__closure__", None) or ()]
    for one in inner:
        yield from parts(one, seen, depth + 1)


def words_of_parts(client: Registry) -> Iterator[str]:
    """What the client and its parts of this package say of themselves."""
    for thing in parts(client):
        if type(thing).__module__.partition(".")[0] == "containerd_lite":
            yield from (repr(thing), str(thing))


def words_of_error(error: BaseException) -> Iterator[str]:
    """What an error says, and all that led to it, shown or not."""
    yield "".join(traceback.format_exception(error))
    chain: list[BaseException] = [error]
    for one in chain:
        yield from (str(one), repr(one), repr(vars(one)))
        for other in (one.__cause__, one.__context__):
            if other is not None and all(other is not known for known in chain):
                chain.append(other)


def walked(stage: Stage, road: str, scheme: str, source: str) -> Iterator[str]:
    """Walks a road to its end; gives what was said on the way."""
    walk = ROADS[road](stage, scheme, source)
    client = next(walk)
    error: BaseException | None = None
    try:
        next(walk, None)
    except ContainerdError as failure:
        error = failure
    yield from words_of_parts(client)
    if error is not None:
        yield from words_of_error(error)


@pytest.mark.parametrize(("road", "scheme", "source"), combinations())
def test_no_secret_leaves(
    road: str,
    scheme: str,
    source: str,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    with Stage(tmp_path) as stage, warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        said = list(walked(stage, road, scheme, source))
        said += [f"{record.getMessage()} {record.args!r}" for record in caplog.records]
        said += [str(warning.message) for warning in warned]
        said += [*capfd.readouterr(), *map(str, stage.naps)]
        text = "\n".join(said).encode()
        assert not [form for form in ALL if form in text]
        hidden = ALL - MAY_KNOW.get(road, set())
        for server in stage.others:
            assert not [form for form in hidden if form in server.bytes_seen]
        if not road.startswith("proxy"):
            assert HEADER.encode() in stage.server.bytes_seen  # so it was on its way


def test_there_are_enough_combinations() -> None:
    found = combinations()
    print(f"{len(found)} combinations of roads, schemes and sources")
    assert len(found) == len(set(found)) >= 100


@pytest.mark.parametrize(
    ("scheme", "source", "secrets"),
    [
        ("Basic", "explicit", (HEADER, PASSWORD)),
        ("Basic", "helper", (HEADER, PASSWORD)),
        ("Bearer", "file", (HEADER, IDENTITY, BEARER)),
        ("Bearer", "helper", (HEADER, PASSWORD, BEARER)),
        ("Bearer", "helper-token", (HEADER, IDENTITY, BEARER)),
    ],
)
def test_the_right_server_is_told_and_the_search_finds_it(
    scheme: str,
    source: str,
    secrets: tuple[str, ...],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    with Stage(tmp_path) as stage:
        prepare(stage.server, scheme)
        assert open_client(stage, source).resolve(stage.ref) == TARGET
        for secret in (HEADER, PASSWORD, IDENTITY, BEARER):
            found = any(form in stage.server.bytes_seen for form in forms(secret))
            assert found == (secret in secrets)
    assert any(record.name.startswith("urllib3") for record in caplog.records)


def test_a_proxy_is_told_its_own_password(tmp_path: Path) -> None:
    with Stage(tmp_path) as stage:
        list(walked(stage, "proxy-407", "Bearer", "explicit"))
        assert any(form in stage.others[0].bytes_seen for form in forms(PROXY))


def prepare(server: Scripted, scheme: str) -> None:
    wanted = f'{scheme} realm="{server.origin}/token"'
    server.on("POST", "/token", reply(200, {"token": BEARER}))
    server.on("HEAD", TAGGED, locked(manifest(), wanted))


def test_the_search_finds_what_errors_hide() -> None:
    """In a context that is not shown, in an attribute, and in a part of a part."""

    def fail() -> None:
        try:
            raise ValueError(PASSWORD)
        except ValueError:
            raise KeyError("other") from None

    with pytest.raises(KeyError) as caught:
        fail()
    assert PASSWORD in "".join(words_of_error(caught.value))
    assert PASSWORD not in "".join(traceback.format_exception_only(caught.value))

    class Leaky:
        def __repr__(self) -> str:
            return PASSWORD

    Leaky.__module__ = "containerd_lite.somewhere"
    with Registry("127.0.0.1") as client:
        client.__dict__["further"] = {"a": [Leaky()]}
        assert PASSWORD in words_of_parts(client)
