"""The policies that callers pass to clients, layouts and verbs."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeAlias

from ... import trust
from ...errors import InvalidArgument

if TYPE_CHECKING:
    from ...trust.policy import Policy

#: A policy, or the path of its file: TOML, or skopeo's JSON if the path ends with ``.json``.
PolicyLike: TypeAlias = "Policy | str | os.PathLike[str]"


def load_policy(policy: PolicyLike) -> Policy:
    """Return a policy; read it if ``policy`` is a path.

    Raises:
        NotFound: The file does not exist.
        InvalidArgument: The file is not a policy, or ``policy`` is of another type.
        FailedPrecondition: The extra ``trust`` is not installed.
    """
    if isinstance(policy, str | os.PathLike):
        is_json = os.fspath(policy).endswith(".json")
        return (trust.ContainersPolicy if is_json else trust.Policy).load(policy)
    if not isinstance(policy, trust.Policy):
        raise InvalidArgument(
            f"policy={policy!r} is not a policy", remedy="Pass a Policy, or the path of its file"
        )
    return policy
