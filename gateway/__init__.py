"""The Fanlight gateway: fans events out of Redis to Server-Sent-Events connections."""
