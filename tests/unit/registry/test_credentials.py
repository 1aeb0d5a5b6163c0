"""Docker's config file: what is found in it, and what is said of a broken one."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from containerd_lite.errors import InvalidArgument
from containerd_lite.registry.credentials import Credentials, docker_config

ME = Credentials("me", "pass:word")


def encoded(text: str = "me:pass:word") -> dict[str, str]:
    return {"auth": base64.b64encode(text.encode()).decode()}


def look(folder: Path, config: object, host: str) -> Credentials | None:
    body = config if isinstance(config, bytes) else json.dumps(config).encode()
    (folder / "config.json").write_bytes(body)
    return docker_config(host, {"DOCKER_CONFIG": str(folder)})


@pytest.mark.parametrize(
    ("key", "host"),
    [
        ("quay.io", "quay.io"),
        ("https://quay.io", "quay.io"),
        ("https://quay.io/v1/", "quay.io"),
        ("localhost:5000", "localhost:5000"),
        ("[::1]:5000", "[::1]:5000"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("docker.io", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
    ],
)
def test_found(tmp_path: Path, key: str, host: str) -> None:
    assert look(tmp_path, {"auths": {key: encoded()}}, host) == ME


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"auths": None},
        {"auths": {}},
        {"auths": {"quay.io": {}}},
        {"auths": {"quay.io": None}},
        {"auths": {"quay.io": {"auth": ""}}},
        {"auths": {"quay.io:443": encoded()}},
        {"auths": {"evil.quay.io": encoded()}},
        {"auths": {"quay.io.evil": encoded()}},
        {"auths": {"https://evil/quay.io": encoded()}},
        {"credsStore": "desktop", "auths": {"docker.io": encoded()}},
    ],
)
def test_not_found(tmp_path: Path, config: object) -> None:
    assert look(tmp_path, config, "quay.io") is None


def test_an_exact_key_comes_first(tmp_path: Path) -> None:
    auths = {"https://quay.io": encoded("other:x"), "quay.io": encoded()}
    assert look(tmp_path, {"auths": auths}, "quay.io") == ME


def test_plain_fields_and_padding(tmp_path: Path) -> None:
    plain = {"username": "me", "password": "pass:word"}
    assert look(tmp_path, {"auths": {"a.b": plain}}, "a.b") == ME
    assert look(tmp_path, {"auths": {"a.b": encoded("me:pass:word\0\0")}}, "a.b") == ME


@pytest.mark.parametrize(
    "config",
    [
        b"", b"{", b"[]", b"\xff", b"canary-secret", b"[" * 100_000, b" " * (5 << 20),
        {"auths": []}, {"auths": {"a.b": "canary-secret"}}, {"auths": {"a.b": {"auth": 7}}},
        {"auths": {"a.b": {"auth": "canary-secret!"}}}, {"auths": {"a.b": {"auth": ["canary-"]}}},
        {"auths": {"a.b": encoded("canary-secret")}},
        {"auths": {"a.b": {"auth": "/w=="}}}, {"auths": {"a.b": {"username": ["canary-secret"]}}},
    ],
)  # fmt: skip
def test_broken_files_are_named_but_not_quoted(tmp_path: Path, config: object) -> None:
    with pytest.raises(InvalidArgument, match=r"config\.json") as caught:
        look(tmp_path, config, "a.b")
    assert "canary" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_where_the_file_is(tmp_path: Path) -> None:
    assert docker_config("a.b", {"HOME": str(tmp_path)}) is None
    assert docker_config("a.b", {"DOCKER_CONFIG": str(tmp_path / "none")}) is None
    folder = tmp_path / ".docker"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"auths": {"a.b": encoded()}}))
    assert docker_config("a.b", {"HOME": str(tmp_path)}) == ME
    (folder / "config.json").unlink()
    (folder / "config.json").mkdir()
    with pytest.raises(InvalidArgument, match="cannot be read"):
        docker_config("a.b", {"HOME": str(tmp_path)})
