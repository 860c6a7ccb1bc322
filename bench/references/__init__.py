"""Other ways to build the same, to compare with."""
