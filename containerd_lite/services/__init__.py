"""containerd's gRPC services, typed: one service a file, one method an RPC.

What lives here: ``_base`` (call context, status to exception), ``_types`` (records that services
share), and the services.  What may not: registries, policy.
"""
