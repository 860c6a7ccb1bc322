"""What Fanlight costs, and what other setups do. No part of the product."""
