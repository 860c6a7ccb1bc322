"""The faults of `tests.chaos` on two other setups. No part of the product or of its tests."""
