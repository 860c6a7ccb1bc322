"""The HTTP side: requests, and the connections that streams become."""
