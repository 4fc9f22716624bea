"""The motion of particles as small rigid bodies, by closed-form or Runge-Kutta steps.

    x, quats, v_bar, w = advance(x, quats, v_bar, a_bar, w, eps, duration=0.5, max_step=1 / 60)
    x, quats, c, v_c, w = advance_rigid(x, quats, c, v_c, a_c, w, eps, 0.5, 1 / 60)

All arguments except the two times are torch tensors with one row per particle, in SI units, and
gradients reach each tensor.
"""

from taichi_phys.rigid.motion import about_origin as about_origin
from taichi_phys.rigid.motion import advance as advance
from taichi_phys.rigid.motion import advance_rigid as advance_rigid
