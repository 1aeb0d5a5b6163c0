"""Capabilities of a process (capabilities(7)).

What lives here: their names, and what adding and dropping mean.  What may not: who holds them now.
"""

from __future__ import annotations

from collections.abc import Sequence

from .fields import Spec, refuse, section, texts

#: In the order of their bits.
_BITS = """
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE
NET_BIND_SERVICE NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT
SYS_PTRACE SYS_PACCT SYS_ADMIN SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE
AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ
PERFMON BPF CHECKPOINT_RESTORE
"""
KNOWN = tuple(f"CAP_{name}" for name in _BITS.split())
_ALL = "ALL"
_GIVEN = ("bounding", "effective", "permitted")


def of_mask(mask: int) -> list[str]:
    """The names of a mask's bits; bits without a name here have none."""
    return [name for bit, name in enumerate(KNOWN) if mask >> bit & 1]


def set_capabilities(process: Spec, names: Sequence[str]) -> None:
    """Give a process these and no others; what it may hand on shrinks to them."""
    held = section(process, "capabilities")
    for kind in _GIVEN:
        held[kind] = list(names)
    for kind in ("inheritable", "ambient"):
        held[kind] = [name for name in texts(f"spec: {kind}", held.get(kind, ())) if name in names]
    _tidy(held)


def change_capabilities(
    process: Spec, add: object, drop: object, everything: Sequence[str]
) -> None:
    """Add and drop capabilities by name, with or without ``CAP_``.

    ``"all"`` is ``everything`` to add, and whatever there is to drop; it counts first, so that
    what is named beside it is added to nothing, or dropped from everything.  Raises
    ``InvalidArgument`` for a name that is none.
    """
    added, dropped = _names("cap_add", add), _names("cap_drop", drop)
    if _ALL in dropped:
        set_capabilities(process, ())
    held = section(process, "capabilities")
    gained = [name for name in added if name != _ALL]
    if _ALL in added:
        gained = [*everything, *gained]
    for kind in _GIVEN:
        names = dict.fromkeys((*texts(f"spec: {kind}", held.get(kind, ())), *gained))
        held[kind] = [name for name in names if name not in dropped]
    for kind in ("inheritable", "ambient"):
        held[kind] = [
            name for name in texts(f"spec: {kind}", held.get(kind, ())) if name not in dropped
        ]
    _tidy(held)


def _names(option: str, given: object) -> list[str]:
    names = []
    for item in texts(option, given):
        name = item.upper()
        if name not in (_ALL, *KNOWN):
            name = f"CAP_{name}"
        if name not in (_ALL, *KNOWN):
            refuse(option, item, "names of capabilities(7), such as NET_ADMIN, or all")
        names.append(name)
    return names


def _tidy(held: Spec) -> None:
    """An empty set is absent, as Go writes it."""
    for kind in [kind for kind, names in held.items() if not names]:
        del held[kind]
