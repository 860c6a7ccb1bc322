"""Publish events into Fanlight."""
