"""A node of several processes: workers that share the public port, and one that looks after them."""

from gateway.workers.supervisor import serve

__all__ = ["serve"]
