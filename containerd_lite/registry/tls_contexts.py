"""TLS contexts for connections to a registry, made from the user's certificate files."""

from __future__ import annotations

import ssl
import threading
from pathlib import Path

from urllib3.util.ssl_ import create_urllib3_context

from ..errors import InvalidArgument
from .hosts import TlsFiles


class Contexts:
    """The TLS contexts for one host and for the hosts that it names. Thread-safe.

    The host itself gets the client certificates, and ``skip_verify`` applies to it. For the hosts
    that it names (redirects, token realms), only the certificate authorities apply. They get no
    client certificate, and are always verified. Each context is made when it is first needed.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._contexts: dict[bool, ssl.SSLContext] = {}

    def pool_arguments(self, own: bool) -> dict[str, object]:
        """Return the keyword arguments of a urllib3 pool.

        ``own`` is whether the pool is for the host itself. Raises InvalidArgument if a file cannot
        be used.
        """
        with self._lock:  # making a context reads the system's certificates, so make it only once
            if own not in self._contexts:
                self._contexts[own] = _context(self._files if own else TlsFiles(ca=self._files.ca))
            context = self._contexts[own]
        if own and self._files.skip_verify:
            return {"ssl_context": context, "cert_reqs": "CERT_NONE", "assert_hostname": False}
        # The context says this, too, but urllib3 1.26 does not verify without this argument.
        return {"ssl_context": context, "cert_reqs": "CERT_REQUIRED"}


def _context(files: TlsFiles) -> ssl.SSLContext:
    """Return a context that trusts the system's authorities and those of the files.

    urllib3 makes it, not ``ssl``. urllib3 1.26 compares host names itself, and fails for IP
    addresses if the context compares them, too.
    """
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    if files.skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.load_default_certs()
    for path in files.ca:
        try:
            context.load_verify_locations(cafile=path)
        except OSError as error:  # including ssl.SSLError
            raise InvalidArgument(f"cannot load PEM certificates from {path}") from error
    for certificate, key in files.client:
        _load_pair(context, certificate, key)
    return context


def _load_pair(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    """Add a client certificate and its key to the context. Raises InvalidArgument."""

    def no_password() -> str:
        raise InvalidArgument(
            f"the key of {certificate} is encrypted", remedy="Give a key without a password"
        )

    try:
        context.load_cert_chain(certificate, key, no_password)
    except OSError as error:
        files = certificate if key is None else f"{certificate} and {key}"
        raise InvalidArgument(f"cannot load a PEM certificate and its key from {files}") from error
