"""``containerd-lite-verify``: judges images for containerd's image verifier plugin.

The plugin ``io.containerd.image-verifier.v1.bindir`` (containerd 2.1 and later) runs each program
in its folder before a pull, and refuses the image if a program exits with another code than 0. It
logs the line that the program prints.

Source: containerd's docs/image-verification.md and pkg/imageverifier/bindir.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence

from .. import images
from ..errors import ContainerdError, DeadlineExceeded, InvalidArgument
from ..images import signatures
from ..images.platforms import Platforms
from ..oci.descriptor import Descriptor
from ..oci.document import Document, quoted
from ..oci.reference import Reference
from ..printable import printable

#: The policy if the environment variable ``CONTAINERD_LITE_POLICY`` is not set.
DEFAULT_POLICY = "/etc/containerd-lite/policy.toml"
#: Seconds until the program refuses an image. The daemon waits for 10 seconds
#: (``per_verifier_timeout``), and fails without a reason then.
DEADLINE = 8.0
#: The daemon truncates a reason of more than 32 KiB.
_MAX_REASON = 1000
#: The maximum size of the descriptor on stdin in bytes.
_MAX_STDIN = 1 << 20
_DESCRIPTOR_TYPE = "application/vnd.oci.descriptor.v1+json"
_OPTIONS = ("name", "digest", "stdin-media-type")
_ACCEPTED, _REFUSED = 0, 1


def main(argv: Sequence[str] | None = None) -> int:
    """Judge one image; print the reason, and return the exit code."""
    signal.signal(signal.SIGALRM, _end)
    signal.setitimer(signal.ITIMER_REAL, DEADLINE)
    try:
        code, reason = _ACCEPTED, _judge(_parse(sys.argv[1:] if argv is None else argv))
    except ContainerdError as error:
        code, reason = _REFUSED, str(error)
    except Exception as error:  # the daemon needs a reason, not a traceback
        code, reason = _REFUSED, f"{type(error).__name__}: {error}"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    print(printable(reason)[:_MAX_REASON])
    return code


def _end(*_: object) -> None:
    raise DeadlineExceeded(f"no verdict within {DEADLINE:g} seconds")


def _parse(argv: Sequence[str]) -> dict[str, str]:
    """Return the options, which the daemon passes in Go's form: ``-name REF``."""
    options: dict[str, str] = {}
    words = iter(argv)
    for word in words:
        name, equals, value = word.lstrip("-").partition("=")
        if not word.startswith("-") or name not in _OPTIONS:
            raise InvalidArgument(
                f"unknown argument {quoted(word)}",
                remedy="containerd runs this program: -name REF -digest DIGEST < DESCRIPTOR",
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
    body = sys.stdin.buffer.read(_MAX_STDIN + 1)
    target = Descriptor.read(Document.parse(body, "the descriptor on stdin", limit=_MAX_STDIN))
    if target.digest != options["digest"]:
        raise InvalidArgument(f"stdin describes {target.digest}, not {options['digest']}")
    policy = signatures.load_policy(os.environ.get("CONTAINERD_LITE_POLICY") or DEFAULT_POLICY)
    name = str(Reference.parse(options["name"]))
    with images.RegistryResolver() as resolver:
        guard = signatures.Guard((policy,))
        verdict = guard.check_pull(resolver, name, target, Platforms.of(None))
    who = [f"signed by {each.identity or each.key}" for each in verdict.signatures]
    return f"the rule for {verdict.rule} is met: {', '.join(who) or 'no signature is required'}"
