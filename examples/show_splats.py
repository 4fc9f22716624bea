"""Film a turn around a file of Gaussians: a turntable video and a picture.

    python examples/show_splats.py scene.ply                       # a .ply or .splat file
    python examples/show_splats.py scene.compressed.ply --front 90 --save scene.ply

The same as `taichi-phys show`.
"""

import sys

from inverse.commands.show import main, make_parser  # noqa: F401


if __name__ == "__main__":
    sys.exit(main())
