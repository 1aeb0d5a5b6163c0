"""Debug output: the loggers, how to switch them on, and steps with their times.

A module that logs calls ``logging.getLogger(__package__)``. So the loggers are children of the
package's logger, also if the package is vendored under another name. A program sets their levels
and handlers like those of any other library. A logger that is off formats nothing.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .errors import ContainerdError

if TYPE_CHECKING:
    import logging
    from types import TracebackType

#: The names of the loggers, below the package's.
NAMES = ("images", "registry", "runtime", "transport", "wire")
#: The environment variable that switches loggers on: ``1`` for all, or some of ``NAMES``.
VARIABLE = "CONTAINERD_LITE_DEBUG"
_ALL, _NONE = ("1", "all", "true", "yes", "on"), ("", "0", "false", "no", "off")
#: The value of ``logging.DEBUG``. This module must not import logging.
_DEBUG = 10
_FORMAT = "%(asctime)s.%(msecs)03d %(name)s: %(message)s"

_lock = threading.Lock()
#: The package's logger, and the handler that ``switch_on`` added.
_output: tuple[logging.Logger, logging.Handler] | None = None
#: The loggers that ``switch_on`` has switched on.
_switched_on: set[str] = set()
_is_read = False


def switch_on(names: Sequence[str] = NAMES) -> None:
    """Write the debug output of these loggers to stderr, besides those already switched on.

    Args:
        names: Some of ``NAMES``. Any other name causes a warning.
    """
    import logging  # takes 4 ms, which programs without debug output do not pay

    global _output
    package = logging.getLogger(__package__)
    with _lock:
        if _output is None:
            handler = logging.StreamHandler()
            handler.setFormatter(logging.Formatter(_FORMAT, "%H:%M:%S"))
            package.addHandler(handler)
            package.propagate = False  # the root logger's handlers would write each line again
            _output = package, handler
        for name in NAMES:
            if name in names:
                package.getChild(name).setLevel(_DEBUG)
                _switched_on.add(name)
    for name in names:
        if name not in NAMES:
            package.warning("unknown logger %r; use some of %s", name, ", ".join(NAMES))


def switch_off() -> None:
    """Switch off what ``switch_on`` switched on."""
    global _output
    with _lock:
        if _output is None:
            return
        package, handler = _output
        _output = None
        package.removeHandler(handler)
        package.propagate = True
        while _switched_on:
            package.getChild(_switched_on.pop()).setLevel("NOTSET")


def read_environment() -> None:
    """Switch on the loggers that ``$CONTAINERD_LITE_DEBUG`` names, once per process."""
    global _is_read
    if _is_read:
        return
    _is_read = True
    value = os.environ.get(VARIABLE, "").strip()
    if value.lower() in _NONE:
        return
    names = [name.strip() for name in value.split(",") if name.strip()]
    switch_on(NAMES if value.lower() in _ALL else names)


class LoggedStep:
    """Logs the start and the end of a step, with the time taken and any error.

    ::

        with LoggedStep(_LOGGER, "pull %s", name):
            ...

    ``result`` is logged when the step succeeds. A step that starts while the logger is off logs
    nothing.
    """

    __slots__ = ("_args", "_began", "_logger", "_message", "result")

    def __init__(self, logger: logging.Logger, message: str, *args: object) -> None:
        self._logger = logger
        self._message = message
        self._args = args
        self._began: float | None = None
        self.result: object = "done"

    def __enter__(self) -> LoggedStep:
        if self._logger.isEnabledFor(_DEBUG):
            self._logger.debug(f"{self._message} …", *self._args)
            self._began = time.monotonic()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._began is None:
            return
        took = (time.monotonic() - self._began) * 1000
        if error is None:
            self._logger.debug(f"{self._message}: %s in %.1f ms", *self._args, self.result, took)
        else:
            # The text of a foreign error may contain secrets that a peer sent.
            why = str(error) if isinstance(error, ContainerdError) else ""
            why = f"{type(error).__name__}: {why}" if why else type(error).__name__
            self._logger.debug(f"{self._message}: failed in %.1f ms: %s", *self._args, took, why)
