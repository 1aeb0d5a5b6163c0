"""Who a container's process is to be, by the passwd and group files of its root filesystem.

What lives here: reading passwd(5) and group(5), and the rules of containerd's pkg/oci (WithUser,
WithAdditionalGIDs, WithAppendAdditionalGroups).  What may not: where the files come from.

An id that is none makes a Go client's user root, for it reads 0 out of what is no number
(CVE-2024-40635, CVE-2026-46680).  Here it is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NoReturn

from ...errors import InvalidArgument, NotFound, ResourceExhausted
from ...lazy import lazy_pattern
from ...oci.document import quoted
from ...records import record

#: Linux keeps ids in 32 bits, and runc reads them into a signed one.
MAX_ID = (1 << 31) - 1
#: Of a passwd or group file (bytes); containerd's own bound is 10 MiB (CVE-2026-47262).
MAX_FILE = 4 << 20
PASSWD, GROUP = "etc/passwd", "etc/group"

#: What somebody may have meant for a number, in whatever notation or digits.
_NUMERIC = lazy_pattern(r"[+-]?(\d[\d_]*|0[xob][\da-f_]*)", re.IGNORECASE)


@record(frozen=True)
class User:
    """The ids of a process, as the runtime spec has them; ``home`` is ``""`` where none is known.

    ``additional_gids`` has ``gid`` as well, which is what keeps a file that is closed to its
    group closed (CVE-2023-25173).
    """

    uid: int
    gid: int
    additional_gids: tuple[int, ...]
    home: str = ""


@record(frozen=True)
class _Account:
    """A line of passwd(5); an id is ``None`` where the file has none that can be."""

    name: str
    uid: int | None
    gid: int | None
    home: str


@record(frozen=True)
class _Group:
    """A line of group(5)."""

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
    """Who ``user`` is: ``""`` (root), ``name``, ``uid``, ``name:group``, ``uid:gid`` and so on.

    ``passwd`` and ``group`` are the files, ``None`` where there is none.  What is a number is an
    id, also where a name is the same.  A uid that ``passwd`` does not have gets gid 0.  The groups
    that list the user come along, and after them ``groups``, names or ids; but not for
    ``user:group``, unless ``is_images`` says that it is an image's own USER.

    Raises ``InvalidArgument`` for ids that cannot be, ``NotFound`` for names that are not there,
    ``ResourceExhausted`` for files of more than 4 MiB.
    """
    name, colon, group_name = _parts(user)
    accounts, known = _accounts(passwd), _groups(group)
    account = _account(accounts, name)
    uid, gid = _ids(account, name) if user else (0, 0)
    if colon:
        gid = _gid(known, group_name) if group_name else 0
    elif gid is None:
        _broken(name, PASSWD)
    member = account.name if account else name
    if is_images and user:  # pkg/oci asks by the id that it found
        member = next((one.name for one in accounts if one.uid == uid), "")
    listed = _listed(known, member) if is_images or not colon else []
    if gid not in listed:
        listed.insert(0, gid)
    listed += [_gid(known, name, last=True) for name in groups]
    return User(uid, gid, tuple(listed), account.home if account else "")


def is_told_by_ids(user: str, groups: Sequence[str] = ()) -> bool:
    """Whether ``find_user`` needs no files for it, unless it is an image's own."""
    name, colon, group = user.partition(":")
    return bool(colon) and all(map(_NUMERIC.fullmatch, (name, group, *groups)))


def _parts(user: str) -> tuple[str, bool, str]:
    name, colon, group = user.partition(":")
    if ":" in group or (colon and not name):  # pkg/oci takes ":group" for root
        raise InvalidArgument(
            f"user {quoted(user)} cannot be",
            remedy="Give user= as user, uid, user:group or uid:gid",
        )
    return name or "root", bool(colon), group


def _account(accounts: list[_Account], name: str) -> _Account | None:
    uid = _number(name, "user")
    if uid is not None:
        return next((one for one in accounts if one.uid == uid), None)
    return next((one for one in accounts if one.name == name), None)


def _ids(account: _Account | None, name: str) -> tuple[int, int | None]:
    """The ids of a user; a group that cannot be is ``None``, for another may be asked for."""
    uid = _number(name, "user")
    if account is None:
        return (uid, 0) if uid is not None else _missing("users", name, PASSWD)
    return (_broken(name, PASSWD) if account.uid is None else account.uid), account.gid


def _gid(groups: list[_Group], name: str, *, last: bool = False) -> int:
    """The id of a group; of two of one name pkg/oci takes sometimes the last."""
    gid = _number(name, "group")
    if gid is not None:
        return gid
    found = [one for one in groups if one.name == name]
    if not found:
        _missing("groups", name, GROUP)
    gid = found[-1 if last else 0].gid
    return _broken(name, GROUP) if gid is None else gid


def _listed(groups: list[_Group], member: str) -> list[int]:
    """The groups that list somebody, the one of the same name apart."""
    return [
        one.gid
        for one in groups
        if one.gid is not None and member and member in one.members and one.name != member
    ]


def _number(text: str, what: str) -> int | None:
    """The id that ``text`` is, ``None`` for a name."""
    if not _NUMERIC.fullmatch(text):
        return None
    value = _id(text)
    if value is None:
        raise InvalidArgument(
            f"{what} {quoted(text)} is not a number up to {MAX_ID}",
            remedy="Give it in decimal digits, without a sign, or give a name",
        )
    return value


def _id(text: str) -> int | None:
    if text.isascii() and text.isdigit() and len(text) <= 20 and int(text) <= MAX_ID:
        return int(text)
    return None


def _accounts(passwd: bytes | None) -> list[_Account]:
    return [
        _Account(fields[0], _id(fields[2]), _id(fields[3]), (*fields, "", "")[5])
        for fields in _lines(passwd, PASSWD)
        if len(fields) > 3
    ]


def _groups(group: bytes | None) -> list[_Group]:
    return [
        _Group(fields[0], _id(fields[2]), tuple(",".join(fields[3:4]).split(",")))
        for fields in _lines(group, GROUP)
        if len(fields) > 2 and not fields[0].startswith("#")
    ]


def _lines(file: bytes | None, name: str) -> Iterator[list[str]]:
    """The fields of each line, as far as moby/sys/user looks at them."""
    if file is not None and len(file) > MAX_FILE:
        raise ResourceExhausted(f"/{name} has {len(file)} bytes; {MAX_FILE} are read")
    for line in (file or b"").split(b"\n"):
        if line := line.strip():
            yield line.decode("utf-8", "surrogateescape").split(":")


def _missing(kind: str, name: str, file: str) -> NoReturn:
    raise NotFound(
        f"no {kind} found: /{file} of the root filesystem has no {quoted(name)}",
        remedy="Give a number, or a name that is in that file",
    )


def _broken(name: str, file: str) -> NoReturn:
    raise InvalidArgument(
        f"/{file} of the root filesystem has no ids that can be for {quoted(name)}",
        remedy="Give numbers instead",
    )
