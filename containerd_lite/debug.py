"""Debug output: the names of the loggers, functions that enable the loggers, and timed steps.

Each module that logs calls ``logging.getLogger(__package__)``. So all loggers are children of the
package's logger, even if the package is vendored under another name. A program can set the levels
and handlers of these loggers as for any other library. A disabled logger does not format messages.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from .errors import ContainerdError
from .printable import printable

if TYPE_CHECKING:
    import logging
    from types import TracebackType

#: The names of the loggers, relative to the package's logger.
NAMES = ("images", "registry", "runtime", "transport", "trust", "wire")
#: The environment variable that enables loggers. The value ``1`` enables all loggers. The value can
#: also be a list of names from ``NAMES``, separated by commas.
VARIABLE = "CONTAINERD_LITE_DEBUG"
_ALL, _NONE = ("1", "all", "true", "yes", "on"), ("", "0", "false", "no", "off")
#: The value of ``logging.DEBUG``. This module imports logging only in ``switch_on``.
_DEBUG = 10
_FORMAT = "%(asctime)s.%(msecs)03d %(name)s: %(message)s"

_lock = threading.Lock()
#: The package's logger, and the handler that ``switch_on`` added.
_output: tuple[logging.Logger, logging.Handler] | None = None
#: The names of the loggers that ``switch_on`` has enabled.
_switched_on: set[str] = set()
_is_read = False


def switch_on(names: Sequence[str] = NAMES) -> None:
    """Enable loggers, and write their debug output to stderr.

    Loggers that are already enabled stay enabled.

    Args:
        names: Names from ``NAMES``. An unknown name causes a warning. Default: all names.
    """
    import logging  # this import takes 4 ms, and only debug output needs it

    global _output
    package = logging.getLogger(__package__)
    with _lock:
        if _output is None:
            handler = logging.StreamHandler()
            handler.setFormatter(logging.Formatter(_FORMAT, "%H:%M:%S"))
            package.addHandler(handler)
            package.propagate = False  # otherwise, the root logger would write each line, too
            _output = package, handler
        for name in NAMES:
            if name in names:
                package.getChild(name).setLevel(_DEBUG)
                _switched_on.add(name)
    for name in names:
        if name not in NAMES:
            package.warning("unknown logger %r; use some of %s", name, ", ".join(NAMES))


def switch_off() -> None:
    """Disable the loggers that ``switch_on`` enabled, and remove the handler that it added."""
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
    """Enable the loggers that ``$CONTAINERD_LITE_DEBUG`` names.

    Only the first call in a process reads the variable.
    """
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
    """Logs the start and the end of a step. The end is logged with the elapsed time and any error.

    ::

        with LoggedStep(_LOGGER, "pull %s", name):
            ...

    If the step succeeds, ``result`` is logged. If the logger is disabled when the step starts,
    nothing is logged.
    """

    __slots__ = ("_args", "_began", "_logger", "_message", "result")

    def __init__(self, logger: logging.Logger, message: str, *args: object) -> None:
        self._logger = logger
        self._message = message
        self._args = tuple(printable(arg) if isinstance(arg, str) else arg for arg in args)
        self._began: float | None = None
        self.result: object = "done"

    def __enter__(self) -> LoggedStep:
        if self._logger.isEnabledFor(_DEBUG):
            self._logger.debug(f"{self._message} ...", *self._args)
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
            # The texts of this package's errors contain no secrets, but other texts can.
            why = str(error) if isinstance(error, ContainerdError) else ""
            why = f"{type(error).__name__}: {why}" if why else type(error).__name__
            self._logger.debug(f"{self._message}: failed in %.1f ms: %s", *self._args, took, why)
