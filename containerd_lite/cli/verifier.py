"""``containerd-lite-verify``: judges images for containerd's image verifier plugin.

The plugin ``io.containerd.image-verifier.v1.bindir`` (containerd 2.1 and later) runs each program
in its folder before a pull, and refuses the image if a program exits with another code than 0. The
line that the program prints becomes a part of the daemon's error message.

Source: containerd's docs/image-verification.md and pkg/imageverifier/bindir.
"""

from __future__ import annotations

import gc
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import NoReturn

from .. import debug, images
from ..errors import ContainerdError, InvalidArgument
from ..images import signatures
from ..oci.descriptor import Descriptor
from ..oci.document import Document
from ..oci.reference import Reference
from ..printable import printable, quoted
from . import GC_THRESHOLD

#: The policy if the environment variable ``CONTAINERD_LITE_POLICY`` is not set.
DEFAULT_POLICY = "/etc/containerd-lite/policy.toml"
#: Seconds after which the program refuses an image. The daemon waits for 10 seconds
#: (``per_verifier_timeout``), then kills the program and reports no reason.
DEADLINE = 8.0
#: Seconds before the deadline at which the work is interrupted, so that it can end what it started,
#: such as a credential helper.
_GRACE = 0.5
#: The maximum number of characters of a reason. The daemon truncates a reason of more than 32 KiB.
_MAX_REASON = 1000
#: The maximum size of the descriptor on stdin in bytes.
_MAX_STDIN = 1 << 20
_DESCRIPTOR_TYPE = "application/vnd.oci.descriptor.v1+json"
_OPTIONS = ("name", "digest", "stdin-media-type")
_ACCEPTED, _REFUSED = 0, 1
_STDIN, _STDOUT = 0, 1


class _Expired(BaseException):
    """The work has taken too long. It is not an ``Exception``, because those can cause retries."""


def main() -> NoReturn:
    """Judge one image, print the reason, and end the process.

    The exit code is 0 if the policy accepts the image, otherwise 1.
    """
    # Python runs no signal handler while the system looks up the name of a host. So a thread ends
    # the process at the deadline.
    watchdog = threading.Timer(DEADLINE, _end, (_REFUSED, _too_late()))
    watchdog.daemon = True
    watchdog.start()
    gc.set_threshold(GC_THRESHOLD)
    code, reason = _REFUSED, _too_late()
    with suppress(_Expired):
        signal.signal(signal.SIGALRM, _expire)
        signal.setitimer(signal.ITIMER_REAL, DEADLINE - _GRACE, _GRACE)
        code, reason = _outcome(sys.argv[1:])
        signal.setitimer(signal.ITIMER_REAL, 0)
    _end(code, reason)


def _end(code: int, reason: str) -> NoReturn:
    """Print a reason, and end the process at once, even if other threads still wait."""
    line = printable(reason, _MAX_REASON) + "\n"
    with suppress(OSError):  # the exit code counts, even if the reader has closed the pipe
        os.write(_STDOUT, line.encode("utf-8", "replace"))
    os._exit(code)


def _expire(*_: object) -> NoReturn:
    raise _Expired


def _too_late() -> str:
    return f"no verdict within {DEADLINE:g} seconds"


def _outcome(argv: Sequence[str]) -> tuple[int, str]:
    """Return the exit code and the reason."""
    try:
        debug.read_environment()
        return _ACCEPTED, _judge(_parse(argv))
    except ContainerdError as error:
        return _REFUSED, str(error)
    except (ImportError, OSError) as error:
        return _REFUSED, f"the verification failed: {error}"
    except Exception as error:  # its message could contain a secret
        return _REFUSED, f"the verification failed with an unexpected {type(error).__name__}"


def _parse(argv: Sequence[str]) -> dict[str, str]:
    """Return the options, which the daemon passes in Go's form: ``-name REF`` or ``-name=REF``."""
    options: dict[str, str] = {}
    words = iter(argv)
    for word in words:
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("-") or name not in _OPTIONS:
            raise InvalidArgument(
                f"unknown argument {quoted(word)}",
                remedy="Let containerd run this program: -name REF -digest DIGEST < DESCRIPTOR",
            )
        options[name] = value if equals else next(words, "")
    for name in _OPTIONS[:2]:
        if not options.get(name):
            raise InvalidArgument(f"the option -{name} is missing")
    return options


def _judge(options: dict[str, str]) -> str:
    """Return why the policy accepts the image. Raises ContainerdError if it does not."""
    kind = options.get("stdin-media-type") or _DESCRIPTOR_TYPE
    if kind != _DESCRIPTOR_TYPE:
        raise InvalidArgument(f"stdin has the unknown type {quoted(kind)}")
    with open(_STDIN, "rb", closefd=False) as stdin:
        body = stdin.read(_MAX_STDIN + 1)
    target = Descriptor.read(Document.parse(body, "the descriptor on stdin", limit=_MAX_STDIN))
    if target.digest != options["digest"]:
        raise InvalidArgument(f"stdin describes {target.digest}, not {options['digest']}")
    policy = signatures.load_policy(os.environ.get("CONTAINERD_LITE_POLICY") or DEFAULT_POLICY)
    name = str(Reference.parse(options["name"]))
    with images.RegistryResolver() as resolver:
        # The daemon does not say which platforms it pulls. So a policy that wants each platform
        # signed wants all of them.
        verdict = signatures.Guard((policy,)).check_pull(resolver, name, target)
    who = [each.identity.subject if each.identity else each.key for each in verdict.signatures]
    signed = f"signed by {', '.join(who)}" if who else "no signature is required"
    return f"the rule for {verdict.rule} is met: {signed}"
