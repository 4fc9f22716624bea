"""python -m inverse.commands: the same as taichi-phys."""

import sys

from inverse.commands import main


if __name__ == "__main__":
    sys.exit(main())
