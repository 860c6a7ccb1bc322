"""What the gateway decides, without any I/O: a test drives all of it without a clock or a socket."""
