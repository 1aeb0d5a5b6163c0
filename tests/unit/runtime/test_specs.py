"""A spec from an image's config and options."""

from __future__ import annotations

from typing import Any, cast

import pytest

from containerd_lite.errors import InvalidArgument
from containerd_lite.oci.config import ImageConfig
from containerd_lite.oci.platform import Platform
from containerd_lite.runtime.spec.options import SpecOptions
from containerd_lite.runtime.spec.specs import make_spec

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def process(**options: Any) -> Any:
    args = options.pop("args", None)
    config = ImageConfig(Platform("linux", "amd64"), (), **options.pop("config", {}))
    return make_spec("ns", "id", config, args, cast(SpecOptions, options))["process"]


@pytest.mark.parametrize(
    ("config", "args", "found"),
    [
        ({"cmd": ("a", "b")}, None, ["a", "b"]),
        ({"cmd": ("a",)}, ["x"], ["x"]),
        ({"entrypoint": ("e",), "cmd": ("a",)}, None, ["e", "a"]),
        ({"entrypoint": ("e",), "cmd": ("a",)}, ["x", "y"], ["e", "x", "y"]),
        ({"entrypoint": ("e",)}, [], ["e"]),
        ({}, ("x",), ["x"]),
    ],
)
def test_args(config: Any, args: Any, found: list[str]) -> None:
    assert process(config=config, args=args)["args"] == found


def test_something_must_run() -> None:
    with pytest.raises(InvalidArgument, match="what to run"):
        process()
    with pytest.raises(InvalidArgument, match="what to run"):
        make_spec("ns", "id", None)
    with pytest.raises(InvalidArgument, match="list of strings"):
        process(args="ls -l")


def test_environment() -> None:
    config = {"env": ("A=1", "B=2", "EMPTY=", "NAKED"), "cmd": ("x",)}
    env = process(config=config, env={"B": "3", "C": "x=y"})["env"]
    assert env == ["A=1", "B=3", "EMPTY=", "NAKED=", "C=x=y"]
    assert process(config={"env": ("PATH=/bin",), "cmd": ("x",)})["env"] == ["PATH=/bin"]
    assert process(args=["x"], env={"A": "1"})["env"] == [PATH, "A=1"]
    assert process(config=config, env={"A": None, "PATH": None})["env"] == [
        "B=2",
        "EMPTY=",
        "NAKED=",
    ]
    for bad in ({"": "x"}, {"A=": "x"}, {"A": "\0"}):
        with pytest.raises(InvalidArgument, match="environment"):
            process(args=["x"], env=bad)


def test_directory() -> None:
    assert process(args=["x"])["cwd"] == "/"
    assert process(args=["x"], config={"working_dir": "/w"})["cwd"] == "/w"
    assert process(args=["x"], config={"working_dir": "/w"}, cwd="/c")["cwd"] == "/c"


@pytest.mark.parametrize(
    ("image", "given", "ids"),
    [
        ("", None, (0, 0)),
        ("root", None, (0, 0)),
        ("7", None, (7, 0)),
        ("7:8", None, (7, 8)),
        ("7:8", "9", (9, 0)),
        ("name", "2147483647:0", (2147483647, 0)),
    ],
)
def test_user(image: str, given: str | None, ids: tuple[int, int]) -> None:
    found = process(args=["x"], config={"user": image}, user=given)["user"]
    # CVE-2023-25173: the primary group is among the additional ones.
    assert found == {"uid": ids[0], "gid": ids[1], "additionalGids": [ids[1]]}


NO_USERS = (
    "name", "1:name", "-1", "2147483648", "4294967296", "10000000000", "1:2147483648", "1:", ":1",
    "1:2:3", "0x10", " 1", "1" * 500, "\u0663",
)  # fmt: skip


@pytest.mark.parametrize("user", NO_USERS)
def test_users_that_cannot_be(user: str) -> None:
    """CVE-2024-40635, CVE-2026-46680: an id that overflows must not become root's."""
    with pytest.raises(InvalidArgument, match="not consist of ids"):
        process(args=["x"], user=user)
    with pytest.raises(InvalidArgument, match="not consist of ids"):
        process(args=["x"], config={"user": user})


def test_the_cgroup_is_the_namespaces() -> None:
    linux: Any = make_spec("ns", "id", None, ["x"])["linux"]
    assert linux["cgroupsPath"] == "/ns/id"
