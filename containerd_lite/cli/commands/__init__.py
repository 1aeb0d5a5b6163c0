"""The commands. ``add_…`` adds the options of a command to a parser. ``do_…`` runs the command.

``explain`` adds the help texts of the options that the library has, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ...lazy import lazy_names

if TYPE_CHECKING:
    from .doctor import add_doctor as add_doctor
    from .doctor import do_doctor as do_doctor
    from .images import add_images as add_images
    from .images import add_pull as add_pull
    from .images import do_images as do_images
    from .images import do_pull as do_pull
    from .keys import add_key as add_key
    from .keys import do_key as do_key
    from .login import add_login as add_login
    from .login import add_logout as add_logout
    from .login import do_login as do_login
    from .login import do_logout as do_logout
    from .logs import add_logs as add_logs
    from .logs import do_logs as do_logs
    from .run import add_exec as add_exec
    from .run import add_run as add_run
    from .run import do_exec as do_exec
    from .run import do_run as do_run
    from .run import explain as explain
    from .sign import add_attest as add_attest
    from .sign import add_sign as add_sign
    from .sign import do_attest as do_attest
    from .sign import do_sign as do_sign
    from .stats import add_stats as add_stats
    from .stats import do_stats as do_stats
    from .tree import add_tree as add_tree
    from .tree import do_tree as do_tree
    from .verify import add_verify as add_verify
    from .verify import do_verify as do_verify
    from .version import add_version as add_version
    from .version import do_version as do_version

__getattr__, __dir__ = lazy_names(
    __name__,
    {
        "doctor": ["add_doctor", "do_doctor"],
        "images": ["add_images", "add_pull", "do_images", "do_pull"],
        "keys": ["add_key", "do_key"],
        "login": ["add_login", "add_logout", "do_login", "do_logout"],
        "logs": ["add_logs", "do_logs"],
        "run": ["add_exec", "add_run", "do_exec", "do_run", "explain"],
        "sign": ["add_attest", "add_sign", "do_attest", "do_sign"],
        "stats": ["add_stats", "do_stats"],
        "tree": ["add_tree", "do_tree"],
        "verify": ["add_verify", "do_verify"],
        "version": ["add_version", "do_version"],
    },
)
