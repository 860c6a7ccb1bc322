"""Channels to subscriptions: who gets what. Synchronous and without I/O."""
