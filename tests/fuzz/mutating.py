"""Changes documents of Sigstore at random, at every depth.

A document is JSON, PEM, DER or lines of text, and its strings are often the base64 of another
document. A change can be made in the innermost one: the base64 around it is then written again, so
that the change is not lost in the first check.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Sequence
from copy import deepcopy
from random import Random
from typing import Any

#: A step into a document: the key of an object, or ``*`` for any item of a list.
Path = tuple[str, ...]

#: Values that stand where others are expected.
_ODD: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 1.5, 1 << 63, "", "0", "-1", "\ud800", "x" * 5000, [], [[]],
)  # fmt: skip
_NUMBERS = ("0", "-1", "00", "1e3", " 1", "1_0", "\u0661", str((1 << 63) - 1), str(1 << 63))
_KEYS = ("critical", "payload", "signatures", "digest", "extra", "__proto__", "")
_CONFUSABLE = {"k": "\u212a", "s": "\u017f"}
#: Lists grow by at most so many characters.
_LARGE = 1 << 20
#: The orders of the groups P-256, P-384 and P-521.
_ORDERS = (
    0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551,
    0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFC7634D81F4372DDF581A0DB248B0A77AECEC196ACCC52973,
    0x01FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFA51868783BF2F966B7FCC0148F709A5D03BB5C9B8899C47AEBB6FB71E91386409,
)  # fmt: skip


class Pairs(list[Any]):
    """A JSON object as a list of lists ``[key, value]``, so that a key can occur twice."""


class Raw(str):
    """A JSON text that is written as it is."""

    __slots__ = ()


def read(text: str | bytes) -> Any:
    """Parse JSON, with ``Pairs`` in place of objects."""
    return json.loads(text, object_pairs_hook=lambda pairs: Pairs(map(list, pairs)))


def write(value: Any, dice: Random, style: str = "") -> str:
    """Return JSON. A style changes the text, but not the value."""
    space = dice.choice(("", " ", "\n\t", "\r\n")) if style == "spaces" else ""
    if isinstance(value, Raw):
        return value
    if isinstance(value, Pairs):
        pairs = dice.sample(value, len(value)) if style == "order" else value
        parts = [f"{write(k, dice, style)}{space}:{write(v, dice, style)}" for k, v in pairs]
        return f"{{{space}{f',{space}'.join(parts)}{space}}}"
    if isinstance(value, list):
        return f"[{space}{f',{space}'.join(write(each, dice, style) for each in value)}]"
    text = json.dumps(value)
    if isinstance(value, str) and value and style == "escapes":
        at = dice.randrange(len(value))
        head, tail = (json.dumps(part)[1:-1] for part in (value[:at], value[at + 1 :]))
        text = f'"{head}\\u{ord(value[at]) & 0xFFFF:04x}{tail}"'
    return text


# ---- JSON ---------------------------------------------------------------------------------------


class Slot:
    """The place of a value in a document.

    Attributes:
        holder: The list that has the value: a pair of an object, or a list.
        index: The index of the value in ``holder``.
        items: The object or the list that the value is in.
        at: The index of the pair or of the value in ``items``.
    """

    def __init__(self, holder: list[Any], index: int, items: list[Any], at: int) -> None:
        self.holder, self.index, self.items, self.at = holder, index, items, at

    @property
    def key(self) -> str | None:
        """The key of the value in its object."""
        return str(self.holder[0]) if isinstance(self.items, Pairs) else None

    @property
    def value(self) -> Any:
        """The value."""
        return self.holder[self.index]

    @value.setter
    def value(self, value: Any) -> None:
        self.holder[self.index] = value


def _slots(value: Any, start: Path = ()) -> list[Slot]:
    """The places of the value at a path, and of all values below."""
    found: list[Slot] = []
    for at, item in enumerate(value if isinstance(value, list) else ()):
        is_pair = isinstance(value, Pairs)
        if start and start[0] != (item[0] if is_pair else "*"):
            continue
        slot = Slot(item, 1, value, at) if is_pair else Slot(value, at, value, at)
        found += [] if start[1:] else [slot]
        found += _slots(slot.value, start[1:])
    return found


def mutate_json(text: str, dice: Random, others: Sequence[str] = (), start: Path = ()) -> str:
    """Change a JSON text below a path. Parts of ``others`` can take the place of its parts."""
    tree = read(text)
    if dice.random() < 0.1:
        return write(tree, dice, dice.choice(("spaces", "escapes", "order")))
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        slots = _slots(tree, start)
        if slots:
            _change(dice.choice(slots), dice, others)
    return write(tree, dice)


def _change(slot: Slot, dice: Random, others: Sequence[str]) -> None:
    value = slot.value
    what = dice.choice(
        ("inner",) * 12 + ("splice",) * 4 + ("odd", "odd", "delete", "double", "double")
        + ("rename", "rename", "add", "swap", "wrap", "raw", "many")
    )  # fmt: skip
    if what == "inner" and isinstance(value, str):
        slot.value = mutate_text(value, dice)
    elif what == "splice" and others:
        _splice(slot, dice, read(dice.choice(others)))
    elif what == "add" and isinstance(value, Pairs):
        value.insert(dice.randrange(len(value) + 1), [dice.choice(_KEYS), dice.choice(_ODD)])
    elif what == "swap" and isinstance(value, list):
        dice.shuffle(value)
    elif what == "many" and isinstance(value, list) and value:
        most = _LARGE // len(repr(value[0]))
        value += [deepcopy(value[0]) for _ in range(min(dice.choice((1, 40, 2000)), most))]
    elif what == "wrap":
        slot.value = [value] if dice.random() < 0.5 else Pairs([["x", value]])
    elif what == "raw":
        slot.value = Raw(dice.choice(("NaN", "1e999", "01", "-0", "[" * 300 + "]" * 300, "'x'")))
    elif what == "delete":
        del slot.items[slot.at]
    elif what == "double":
        _double(slot, dice)
    elif what == "rename" and slot.key is not None:
        slot.holder[0] = _respelled(slot.key, dice)
    else:
        slot.value = dice.choice(_ODD)


def _double(slot: Slot, dice: Random) -> None:
    """Put an item beside the same item, or a pair beside one with the same key or nearly so."""
    copy = read(write([slot.value], dice))[0]
    if slot.key is not None:
        key = slot.key if dice.random() < 0.5 else _respelled(slot.key, dice)
        copy = [key, dice.choice((copy, dice.choice(_ODD)))]
    slot.items.insert(dice.choice((slot.at, slot.at + 1)), copy)


def _respelled(key: str, dice: Random) -> str:
    """A key that another reader could take for this one."""
    snake = "".join(f"_{char.lower()}" if char.isupper() else char for char in key)
    confusable = "".join(_CONFUSABLE.get(char, char) for char in key)
    return dice.choice((key.upper(), key.lower(), key.title(), snake, confusable, f"{key} "))


def _splice(slot: Slot, dice: Random, other: Any) -> None:
    """Put a part of another document in the place of a part: most often, that of the same key."""
    found = _slots(other)
    fitting = [each for each in found if each.key is not None and each.key == slot.key]
    if found:
        slot.value = dice.choice(fitting if fitting and dice.random() < 0.9 else found).value


# ---- text ---------------------------------------------------------------------------------------


def mutate_text(text: str, dice: Random, others: Sequence[str] = ()) -> str:
    """Change a text by what it is: JSON, PEM, base64, a number, lines, or words."""
    if text[:1] == "{":
        try:
            return mutate_json(text, dice, others)
        except (ValueError, RecursionError):
            return _mutate_words(text, dice)
    if text.startswith("-----BEGIN ") and dice.random() < 0.6:
        return _mutate_pem(text, dice)
    if others and dice.random() < 0.15:
        return dice.choice(others)
    if text.isdigit():
        near = str(max(0, int(text) + dice.choice((-1, 1, 1000))))
        return dice.choice((near, near, f"0{text}", dice.choice(_NUMBERS)))
    data = _decoded(text)
    if data is not None and dice.random() < 0.85:
        return base64.b64encode(mutate_bytes(data, dice)).decode()
    if "\n" in text and dice.random() < 0.7:
        return _mutate_lines(text, dice)
    return _mutate_words(text, dice)


def _decoded(text: str) -> bytes | None:
    try:
        return base64.b64decode(text, validate=True) if len(text) >= 8 else None
    except (ValueError, binascii.Error):
        return None


def _mutate_words(text: str, dice: Random) -> str:
    at, size = dice.randrange(len(text) + 1), dice.choice((1, 1, 2, 30))
    before, piece, behind = text[:at], text[at : at + size], text[at + size :]
    char = dice.choice("\0 \t\n\r=aA_-/.:\u00e9\ud800\u202e")
    return dice.choice(
        (
            before + char + behind,
            before + char + piece + behind,
            before + behind,
            before + piece * 2 + behind,
            before + piece.swapcase() + behind,
            before,
            text.rstrip("="),
            _uncanonical(text),
            text.replace("+", "-").replace("/", "_"),
        )
    )


def _uncanonical(text: str) -> str:
    """Other base64 of the same bytes: the last character has bits that mean nothing."""
    head = text.rstrip("=")
    return f"{head[:-1]}{chr(ord(head[-1:] or 'a') + 1)}{text[len(head) :]}"


def _mutate_lines(text: str, dice: Random) -> str:
    lines = text.split("\n")
    at, to = dice.randrange(len(lines)), dice.randrange(len(lines))
    what = dice.choice(("delete", "double", "move", "words", "inner", "\r"))
    if what == "delete":
        del lines[at]
    elif what == "double":
        lines.insert(to, lines[at])
    elif what == "move":
        lines.insert(to, lines.pop(at))
    elif what == "inner":
        words = lines[at].split(" ")
        words[-1] = mutate_text(words[-1], dice)
        lines[at] = " ".join(words)
    else:
        lines[at] = f"{lines[at]}\r" if what == "\r" else _mutate_words(lines[at], dice)
    return "\n".join(lines)


def _mutate_pem(text: str, dice: Random) -> str:
    head, *lines = text.strip().split("\n")
    data = _decoded("".join(lines[:-1]))
    if data is None or dice.random() < 0.2:
        return dice.choice((text * 2, text.replace("\n", "\r\n"), _mutate_lines(text, dice)))
    body = base64.b64encode(mutate_bytes(data, dice)).decode()
    parts = [body[i : i + 64] for i in range(0, len(body), 64)]
    return "\n".join([head, *parts, lines[-1], ""])


# ---- bytes --------------------------------------------------------------------------------------


def mutate_bytes(
    data: bytes, dice: Random, others: Sequence[bytes] = (), start: Path = ()
) -> bytes:
    """Change bytes by what they are: text, DER, or just bytes."""
    if dice.random() < 0.9 and (start or data[:1] in (b"{", b"-")):
        try:
            text, more = data.decode(), [each.decode() for each in others]
            found = mutate_json(text, dice, more, start) if start else mutate_text(text, dice, more)
            return found.encode("utf-8", "surrogatepass")
        except (ValueError, RecursionError):
            pass
    nodes = _parse_der(data)
    if nodes and dice.random() < 0.8:
        return _mutate_der(nodes, dice)
    return _mutate_octets(data, dice)


def _mutate_octets(data: bytes, dice: Random) -> bytes:
    at, size = dice.randrange(len(data) + 1), dice.choice((1, 1, 2, 40))
    before, piece, behind = data[:at], data[at : at + size], data[at + size :]
    value = dice.choice((1, 0x80, 0xFF, dice.randrange(1, 256)))
    return dice.choice(
        (
            before + bytes(byte ^ value for byte in piece) + behind,
            before + bytes([value]) * size + piece + behind,
            before + piece * 2 + behind,
            before + behind,
            before,
            data + b"\0",
            data[::-1],
        )
    )


#: A node of DER: the tag, and the content or the nodes in it.
Node = list[Any]


def _parse_der(data: bytes) -> list[Node] | None:
    """Return the nodes of DER, or ``None`` for other bytes."""
    nodes, rest = [], data
    while rest:
        if len(rest) < 2 or rest[0] & 0x1F == 0x1F:
            return None
        size, start = rest[1], 2
        if size & 0x80:
            count = size & 0x7F
            size, start = int.from_bytes(rest[2 : 2 + count], "big"), 2 + count
            if not 1 <= count <= 4:
                return None
        content, tag = rest[start : start + size], rest[0]
        if len(content) != size:
            return None
        inner = _parse_der(content) if tag & 0x20 or tag == 4 else None
        nodes.append([tag, content if inner is None else inner])
        rest = rest[start + size :]
    return nodes


def _write_der(nodes: Sequence[Node]) -> bytes:
    out = b""
    for tag, content in nodes:
        body = _write_der(content) if isinstance(content, list) else content
        size = len(body)
        if isinstance(tag, bytes):  # a tag with a length of another form
            out += tag[:1] + (
                b"\x80" + body + b"\0\0" if tag[1:] else b"\x84" + size.to_bytes(4, "big") + body
            )
            continue
        length = bytes([size]) if size < 0x80 else b""
        if not length:
            count = (size.bit_length() + 7) // 8
            length = bytes([0x80 | count]) + size.to_bytes(count, "big")
        out += bytes([tag]) + length + body
    return out


def _mutate_der(nodes: list[Node], dice: Random) -> bytes:
    places: list[tuple[list[Node], int]] = []

    def walk(items: list[Node]) -> None:
        for index, (_, content) in enumerate(items):
            places.append((items, index))
            if isinstance(content, list):
                walk(content)

    walk(nodes)
    items, index = dice.choice(places)
    tag, content = node = items[index]
    changes: dict[str, Callable[[], object]] = {
        "content": lambda: node.__setitem__(1, _mutate_content(tag, content, dice)),
        "tag": lambda: node.__setitem__(
            0, dice.choice((tag ^ 0x20, tag ^ 0x80, 5, 2, 0x30, tag ^ 1))
        ),
        "delete": lambda: items.pop(index),
        "double": lambda: items.insert(index, deepcopy(node)),
        "swap": lambda: dice.shuffle(items),
        "length": lambda: node.__setitem__(0, bytes([tag])),
        "no length": lambda: node.__setitem__(0, bytes([tag, 1])),
        "append": lambda: items.append([5, b""]),
        "pad": lambda: node.__setitem__(1, b"\0" + content),
        "negate": lambda: node.__setitem__(1, _negated(content)),
        "empty": lambda: node.__setitem__(1, b""),
    }
    kinds = ["content"] * 6 + list(changes)
    if isinstance(content, list):
        kinds = [kind for kind in changes if kind not in ("content", "pad", "negate")]
    elif tag == 2 and index == len(items) - 1 == 1:  # the second number of a signature
        kinds += ["negate"] * 10
    changes[dice.choice(kinds)]()
    return _write_der(nodes)


def _mutate_content(tag: int, content: bytes, dice: Random) -> bytes:
    if tag not in (0x17, 0x18) or dice.random() < 0.2:
        return _mutate_octets(content, dice)
    at = dice.randrange(len(content) - 1)  # a digit of a time
    return content[:at] + b"%d" % dice.randrange(10) + content[at + 1 :]


def _negated(content: bytes) -> bytes:
    """The number ``n - s`` for a number ``s``, where ``n`` is the order of the group."""
    value = int.from_bytes(content, "big")
    order = next((each for each in _ORDERS if each > value > 0), 0)
    negated = abs(order - value)
    return negated.to_bytes(negated.bit_length() // 8 + 1, "big")


def twin(signature: bytes) -> bytes:
    """The signature ``(r, n - s)``, which ECDSA accepts where it accepts ``(r, s)``."""
    nodes = _parse_der(signature) or [[0, b""]]
    numbers = nodes[0][1]
    if not isinstance(numbers, list) or [tag for tag, _ in numbers] != [2, 2]:
        return signature  # by another algorithm
    numbers[1][1] = _negated(numbers[1][1])
    return _write_der(nodes)
