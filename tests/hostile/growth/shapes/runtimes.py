"""Shapes of what images, plugins and other programs give to containers."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

from containerd_lite.oci.document import Document
from containerd_lite.oci.spec import mounts, process_object
from containerd_lite.runtime.kept import logger
from containerd_lite.runtime.kept.log_reader import _Lines, _records
from containerd_lite.runtime.network import cni
from containerd_lite.runtime.users.users import MAX_FILE, find_user
from containerd_lite.runtime.watch.logs import _tail_offset
from containerd_lite.services._types import Mount
from containerd_lite.services.filters import Filter
from containerd_lite.services.mount_options import read_only
from tests.hostile.growth.measuring import Shape, repeating


def _filter(value: str) -> object:
    return Filter("labels", value) == value


_USERS = b"root:x:0:0:root:/root:/bin/sh\n"


def _users(user: str) -> Callable[[bytes], object]:
    return lambda body: find_user(_USERS + body, b"", user)


def _groups(user: str, *groups: str) -> Callable[[bytes], object]:
    return lambda body: find_user(_USERS, body, user, groups, is_images=not groups)


def _file(name: str, read: Callable[[Any], object], unit: bytes, **options: Any) -> Shape:
    return repeating("passwd and group", name, read, unit, limit=MAX_FILE - len(_USERS), **options)


def _result(body: bytes) -> object:
    return cni.result_of(body, "bridge")


def _config(body: bytes) -> object:
    return cni.NetworkConfig.of(Document.parse(body, "it", limit=cni.MAX_DOCUMENT))


def _cni(
    name: str,
    read: Callable[[Any], object],
    unit: bytes,
    before: bytes,
    after: bytes,
    **options: Any,
) -> Shape:
    return repeating(
        "CNI",
        name,
        read,
        unit,
        before=before,
        after=after,
        limit=cni.MAX_DOCUMENT,
        memory=64,
        **options,
    )


_CONFIG = b'{"cniVersion":"1.0.0","name":"a","plugins":['


def _env(lines: list[str]) -> object:
    process: dict[str, object] = {"env": lines}
    process_object.change_env(process, process_object.env_pairs("env", lines))
    return process


def _mount(options: list[str]) -> object:
    return read_only(
        Mount("overlay", "overlay", "", ("upperdir=/u", "workdir=/w", "lowerdir=/l", *options))
    )


def _tail(body: bytes) -> object:
    return _tail_offset(io.BytesIO(body), 1 << 30)


def _read_lines(body: bytes) -> None:
    for _ in _Lines().of(_records(io.BytesIO(body), b"")):
        pass


def _write_records(body: bytes) -> None:
    stream = logger.Stream(b"stdout")
    for start in range(0, len(body), 64 << 10):
        stream.records(body[start : start + (64 << 10)])


def _kept_log(name: str, record: bytes) -> Shape:
    return repeating("kept log", name, _read_lines, record, limit=logger.FILE_SIZE)


_NOW = b"2026-12-01T00:00:00.000000000Z"

USERS = [
    _file("users", _users("nobody"), b"a::1:1\n", memory=8),
    _file("users of one uid", _users("0"), b"a::1:1\n", memory=8),
    _file("long ids", _users("1"), b"a::" + b"1" * 5000 + b":1\n", memory=8),
    _file("blank lines", _users("nobody"), b" \n", memory=8),
    _file("one long line", _users("nobody"), b"a", memory=8),
    _file("colons", _users("nobody"), b":", memory=32),
    _file("groups", _groups("root"), b"a::1\n", memory=8),
    _file("groups with the user", _groups("root"), b"a::1:root\n", memory=16),
    _file("groups of wanted names", _groups("root", "a", "a", "a", "a"), b"a::1\n", memory=8),
    _file("members", _groups("root"), b"a,", memory=32),
    repeating("user", "digits", lambda user: find_user(b"", b"", user), "1", limit=4 << 20),
    repeating(
        "user",
        "underscores",
        lambda user: find_user(b"", b"", user),
        "_",
        before="1",
        after="!",
        limit=4 << 20,
    ),
    repeating("user", "colons", lambda user: find_user(b"", b"", user), ":", limit=4 << 20),
]

OTHERS = [
    _cni(
        "addresses",
        _result,
        b'{"address":"10.0.0.1/8"},',
        b'{"ips":[',
        b'{"address":"10.0.0.1/8"}]}',
    ),
    _cni("a long address", _result, b"1:", b'{"ips":[{"address":"', b'"}]}'),
    _cni("a long prefix", _result, b"1", b'{"ips":[{"address":"10.0.0.1/', b'"}]}'),
    _cni("interfaces", _result, b"{},", b'{"interfaces":[', b"{}]}"),
    _cni("plugins", _config, b'{"type":"a"},', _CONFIG, b'{"type":"a"}]}'),
    _cni(
        "a long name",
        _config,
        b"a",
        b'{"cniVersion":"1.0.0","plugins":[{"type":"a"}],"name":"',
        b'"}',
    ),
    Shape(
        "environment",
        "variables",
        lambda n: [f"A{number}=x" for number in range(n)],
        _env,
        1 << 19,
        memory=64,
        is_table=True,
    ),
    Shape("environment", "one variable", lambda n: ["A=x"] * n, _env, 1 << 19, memory=64),
    Shape(
        "mount",
        "options",
        lambda n: [f"a{number}" for number in range(n)],
        _mount,
        1 << 18,
        memory=64,
        is_table=True,
    ),
    repeating("mount", "a line of commas", mounts._split_line, ",", limit=1 << 20, memory=32),
    repeating("mount", "a line of quotes", mounts._split_line, '"",', limit=1 << 20, memory=64),
    repeating("log", "lines", _tail, b"\n", limit=8 << 20),
    _kept_log("lines", _NOW + b" stdout F \n"),
    _kept_log("parts of a line", _NOW + b" stdout P x\n"),
    _kept_log("two streams", _NOW + b" stdout P x\n" + _NOW + b" stderr P x\n"),
    _kept_log("newlines", b"\n"),
    _kept_log("one damaged record", b"x"),
    _kept_log("blanks", b" "),
    # Each record has 41 bytes beside its text.
    repeating("logger", "newlines", _write_records, b"\n", memory=41 * 3),
    repeating("logger", "one long line", _write_records, b"x"),
    repeating("logger", "long lines", _write_records, b"x" * 20_000 + b"\n"),
    repeating("filter", "quotes in a value", _filter, '"', limit=1 << 20, memory=96),
    repeating("filter", "backslashes in a value", _filter, "\\", limit=1 << 20, memory=96),
    repeating("filter", "control characters", _filter, "\x1b\n", limit=1 << 20, memory=32),
    repeating("filter", "a field of many parts", Filter, ".a", before="a", limit=1 << 20),
]

RUNTIMES = [*USERS, *OTHERS]
