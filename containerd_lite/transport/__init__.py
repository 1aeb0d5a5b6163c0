"""Sockets and threads under the wire.

What lives here: ``address`` (where the daemon is, and dialling it), ``link`` (one connection that
many threads drive; the only lock), ``pump`` (its bytes), ``stream`` (one call as its caller sees
it), ``channel`` (connections as they are needed).  What may not: knowledge of HTTP/2, messages.
"""
