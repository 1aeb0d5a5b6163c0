"""Sockets and threads under the wire.

What lives here: ``address`` and ``tcp`` (where the daemon is, and dialling it), ``tls`` (over TCP),
``failures`` (what the errors of both mean), ``turns`` (who reads and who waits on one connection;
its only lock), ``link`` (what callers ask of it), ``pump`` (its bytes), ``stream`` (one call as its
caller sees it), ``channel`` (connections as they are needed).  What may not: knowledge of HTTP/2,
messages.
"""
