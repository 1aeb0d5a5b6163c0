"""Finds the ids of a user in the passwd and group files of a root filesystem.

It follows containerd's pkg/oci (WithUser, WithAdditionalGIDs, WithAppendAdditionalGroups), but
refuses invalid ids. A Go client reads such an id as 0, which makes the user root (CVE-2024-40635,
CVE-2026-46680).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NoReturn

from ...errors import InvalidArgument, NotFound, ResourceExhausted
from ...lazy import lazy_pattern
from ...oci.document import quoted
from ...records import record

#: The largest id. Ids of Linux have 32 bits, but runc reads them as signed integers.
MAX_ID = (1 << 31) - 1
#: Most bytes of a passwd or group file. containerd allows 10 MiB (CVE-2026-47262).
MAX_FILE = 4 << 20
PASSWD, GROUP = "etc/passwd", "etc/group"

#: A text that may be meant as a number, in any notation and with any digits.
_NUMERIC = lazy_pattern(r"[+-]?(\d[\d_]*|0[xob][\da-f_]*)", re.IGNORECASE)


@record(frozen=True)
class User:
    """The ids of a process, as in the runtime spec.

    Attributes:
        uid: The user id.
        gid: The id of the primary group.
        additional_gids: The ids of the supplementary groups, and ``gid``. Thus a file that denies
            access to this group stays inaccessible (CVE-2023-25173).
        home: The home directory, ``""`` if it is unknown.
    """

    uid: int
    gid: int
    additional_gids: tuple[int, ...]
    home: str = ""


@record(frozen=True)
class _Account:
    """A line of passwd(5). An id is ``None`` if the file has no valid one."""

    name: str
    uid: int | None
    gid: int | None
    home: str


@record(frozen=True)
class _Group:
    """A line of group(5). The id is ``None`` if the file has no valid one."""

    name: str
    gid: int | None
    members: tuple[str, ...]


def find_user(
    passwd: bytes | None,
    group: bytes | None,
    user: str,
    groups: Sequence[str] = (),
    *,
    is_images: bool = False,
) -> User:
    """Return the ids of a user.

    A number is always an id, even if the file has it as a name. A uid that the file does not have
    gets gid 0. The supplementary groups are those that list the user, unless ``user`` names a
    group, and then ``groups``.

    Args:
        passwd: The content of the passwd file, ``None`` if it does not exist.
        group: The content of the group file, ``None`` if it does not exist.
        user: ``""`` (root), ``name``, ``uid``, ``name:group``, ``uid:gid`` and so on.
        groups: Names or ids of further supplementary groups. Default: none.
        is_images: Whether ``user`` is the image's own. Then the supplementary groups are those of
            the first name with the user's uid, even if ``user`` names a group.

    Raises:
        InvalidArgument: An id is not valid.
        NotFound: The files do not have a name.
        ResourceExhausted: A file has more than 4 MiB.
    """
    name, colon, group_name = _parts(user)
    accounts, all_groups = _accounts(passwd), _groups(group)
    account = _account(accounts, name)
    uid, gid = _ids(account, name) if user else (0, 0)
    if colon:
        gid = _gid(all_groups, group_name) if group_name else 0
    elif gid is None:
        _raise_invalid_ids(name, PASSWD)
    member = account.name if account else name
    if is_images and user:  # pkg/oci looks the groups up by uid here
        member = next((entry.name for entry in accounts if entry.uid == uid), "")
    gids = _gids_listing(all_groups, member) if is_images or not colon else []
    if gid not in gids:
        gids.insert(0, gid)
    # pkg/oci uses the last group of a name here.
    gids += [_gid(all_groups, name, last=True) for name in groups]
    return User(uid, gid, tuple(gids), account.home if account else "")


def consists_of_ids(user: str, groups: Sequence[str] = ()) -> bool:
    """Return whether ``find_user`` needs no files for a user that is not an image's own."""
    name, colon, group = user.partition(":")
    return bool(colon) and all(map(_NUMERIC.fullmatch, (name, group, *groups)))


def _parts(user: str) -> tuple[str, bool, str]:
    name, colon, group = user.partition(":")
    if ":" in group or (colon and not name):  # pkg/oci reads ":group" as root
        raise InvalidArgument(
            f"user {quoted(user)} is not valid",
            remedy="Write user= as user, uid, user:group or uid:gid",
        )
    return name or "root", bool(colon), group


def _account(accounts: list[_Account], name: str) -> _Account | None:
    uid = _number(name, "user")
    if uid is not None:
        return next((entry for entry in accounts if entry.uid == uid), None)
    return next((entry for entry in accounts if entry.name == name), None)


def _ids(account: _Account | None, name: str) -> tuple[int, int | None]:
    """Return the uid and the gid of a user.

    The gid is ``None`` if the file has no valid one. The caller may not need it.
    """
    uid = _number(name, "user")
    if account is None:
        return (uid, 0) if uid is not None else _raise_missing("users", name, PASSWD)
    return (_raise_invalid_ids(name, PASSWD) if account.uid is None else account.uid), account.gid


def _gid(groups: list[_Group], name: str, *, last: bool = False) -> int:
    """Return the id of a group. If several have the name, use the first, or the ``last``."""
    gid = _number(name, "group")
    if gid is not None:
        return gid
    found = [entry for entry in groups if entry.name == name]
    if not found:
        _raise_missing("groups", name, GROUP)
    gid = found[-1 if last else 0].gid
    return _raise_invalid_ids(name, GROUP) if gid is None else gid


def _gids_listing(groups: list[_Group], member: str) -> list[int]:
    """Return the ids of the groups that list a user, except the group with the user's name."""
    return [
        entry.gid
        for entry in groups
        if entry.gid is not None and member and member in entry.members and entry.name != member
    ]


def _number(text: str, what: str) -> int | None:
    """Return ``text`` as an id, ``None`` if it is a name."""
    if not _NUMERIC.fullmatch(text):
        return None
    value = _parse_id(text)
    if value is None:
        raise InvalidArgument(
            f"{what} {quoted(text)} is not a number up to {MAX_ID}",
            remedy="Use decimal digits without a sign, or a name",
        )
    return value


def _parse_id(text: str) -> int | None:
    if text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= MAX_ID:
        return int(text)
    return None


def _accounts(passwd: bytes | None) -> list[_Account]:
    return [
        _Account(fields[0], _parse_id(fields[2]), _parse_id(fields[3]), (*fields, "", "")[5])
        for fields in _lines(passwd, PASSWD)
        if len(fields) > 3
    ]


def _groups(group: bytes | None) -> list[_Group]:
    return [
        _Group(fields[0], _parse_id(fields[2]), tuple(",".join(fields[3:4]).split(",")))
        for fields in _lines(group, GROUP)
        if len(fields) > 2 and not fields[0].startswith("#")
    ]


def _lines(file: bytes | None, name: str) -> Iterator[list[str]]:
    """Yield the fields of each line that is not empty, like moby/sys/user."""
    if file is not None and len(file) > MAX_FILE:
        raise ResourceExhausted(f"/{name} has {len(file)} bytes, more than the {MAX_FILE} allowed")
    for line in (file or b"").split(b"\n"):
        if line := line.strip():
            yield line.decode("utf-8", "surrogateescape").split(":")


def _raise_missing(kind: str, name: str, file: str) -> NoReturn:
    raise NotFound(
        f"no {kind} found: /{file} of the root filesystem has no {quoted(name)}",
        remedy="Use a number, or a name from that file",
    )


def _raise_invalid_ids(name: str, file: str) -> NoReturn:
    raise InvalidArgument(
        f"/{file} of the root filesystem has no valid ids for {quoted(name)}",
        remedy="Use numbers instead",
    )
