"""Asking a token server: what is sent, which way, and what its answers are worth."""

from __future__ import annotations

import traceback

import pytest

from containerd_lite.errors import (
    ContainerdError,
    InvalidArgument,
    RegistryError,
    RegistryUnauthorized,
    RegistryUnavailable,
)
from containerd_lite.registry.credentials import Credentials
from containerd_lite.registry.http_errors import Retryable
from containerd_lite.registry.tokens import merge_scopes
from tests.unit.registry.asking import (
    FALLBACK,
    LOGGED_IN,
    ME,
    OTHER,
    PULL,
    Connect,
    forms,
    granted,
    queries,
    wanted,
    within,
)
from tests.unit.registry.scripted import Scripted, reply
from tests.unit.registry.test_redirects import CANARY


@pytest.mark.parametrize(
    ("scopes", "merged"),
    [
        ([], []),
        (["", " "], []),
        (["repository:a:pull", "repository:a:push,pull"], ["repository:a:pull,push"]),
        (["repository:b:pull repository:a:pull"], ["repository:a:pull", "repository:b:pull"]),
        (["repository:h:5000/a:pull", "repository:h:5000/a:*"], ["repository:h:5000/a:*,pull"]),
        (["repository:h:5000/b", "repository:h:5000/a"],
         ["repository:h:5000/a", "repository:h:5000/b"]),
        (["registry:catalog:*"], ["registry:catalog:*"]),
        (["repository(plugin):a:pull", "repository:a:pull"],
         ["repository(plugin):a:pull", "repository:a:pull"]),
        (["aws", "a:b", "a:b", "x:y:", "x:y:Z!", "x:y:b,,a"],
         ["a:b", "aws", "x:y:", "x:y:Z!", "x:y:b,,a"]),
    ],
)  # fmt: skip
def test_scopes_are_merged_by_resource(scopes: list[str], merged: list[str]) -> None:
    assert list(merge_scopes(scopes)) == merged


# what is sent


def test_a_password_is_sent_as_a_form(server: Scripted, connect: Connect) -> None:
    server.on("POST", "/token", granted())
    found = connect().answer(PULL, wanted(server), "", within())
    assert found == "Bearer t1"
    assert forms(server) == [
        {
            "grant_type": "password",
            "username": "canary",
            "password": CANARY,
            "service": "svc",
            "scope": "repository:app:pull",
            "client_id": "containerd_lite",
        }
    ]
    (post,) = server.requests
    assert post.headers["content-type"] == "application/x-www-form-urlencoded"
    assert "authorization" not in post.headers
    assert post.target == "/token"


def test_an_identity_token_is_sent_as_a_refresh_token(server: Scripted, connect: Connect) -> None:
    server.on("POST", "/token", granted())
    both = Credentials("canary", "p", identity_token=CANARY)
    for credentials in (LOGGED_IN, both):
        assert connect(credentials).answer(PULL, wanted(server), "", within()) == "Bearer t1"
    for form in forms(server):
        assert form == {
            "grant_type": "refresh_token",
            "refresh_token": CANARY,
            "service": "svc",
            "scope": "repository:app:pull",
            "client_id": "containerd_lite",
        }
    assert len(server.requests) == 2


@pytest.mark.parametrize("credentials", [None, Credentials("canary", "")])
def test_without_a_secret_the_question_is_anonymous(
    server: Scripted, connect: Connect, credentials: Credentials | None
) -> None:
    server.on("GET", "/token", granted(refresh_token="unasked"))
    asked = connect(credentials)
    for scopes in (PULL, OTHER):
        assert asked.answer(scopes, wanted(server), "", within()) == "Bearer t1"
    assert [request.method for request in server.requests] == ["GET", "GET"]
    assert not any("authorization" in request.headers for request in server.requests)


def test_scopes_go_one_by_one_in_a_query_and_together_in_a_form(
    server: Scripted, connect: Connect
) -> None:
    mount = ("repository:base:pull", "repository:app:push,pull", "repository:app:pull")
    server.on("POST", "/token", granted())
    server.on("GET", "/token", granted())
    connect().answer(mount, wanted(server), "", within())
    connect(None).answer(mount, wanted(server), "", within())
    parts = ["repository:app:pull,push", "repository:base:pull"]
    assert forms(server)[0]["scope"] == " ".join(parts)
    assert queries(server) == [[("service", "svc"), *(("scope", part) for part in parts)]]


@pytest.mark.parametrize("scopes", [(), ("repository:app:pull",)])
def test_a_challenge_adds_its_own_scopes_and_is_remembered(
    server: Scripted, connect: Connect, scopes: tuple[str, ...]
) -> None:
    server.on("POST", "/token", granted())
    asked = connect()
    values = wanted(server, scope="repository:app:push registry:catalog:*")
    assert asked.answer(scopes, values, "", within()) == "Bearer t1"
    assert asked.header(scopes, within()) == "Bearer t1"
    (form,) = forms(server)
    actions = "pull,push" if scopes else "push"
    assert form["scope"] == f"registry:catalog:* repository:app:{actions}"


def test_nothing_empty_is_sent(server: Scripted, connect: Connect) -> None:
    server.on("POST", "/token", granted())
    server.on("GET", "/token", granted())
    values = wanted(server, service="")
    connect().answer((), values, "", within())
    connect(None).answer((), values, "", within())
    assert set(forms(server)[0]) == {"grant_type", "username", "password", "client_id"}
    assert server.seen("GET", "/token")[0].target == "/token"


# realms that want GET


@pytest.mark.parametrize("status", FALLBACK)
@pytest.mark.parametrize("token", ["", "t"])
def test_a_realm_that_takes_no_post_is_asked_by_get(
    server: Scripted, connect: Connect, status: int, token: str
) -> None:
    """And the next token costs one request; only a token's refusal says nothing of the form."""
    server.on("POST", "/token", reply(status))
    server.on("GET", "/token", granted())
    asked = connect(Credentials("canary", CANARY, identity_token=token))
    for scopes in (PULL, OTHER, {"repository:third:pull"}):
        assert asked.answer(scopes, wanted(server), "", within()) == "Bearer t1"
    grants = [form["grant_type"] for form in forms(server)]
    refused = token and status in (400, 401)
    assert grants == (["refresh_token", "password"] if refused else grants[:1])
    assert len(grants) == (2 if refused else 1)
    gets = server.seen("GET", "/token")
    assert [get.headers["authorization"] for get in gets] == [ME.basic()] * 3


@pytest.mark.parametrize(
    ("status", "words"),
    [(302, "redirects"), (307, "redirects"), (403, "refuses"), (406, "406"), (429, "429"),
     (500, "500"), (503, "503")],
)  # fmt: skip
def test_other_answers_to_a_post_are_the_end(
    server: Scripted, connect: Connect, status: int, words: str
) -> None:
    server.on("POST", "/token", reply(status, Location="/other"))
    with pytest.raises((RegistryError, Retryable), match=words):
        connect().answer(PULL, wanted(server), "", within())
    assert [request.method for request in server.requests] == ["POST"]


def test_a_wrong_password_does_not_end_the_posts(server: Scripted, connect: Connect) -> None:
    server.on("POST", "/token", reply(401), granted())
    server.on("GET", "/token", reply(401))
    asked = connect()
    with pytest.raises(RegistryUnauthorized, match="Check the user name") as caught:
        asked.answer(PULL, wanted(server), "", within())
    assert caught.value.status == 401
    assert asked.answer(PULL, wanted(server), "", within()) == "Bearer t1"


@pytest.mark.parametrize("status", FALLBACK)
def test_an_identity_token_alone_has_no_other_way(
    server: Scripted, connect: Connect, status: int
) -> None:
    server.on("POST", "/token", reply(status, f"who is {CANARY}"))
    with pytest.raises(RegistryUnauthorized, match=f"HTTP {status}.*Log in again") as caught:
        connect(LOGGED_IN).answer(PULL, wanted(server), "", within())
    assert CANARY not in str(caught.value)
    assert caught.value.status == status
    assert len(server.requests) == 1


def test_an_identity_token_is_no_answer_to_basic(server: Scripted, connect: Connect) -> None:
    assert connect(LOGGED_IN).answer(PULL, ['Basic realm="x"'], "", within()) == ""
    assert connect().answer(PULL, ['Basic realm="x"'], "", within()) == ME.basic()


def test_basic_is_sent_once(server: Scripted, connect: Connect) -> None:
    asked = connect()
    assert asked.header(PULL, within()) == ""
    assert asked.answer(PULL, ['Basic realm="x"'], "", within()) == ME.basic()
    assert asked.header(PULL, within()) == ME.basic()
    assert asked.answer(PULL, ['Basic realm="x"'], ME.basic(), within()) == ""
    assert server.requests == []


# refresh tokens


def test_the_refresh_token_of_an_answer_is_used_next(server: Scripted, connect: Connect) -> None:
    answers = [granted(refresh_token=name) for name in ("r1", "r2")]
    server.on("POST", "/token", *answers, granted())
    asked = connect()
    for number in range(4):
        asked.answer({f"repository:a{number}:pull"}, wanted(server), "", within())
    sent = [(form["grant_type"], form.get("refresh_token")) for form in forms(server)]
    assert sent == [
        ("password", None),
        ("refresh_token", "r1"),
        ("refresh_token", "r2"),
        ("refresh_token", "r2"),
    ]


def test_a_refresh_token_that_is_refused_is_forgotten(server: Scripted, connect: Connect) -> None:
    server.on("POST", "/token", granted(refresh_token="r1"), reply(400), granted())
    server.on("GET", "/token", granted())
    asked = connect()
    for number in range(3):
        asked.answer({f"repository:a{number}:pull"}, wanted(server), "", within())
    assert [form["grant_type"] for form in forms(server)] == [
        "password",
        "refresh_token",
        "password",
    ]
    assert len(server.seen("GET", "/token")) == 1


# what goes wrong


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("credentials", [None, ME])
def test_a_busy_realm_says_when_to_come_again(
    server: Scripted, connect: Connect, status: int, credentials: Credentials | None
) -> None:
    server.on("POST" if credentials else "GET", "/token", reply(status, Retry_After="7"))
    with pytest.raises(Retryable) as caught:
        connect(credentials).answer(PULL, wanted(server), "", within())
    assert caught.value.wait == 7
    assert isinstance(caught.value.error, RegistryUnavailable)


def test_the_error_of_a_source_is_raised_each_time(server: Scripted, connect: Connect) -> None:
    def broken(host: str) -> Credentials:
        raise InvalidArgument(f"no helper for {host}")

    asked = connect(source=broken)
    for _ in range(2):
        with pytest.raises(InvalidArgument, match=server.host):
            asked.answer(PULL, wanted(server), "", within())
        assert asked.header(PULL, within()) == ""


@pytest.mark.parametrize("credentials", [ME, LOGGED_IN])
@pytest.mark.parametrize(
    "answer",
    [
        *(reply(status, {"errors": [{"code": CANARY, "message": f"no {CANARY}"}]})
          for status in (*FALLBACK, 403, 429, 500)),
        reply(307, CANARY, Location=f"/{CANARY}"),
        reply(200, CANARY),
        reply(200, {"token": f"{CANARY} {CANARY}"}),
        reply(200, {"token": [CANARY]}),
        granted(expires_in=CANARY),
        granted(refresh_token=[CANARY]),
        granted(issued_at=[CANARY]),
        reply(200, CANARY, length=2 << 20),
        reply(200, CANARY.encode() * 100_000, length=-1, Connection="close"),
        CANARY.encode() + b"\r\n\r\n",
        reply(200, f"{CANARY}\r\n", length=-1, Transfer_Encoding="chunked"),
        b"",
    ],
)  # fmt: skip
def test_no_error_shows_a_secret(
    server: Scripted, connect: Connect, credentials: Credentials, answer: bytes
) -> None:
    server.on("POST", "/token", answer)
    server.on("GET", "/token", answer)
    asked = connect(credentials)
    with pytest.raises((ContainerdError, Retryable)) as caught:
        asked.answer(PULL, wanted(server), "", within())
    shown = getattr(caught.value, "error", caught.value)
    text = repr(shown) + "".join(traceback.format_exception(caught.value)) + repr(vars(shown))
    assert CANARY not in text
    assert ME.basic()[6:] not in text
