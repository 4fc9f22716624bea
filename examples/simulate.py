"""Run a scene file: simulate, film, export.

    python examples/simulate.py assets/scenes/dam_break.toml
    python examples/simulate.py my.toml --frames 12 --coarsen 2      # a quick look
    python examples/simulate.py my.toml --resume                     # continue a stopped run

The same as `taichi-phys simulate`.
"""

import sys

from inverse.commands.simulate import main, make_parser  # noqa: F401


if __name__ == "__main__":
    sys.exit(main())
