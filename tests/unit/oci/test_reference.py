"""References: the grammar of distribution's reference package and normalize.go, row by row."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from containerd_lite.errors import InvalidArgument
from containerd_lite.oci.reference import Reference

HEX = "0123456789abcdef" * 4
D = f"sha256:{HEX}"
D512 = f"sha512:{HEX * 2}"
LONG = "a" * 247  # with "library/" exactly 255

# text → host, repository, tag, digest
ACCEPTED = [
    # familiar names
    ("busybox", "docker.io", "library/busybox", "latest", ""),
    ("busybox:1.36", "docker.io", "library/busybox", "1.36", ""),
    ("busybox:latest", "docker.io", "library/busybox", "latest", ""),
    (f"busybox@{D}", "docker.io", "library/busybox", "", D),
    (f"busybox:1.36@{D}", "docker.io", "library/busybox", "1.36", D),
    (f"busybox@{D512}", "docker.io", "library/busybox", "", D512),
    ("library/busybox", "docker.io", "library/busybox", "latest", ""),
    ("team/app", "docker.io", "team/app", "latest", ""),
    ("team/app:v1", "docker.io", "team/app", "v1", ""),
    ("a/b/c/d", "docker.io", "a/b/c/d", "latest", ""),
    ("docker/docker", "docker.io", "docker/docker", "latest", ""),
    ("a", "docker.io", "library/a", "latest", ""),
    ("0", "docker.io", "library/0", "latest", ""),
    ("docker.io", "docker.io", "library/docker.io", "latest", ""),
    ("localhost", "docker.io", "library/localhost", "latest", ""),
    ("example.com", "docker.io", "library/example.com", "latest", ""),
    ("host:5000", "docker.io", "library/host", "5000", ""),
    # docker.io and its old name
    ("docker.io/busybox", "docker.io", "library/busybox", "latest", ""),
    ("docker.io/busybox:1", "docker.io", "library/busybox", "1", ""),
    (f"docker.io/busybox@{D}", "docker.io", "library/busybox", "", D),
    ("docker.io/library/busybox", "docker.io", "library/busybox", "latest", ""),
    ("docker.io/team/app", "docker.io", "team/app", "latest", ""),
    ("index.docker.io/busybox", "docker.io", "library/busybox", "latest", ""),
    ("index.docker.io/team/app:2", "docker.io", "team/app", "2", ""),
    ("docker.io/library/a/b", "docker.io", "library/a/b", "latest", ""),
    ("registry-1.docker.io/library/a", "registry-1.docker.io", "library/a", "latest", ""),
    ("docker.io:443/busybox", "docker.io:443", "busybox", "latest", ""),
    # what makes the first component a host
    ("localhost/app", "localhost", "app", "latest", ""),
    ("localhost/team/app:1", "localhost", "team/app", "1", ""),
    ("localhost:5000/app", "localhost:5000", "app", "latest", ""),
    ("localhost:5000/app:1", "localhost:5000", "app", "1", ""),
    (f"localhost:5000/app:1@{D}", "localhost:5000", "app", "1", D),
    ("host/app", "docker.io", "host/app", "latest", ""),
    ("host:5000/app", "host:5000", "app", "latest", ""),
    ("host:5000/app:5000", "host:5000", "app", "5000", ""),
    ("quay.io/app", "quay.io", "app", "latest", ""),
    ("quay.io/team/app:v1", "quay.io", "team/app", "v1", ""),
    ("registry.example.com/a/b/c:t", "registry.example.com", "a/b/c", "t", ""),
    ("registry.example.com:8443/a", "registry.example.com:8443", "a", "latest", ""),
    ("a.b/c", "a.b", "c", "latest", ""),
    ("HOST/app", "HOST", "app", "latest", ""),
    ("Host.Example/app", "Host.Example", "app", "latest", ""),
    ("xn--n3h.com/app", "xn--n3h.com", "app", "latest", ""),
    ("xn--n3h.com:18080/app", "xn--n3h.com:18080", "app", "latest", ""),
    ("127.0.0.1/app", "127.0.0.1", "app", "latest", ""),
    ("127.0.0.1:5000/app:1", "127.0.0.1:5000", "app", "1", ""),
    ("192.168.1.1/app", "192.168.1.1", "app", "latest", ""),
    ("1.2/app", "1.2", "app", "latest", ""),
    ("a--b.example/app", "a--b.example", "app", "latest", ""),
    ("0.example/app", "0.example", "app", "latest", ""),
    # IPv6
    ("[::1]/app", "[::1]", "app", "latest", ""),
    ("[::1]:5000/app", "[::1]:5000", "app", "latest", ""),
    ("[::1]:5000/app:1", "[::1]:5000", "app", "1", ""),
    (f"[2001:db8::1]:443/a/b@{D}", "[2001:db8::1]:443", "a/b", "", D),
    ("[FE80::A]/app", "[FE80::A]", "app", "latest", ""),
    ("[2001:db8:3:4::]:5000/team/app:x", "[2001:db8:3:4::]:5000", "team/app", "x", ""),
    # separators of a path component
    ("a.b", "docker.io", "library/a.b", "latest", ""),
    ("a_b", "docker.io", "library/a_b", "latest", ""),
    ("a__b", "docker.io", "library/a__b", "latest", ""),
    ("a-b", "docker.io", "library/a-b", "latest", ""),
    ("a--b", "docker.io", "library/a--b", "latest", ""),
    ("a-----b", "docker.io", "library/a-----b", "latest", ""),
    ("a.b_c-d__e--f", "docker.io", "library/a.b_c-d__e--f", "latest", ""),
    ("foo_bar/baz__q", "docker.io", "foo_bar/baz__q", "latest", ""),
    ("a/b.c/d", "docker.io", "a/b.c/d", "latest", ""),
    ("quay.io/a__b/c--d", "quay.io", "a__b/c--d", "latest", ""),
    ("a/localhost/b", "docker.io", "a/localhost/b", "latest", ""),
    # tags
    ("a:b", "docker.io", "library/a", "b", ""),
    ("a:B", "docker.io", "library/a", "B", ""),
    ("a:_", "docker.io", "library/a", "_", ""),
    ("a:_x.-", "docker.io", "library/a", "_x.-", ""),
    ("a:0", "docker.io", "library/a", "0", ""),
    ("a:1.2.3-rc.1_x", "docker.io", "library/a", "1.2.3-rc.1_x", ""),
    ("a:" + "t" * 128, "docker.io", "library/a", "t" * 128, ""),
    # lengths
    (LONG, "docker.io", f"library/{LONG}", "latest", ""),
    ("quay.io/" + "a" * 255, "quay.io", "a" * 255, "latest", ""),
    ("quay.io/" + "a/" * 127 + "a", "quay.io", "a/" * 127 + "a", "latest", ""),
    (HEX[:-1], "docker.io", f"library/{HEX[:-1]}", "latest", ""),
    (HEX + "0", "docker.io", f"library/{HEX}0", "latest", ""),
    (f"quay.io/{HEX}", "quay.io", HEX, "latest", ""),
    (D, "docker.io", "library/sha256", HEX, ""),
]

REFUSED = [
    "", " ", "/", ":", "@", ":tag", f"@{D}", "a:", "a@", "a/", "/a", "//a", "a//b", "quay.io/",
    "quay.io//a", "localhost:5000/", "localhost/", "docker.io/", "docker.io/:tag",
    # capitals in the repository
    "Busybox", "BUSYBOX", "team/App", "quay.io/Team/app", "docker.io/Library/busybox", "aA:tag",
    # separators at the ends, and too many
    "-a", "a-", ".a", "a.", "_a", "a_", "a..b", "a___b", "a._b", "a.-b", "a-_b", "quay.io/-a",
    "quay.io/a-", "quay.io/a/.b", "quay.io/a/b_",
    # characters that may not be
    "a b", "a\tb", "a\n", "a\r\n", "a\0", "ä", "a/ä", "a:ä",
    "quay.io/\N{FULLWIDTH LATIN SMALL LETTER A}", "a~b", "a+b", "a%2fb",
    "a\\b", "a?b", "a#b", "a$b", "../a", "a/../b", "./a", "a/./b", "http://quay.io/a",
    "https://quay.io/a:t", "user@quay.io/a", "user:pw@quay.io/a",
    # hosts
    "-host.com/a", "host-.com/a", "a..b/c", ".com/a", "host:/a", "host:port/a", "host:50 00/a",
    "ho_st.com/a", "h*.com/a", "[::1/a", "::1]/a", "::1/a", "[]/a", "[g::1]/a", "[fe80::1%eth0]/a",
    "[::ffff:1.2.3.4]/a", "[::1]a/b", "[::1]:/a", "[::1]:x/a", "[::1]", "host:1:2/a",
    # tags
    "a:.", "a:-", "a:.x", "a:-x", "a:x:y", "a:x/y", "a:+", "a:x y", "a:" + "t" * 129,
    # digests
    "a@sha256", "a@sha256:", f"a@sha256:{HEX[:-1]}", f"a@sha256:{HEX}0", f"a@sha256:{HEX.upper()}",
    f"a@SHA256:{HEX}", f"a@md5:{HEX[:32]}", f"a@sha384:{HEX}{HEX[:32]}", f"a@sha512:{HEX}",
    "a@sha256:../canary", f"a@{D}@{D}", f"a@{D}:tag", f"a:t@{D}/b", f"a@{D} ", f"a@:{HEX}",
    f"a@sha256+b64:{HEX}",
    # lengths and identifiers
    HEX, LONG + "a", "quay.io/" + "a" * 256, "a" * 2000, "a." * 600 + "b/c",
]  # fmt: skip


def test_the_table_is_as_long_as_promised() -> None:
    assert len(ACCEPTED) + len(REFUSED) >= 120
    assert len({row[0] for row in ACCEPTED}) == len(ACCEPTED)
    assert len(set(REFUSED)) == len(REFUSED)


@pytest.mark.parametrize(("text", "host", "repository", "tag", "digest"), ACCEPTED)
def test_accepted(text: str, host: str, repository: str, tag: str, digest: str) -> None:
    found = Reference.parse(text)
    assert found == Reference(host, repository, tag, digest)
    assert Reference.parse(str(found)) == found


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Reference.parse(text)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("text", "full", "familiar", "target"),
    [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest", "latest"),
        ("team/app:1", "docker.io/team/app:1", "team/app:1", "1"),
        (f"a:1@{D}", f"docker.io/library/a:1@{D}", f"a:1@{D}", D),
        (f"quay.io/a@{D}", f"quay.io/a@{D}", f"quay.io/a@{D}", D),
        ("docker.io/library/a/b:1", "docker.io/library/a/b:1", "library/a/b:1", "1"),
        ("localhost/library/a", "localhost/library/a:latest", "localhost/library/a:latest",
         "latest"),
    ],
)  # fmt: skip
def test_the_ways_to_write_it(text: str, full: str, familiar: str, target: str) -> None:
    found = Reference.parse(text)
    assert (str(found), found.familiar, found.target) == (full, familiar, target)
    assert found.name == f"{found.host}/{found.repository}"


def test_pinning_and_pickling() -> None:
    found = Reference.parse("busybox").with_digest(D)
    assert str(found) == f"docker.io/library/busybox:latest@{D}"
    assert pickle.loads(pickle.dumps(found)) == found
    with pytest.raises(InvalidArgument):
        found.with_digest("sha256:short")


@given(st.text(alphabet="aA0._-/:@[]sha256 \n", max_size=80))
def test_whatever_is_accepted_comes_back_the_same(text: str) -> None:
    try:
        found = Reference.parse(text)
    except InvalidArgument:
        return
    assert Reference.parse(str(found)) == found
    assert Reference.parse(found.familiar) == found
