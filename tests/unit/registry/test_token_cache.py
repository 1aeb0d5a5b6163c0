"""The cache of tokens: who waits for whom, what is kept for how long, and when it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime, timedelta, timezone

import pytest

from containerd_lite.deadline import Deadline
from containerd_lite.errors import RegistryUnauthorized, RegistryUnavailable
from containerd_lite.registry import tokens
from containerd_lite.registry.credentials import Credentials
from tests.unit.registry.asking import (
    LOGGED_IN,
    ME,
    OTHER,
    PATIENCE,
    PULL,
    Connect,
    forms,
    granted,
    wanted,
    within,
)
from tests.unit.registry.scripted import Request, Scripted

# who waits


class Held:
    """A script that answers when it is let go, and tells when it was asked."""

    def __init__(self, answer: bytes) -> None:
        self.asked, self.go = threading.Event(), threading.Event()
        self._answer = answer

    def __call__(self, request: Request) -> bytes:
        self.asked.set()
        return self._answer if self.go.wait(PATIENCE) else b""


def in_thread(work: Callable[[], str]) -> tuple[threading.Thread, list[str]]:
    found: list[str] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    return thread, found


@pytest.mark.parametrize(
    ("credentials", "scopes"), [(ME, PULL), (LOGGED_IN, PULL), (LOGGED_IN, OTHER)]
)
def test_who_waits_for_a_token_waits_within_the_deadline(
    server: Scripted, connect: Connect, credentials: Credentials, scopes: frozenset[str]
) -> None:
    """For the same scopes always; with a refresh token, which may serve once, for all scopes."""
    script = Held(granted(refresh_token="r1"))
    server.on("POST", "/token", script, granted("t2"))
    asked, values = connect(credentials), wanted(server)
    thread, found = in_thread(lambda: asked.answer(PULL, values, "", within()))
    assert script.asked.wait(PATIENCE)
    with pytest.raises(RegistryUnavailable, match="sent no token in time"):
        asked.answer(scopes, values, "", Deadline(0))
    assert len(server.requests) == 1
    script.go.set()
    thread.join(PATIENCE)
    assert found == ["Bearer t1"]
    assert asked.header(scopes, within()) == ("Bearer t1" if scopes == PULL else "Bearer t2")
    assert [form.get("refresh_token") for form in forms(server)][1:] in ([], ["r1"])


def test_two_threads_one_question(server: Scripted, connect: Connect) -> None:
    script = Held(granted())
    server.on("POST", "/token", script, granted("t2"))
    asked, values = connect(), wanted(server)
    started = threading.Barrier(3)

    def work() -> str:
        started.wait(PATIENCE)
        return asked.answer(PULL, values, "", within())

    threads = [in_thread(work) for _ in range(2)]
    started.wait(PATIENCE)
    assert script.asked.wait(PATIENCE)
    script.go.set()
    for thread, found in threads:
        thread.join(PATIENCE)
        assert found == ["Bearer t1"]
    assert len(server.requests) == 1


def test_other_scopes_need_not_wait(server: Scripted, connect: Connect) -> None:
    script = Held(granted())
    server.on("POST", "/token", script, granted("t2"))
    asked, values = connect(), wanted(server)
    thread, found = in_thread(lambda: asked.answer(PULL, values, "", within()))
    assert script.asked.wait(PATIENCE)
    assert asked.answer(OTHER, values, "", within()) == "Bearer t2"
    script.go.set()
    thread.join(PATIENCE)
    assert found == ["Bearer t1"]


# how long tokens are kept


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("said", "kept", "renewed"),
    [(1, 53, 55), (0, 53, 55), (None, 53, 55), (-61, 53, 55), (300, 289, 291), (90, 80, 82),
     (10**12, 86_389, 86_391)],
)  # fmt: skip
def test_tokens_are_renewed_a_little_before_their_end(
    server: Scripted, connect: Connect, said: int | None, kept: float, renewed: float
) -> None:
    clock = Clock()
    server.on("POST", "/token", granted(expires_in=said), granted("t2"))
    asked = connect(clock=clock)
    asked.answer(PULL, wanted(server), "", within())
    clock.now = 1000.0 + kept
    assert asked.header(PULL, within()) == "Bearer t1"
    clock.now = 1000.0 + renewed
    assert asked.header(PULL, within()) == "Bearer t2"


@pytest.mark.parametrize(
    ("age", "left"),
    [(2000, 1600), (3300, 300), (-9000, 3600), (3601, 3600), (10**9, 3600)],
)
@pytest.mark.parametrize("form", ["Z", "+00:00", ".123456789Z", "-05:00"])
def test_issued_at_can_only_shorten(
    server: Scripted, connect: Connect, age: int, left: int, form: str
) -> None:
    """One that says that the token is dead on arrival, as Go's zero time does, is not believed."""
    clock, zone = Clock(), timezone(timedelta(hours=-5) if form == "-05:00" else timedelta(0))
    moment = datetime.now(zone) - timedelta(seconds=age)
    issued = moment.strftime("%Y-%m-%dT%H:%M:%S") + form
    server.on("POST", "/token", granted(expires_in=3600, issued_at=issued), granted("t2"))
    asked = connect(clock=clock)
    asked.answer(PULL, wanted(server), "", within())
    clock.now = 1000.0 + left - 100  # what is left of the test's own time is less than that
    assert asked.header(PULL, within()) == "Bearer t1"
    clock.now = 1000.0 + left
    assert asked.header(PULL, within()) == "Bearer t2"


@pytest.mark.parametrize(
    "issued", ["", "yesterday", "0001-01-01T00:00:00Z", "0000-00-00T99:99:99Z", "9" * 5000, None]
)
def test_an_issued_at_that_says_nothing(
    server: Scripted, connect: Connect, issued: str | None
) -> None:
    server.on("POST", "/token", granted(issued_at=issued))
    asked = connect()
    asked.answer(PULL, wanted(server), "", within())
    assert asked.header(PULL, within()) == "Bearer t1"


def test_equal_sets_of_scopes_share_a_token(server: Scripted, connect: Connect) -> None:
    server.on("POST", "/token", granted())
    asked = connect()
    asked.answer(["repository:app:push,pull"], wanted(server), "", within())
    asked.header({"repository:app:pull", "repository:app:push"}, within())
    asked.header(iter(["repository:app:pull repository:app:push"]), within())
    assert len(server.requests) == 1


def test_only_so_many_tokens_are_kept(
    server: Scripted, connect: Connect, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "MAX_SETS", 3)
    server.on("POST", "/token", granted())
    asked = connect()
    asked.answer(["a:0:b"], wanted(server), "", within())
    for number in (1, 2, 0, 3, 1, 0):
        asked.header([f"a:{number}:b"], within())
    assert [form["scope"] for form in forms(server)] == [f"a:{n}:b" for n in (0, 1, 2, 3, 0)]


# realms that change, registries that refuse


@pytest.mark.parametrize("change", [{"path": "/other"}, {"service": "another"}])
def test_another_realm_or_service_starts_from_nothing(
    server: Scripted, connect: Connect, change: dict[str, str]
) -> None:
    """Neither its tokens nor its refresh token nor its manners are the other's."""
    server.on("POST", "/token", granted(refresh_token="r1"), granted("t2"))
    server.on("POST", "/other", granted("t2"))
    asked = connect()
    assert asked.answer(PULL, wanted(server), "", within()) == "Bearer t1"
    assert asked.answer(PULL, wanted(server, **change), "Bearer t0", within()) == "Bearer t2"
    assert asked.header(PULL, within()) == "Bearer t2"
    last = forms(server, server.requests[-1].path)[-1]
    assert (last["grant_type"], len(server.requests)) == ("password", 2)


@pytest.mark.parametrize("error", ["invalid_token", "insufficient_scope"])
def test_a_token_refused_twice_ends_the_request(
    server: Scripted, connect: Connect, error: str
) -> None:
    server.on("POST", "/token", *(granted(f"t{number}") for number in range(1, 9)))
    asked = connect()
    values = wanted(server, scope="repository:app:push", error=error)
    for old, new in (("", "Bearer t1"), ("Bearer t1", "Bearer t2")):
        assert asked.header(PULL, within()) == old  # a request that has a token from before
        assert asked.answer(PULL, values, old, within()) == new
    with pytest.raises(RegistryUnauthorized, match=rf"repository:app:pull,push.*{error}") as caught:
        asked.answer(PULL, values, "Bearer t2", within())
    assert caught.value.status == 401
    assert len(server.requests) == 2
    assert asked.header(PULL, within()) == "Bearer t2"
    assert asked.answer(PULL, values, "Bearer t2", within()) == "Bearer t3"


def test_the_same_token_again_is_no_answer(server: Scripted, connect: Connect) -> None:
    server.on("POST", "/token", granted())
    asked = connect()
    asked.answer(PULL, wanted(server), "", within())
    assert asked.header(PULL, within()) == "Bearer t1"
    assert asked.answer(PULL, wanted(server), "Bearer t1", within()) == ""
    with pytest.raises(RegistryUnauthorized, match="repository:app:pull"):
        asked.answer(PULL, wanted(server, error="invalid_token"), "Bearer t1", within())


def test_a_registry_may_want_more_scopes_once(server: Scripted, connect: Connect) -> None:
    server.on("POST", "/token", *(granted(f"t{number}") for number in range(1, 9)))
    asked, refused = connect(), ""
    for scope in ("a:b:c", "d:e:f"):
        values = wanted(server, scope=scope, error="insufficient_scope")
        refused = asked.answer(PULL, values, refused, within())
    assert refused == "Bearer t2"
    values = wanted(server, scope="g:h:i", error="insufficient_scope")
    with pytest.raises(RegistryUnauthorized, match="g:h:i"):
        asked.answer(PULL, values, refused, within())
    assert [form["scope"] for form in forms(server)] == [
        "a:b:c repository:app:pull",
        "d:e:f repository:app:pull",
    ]
