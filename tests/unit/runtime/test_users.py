"""Who a user is: the rules of pkg/oci, on files good and bad."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from containerd_lite.errors import ContainerdError, InvalidArgument, NotFound, ResourceExhausted
from containerd_lite.runtime.users.users import (
    MAX_FILE,
    MAX_ID,
    User,
    consists_of_ids,
    find_user,
)

PASSWD = b"""\
# comment:x:no:0
root:x:0:0:root:/root:/bin/sh
toor:x:0:0:root:/toor:/bin/sh

  app:x:1000:1000::/home/app:/bin/sh\r
short:x:7:8
1234:x:5:6::/five:
broken:x:abc:5::/:
nogroup:x:9:-1::/:
huge:x:4294967296:1::/:
plus:x:+5:1::/:
"""
GROUP = b"""\
# comment:x:3:app
root:x:0:root
bin:x:1:root,bin,daemon,toor
wheel:x:10:root,app
app:x:1000:app
audio:x:18:app
empty:x:19:
same:x:20:
same:x:21:
lost:x:zero:app
far:x:2147483648:app
"""


def found(user: str, *groups: str, is_images: bool = False) -> tuple[int, int, tuple[int, ...]]:
    user_ = find_user(PASSWD, GROUP, user, groups, is_images=is_images)
    return user_.uid, user_.gid, user_.additional_gids


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", (0, 0, (0, 1, 10))),  # root lists itself in its own group, which counts once
        ("root", (0, 0, (0, 1, 10))),
        ("0", (0, 0, (0, 1, 10))),
        ("toor", (0, 0, (0, 1))),
        ("app", (1000, 1000, (1000, 10, 18))),
        ("1000", (1000, 1000, (1000, 10, 18))),
        ("short", (7, 8, (8,))),
        ("1234", (1234, 0, (0,))),  # the id, not the name
        ("5", (5, 6, (6,))),
        ("app:wheel", (1000, 10, (10,))),
        ("app:18", (1000, 18, (18,))),
        ("1000:same", (1000, 20, (20,))),
        ("1000:1000", (1000, 1000, (1000,))),
        ("77:88", (77, 88, (88,))),
        ("nogroup:5", (9, 5, (5,))),
        ("9:5", (9, 5, (5,))),
        ("app:", (1000, 0, (0,))),
        (str(MAX_ID), (MAX_ID, 0, (0,))),
        ("0005", (5, 6, (6,))),
    ],
)
def test_users(user: str, expected: tuple[int, int, tuple[int, ...]]) -> None:
    assert found(user) == expected


@pytest.mark.parametrize(
    ("user", "gids"),
    [
        ("1000:18", (10, 18)),  # gid 18 is among them already
        ("app:5", (5, 10, 18)),
        ("toor", (0, 1, 10)),  # the groups of whoever has the id first
        ("", (0, 1, 10)),
        ("77:88", (88,)),
        ("77", (0,)),
    ],
)
def test_an_images_own_user_has_the_groups_of_its_id(user: str, gids: tuple[int, ...]) -> None:
    assert found(user, is_images=True)[2] == gids


def test_groups_that_are_asked_for() -> None:
    assert found("app", "empty", "7", "same")[2] == (1000, 10, 18, 19, 7, 21)
    with pytest.raises(NotFound, match=r"no groups found: /etc/group.*'nosuch'.*number"):
        found("app", "nosuch")
    with pytest.raises(InvalidArgument, match="2147483648"):
        found("app", "2147483648")


def test_homes() -> None:
    homes = [find_user(PASSWD, GROUP, user).home for user in ("", "app", "1000:5", "short", "77")]
    assert homes == ["/root", "/home/app", "/home/app", "", ""]


@pytest.mark.parametrize("user", ["nosuch", "nosuch:0", "app:nosuch", " app", "App", "1e3", "+"])
def test_names_that_are_not_there(user: str) -> None:
    with pytest.raises(NotFound, match=r"no (users|groups) found"):
        found(user)


@pytest.mark.parametrize(
    "number",
    ["2147483648", "4294967296", "10000000000", "9" * 5000, "-1", "-0", "+5", "0x10", "0b1", "1_0",
     "\u0663", "\uff15", "18446744073709551616", "0x", "1\u0663"],
)  # fmt: skip
def test_numbers_that_cannot_be_an_id(number: str) -> None:
    """CVE-2024-40635, CVE-2026-46680: they never become root."""
    for user in (number, f"{number}:0", f"0:{number}", f"app:{number}"):
        for is_images in (False, True):
            with pytest.raises(InvalidArgument, match="not a number up to 2147483647"):
                found(user, is_images=is_images)


@pytest.mark.parametrize("user", ["1:2:3", ":", ":0", ":root", "a:b:c", "::"])
def test_forms_that_there_are_not(user: str) -> None:
    with pytest.raises(InvalidArgument, match=r"more than one colon|no name before the colon"):
        found(user)


@pytest.mark.parametrize("user", ["broken", "broken:0", "huge", "plus", "nogroup", "9", "app:lost",
                                  "app:far"])  # fmt: skip
def test_lines_without_ids_are_nobody(user: str) -> None:
    """A Go client makes 0 of them."""
    with pytest.raises(InvalidArgument, match="no valid ids"):
        found(user)


def test_without_files() -> None:
    def alone(user: str, *groups: str) -> User:
        return find_user(None, None, user, groups)

    assert alone("") == User(0, 0, (0,))
    assert alone("5") == User(5, 0, (0,))
    assert alone("5:6", "7") == User(5, 6, (6, 7))
    for user in ("root", "app", "5:app"):
        with pytest.raises(NotFound):
            alone(user)
    with pytest.raises(NotFound):
        alone("5", "wheel")


def test_which_need_no_files() -> None:
    assert consists_of_ids("1:2")
    assert consists_of_ids("1:2", ("3",))
    for user in ("", "1", "a", "a:1", "1:a", "1:", "1:2:3"):
        assert not consists_of_ids(user)
    assert not consists_of_ids("1:2", ("a",))


def test_a_file_without_end() -> None:
    """CVE-2026-47262."""
    for files in ((b"a" * (MAX_FILE + 1), None), (None, b"a" * (MAX_FILE + 1))):
        with pytest.raises(ResourceExhausted, match="4194304 allowed"):
            find_user(files[0], files[1], "app")


NAMES = st.text(alphabet="ab1+-#:,0 \u0663", max_size=4)
NUMBERS = st.one_of(
    st.integers(-2, 12).map(str), st.sampled_from(["2147483648", "", "x", "+1", "1" * 30])
)
LINES = st.one_of(
    st.builds("{}:x:{}:{}".format, NAMES, NUMBERS, st.one_of(NUMBERS, NAMES)),
    st.builds("{}:x:{}:{}:g:/home:/sh".format, NAMES, NUMBERS, NUMBERS),
    st.text(max_size=12),
)
FILES = st.none() | st.binary(max_size=60) | st.lists(LINES, max_size=8).map(
    lambda lines: "\n".join(lines).encode("utf-8", "surrogatepass")
)  # fmt: skip


@given(FILES, FILES, st.one_of(NAMES, NUMBERS, st.builds("{}:{}".format, NAMES, NUMBERS)),
       st.lists(st.one_of(NAMES, NUMBERS), max_size=2), st.booleans())  # fmt: skip
def test_whatever_the_files(
    passwd: bytes | None, group: bytes | None, user: str, groups: list[str], is_images: bool
) -> None:
    """A typed error, or ids that can be; root only where 0 is asked for or in the file."""
    try:
        found = find_user(passwd, group, user, groups, is_images=is_images)
    except ContainerdError:
        return
    assert all(0 <= id <= MAX_ID for id in (found.uid, found.gid, *found.additional_gids))
    assert found.gid in found.additional_gids
    if found.uid == 0 and user:
        name = user.partition(":")[0]
        lines = [line.strip().split(b":") for line in (passwd or b"").split(b"\n")]
        zeros = [line[0] for line in lines if len(line) > 3 and not line[2].strip(b"0")]
        assert not name.strip("0") or name.encode("utf-8", "surrogatepass") in zeros
