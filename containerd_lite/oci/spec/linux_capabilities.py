"""Capabilities of a process (capabilities(7)): their names, and how options change them."""

from __future__ import annotations

from collections.abc import Sequence

from .fields import Spec, refuse, section, texts

#: The names of all capabilities, in the order of their bits.
_NAMES = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE
AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ
PERFMON BPF CHECKPOINT_RESTORE
"""
KNOWN = tuple(f"CAP_{name}" for name in _NAMES.split())
_ALL = "ALL"
#: The sets that receive new capabilities. This module adds no capabilities to the other sets.
_GRANTED_SETS = ("bounding", "effective", "permitted")


def of_mask(mask: int) -> list[str]:
    """Return the names of the capabilities in a bit mask; unknown bits are ignored."""
    return [name for bit, name in enumerate(KNOWN) if mask >> bit & 1]


def set_capabilities(process: Spec, names: Sequence[str]) -> None:
    """Give a process exactly the capabilities in ``names``.

    Capabilities that are not in ``names`` are removed from the inheritable and ambient sets.
    """
    sets = section(process, "capabilities")
    for kind in _GRANTED_SETS:
        sets[kind] = list(names)
    for kind in ("inheritable", "ambient"):
        sets[kind] = [name for name in texts(f"spec: {kind}", sets.get(kind, ())) if name in names]
    _remove_empty(sets)


def change_capabilities(process: Spec, add: object, drop: object, all_names: Sequence[str]) -> None:
    """Add and drop capabilities.

    The names in ``add`` and ``drop`` can omit the prefix ``CAP_``. If ``drop`` contains ``"all"``,
    the process has only the capabilities in ``add``. If ``add`` contains ``"all"``, the process
    gets all capabilities in ``all_names`` that are not in ``drop``.

    Raises:
        InvalidArgument: ``add`` or ``drop`` contains an unknown capability.
    """
    added, dropped = _check_names("cap_add", add), _check_names("cap_drop", drop)
    if _ALL in dropped:
        set_capabilities(process, ())
    sets = section(process, "capabilities")
    gained = [name for name in added if name != _ALL]
    if _ALL in added:
        gained = [*all_names, *gained]
    for kind in _GRANTED_SETS:
        names = dict.fromkeys((*texts(f"spec: {kind}", sets.get(kind, ())), *gained))
        sets[kind] = [name for name in names if name not in dropped]
    for kind in ("inheritable", "ambient"):
        sets[kind] = [
            name for name in texts(f"spec: {kind}", sets.get(kind, ())) if name not in dropped
        ]
    _remove_empty(sets)


def set_ambient(process: Spec, names: object, all_names: Sequence[str]) -> None:
    """Add capabilities to the ambient set, and to all other sets, which the kernel requires.

    Raises:
        InvalidArgument: ``names`` contains an unknown capability.
    """
    added = _check_names("cap_ambient", names)
    if _ALL in added:
        added = [*all_names, *(name for name in added if name != _ALL)]
    sets = section(process, "capabilities")
    for kind in (*_GRANTED_SETS, "inheritable", "ambient"):
        sets[kind] = list(dict.fromkeys((*texts(f"spec: {kind}", sets.get(kind, ())), *added)))
    _remove_empty(sets)


def _check_names(option: str, value: object) -> list[str]:
    """Return the names in upper case and with the prefix ``CAP_``. ``ALL`` gets no prefix."""
    names = []
    for item in texts(option, value):
        name = item.upper()
        if name not in (_ALL, *KNOWN):
            name = f"CAP_{name}"
        if name not in (_ALL, *KNOWN):
            refuse(option, item, "names from capabilities(7), such as NET_ADMIN, or the name all")
        names.append(name)
    return names


def _remove_empty(sets: Spec) -> None:
    """Remove empty sets, because Go omits empty sets from the JSON."""
    for kind in [kind for kind, names in sets.items() if not names]:
        del sets[kind]
