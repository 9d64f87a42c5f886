"""`python -m acestep_lab` is the command line."""

import sys

from acestep_lab.cli import main

sys.exit(main())
