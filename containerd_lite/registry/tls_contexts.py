"""What to believe and to show when a registry is spoken to over TLS.

What lives here: from files to a context, once for each kind of peer.  What may not: connecting.
"""

from __future__ import annotations

import ssl
import threading
from pathlib import Path

from urllib3.util.ssl_ import create_urllib3_context

from ..errors import InvalidArgument
from .hosts import TlsFiles


class Contexts:
    """The contexts of one host's client, made when first needed; thread-safe.

    The host itself is shown the client certificates, and believed as it is configured.  Others
    that it names (redirects, token realms) may be vouched for by the same authorities, and no
    more: neither a key nor ``skip_verify`` is meant for them.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._made: dict[bool, ssl.SSLContext] = {}

    def pool_arguments(self, own: bool) -> dict[str, object]:
        """The keywords of a urllib3 pool; ``own`` tells whether it leads to the host itself.

        Raises InvalidArgument for files that cannot be used.
        """
        with self._lock:  # it reads the system's certificates: not before it is needed, and once
            if own not in self._made:
                self._made[own] = _context(self._files if own else TlsFiles(ca=self._files.ca))
            context = self._made[own]
        if own and self._files.skip_verify:
            return {"ssl_context": context, "cert_reqs": "CERT_NONE", "assert_hostname": False}
        # Said here too, for urllib3 1.26 does not verify unless it is told to.
        return {"ssl_context": context, "cert_reqs": "CERT_REQUIRED"}


def _context(files: TlsFiles) -> ssl.SSLContext:
    """A context that trusts the system's authorities and those of the files.

    It is urllib3's, not ``ssl``'s: 1.26 compares host names itself, and a context that does too
    makes it fail on IP addresses.
    """
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    if files.skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    context.load_default_certs()
    for path in files.ca:
        try:
            context.load_verify_locations(cafile=path)
        except OSError as error:  # ssl.SSLError is one
            raise InvalidArgument(f"{path} is not a file of certificates") from error
    for certificate, key in files.client:
        _load_pair(context, certificate, key)
    return context


def _load_pair(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    def no_password() -> str:
        raise InvalidArgument(
            f"the key of {certificate} is encrypted", remedy="Give one without a password"
        )

    try:
        context.load_cert_chain(certificate, key, no_password)
    except OSError as error:
        both = certificate if key is None else f"{certificate} and {key}"
        raise InvalidArgument(f"{both} are no certificate and its key, in PEM") from error
