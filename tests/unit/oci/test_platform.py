"""Platforms: specifiers, canonical forms, and containerd's order of preference."""

from __future__ import annotations

import pickle

import pytest

from containerd_lite.errors import InvalidArgument
from containerd_lite.oci import platform as platforms
from containerd_lite.oci.document import Document
from containerd_lite.oci.platform import Platform, normalise, parse, rank, vector
from containerd_lite.records import replace

HERE = platforms.default()


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("linux/amd64", Platform("linux", "amd64")),
        ("linux/x86_64", Platform("linux", "amd64")),
        ("Linux/x86-64", Platform("linux", "amd64")),
        ("linux/amd64/v1", Platform("linux", "amd64")),
        ("linux/amd64/v3", Platform("linux", "amd64", "v3")),
        ("linux/i386", Platform("linux", "386")),
        ("linux/386", Platform("linux", "386")),
        ("linux/aarch64", Platform("linux", "arm64")),
        ("linux/arm64/v8", Platform("linux", "arm64")),
        ("linux/arm64/8", Platform("linux", "arm64")),
        ("linux/arm64/v9.2", Platform("linux", "arm64", "v9.2")),
        ("linux/arm", Platform("linux", "arm", "v7")),
        ("linux/arm/7", Platform("linux", "arm", "v7")),
        ("linux/arm/v6", Platform("linux", "arm", "v6")),
        ("linux/armhf", Platform("linux", "arm", "v7")),
        ("linux/armel", Platform("linux", "arm", "v6")),
        ("linux/riscv64", Platform("linux", "riscv64")),
        ("macos/arm64", Platform("darwin", "arm64")),
        ("windows(10.0.17763)/amd64", Platform("windows", "amd64", "", "10.0.17763")),
        ("linux(+erofs)/amd64", Platform("linux", "amd64", os_features=("erofs",))),
        ("linux(+b+a+b)/arm64/v8", Platform("linux", "arm64", os_features=("a", "b"))),
        ("windows(10.0+win32k)/amd64", Platform("windows", "amd64", "", "10.0", ("win32k",))),
        ("linux(a%2Bb+%2528%2F)/amd64", Platform("linux", "amd64", "", "a+b", ("%28/",))),
        ("linux(+erofs)", replace(HERE, os="linux", os_features=("erofs",))),
        ("strange/odd", Platform("strange", "odd")),
        ("arm64", Platform(HERE.os, "arm64")),
        ("ppc64le", Platform(HERE.os, "ppc64le")),
        ("linux", Platform("linux", HERE.architecture, HERE.variant)),
        ("macos", Platform("darwin", HERE.architecture, HERE.variant)),
    ],
)
def test_specifiers(text: str, wanted: Platform) -> None:
    assert parse(text) == wanted
    assert parse(str(wanted)) == wanted


@pytest.mark.parametrize(
    "text",
    ["", "/", "linux/", "/amd64", "linux/*", "*", "a/b/c/d", "linux/amd64/v3/x", "odd", "li nux/a",
     "linux/amd64\n", "linux(/amd64", "linux(+)/amd64", "linux(%zz)/amd64", "linux/amd64/",
     "lin.ux/amd64"],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="linux/amd64"):
        parse(text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("linux/amd64", "linux/amd64 linux/386"),
        ("linux/amd64/v3", "linux/amd64/v3 linux/amd64/v2 linux/amd64 linux/386"),
        ("linux/386", "linux/386"),
        ("linux/arm", "linux/arm/v7 linux/arm/v6 linux/arm/v5"),
        ("linux/arm/v8", "linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5"),
        ("linux/arm/v5", "linux/arm/v5"),
        ("linux/arm64",
         "linux/arm64 linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5"),
        ("linux/arm64/v8.2",
         "linux/arm64/v8.2 linux/arm64/v8.1 linux/arm64 "
         "linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5"),
        ("linux/arm64/v9.1",
         "linux/arm64/v9.1 linux/arm64/v9 linux/arm64/v8.6 linux/arm64/v8.5 linux/arm64/v8.4 "
         "linux/arm64/v8.3 linux/arm64/v8.2 linux/arm64/v8.1 linux/arm64 "
         "linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5"),
        ("linux/s390x", "linux/s390x"),
        ("linux/amd64/strange", "linux/amd64/strange linux/386"),
        ("linux/arm64/v99999999", "linux/arm64/v99999999 "
         "linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5"),
    ],
)  # fmt: skip
def test_the_order_of_preference(text: str, wanted: str) -> None:
    assert [str(platform) for platform in vector(parse(text))] == wanted.split()


def test_ranks() -> None:
    amd64 = parse("linux/amd64")
    assert rank(amd64, Platform("linux", "x86_64", "v1")) == 0
    assert rank(amd64, Platform("linux", "386")) == 1
    assert rank(amd64, Platform("linux", "arm64")) is None
    assert rank(amd64, Platform("windows", "amd64")) is None
    assert rank(amd64, Platform("unknown", "unknown")) is None
    assert rank(amd64, Platform("linux", "amd64", os_features=("x",))) is None
    with_features = Platform("linux", "amd64", os_features=("b", "a"))
    assert [rank(with_features, Platform("linux", "amd64", os_features=features)) for features in (
        (), ("a",), ("b", "a"), ("a", "c"),
    )] == [0, 0, 0, None]  # fmt: skip
    assert rank(parse("linux/arm/v6"), Platform("linux", "arm", "v7")) is None


def test_windows_goes_by_build() -> None:
    wanted = Platform("windows", "amd64", os_version="10.0.17763.1")
    assert rank(wanted, Platform("windows", "amd64", os_version="10.0.17763.999")) == 0
    assert rank(wanted, Platform("windows", "amd64", os_version="10.0.20348.1")) is None
    assert rank(wanted, Platform("windows", "amd64", os_features=("win32k",))) == 0


def test_values() -> None:
    full = Platform("windows", "amd64", "v2", "10.0", ("win32k",))
    assert Platform.read(Document.of(full.to_json(), "platform")) == full
    assert pickle.loads(pickle.dumps(full)) == full
    assert normalise(Platform("", "arm64")).os == HERE.os
    assert normalise(HERE) == HERE
