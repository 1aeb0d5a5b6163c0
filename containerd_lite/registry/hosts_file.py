"""The hosts of a registry as files tell them: ``hosts.toml``, or Docker's folders of certificates.

What lives here: finding a registry's folder, and reading what is in it (containerd's docs/hosts.md
and core/remotes/docker/config/hosts.go).  What may not: opening a certificate, sending anything.

containerd logs a file that it does not understand, and goes on without it.  Here that is an error:
requests would go past the mirrors and the authorities that somebody wrote down.  No error quotes a
value, for a header may hold a secret, and so may what was meant for one.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from posixpath import normpath
from typing import NoReturn

from ..errors import InvalidArgument
from ..lazy import lazy_pattern
from ..oci.document import Document, quoted
from ..records import record, replace
from .destinations import Url
from .hosts import CAPABILITIES, Host, TlsFiles, own_host

#: Real files have a few kilobytes.
_MAX_FILE = 1 << 20
#: The keys of a table, and how each is written.
_FORMS = {
    "server": 'server = "https://registry.example:5000"',
    "host": '[host."https://mirror.example:5000"]',
    "capabilities": 'capabilities = ["pull", "resolve", "push", "referrers"], or some of these',
    "ca": 'ca = "ca.pem", or a list of such',
    "client": 'client = "both.pem", a list of such, or a list of pairs, [["c.cert", "c.key"]]',
    "skip_verify": "skip_verify = true",
    "header": 'a table header with name = "value", or a list of such values, in ASCII',
    "override_path": "override_path = true",
    "dial_timeout": 'dial_timeout = "10s", or "1m30s", or "500ms"',
}
_MEND = "Mend the file; containerd's docs/hosts.md says how it is written"
#: Where in a file the TOML breaks; the rest of the parser's message may quote the file.
_PLACE = lazy_pattern(r"at line [0-9]+, column [0-9]+|at end of document")

#: A header's name (RFC 9110, section 5.6.2) and value, and names that frame the request.
_TOKEN = lazy_pattern(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = lazy_pattern(r"[\t -~]*")
_FRAMING = frozenset({"host", "content-length", "transfer-encoding", "trailer"})

#: Go's units of time in seconds (time.ParseDuration); micro has two signs.
_UNITS = {"ns": 1e-9, "us": 1e-6, "\u00b5s": 1e-6, "\u03bcs": 1e-6, "ms": 1e-3, "s": 1.0}
_UNITS |= {"m": 60.0, "h": 3600.0}
_QUANTITY = rf"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)({'|'.join(_UNITS)})"
_PART = lazy_pattern(_QUANTITY)
_DURATION = lazy_pattern(rf"\+?(?:{_QUANTITY})+")
#: A socket's time-out has a limit; nobody waits as long for a connection.
_LONGEST_DIAL = 3600.0


def find_hosts(
    namespace: str,
    folders: Sequence[str | os.PathLike[str]] = (),
    plain_http: bool | None = None,
) -> tuple[Host, ...]:
    """The hosts to ask for what the registry ``namespace`` has, in order, the registry itself last.

    ``namespace`` is as references name it (``docker.io``, ``127.0.0.1:5000``, ``[::1]:5000``).
    Each of ``folders`` is like ``/etc/containerd/certs.d``; the first that has a folder for the
    registry, or a ``_default`` one, is used, and no other.  ``plain_http`` is whether the registry
    itself has no TLS, where no file gives the scheme; ``None`` is ``own_host``'s rule.  Raises
    InvalidArgument, naming the file and the key that is wrong.
    """
    own = own_host(namespace, plain_http)
    if namespace in (os.curdir, os.pardir):
        raise InvalidArgument(f"{quoted(namespace)} is not the host of a registry")
    names = _folder_names(namespace)
    for path in (Path(folder).absolute() / name for folder in folders for name in names):
        if _exists(path):
            body = _read(path / "hosts.toml")
            if body:
                return _HostsFile(path / "hosts.toml", namespace, plain_http).hosts(body)
            return (own_host(namespace, plain_http, _certificates(path)),)
    return (own,)


def _folder_names(namespace: str) -> tuple[str, ...]:
    """What the folder of a registry may be called; ``_default`` is for those that have none."""
    host, colon, port = namespace.rpartition(":")
    ported = (f"{host}_{port}_",) if colon and not port.endswith("]") else ()
    return (*ported, namespace, "_default")


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Turns what the file system says into InvalidArgument."""
    try:
        yield
    except (OSError, ValueError) as error:  # a ValueError is of a path that has a NUL
        reason = error.strerror if isinstance(error, OSError) else "it cannot be a path"
        raise InvalidArgument(
            f"{path} cannot be read ({reason})",
            remedy="Make it readable for this user, or leave its folder out",
        ) from error


def _exists(path: Path) -> bool:
    with _reading(path), suppress(FileNotFoundError, NotADirectoryError):
        path.stat()
        return True
    return False


def _read(path: Path) -> bytes:
    """What is in a file; nothing is in one that is not there."""
    body = b""
    with _reading(path), suppress(FileNotFoundError), path.open("rb") as file:
        body = file.read(_MAX_FILE + 1)
    if len(body) > _MAX_FILE:
        raise InvalidArgument(f"{path} has more than the {_MAX_FILE} bytes allowed", remedy=_MEND)
    return body


def _certificates(folder: Path) -> TlsFiles | None:
    """A folder as Docker's ``certs.d`` has them: ``*.crt``, and pairs of ``*.cert`` and ``*.key``.

    ``None`` if there are no such files.
    """
    with _reading(folder):
        files = sorted(path for path in folder.iterdir() if not path.is_dir())
    for path in files:
        other = {".cert": ".key", ".key": ".cert"}.get(path.suffix)
        if other and path.with_suffix(other) not in files:
            raise InvalidArgument(
                f"{path} has no {other} file of the same name beside it",
                remedy=f"Put {path.stem}{other} there, or take {path.name} away",
            )
    ca = tuple(path for path in files if path.suffix == ".crt")
    client = tuple((path, path.with_suffix(".key")) for path in files if path.suffix == ".cert")
    return TlsFiles(ca, client) if ca or client else None


class _Table(Document):
    """A table of the file and the reading of its keys; no error quotes a value."""

    __slots__ = ()

    def _refuse(self, name: str, wanted: str, value: object) -> NoReturn:
        self.refuse(name, f"is not {wanted}")

    def refuse(self, name: str, why: str) -> NoReturn:
        """Raises InvalidArgument for what is under the key ``name``."""
        raise InvalidArgument(f"{self.what}: {name} {why}", remedy=f"Write {_FORMS[name]}")

    def inner(self, name: str) -> dict[str, object]:
        """A table in this one; empty where there is none."""
        value = self.fields.get(name, {})
        if not isinstance(value, dict):
            self.refuse(name, "is not a table")
        return value


@record(frozen=True)
class _HostsFile:
    """One ``hosts.toml``, and the registry that it is read for."""

    path: Path
    namespace: str
    plain_http: bool | None

    def hosts(self, body: bytes) -> tuple[Host, ...]:
        """The hosts that ``body`` lists, then the server.  Raises InvalidArgument."""
        try:
            root = self._table(_parse(body, self.path), str(self.path))
            tables = enumerate(root.inner("host").items(), 1)
            mirrors = [self._mirror(root, place, *entry) for place, entry in tables]
            return (*mirrors, self._server(root))
        except RecursionError:
            raise InvalidArgument(f"{self.path} is nested too deeply", remedy=_MEND) from None
        except InvalidArgument as error:
            error.remedy = error.remedy or _MEND
            raise

    def _table(self, fields: dict[str, object], what: str) -> _Table:
        table = _Table(fields, what)
        table.known(_FORMS)  # which containerd reads in any case; it takes no note of other keys
        return table

    def _mirror(self, root: _Table, place: int, url: str, fields: object) -> Host:
        """The host whose table is headed by ``url``, which may hold a secret that it must not."""
        name = f"number {place}" if set("@?#") & set(url) else quoted(url)
        if not isinstance(fields, dict):
            root.refuse("host", f"{name} is not a table")
        return self._host(self._table(fields, f"{self.path}: host {name}"), "host", url)

    def _server(self, root: _Table) -> Host:
        url = root.text("server")
        if url:
            return self._host(root, "server", url)
        # As containerd: without a server neither path nor capabilities are the file's to change.
        own = own_host(self.namespace, self.plain_http, _tls_files(root, self.path.parent))
        return replace(self._host(root, "server", str(own.base)), capabilities=CAPABILITIES)

    def _host(self, table: _Table, name: str, url: str) -> Host:
        """What ``table`` says of the host at ``url``, which is the value of ``name``."""
        tls = _tls_files(table, self.path.parent)
        return Host(
            self.namespace,
            self._base(table, name, url, tls),
            _capabilities(table),
            tls=tls or TlsFiles(),
            headers=_headers(table),
            dial_timeout=_dial_timeout(table),
        )

    def _base(self, table: _Table, name: str, url: str, tls: TlsFiles | None) -> Url:
        """The root of the API at ``url``, which may lack a scheme, and ``/v2`` in the end."""
        head, mark, rest = url.partition("://")
        address = (rest if mark else head).partition("/")[0]
        if "@" in address:
            table.refuse(name, "is a URL with a user name; credentials have their own place")
        if "?" in url or "#" in url:
            table.refuse(name, "is a URL with a query or a fragment")
        plain_http = self.plain_http if address == self.namespace else None
        try:
            own = own_host(address, plain_http, tls).base
            base = Url.parse(url if mark else f"{own.scheme}://{url}")
        except InvalidArgument:
            base = None
        if base is None:  # not raised above, where its context would hold the other error
            table.refuse(name, "is not an http or https URL")
        path = normpath(f"/{base.target.strip('/')}").rstrip("/")
        if not table.flag("override_path") and not path.endswith("/v2"):
            path += "/v2"
        return replace(base, target=f"{path}/")


def _parse(body: bytes, path: Path) -> dict[str, object]:
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib  # type: ignore[import-not-found, unused-ignore]
    try:
        fields: dict[str, object] = tomllib.loads(body.decode("utf-8"))
    except ValueError as error:
        place = _PLACE.search(str(error))
        found = f" ({place[0]})" if place else ""
        raise InvalidArgument(f"{path} is not valid TOML{found}") from None
    return fields


def _capabilities(table: _Table) -> frozenset[str]:
    found = frozenset(text.lower() for text in table.texts("capabilities"))
    if found - CAPABILITIES:
        table.refuse("capabilities", "has one that is not known")
    return found or CAPABILITIES


def _tls_files(table: _Table, folder: Path) -> TlsFiles | None:
    """The files of TLS, relative ones of ``folder``; ``None`` where the table is silent on TLS."""
    if not any(map(table.has, ("ca", "client", "skip_verify"))):
        return None
    ca = _texts(table.fields.get("ca", []))
    client = table.fields.get("client", [])
    pairs = [client] if isinstance(client, str) else client
    if ca is None:
        table.refuse("ca", "is neither a string nor a list of strings")
    if not isinstance(pairs, list):
        table.refuse("client", "is neither a string nor a list")
    return TlsFiles(
        tuple(_file(table, "ca", text, folder) for text in ca),
        tuple(_pair(table, pair, folder) for pair in pairs),
        table.flag("skip_verify"),
    )


def _pair(table: _Table, pair: object, folder: Path) -> tuple[Path, Path | None]:
    """A certificate and its key; both are in one file if the other is not named, or is empty."""
    names = _texts(pair)
    if names is None or (isinstance(pair, list) and len(names) != 2):
        table.refuse("client", "has something that is neither a file nor a pair of files")
    cert, key = (*names, "")[:2]
    path = _file(table, "client", cert, folder)
    return path, _file(table, "client", key, folder) if key else None


def _file(table: _Table, name: str, text: str, folder: Path) -> Path:
    # Somebody may have put the PEM itself there.
    if not text or any(character < " " for character in text):
        table.refuse(name, "is not the name of a file")
    return folder / text


def _texts(value: object) -> list[str] | None:
    """A string, or a list of them; ``None`` for anything else."""
    values = value if isinstance(value, list) else [value]
    texts = [text for text in values if isinstance(text, str)]
    return texts if len(texts) == len(values) else None


def _headers(table: _Table) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for name, value in table.inner("header").items():
        if not _TOKEN.fullmatch(name) or name.lower() in _FRAMING:
            table.refuse("header", "has a name that a request cannot be given")
        texts = _texts(value)
        if texts is None or not all(map(_VALUE.fullmatch, texts)):
            table.refuse("header", f"has a value that cannot be sent, that of {quoted(name)}")
        found += [(name, text) for text in texts]
    return tuple(found)


def _dial_timeout(table: _Table) -> float | None:
    """Seconds; ``None`` where none are said, or 0, which is no bound to containerd."""
    text = table.text("dial_timeout")
    if text not in ("", "0") and not _DURATION.fullmatch(text):
        table.refuse("dial_timeout", "is not a duration")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(text))
    return min(seconds, _LONGEST_DIAL) or None
