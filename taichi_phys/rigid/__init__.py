"""Particles that move as small rigid bodies, stepped in closed form or by Runge-Kutta.

    x, quats, v_bar, w = advance(x, quats, v_bar, a_bar, w, eps, duration=0.5, max_step=1 / 60)
    x, quats, c, v_c, w = advance_rigid(x, quats, c, v_c, a_c, w, eps, 0.5, 1 / 60)

All arguments but the two times are torch tensors, one row per particle, in SI units; gradients
reach each of them.
"""

from taichi_phys.rigid.motion import about_origin as about_origin
from taichi_phys.rigid.motion import advance as advance
from taichi_phys.rigid.motion import advance_rigid as advance_rigid
