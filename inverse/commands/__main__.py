"""python -m inverse.commands: the same as taichi-phys."""

import sys

from inverse.commands import main


sys.exit(main())
