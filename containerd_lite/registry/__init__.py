"""The registry client: resolve and fetch by the OCI distribution-spec, on urllib3.

What lives here: hosts, credentials, tokens, requests and streams.  What may not: anything of
containerd.  Importing does no work, and nothing is sent before it is needed.
"""
