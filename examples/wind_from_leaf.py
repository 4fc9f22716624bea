"""See the wind in a falling leaf: recover the unseen force that moves an object in a video.

    python examples/wind_from_leaf.py                      # the clip in assets/leaf
    python examples/wind_from_leaf.py --video clip.mp4 --box 100 40 300 260 --distance 2 --fov 50

The same as `taichi-phys wind`.
"""

import sys

from inverse.commands.wind import main, make_parser  # noqa: F401


if __name__ == "__main__":
    sys.exit(main())
