"""Look and poke: scenes, bodies, splats, recovered winds and learned motions in a window.

    python examples/view.py assets/scenes/jelly_drop.toml
    python examples/view.py out/wind

The same as `taichi-phys view`.
"""

import sys

from inverse.commands.view import main, make_parser  # noqa: F401


if __name__ == "__main__":
    sys.exit(main())
