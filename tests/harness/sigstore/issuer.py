"""An issuer of identity tokens on the loopback, which Fulcio trusts, with plain HTTP.

It has one address for each kind of identity: people with e-mail addresses, and the workflows of
GitHub and GitLab. A kind's address is the issuer that certificates name.
"""

from __future__ import annotations

import secrets
import threading
import time
from functools import partial
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingTCPServer
from typing import Any

from ..images import Json, encode
from ..realm import base64url, signed_token
from ..signing import Identity
from ..tls import openssl

AUDIENCE = "sigstore"

_LIFETIME = 3600
_PATIENCE = 5.0
_COMMON: Json = {
    "SourceRepositoryDigest": "sha",
    "RunnerEnvironment": "runner_environment",
}
_GITHUB: Json = {
    **_COMMON,
    "GithubWorkflowTrigger": "event_name",
    "GithubWorkflowSHA": "sha",
    "GithubWorkflowName": "workflow",
    "GithubWorkflowRepository": "repository",
    "GithubWorkflowRef": "ref",
    "BuildSignerURI": "{{ .url }}/{{ .job_workflow_ref }}",
    "BuildSignerDigest": "job_workflow_sha",
    "SourceRepositoryURI": "{{ .url }}/{{ .repository }}",
    "SourceRepositoryRef": "ref",
    "SourceRepositoryIdentifier": "repository_id",
    "SourceRepositoryOwnerURI": "{{ .url }}/{{ .repository_owner }}",
    "SourceRepositoryOwnerIdentifier": "repository_owner_id",
    "BuildConfigURI": "{{ .url }}/{{ .workflow_ref }}",
    "BuildConfigDigest": "workflow_sha",
    "BuildTrigger": "event_name",
    "RunInvocationURI": "{{ .url }}/{{ .repository }}/actions/runs/{{ .run_id }}"
    "/attempts/{{ .run_attempt }}",
    "SourceRepositoryVisibilityAtSigning": "repository_visibility",
}
_GITLAB: Json = {
    **_COMMON,
    "BuildSignerURI": "https://{{ .ci_config_ref_uri }}",
    "BuildSignerDigest": "ci_config_sha",
    "SourceRepositoryURI": "{{ .url }}/{{ .project_path }}",
    "SourceRepositoryRef": 'refs/{{if eq .ref_type "branch"}}heads{{else}}tags{{end}}/{{ .ref }}',
    "SourceRepositoryIdentifier": "project_id",
    "SourceRepositoryOwnerURI": "{{ .url }}/{{ .namespace_path }}",
    "SourceRepositoryOwnerIdentifier": "namespace_id",
    "BuildConfigURI": "https://{{ .ci_config_ref_uri }}",
    "BuildConfigDigest": "ci_config_sha",
    "BuildTrigger": "pipeline_source",
    "RunInvocationURI": "{{ .url }}/{{ .project_path }}/-/jobs/{{ .job_id }}",
    "SourceRepositoryVisibilityAtSigning": "project_visibility",
}
_PROVIDERS: Json = {
    "github": {
        "DefaultTemplateValues": {"url": "https://github.com"},
        "ExtensionTemplates": _GITHUB,
        "SubjectAlternativeNameTemplate": "{{ .url }}/{{ .job_workflow_ref }}",
    },
    "gitlab": {
        "DefaultTemplateValues": {"url": "https://gitlab.com"},
        "ExtensionTemplates": _GITLAB,
        "SubjectAlternativeNameTemplate": "https://{{ .ci_config_ref_uri }}",
    },
}
"""How Fulcio makes the fields of certificates from claims, as on its public instance."""
_SHA = "0123456789abcdef0123456789abcdef01234567"


class Issuer:
    """The issuer, which answers from when it is made until `close()`."""

    def __init__(self, folder: Path) -> None:
        """Make a key in `folder`, which gets the tokens, too, and listen on a free port."""
        self._folder = folder
        self._key = folder / "issuer.key"
        openssl("genpkey", "-algorithm", "RSA", "-out", str(self._key))
        public = folder / "issuer.der"
        openssl("pkey", "-in", str(self._key), "-pubout", "-outform", "DER", "-out", str(public))
        modulus = public.read_bytes()[-261:-5]  # of 2048 bits; then comes the exponent 65537
        numbers = {"n": base64url(modulus), "e": base64url(b"\1\0\1")}
        key = {"kty": "RSA", "kid": "1", "alg": "RS256", "use": "sig", **numbers}
        self._server = _Server(("127.0.0.1", 0), partial(_Handler, {"keys": [key]}))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        """Finish the requests that are being served, then end."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def url(self, kind: str) -> str:
        """Return the issuer of a kind of identity: `email`, `github` or `gitlab`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/{kind}"

    @property
    def config(self) -> Json:
        """Fulcio's configuration, which trusts this issuer."""
        common = {"ClientID": AUDIENCE}
        email = {**common, "IssuerURL": self.url("email"), "Type": "email"}
        providers = {
            self.url(name): {
                **common,
                "IssuerURL": self.url(name),
                "Type": "ci-provider",
                "CIProvider": name,
            }
            for name in _PROVIDERS
        }
        issuers = {self.url("email"): email, **providers}
        return {"OIDCIssuers": issuers, "CIIssuerMetadata": _PROVIDERS}

    def email(self, address: str = "user@example.test", **claims: object) -> Identity:
        """Return the identity of a person; `claims` are added to the token, or replace its own."""
        own = {"sub": address, "email": address, "email_verified": True}
        return Identity(address, self.url("email"), self._token("email", {**own, **claims}))

    def github(self, repository: str = "owner/app", **claims: object) -> Identity:
        """Return the identity of a workflow of GitHub, which builds the branch `main`."""
        workflow = f"{repository}/.github/workflows/build.yml@refs/heads/main"
        own: Json = {
            "sub": f"repo:{repository}:ref:refs/heads/main",
            "repository": repository,
            "repository_id": "12",
            "repository_owner": repository.partition("/")[0],
            "repository_owner_id": "34",
            "repository_visibility": "public",
            "event_name": "push",
            "sha": _SHA,
            "ref": "refs/heads/main",
            "workflow": "build",
            "workflow_ref": workflow,
            "workflow_sha": _SHA,
            "job_workflow_ref": workflow,
            "job_workflow_sha": _SHA,
            "runner_environment": "github-hosted",
            "run_id": "56",
            "run_attempt": "1",
            **claims,
        }
        subject = f"https://github.com/{own['job_workflow_ref']}"
        return Identity(subject, self.url("github"), self._token("github", own))

    def gitlab(self, project: str = "group/app", **claims: object) -> Identity:
        """Return the identity of a pipeline of GitLab, which builds the branch `main`."""
        own: Json = {
            "sub": f"project_path:{project}:ref_type:branch:ref:main",
            "project_path": project,
            "project_id": "12",
            "namespace_path": project.rpartition("/")[0],
            "namespace_id": "34",
            "project_visibility": "public",
            "pipeline_source": "push",
            "sha": _SHA,
            "ref": "main",
            "ref_type": "branch",
            "ci_config_ref_uri": f"gitlab.com/{project}//.gitlab-ci.yml@refs/heads/main",
            "ci_config_sha": _SHA,
            "runner_environment": "gitlab-hosted",
            "job_id": "56",
            **claims,
        }
        subject = f"https://{own['ci_config_ref_uri']}"
        return Identity(subject, self.url("gitlab"), self._token("gitlab", own))

    def _token(self, kind: str, claims: Json) -> Path:
        """Write a token, without a newline at its end; return its file."""
        now = int(time.time())
        times = {"iat": now, "nbf": now, "exp": now + _LIFETIME}
        common: Json = {"iss": self.url(kind), "aud": AUDIENCE, **times}
        path = self._folder / f"token-{secrets.token_hex(8)}"
        path.write_text(signed_token({"kid": "1"}, {**common, **claims}, self._key))
        return path


class _Server(ThreadingTCPServer):
    """Serves each connection in a thread, and waits for all threads when it closes."""

    allow_reuse_address = True
    request_queue_size = 64


class _Handler(BaseHTTPRequestHandler):
    """Answers one request with HTTP/1.0."""

    timeout = _PATIENCE

    def __init__(self, keys: Json, *args: Any) -> None:
        self._keys = keys
        super().__init__(*args)

    def do_GET(self) -> None:
        """Answer with the description of an issuer (OpenID Connect Discovery), or with its keys."""
        kind, _, rest = self.path.removeprefix("/").partition("/")
        url = f"http://{self.headers['Host']}/{kind}"
        documents: Json = {
            ".well-known/openid-configuration": {
                "issuer": url,
                "authorization_endpoint": f"{url}/authorize",
                "token_endpoint": f"{url}/token",
                "jwks_uri": f"{url}/keys",
                "response_types_supported": ["id_token"],
                "subject_types_supported": ["public"],
                "id_token_signing_alg_values_supported": ["RS256"],
            },
            "keys": self._keys,
        }
        if rest not in documents:
            self.send_error(404)
            return
        body = encode(documents[rest])
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""
