"""Fit Gaussians to photographs of a scene, to look at the scene from anywhere.

    python examples/fit_splats.py --data DIR --out out/splats

The same as `taichi-phys fit`.
"""

import sys

from inverse.commands.fit import main, make_parser  # noqa: F401


if __name__ == "__main__":
    sys.exit(main())
