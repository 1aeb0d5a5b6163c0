"""Files that a client of registries opens, and that are none, or are too much to read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from containerd_lite.errors import ContainerdError, InvalidArgument
from containerd_lite.registry.credentials import default_credentials, docker_config
from containerd_lite.registry.hosts import TlsFiles
from containerd_lite.registry.hosts_file import find_hosts
from containerd_lite.registry.openers import LocalFault, open_content, opener
from containerd_lite.registry.tls_contexts import Contexts, ProxyContexts
from tests.harness.special_files import make_socket
from tests.harness.tls import Authority
from tests.unit.registry.samples import LAYER

pytestmark = [pytest.mark.dependencies, pytest.mark.timeout(20)]


MAKE: dict[str, Callable[[Path], object]] = {
    "fifo": os.mkfifo,
    "folder": Path.mkdir,
    "socket": make_socket,
    "device": lambda path: path.symlink_to("/dev/zero"),
}


def _toml(folder: Path, make: Callable[[Path], object]) -> None:
    (folder / "registry.test").mkdir()
    make(folder / "registry.test" / "hosts.toml")
    find_hosts("registry.test", [folder])


def _docker_certificates(folder: Path, make: Callable[[Path], object]) -> None:
    (folder / "registry.test").mkdir()
    path = folder / "registry.test" / "ca.crt"
    make(path)
    if path.is_dir():
        raise InvalidArgument("folders are skipped here")
    (host,) = find_hosts("registry.test", [folder])
    Contexts(host.tls).pool_arguments(own=True)


def _authority(folder: Path, make: Callable[[Path], object]) -> None:
    make(folder / "ca.pem")
    Contexts(TlsFiles(ca=(folder / "ca.pem",))).pool_arguments(own=False)


def _proxy_authority(folder: Path, make: Callable[[Path], object]) -> None:
    make(folder / "ca.pem")
    assert ProxyContexts([folder / "ca.pem"]).tunnel


def _certificate(folder: Path, make: Callable[[Path], object]) -> None:
    pair = Authority(folder).issue("client", use="clientAuth")
    make(folder / "own.cert")
    Contexts(TlsFiles(client=((folder / "own.cert", pair.key),))).pool_arguments(own=True)


def _both(folder: Path, make: Callable[[Path], object]) -> None:
    make(folder / "both.pem")
    Contexts(TlsFiles(client=((folder / "both.pem", None),))).pool_arguments(own=True)


def _key(folder: Path, make: Callable[[Path], object]) -> None:
    pair = Authority(folder).issue("client", use="clientAuth")
    make(folder / "own.key")
    Contexts(TlsFiles(client=((pair.certificate, folder / "own.key"),))).pool_arguments(own=True)


def _docker(folder: Path, make: Callable[[Path], object]) -> None:
    make(folder / "config.json")
    docker_config("registry.test", {"DOCKER_CONFIG": str(folder)})


def _podman(folder: Path, make: Callable[[Path], object]) -> None:
    make(folder / "auth.json")
    default_credentials("registry.test", {"REGISTRY_AUTH_FILE": str(folder / "auth.json")})


def _content(folder: Path, make: Callable[[Path], object]) -> None:
    make(folder / "layer")
    open_content(opener(folder / "layer"), 0, LAYER.digest).close()


OPEN = [
    _toml, _docker_certificates, _authority, _proxy_authority, _certificate, _both, _key, _docker,
    _podman, _content,
]  # fmt: skip


@pytest.mark.parametrize("kind", MAKE)
@pytest.mark.parametrize("use", OPEN, ids=lambda use: use.__name__.strip("_"))
def test_what_is_no_regular_file_is_refused_and_does_not_block(
    use: Callable[[Path, Callable[[Path], object]], None], kind: str, tmp_path: Path
) -> None:
    with pytest.raises((ContainerdError, LocalFault)) as caught:
        use(tmp_path, MAKE[kind])
    error = caught.value.error if isinstance(caught.value, LocalFault) else caught.value
    assert isinstance(error, InvalidArgument)


@pytest.mark.parametrize("use", [_authority, _certificate, _key, _both])
def test_a_file_that_never_ends(
    use: Callable[[Path, Callable[[Path], object]], None], tmp_path: Path
) -> None:
    """64 GiB of nothing, which take no place on the disk."""

    def make(path: Path) -> None:
        with path.open("wb") as file:
            file.truncate(64 << 30)

    with pytest.raises(InvalidArgument, match="bytes"):
        use(tmp_path, make)


@pytest.mark.parametrize(
    "line",
    ["a." * 120 + "b = 1\n", "[" + "a." * 120 + "b]\n", 'host."a".b.c.d = 1\n'],
)
def test_keys_with_many_dots_take_little_time(line: str, tmp_path: Path) -> None:
    """The time of the parser grows with the square of the size."""
    (tmp_path / "registry.test").mkdir()
    path = tmp_path / "registry.test" / "hosts.toml"
    lines = "".join(line.replace("b", f"b{n}") for n in range((128 << 10) // len(line)))
    path.write_text(lines)
    begun = time.process_time()
    with pytest.raises(InvalidArgument, match="65536 bytes"):
        find_hosts("registry.test", [tmp_path])
    assert time.process_time() - begun < 1.0


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("a." * 32_000 + "b = 1\n", True),
        ("[" + "a." * 32_000 + "b]\n", True),
        ("a = {" + "a." * 32_000 + "b = 1}\n", True),
        ("".join("a." * 250 + f"b{n} = 1\n" for n in range(125)), False),
        ("[" + "a." * 250 + "b]\n" + "".join(f"a.c{n} = 1\n" for n in range(5_000)), False),
    ],
    ids=["key", "table", "inline", "keys", "keys below a table"],
)
def test_the_longest_file_takes_little_time(text: str, refused: bool, tmp_path: Path) -> None:
    (tmp_path / "registry.test").mkdir()
    path = tmp_path / "registry.test" / "hosts.toml"
    path.write_text(text.ljust(65536, "\n"))
    begun = time.process_time()
    if refused:
        with pytest.raises(InvalidArgument, match="256 dots"):
            find_hosts("registry.test", [tmp_path])
    else:
        find_hosts("registry.test", [tmp_path])
    assert time.process_time() - begun < 5.0
