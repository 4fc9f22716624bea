"""What is it made of? Find stiffness and other properties of an object from how it moves.

    python examples/fit_material.py --motion points.npz --mesh body.ply --E 1e5 --floor 0

The same as `taichi-phys fit-material`.
"""

import sys

from inverse.commands.fit_material import main, make_parser  # noqa: F401


if __name__ == "__main__":
    sys.exit(main())
