"""`python -m gateway.cli` is `fanlight`."""

import sys

from gateway.cli import main

sys.exit(main())
