"""The Redis side: the subscriber connection, and reads of the streams."""
