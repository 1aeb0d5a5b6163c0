"""The identity that a signer's certificate states.

Source: https://github.com/sigstore/fulcio (docs/oid-info.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

from ..records import field, record

#: The kind of a subject: an e-mail address, a URI, a user name at the issuer, or a host.
SubjectType = Literal["email", "uri", "username", "host"]
#: A property of a build, as GitHub, GitLab and other services state it.
Claim = Literal[
    "github_workflow_trigger",
    "github_workflow_sha",
    "github_workflow_name",
    "github_workflow_repository",
    "github_workflow_ref",
    "build_signer",
    "build_signer_digest",
    "runner_environment",
    "source_repository",
    "source_repository_digest",
    "source_repository_ref",
    "source_repository_id",
    "source_repository_owner",
    "source_repository_owner_id",
    "build_config",
    "build_config_digest",
    "build_trigger",
    "run_invocation",
    "source_repository_visibility",
    "deployment_environment",
]
#: The extensions of certificates with claims: the last number of the object identifier
#: 1.3.6.1.4.1.57264.1.x, from 2 to 6 and from 9 to 23.
CLAIMS: Mapping[int, Claim] = dict(zip((*range(2, 7), *range(9, 24)), get_args(Claim), strict=True))


@record(frozen=True)
class CertificateIdentity:
    """Who signed, as the certificate of the signer states it.

    Attributes:
        subject: The signer (``"someone@example.com"``, or the URI of a workflow).
        subject_type: What ``subject`` is.
        issuer: The OpenID provider that identified the signer
            (``"https://token.actions.githubusercontent.com"``); ``""`` if no provider did.
        claims: Further properties by the names that ``Claim`` lists
            (``{"source_repository": "https://github.com/team/app"}``). Certificates of people have
            none.
        emails: All e-mail addresses, in a certificate that is not by a Sigstore instance.
        hosts: All DNS names, and IP addresses in brackets, in such a certificate.
    """

    subject: str
    subject_type: SubjectType
    issuer: str
    claims: Mapping[str, str] = field(default_factory=dict, hash=False)
    emails: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
