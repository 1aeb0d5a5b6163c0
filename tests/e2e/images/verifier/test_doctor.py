"""``doctor`` says what the daemon's image verifier plugin judges, and the daemon behaves so."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from containerd_lite.cli import main
from containerd_lite.cli.daemon_config import process_of, read_plugin_settings
from containerd_lite.client import Client
from containerd_lite.errors import FailedPrecondition
from tests.e2e import cri
from tests.e2e.images.verifier.programs import Program
from tests.e2e.images.verifier.pulls import pull_by_cri, pull_by_ctr
from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.process import run
from tests.harness.registry import Registry

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]

pytestmark = [
    pytest.mark.daemon,
    pytest.mark.registry,
    pytest.mark.generations,
    pytest.mark.turns(6),
]

ONE = images.scratch({"one": b"1"})
IMAGES = 'plugins."io.containerd.cri.v1.images"'
REFUSES, ACCEPTS = "#!/bin/sh\necho never\nexit 1\n", "#!/bin/sh\necho always\n"
LIST, CRI = "image verifiers", "image verifiers and the CRI"

#: Settings of the CRI with which it pulls past the plugin, and the name that ``doctor`` gives.
_TABLE = f"[{IMAGES}.registry."
FORCING = {
    "use_local_image_pull = true": "",
    "disable_snapshot_annotations = false": "",
    "discard_unpacked_layers = true": "",
    "max_concurrent_downloads = 4": "",
    "image_pull_with_sync_fs = true": "",
    f'{_TABLE}mirrors."127.0.0.1:1"]\nendpoint = ["http://127.0.0.1:1"]': "registry.mirrors",
    f'{_TABLE}configs."127.0.0.1:1".auth]\nusername = "u"': "registry.configs",
    f'{_TABLE}auths."http://127.0.0.1:1"]\nusername = "u"': "registry.auths",
}


def doctor(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> dict[str, tuple[str, str]]:
    """Return the state and the text of each finding about verifiers."""
    main(["-a", daemon.address, "doctor", "--format", "json"])
    rows = json.loads(capsys.readouterr().out)
    assert len({row["check"] for row in rows}) == len(rows)
    assert all(row["remedy"] for row in rows if row["state"] != "ok")
    return {
        row["check"]: (row["state"], row["found"])
        for row in rows
        if row["check"].startswith("image verifier")
    }


def fill(folder: Path, programs: Mapping[str, str]) -> None:
    folder.mkdir()
    for name, text in programs.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755 if text else 0o644)


def settings_of(folder: Path, **more: int) -> str:
    lines = ['[plugins."io.containerd.image-verifier.v1.bindir"]', f'bin_dir = "{folder}"']
    return "\n".join([*lines, *(f"{name} = {value}" for name, value in more.items())])


#: Programs, settings, and the expected state and text, and whether the daemon accepts the image.
FOLDERS: dict[str, tuple[Mapping[str, str] | None, Mapping[str, int], str, str, str, bool]] = {
    "missing": (None, {}, LIST, "warning", "accepts every image", True),
    "empty": ({}, {}, LIST, "warning", "accepts every image", True),
    "none": ({"a": REFUSES}, {"max_verifiers": 0}, LIST, "warning", "max_verifiers is 0", True),
    "one": ({"a": REFUSES}, {}, LIST, "ok", "a in ", False),
    "all": ({"a": ACCEPTS, "b": REFUSES}, {"max_verifiers": -1}, LIST, "ok", "a, b in ", False),
    "some": (
        {"a": ACCEPTS, "b": REFUSES},
        {"max_verifiers": 1},
        "image verifiers skipped",
        "warning",
        "the daemon skips b, because max_verifiers is 1",
        True,
    ),
    "broken": (
        {"a": ACCEPTS, "b": ""},
        {},
        "image verifiers that fail",
        "warning",
        "b cannot be executed",
        False,
    ),
}


@pytest.fixture
def ref(registry: Registry) -> str:
    return images.push(ONE, registry.host, "doctor/one", "1")


@pytest.mark.parametrize("case", FOLDERS)
def test_the_folder(
    daemon: Daemon, ref: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    programs, settings, check, state, text, is_accepted = FOLDERS[case]
    folder = tmp_path / "verifiers"
    if programs is not None:
        fill(folder, programs)
    with Daemon(daemon.generation, extra=settings_of(folder, **settings)) as own:
        found = doctor(own, capsys)
        if own.version_info < (2,):
            assert found == {}
            return
        assert found[check][0] == state
        assert text in found[check][1]
        assert (pull_by_ctr(own, ref) == "") == is_accepted


def test_a_file_in_place_of_the_folder(
    daemon: Daemon, ref: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    with Daemon(daemon.generation, extra=settings_of(tmp_path / "file")) as own:
        if own.version_info >= (2,):
            state, text = doctor(own, capsys)[LIST]
            assert state == "warning"
            assert "so the daemon refuses every image" in text
            assert pull_by_ctr(own, ref)


def test_the_program_of_this_package(
    daemon: Daemon, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "verifiers"
    fill(folder, {"a": ACCEPTS})
    with Daemon(daemon.generation, extra=settings_of(folder)) as own:
        if own.version_info >= (2,):
            assert "none of them is containerd-lite-verify" in doctor(own, capsys)[LIST][1]
            Program().install(folder, "b")
            assert doctor(own, capsys)[LIST] == ("ok", f"a, b in {folder}")
            (folder / "b").unlink()
            (folder / "c").symlink_to("/usr/bin/containerd-lite-verify")
            assert doctor(own, capsys)[LIST] == ("ok", f"a, c in {folder}")


def test_a_daemon_without_settings(daemon: Daemon, capsys: pytest.CaptureFixture[str]) -> None:
    found = doctor(daemon, capsys)
    if daemon.version_info < (2,):
        assert found == {}
    else:
        assert found.keys() == {LIST}
        assert found[LIST][0] == "ok"
        assert "/opt/containerd/image-verifier/bin does not exist or is empty" in found[LIST][1]


def test_a_disabled_plugin(
    daemon: Daemon, ref: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "verifiers"
    fill(folder, {"a": REFUSES})
    more = tmp_path / "more.toml"
    more.write_text(
        f'version = 2\ndisabled_plugins = ["io.containerd.image-verifier.v1.bindir"]\n'
        f"{settings_of(folder)}"
    )
    with Daemon(daemon.generation, imports=[more]) as own:
        found = doctor(own, capsys)
        is_refused = pull_by_ctr(own, ref) != ""
        if own.version_info < (2, 2):  # without the plugin, the transfer service does not start
            assert found == {}
            assert is_refused or own.version_info < (2,)
        else:
            assert found[LIST][0] == "warning"
            assert "has not loaded" in found[LIST][1]
            assert not is_refused


@pytest.mark.parametrize("setting", FORCING)
def test_settings_with_which_the_cri_pulls_past_the_plugin(
    daemon: Daemon, ref: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], setting: str
) -> None:
    if daemon.version_info < (2,):
        pytest.skip("no plugin")
    folder = tmp_path / "verifiers"
    fill(folder, {"a": REFUSES})
    table = "" if setting.startswith("[") else f"[{IMAGES}]\n"
    more = tmp_path / "more.toml"
    more.write_text(f"version = 3\n{settings_of(folder)}\n{table}{setting}\n")
    with Daemon(
        daemon.generation, cri=True, extra=cri.config(daemon, "unused"), imports=[more]
    ) as own:
        state, text = doctor(own, capsys)[CRI]
        assert state == "warning"
        name = FORCING[setting] or setting
        assert name in text if own.version_info >= (2, 1) else "before containerd 2.1" in text
        assert pull_by_ctr(own, ref)
        assert pull_by_cri(own, ref) == ""


def test_the_settings_are_those_that_the_daemon_dumps(daemon: Daemon, tmp_path: Path) -> None:
    """The files have several versions, and replace settings of other files."""
    if daemon.version_info < (2, 1):
        pytest.skip("the CRI has other settings")
    first = tmp_path / "first.toml"
    first.write_text(f"""
        version = 3
        imports = ["more/*.toml", "last.toml", "first.toml"]
        {settings_of(Path("/first"), max_verifiers=3)}
        [{IMAGES}]
        use_local_image_pull = true
        max_concurrent_downloads = 5
        [{IMAGES}.registry.mirrors.a]
        endpoint = ["http://a"]
    """)
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "2.toml").write_text("""
        version = 2
        [plugins."io.containerd.grpc.v1.cri"]
        max_concurrent_downloads = 7
        image_pull_with_sync_fs = true
        use_local_image_pull = true
        [plugins."io.containerd.grpc.v1.cri".containerd]
        discard_unpacked_layers = true
        disable_snapshot_annotations = false
        [plugins."io.containerd.grpc.v1.cri".registry.mirrors.b]
        endpoint = ["http://b"]
    """)
    (tmp_path / "more" / "2b.toml").write_text("""
        version = 2
        [plugins."io.containerd.grpc.v1.cri".containerd]
        discard_unpacked_layers = true
        [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
        runtime_type = "io.containerd.runc.v2"
    """)
    if daemon.version_info < (2, 2):  # they convert the settings after all files are read
        for path in (tmp_path / "more").iterdir():
            path.unlink()
    (tmp_path / "more" / "3.toml").write_text(f"""
        version = 3
        {settings_of(Path("/third"))}
        [{IMAGES}]
        image_pull_with_sync_fs = false
    """)
    (tmp_path / "last.toml").write_text(f"""
        version = 3
        [{IMAGES}]
        use_local_image_pull = false
        max_concurrent_downloads = 0
        [plugins."io.containerd.image-verifier.v1.bindir"]
        max_verifiers = 0
    """)
    argv = [*daemon.programs.containerd.argv, "--config", str(first), "config", "dump"]
    dumped = tomllib.loads(run(argv, timeout=30).stdout.decode())["plugins"]
    with Daemon(daemon.generation, imports=[first]) as own, Client(own.address) as client:
        settings = read_plugin_settings(process_of(client))
    for name in ("io.containerd.image-verifier.v1.bindir", "io.containerd.cri.v1.images"):
        assert settings[name]
        assert_within(settings[name], dumped[name])


def assert_within(part: Mapping[str, Any], whole: Mapping[str, Any]) -> None:
    for name, value in part.items():
        if isinstance(value, dict):
            assert_within(value, whole[name])
        else:
            assert (name, whole[name]) == (name, value)


def test_settings_that_are_not_visible(daemon: Daemon) -> None:
    if daemon.version_info < (2,):
        pytest.skip("no plugin")
    mirrors = next(setting for setting, name in FORCING.items() if name == "registry.mirrors")
    with Daemon(daemon.generation, extra=mirrors) as own:
        argv = ["unshare", "-m", sys.executable, "-m", "containerd_lite", "-a", own.address]
        done = subprocess.run([*argv, "doctor"], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    (line,) = [line for line in done.stdout.splitlines() if LIST in line]
    assert "unknown" in line
    assert "another mount namespace" in line
    assert "the CRI pulls past image verifiers, because of registry.mirrors" in line


def test_a_socket_that_another_process_serves(daemon: Daemon, tmp_path: Path) -> None:
    """The daemon can then be on another machine, whose files are others."""
    if daemon.version_info < (2,):
        pytest.skip("no plugin")
    with (
        relayed(str(daemon.socket), str(tmp_path / "r.sock")) as address,
        Client(address) as client,
        pytest.raises(FailedPrecondition, match="another process"),
    ):
        process_of(client)


@contextmanager
def relayed(target: str, path: str) -> Iterator[str]:
    """Pass the bytes of connections to a Unix socket on to another one; yield its address."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()
    sockets = [listener]

    def copy(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.socket(socket.AF_UNIX)
                server.connect(target)
                sockets.extend((client, server))
                for pair in ((client, server), (server, client)):
                    threads.append(threading.Thread(target=copy, args=pair))
                    threads[-1].start()

    threads = [threading.Thread(target=accept)]
    threads[0].start()
    try:
        yield f"unix://{path}"
    finally:
        for each in sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in threads:
            thread.join(10)
        for each in sockets:
            each.close()
