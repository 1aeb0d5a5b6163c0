"""Finds the ids of a user in the passwd and group files of a root filesystem.

This module does the same as containerd's pkg/oci (WithUser, WithAdditionalGIDs,
WithAppendAdditionalGroups), but refuses invalid ids. containerd's Go client reads an invalid id as
0, and so the user becomes root (CVE-2024-40635, CVE-2026-46680).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from typing import NoReturn

from ...errors import InvalidArgument, NotFound, ResourceExhausted
from ...lazy import lazy_pattern
from ...printable import quoted
from ...records import record

#: The largest id. Linux has ids of 32 bits, but runc reads them as signed 32-bit numbers.
MAX_ID = (1 << 31) - 1
#: Maximum size of a passwd or group file, in bytes. The limit in containerd is 10 MiB
#: (CVE-2026-47262).
MAX_FILE = 4 << 20
PASSWD, GROUP = "etc/passwd", "etc/group"

#: Pattern of a text that looks like a number, in any notation and in digits of any script. A text
#: that matches is never used as a name.
_NUMERIC = lazy_pattern(r"[+-]?(\d[\d_]*|0[xob][\da-f_]*)", re.IGNORECASE)


@record(frozen=True)
class User:
    """The ids of a process, as in the runtime spec.

    Attributes:
        uid: The user id.
        gid: The gid of the primary group.
        additional_gids: The gids of the supplementary groups, and also ``gid``. Without ``gid`` in
            this list, the process could read files that deny access to its primary group
            (CVE-2023-25173).
        home: The home directory, ``""`` if it is unknown.
    """

    uid: int
    gid: int
    additional_gids: tuple[int, ...]
    home: str = ""


@record(frozen=True)
class _Account:
    """A line of passwd(5). An id is ``None`` if it is not valid in the file."""

    name: str
    uid: int | None
    gid: int | None
    home: str


def find_user(
    passwd: bytes | None,
    group: bytes | None,
    user: str,
    groups: Sequence[str] = (),
    *,
    is_images: bool = False,
) -> User:
    """Return the ids of a user.

    A number always means an id, even if a user or a group in the files has this number as its name.
    If the passwd file does not contain the uid, the gid is 0.

    The supplementary groups are the groups that list the user as a member, and the groups in
    ``groups``. If ``user`` has the form ``user:group``, the supplementary groups are only the
    groups in ``groups``.

    Args:
        passwd: The content of the passwd file, ``None`` if the file does not exist.
        group: The content of the group file, ``None`` if the file does not exist.
        user: ``name``, ``uid``, ``name:group`` or ``uid:gid``. ``""`` means root.
        groups: Names or gids of further supplementary groups. Default: none.
        is_images: Whether ``user`` is the user of the image's config. If true, the groups that list
            the user as a member are added even for the form ``user:group``. The member's name in
            these groups is the first name in the passwd file that has the user's uid.

    Raises:
        InvalidArgument: An id is not valid.
        NotFound: The files do not contain the user's name or a group's name.
        ResourceExhausted: A file is larger than 4 MiB.
    """
    name, colon, group_name = _split_user(user)
    for file, path in ((passwd, PASSWD), (group, GROUP)):
        _check_size(file, path)
    account = _find_account(passwd, name)
    uid, gid = _ids(account, name) if user else (0, 0)
    if colon:
        gid = _find_gids(group, [group_name])[0] if group_name else 0
    elif gid is None:
        _raise_invalid_ids(name, PASSWD)
    member = account.name if account else name
    if is_images and user:  # like pkg/oci, which finds these groups by the uid
        same = _find_by_uid(passwd, uid)
        member = same.name if same else ""
    gids = _gids_with_member(group, member) if is_images or not colon else []
    if gid not in gids:
        gids.insert(0, gid)
    # If several groups have a name that is in ``groups``, pkg/oci uses the last of these groups.
    gids += _find_gids(group, groups, last=True)
    return User(uid, gid, tuple(gids), account.home if account else "")


def consists_of_ids(user: str, groups: Sequence[str] = ()) -> bool:
    """Return whether ``find_user`` needs no files, because user and groups are all ids.

    The result is valid only for a user that the caller gives, not for the user of an image's
    config.
    """
    name, colon, group = user.partition(":")
    return bool(colon) and all(map(_NUMERIC.fullmatch, (name, group, *groups)))


def _split_user(user: str) -> tuple[str, bool, str]:
    name, colon, group = user.partition(":")
    remedy = "Write user= as user, uid, user:group or uid:gid"
    if ":" in group:
        raise InvalidArgument(f"user {quoted(user)} has more than one colon", remedy=remedy)
    if colon and not name:  # pkg/oci would read ":group" as root
        raise InvalidArgument(f"user {quoted(user)} has no name before the colon", remedy=remedy)
    return name or "root", bool(colon), group


def _find_account(passwd: bytes | None, name: str) -> _Account | None:
    uid = _number(name, "user")
    if uid is not None:
        return _find_by_uid(passwd, uid)
    return next((_account(fields) for fields in _accounts(passwd) if fields[0] == name), None)


def _find_by_uid(passwd: bytes | None, uid: int) -> _Account | None:
    found = (fields for fields in _accounts(passwd) if _parse_id(fields[2]) == uid)
    return next(map(_account, found), None)


def _ids(account: _Account | None, name: str) -> tuple[int, int | None]:
    """Return the uid and the gid of a user. The gid is ``None`` if it is not valid in the file."""
    uid = _number(name, "user")
    if account is None:
        return (uid, 0) if uid is not None else _raise_missing("users", name, PASSWD)
    return (_raise_invalid_ids(name, PASSWD) if account.uid is None else account.uid), account.gid


def _find_gids(group: bytes | None, names: Sequence[str], *, last: bool = False) -> list[int]:
    """Return the gids of groups. The file is read once for all names.

    If several groups have a name, use the first group, or the last group if ``last`` is true.
    """
    numbers = [_number(name, "group") for name in names]
    found: dict[str, str] = {}
    if None in numbers:
        wanted = frozenset(names)
        for fields in _groups(group):
            if fields[0] in wanted and (last or fields[0] not in found):
                found[fields[0]] = fields[2]
    gids = []
    for name, number in zip(names, numbers, strict=True):
        if number is None:
            if name not in found:
                _raise_missing("groups", name, GROUP)
            number = _parse_id(found[name])
            if number is None:
                _raise_invalid_ids(name, GROUP)
        gids.append(number)
    return gids


def _gids_with_member(group: bytes | None, member: str) -> list[int]:
    """Return the gids of the groups that list ``member``, except the group named ``member``."""
    found = (
        _parse_id(fields[2])
        for fields in (_groups(group) if member else ())
        if len(fields) > 3 and member in fields[3].split(",") and fields[0] != member
    )
    return [gid for gid in found if gid is not None]


def _number(text: str, what: str) -> int | None:
    """Return ``text`` as an id, or ``None`` if it is a name."""
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


def _account(fields: Sequence[str]) -> _Account:
    return _Account(fields[0], _parse_id(fields[2]), _parse_id(fields[3]), (*fields, "", "")[5])


def _accounts(passwd: bytes | None) -> Iterator[list[str]]:
    """Yield the fields of each line of passwd(5)."""
    return (fields for fields in _lines(passwd) if len(fields) > 3)


def _groups(group: bytes | None) -> Iterator[list[str]]:
    """Yield the fields of each line of group(5)."""
    return (fields for fields in _lines(group) if len(fields) > 2 and not fields[0].startswith("#"))


def _check_size(file: bytes | None, name: str) -> None:
    if file is not None and len(file) > MAX_FILE:
        raise ResourceExhausted(f"/{name} has {len(file)} bytes, more than the {MAX_FILE} allowed")


def _lines(file: bytes | None) -> Iterator[list[str]]:
    """Yield the fields of each line that is not empty, as moby/sys/user does.

    The lines are read one after the other: a file of 4 MiB can have 800,000 lines, and each line
    takes far more memory than its bytes.
    """
    for line in io.BytesIO(file or b""):
        if line := line.strip():
            yield line.decode("utf-8", "surrogateescape").split(":")


def _raise_missing(kind: str, name: str, file: str) -> NoReturn:
    raise NotFound(
        f"no {kind} found: /{file} in the root filesystem has no {quoted(name)}",
        remedy="Use a number, or a name from that file",
    )


def _raise_invalid_ids(name: str, file: str) -> NoReturn:
    raise InvalidArgument(
        f"/{file} in the root filesystem has no valid ids for {quoted(name)}",
        remedy="Use numbers instead",
    )
