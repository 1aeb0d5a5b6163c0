"""Plugins that answer well and badly: scripts, run for real."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from ipaddress import ip_address, ip_interface
from pathlib import Path
from typing import Any

import pytest

from containerd_lite.deadline import Deadline
from containerd_lite.errors import (
    ContainerdError,
    DeadlineExceeded,
    InvalidArgument,
    NotFound,
    ResourceExhausted,
    Unavailable,
    Unknown,
)
from containerd_lite.oci.document import Document
from containerd_lite.runtime.network.attachment import Attachment
from containerd_lite.runtime.network.cni import (
    Dns,
    Interface,
    IPConfig,
    NetworkResult,
    result_of,
)
from containerd_lite.runtime.network.cni_plugin import find_plugin, run_plugin
from containerd_lite.runtime.network.network import Network
from tests.harness.leaks import open_files

Write = Callable[..., Path]

ANSWER: dict[str, Any] = {
    "cniVersion": "1.0.0",
    "interfaces": [{"name": "br0", "mac": "02:00:00:00:00:01"}, {"name": "eth0", "sandbox": "/n"}],
    "ips": [
        {"address": "10.0.0.2/24", "gateway": "10.0.0.1", "interface": 1},
        {"address": "fd00::2/64"},
    ],
    "dns": {"nameservers": ["10.0.0.1"], "domain": "x", "search": ["y"], "options": ["z"]},
    "more": 1,
}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Makes a plugin of a shell script."""

    def write(script: str, name: str = "plugin") -> Path:
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    return write


def run(program: Path, config: dict[str, object] | None = None, timeout: float = 60) -> bytes:
    return run_plugin(program, config or {}, {"CNI_COMMAND": "ADD"}, Deadline(timeout))


# ---- results -------------------------------------------------------------------------------


def test_a_result() -> None:
    found = result_of(json.dumps(ANSWER).encode(), "plugin")
    assert found == NetworkResult(
        (Interface("br0", "02:00:00:00:00:01"), Interface("eth0", "", "/n")),
        (
            IPConfig(ip_interface("10.0.0.2/24"), ip_address("10.0.0.1"), 1),
            IPConfig(ip_interface("fd00::2/64")),
        ),
        Dns(("10.0.0.1",), "x", ("y",), ("z",)),
        ANSWER,
    )
    assert NetworkResult.of(Document(found.raw, "again")) == found


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"garbage",
        b"[]",
        b'{"ips": {}}',
        b'{"ips": [{}]}',
        b'{"ips": [{"address": "10.0.0.256/24"}]}',
        b'{"ips": [{"address": "10.0.0.2/24", "gateway": "gate"}]}',
        b'{"ips": [{"address": "10.0.0.2/24", "interface": 1}], "interfaces": [{"name": "a"}]}',
        b'{"ips": [{"address": "10.0.0.2/24", "interface": -1}]}',
        b'{"interfaces": [{"name": 1}]}',
        b'{"dns": []}',
        b'{"a": 1, "a": 2}',
        b"[" * 200_000,
        b'{"a": "\xff"}',
    ],
)
def test_what_is_no_result(said: bytes) -> None:
    with pytest.raises(Unknown, match="the result of the CNI plugin plugin"):
        result_of(said, "plugin")


# ---- finding -------------------------------------------------------------------------------


def test_the_first_folder_that_has_it(tmp_path: Path, write: Write) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "plugin").mkdir()
    assert find_plugin("plugin", [empty, write("").parent]) == tmp_path / "plugin"
    (tmp_path / "plain").touch(0o644)
    for name in ("plain", "none"):
        with pytest.raises(NotFound, match=f"the CNI plugin {name} is not in .*Install the plugin"):
            find_plugin(name, [empty, tmp_path])
    with pytest.raises(InvalidArgument, match="cannot be a plugin's name"):
        find_plugin("../plugin", [empty])


# ---- running -------------------------------------------------------------------------------


def test_what_a_plugin_gets(write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    config: dict[str, object] = {"pad": "x" * 200_000}  # more than a pipe holds
    program = write('printf "%s " "$PWD" "$#"; env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= | sort')
    where, count, *found = run(program, config).decode().split()
    path = os.environ["PATH"] + ":/usr/local/sbin:/usr/sbin:/sbin"
    assert (where, count, found) == ("/", "0", ["CNI_COMMAND=ADD", f"PATH={path}"])
    assert json.loads(run(write("cat"), config)) == config


@pytest.mark.parametrize(
    ("code", "kind"),
    [(1, InvalidArgument), (7, InvalidArgument), (3, NotFound), (11, Unavailable), (100, Unknown)],
)
def test_an_error_in_the_plugins_own_words(
    write: Write, code: int, kind: type[ContainerdError]
) -> None:
    said = json.dumps({"cniVersion": "1.0.0", "code": code, "msg": "no\x1b luck", "details": "d"})
    program = write(f"echo noise >&2; echo '{said}'; exit 1")
    with pytest.raises(kind) as caught:
        run(program)
    assert type(caught.value) is kind
    assert str(caught.value) == "ADD by the CNI plugin plugin: no\\x1b luck; d"


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("echo panic: oh no >&2; exit 2", "panic: oh no"),
        ("exit 7", "exit code 7"),
        ("kill -9 $$", "signal 9"),
        ("echo garbage; exit 1", "exit code 1"),
        ('echo \'{"code": "x"}\'; echo words >&2; exit 1', "words"),
    ],
)
def test_an_error_in_whatever_is_known(write: Write, script: str, words: str) -> None:
    with pytest.raises(Unknown, match=f"^ADD by the CNI plugin plugin: {words}$"):
        run(write(script))


def test_words_are_bounded(write: Write) -> None:
    with pytest.raises(Unknown) as caught:
        run(write("head -c 1000000 /dev/zero | tr '\\0' x >&2; exit 1"))
    assert len(str(caught.value)) < 600


def test_what_cannot_be_started(tmp_path: Path) -> None:
    program = tmp_path / "plugin"
    program.write_bytes(b"\x7fELF")
    program.chmod(0o755)
    with pytest.raises(Unknown, match="cannot be started"):
        run(program)


@pytest.mark.parametrize("stream", ["1", "2"])
def test_a_plugin_that_goes_on_is_killed_with_its_children(
    tmp_path: Path, write: Write, stream: str
) -> None:
    before = open_files()
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    # Both hold the FIFO open for writing, and one of the two streams.
    program = write(f"exec 9>{fifo}; sleep 1000 & echo x >&9; cat /dev/zero >&{stream}")
    reader = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with pytest.raises((DeadlineExceeded, ResourceExhausted)) as caught:
            run(program, timeout=0.5)
        kinds = {"1": ResourceExhausted, "2": DeadlineExceeded}
        assert type(caught.value) is kinds[stream]
        os.set_blocking(reader, True)
        while os.read(reader, 100):  # its end: nobody is left that could write
            pass
    finally:
        os.close(reader)
    assert open_files() == before


def test_a_plugin_that_hangs(write: Write) -> None:
    with pytest.raises(DeadlineExceeded, match="did not end in time"):
        run(write("exec sleep 1000"), timeout=0.2)
    with pytest.raises(DeadlineExceeded):  # with its streams closed
        run(write("exec sleep 1000 >&- 2>&-"), timeout=0.2)


# ---- chains --------------------------------------------------------------------------------

#: Notes who was called for what, in which namespace, with what result of the one before.
_NOTE = """
config=$(cat)
previous=$(echo "$config" | grep -o '"step": [0-9]*' | tail -n 1)
echo "$CNI_COMMAND ${0##*/} $CNI_CONTAINERID $CNI_NETNS $CNI_IFNAME ${previous:-none}" >> LOG
"""


def chain(write: Write, tmp_path: Path, second: str, version: str = "1.0.0") -> Attachment:
    note = _NOTE.replace("LOG", str(tmp_path / "log"))
    write(note + "[ $CNI_COMMAND = DEL ] || echo '{\"step\": 1}'", "first")
    write(note + second, "second")
    config = {"cniVersion": version, "name": "web"}
    plugins = [{"type": "first"}, {"type": "second"}]
    network = Network.of({**config, "plugins": plugins}, plugins=[tmp_path])
    return Attachment(network, "ns--id", "/nowhere", "gone", "eth0")


def log(tmp_path: Path) -> list[str]:
    return (tmp_path / "log").read_text().splitlines()


def test_a_chain_hands_results_on_and_goes_back(tmp_path: Path, write: Write) -> None:
    planned = chain(write, tmp_path, "echo '{\"step\": 2}'")
    *_, made = planned.add(Deadline(60))
    assert made.result is not None
    assert made.result.raw == {"step": 2}
    assert Attachment.of(Document(json.loads(json.dumps(made.json())), "it")) == made
    made.delete(Deadline(60))
    assert log(tmp_path) == [
        "ADD first ns--id /nowhere eth0 none",
        'ADD second ns--id /nowhere eth0 "step": 1',
        'DEL second ns--id  eth0 "step": 2',  # the namespace is not there, and DEL is told so
        'DEL first ns--id  eth0 "step": 2',
    ]


def test_old_plugins_are_not_told_what_they_made(tmp_path: Path, write: Write) -> None:
    *_, made = chain(write, tmp_path, "echo '{\"step\": 2}'", "0.3.1").add(Deadline(60))
    made.delete(Deadline(60))
    assert [line.endswith("none") for line in log(tmp_path)] == [True, False, True, True]


def test_deleting_goes_on_where_a_plugin_fails(tmp_path: Path, write: Write) -> None:
    planned = chain(write, tmp_path, "echo second failed >&2; exit 1")
    with pytest.raises(Unknown, match="DEL by the CNI plugin second: second failed") as caught:
        planned.delete(Deadline(60))
    assert caught.value.joined == ()
    assert [line.split()[:2] for line in log(tmp_path)] == [["DEL", "second"], ["DEL", "first"]]
    (tmp_path / "first").unlink()
    with pytest.raises(Unknown) as caught:
        planned.delete(Deadline(60))
    assert [type(error) for error in caught.value.joined] == [NotFound]


def test_another_namespace_at_the_path_is_left_alone(tmp_path: Path, write: Write) -> None:
    planned = replace(chain(write, tmp_path, "true"), netns="/proc/self/ns/net")
    replace(planned, netns_id="another").delete(Deadline(60))
    assert [line.split()[3] for line in log(tmp_path)] == ["eth0", "eth0"]  # and no path before


def test_a_summary_fits_into_a_label(tmp_path: Path, write: Write) -> None:
    planned = chain(write, tmp_path, "true")
    assert planned.summary() == "eth0"
    ips = tuple(IPConfig(ip_interface(f"10.0.{n >> 8}.{n & 255}/8")) for n in range(1000))
    many = replace(planned, result=NetworkResult(ips=ips)).summary()
    assert many.startswith("eth0 10.0.0.0 10.0.0.1 ")
    assert 2000 < len(many) <= 2048
    assert ip_address(many.split()[-1]) in {one.address.ip for one in ips}


def test_records_of_no_attachment(tmp_path: Path, write: Write) -> None:
    good = json.loads(json.dumps(chain(write, tmp_path, "true").json()))
    changes: tuple[dict[str, object], ...] = (
        {"network": None},
        {"container": "../x"},
        {"ifname": "a\0b"},
        {"path": ["bin"]},
        {"runtime_config": {"portMappings": []}},
        {"result": []},
        {"netnsId": ""},
    )
    for change in changes:
        with pytest.raises(InvalidArgument):
            Attachment.of(Document({**good, **change}, "the record"))
