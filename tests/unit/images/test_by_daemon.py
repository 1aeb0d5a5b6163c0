"""Transfers by the daemon without one: who we are, and what its words on registries mean."""

from __future__ import annotations

import pickle
from collections.abc import Callable

import pytest

from containerd_lite import Client
from containerd_lite.errors import (
    ContainerdError,
    InvalidArgument,
    NoMatchingPlatform,
    NotFound,
    RegistryError,
    RegistryNotFound,
    RegistryUnauthorized,
    RegistryUnavailable,
    Unimplemented,
    Unknown,
)
from containerd_lite.images.daemon.by_daemon import DaemonTransfers
from containerd_lite.images.daemon.transfer_registry import (
    CredentialAnswers,
    explain_failure,
    registry_accounts,
)
from containerd_lite.images.platforms import Platforms
from containerd_lite.oci.reference import Reference
from containerd_lite.registry.credentials import Credentials
from containerd_lite.services.transfer_types import AuthResponse


def answer(
    find: Callable[[str], Credentials | None], host: str
) -> tuple[AuthResponse, CredentialAnswers]:
    answers = CredentialAnswers(find, {host: host, **registry_accounts("docker.io", "")})
    return answers._response(host), answers


def test_answers() -> None:
    asked: list[str] = []

    def find(host: str) -> Credentials | None:
        asked.append(host)
        return {
            "docker.io": Credentials("u", "hub"),
            "a:5000": Credentials("", "", identity_token="token"),
        }.get(host)

    assert answer(find, "registry-1.docker.io")[0] == AuthResponse("credentials", "hub", "u")
    assert answer(find, "a:5000")[0] == AuthResponse("refresh", "token")
    nobody, answers = answer(find, "a")
    assert nobody == AuthResponse("none")
    assert not answers.were_sent
    assert asked == ["docker.io", "a:5000", "a"]


REF = Reference.parse("r.example/a/b:1")
LOCAL = Reference.parse("127.0.0.1:5000/a/b:1")
TLS_ALONE = (
    'failed to do request: Head "https://x/v2/": http: server gave HTTP response to HTTPS client'
)


def status(code: int, words: str) -> str:
    return f"unexpected status from HEAD request to https://r.example:443/v2/a: {code} {words}"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (status(401, "Unauthorized"), RegistryUnauthorized),
        (status(403, "Forbidden"), RegistryUnauthorized),
        (status(404, "Not Found"), RegistryNotFound),
        (status(418, "I'm a teapot"), RegistryError),
        (status(429, "Too Many Requests"), RegistryUnavailable),
        (status(502, "Bad Gateway"), RegistryUnavailable),
        ("authorization failed: no basic auth credentials", RegistryUnauthorized),
        ("unexpected HEAD status code https://r.example/x: 500 No", RegistryUnavailable),
        ('failed to do request: Head "https://x": dial tcp: no such host', RegistryUnavailable),
        ("failed to authorize: failed to fetch token: EOF", RegistryUnavailable),
        ("failed to extract layer: something else", Unknown),
    ],
)
def test_words_of_daemons(said: str, kind: type[ContainerdError]) -> None:
    error = Unknown(f"failed to resolve image: {said}", operation="Transfer.Transfer", address="s")
    better = explain_failure(error, REF, None, CredentialAnswers(lambda host: None, {}))
    assert type(better) is kind
    assert better.message == f"failed to resolve image: {said}"
    assert (better.operation, better.address) == ("Transfer.Transfer", "s")


@pytest.mark.parametrize(
    ("reference", "plain_http", "kind"),
    [
        (REF, True, Unimplemented),
        (REF, None, RegistryUnavailable),
        (REF, False, RegistryUnavailable),
        (LOCAL, None, Unimplemented),
        (LOCAL, False, RegistryUnavailable),
    ],
)
def test_daemons_that_want_tls(
    reference: Reference, plain_http: bool | None, kind: type[ContainerdError]
) -> None:
    answers = CredentialAnswers(lambda host: None, {})
    assert type(explain_failure(Unknown(TLS_ALONE), reference, plain_http, answers)) is kind


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NotFound("failed to resolve image: r.example/a/b:1: not found"), RegistryNotFound),
        (NotFound("no match for platform in manifest: not found"), NoMatchingPlatform),
        (NotFound('image "x": not found'), NotFound),
        (InvalidArgument("no unpack platforms defined: invalid argument"), Unimplemented),
    ],
)
def test_classes_of_daemons(error: ContainerdError, kind: type[ContainerdError]) -> None:
    assert type(explain_failure(error, REF, None, CredentialAnswers(lambda host: None, {}))) is kind


def test_secrets_do_not_come_back() -> None:
    _, answers = answer(lambda host: Credentials("u", "hidden-word"), "r.example")
    for words in ("said hidden-word twice", "sent dTpoaWRkZW4td29yZA== there"):
        said = str(explain_failure(Unknown(words), REF, None, answers))
        assert "contains a secret" in said
        assert words not in said
    error = Unknown("failed", details=(("type", b"hidden-word"),))
    error.joined = (Unknown("said hidden-word twice"),)
    told = explain_failure(error, REF, None, answers)
    assert b"hidden-word" not in pickle.dumps(told)
    signed = "unexpected status from GET request to https://cdn.example/b?Signature=x&y=z: 403 No"
    said = str(explain_failure(Unknown(signed), REF, None, answers))
    assert "https://cdn.example/b: 403 No" in said


def test_attestations_of_some_platforms_cannot_be_had() -> None:
    with Client("unix:///nowhere") as client:
        transfers = DaemonTransfers.of(client)
        wanted = Platforms.of("linux/amd64", attestations=True)
        with pytest.raises(InvalidArgument, match="attestations"):
            transfers.pull("a", platforms=wanted)
        with pytest.raises(InvalidArgument, match="no image"):
            transfers.export_stream(None, [], platforms=Platforms(None))  # type: ignore[arg-type]
