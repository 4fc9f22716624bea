"""Learn how the things in a multi-view video move, and show what happens next.

    python examples/trace_future_frames.py                 # the clip in assets/rotor_puck
    python examples/trace_future_frames.py --data DIR --preset laptop --out out/trace
    torchrun --nproc-per-node 2 examples/trace_future_frames.py ...

The same as `taichi-phys trace`.
"""

import sys

from inverse.commands.trace import main, make_parser  # noqa: F401


if __name__ == "__main__":
    sys.exit(main())
