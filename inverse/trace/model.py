"""Gaussians that move: a deformation for the observed times, and dynamics for the future.

The state of a Gaussian at an observed time comes from the deformation field f_defo. Its motion from
there to any other time follows from the rates that the dynamics f_trd give it, which travel with it
along its path (TRACE, sec. 3). Both are trained only by comparing pictures with photographs.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from inverse.fitting.fitter import regularization
from inverse.fitting.model import GaussianModel
from inverse.trace.config import TraceConfig
from inverse.trace.laws import MotionLaw, find_law
from inverse.trace.light import Light, lit, outward
from inverse.trace.shared import SharedMotion, bodies, quaternion_product
from renderers.splats.gaussians import SH_COUNTS, Gaussians
from taichi_phys.bridge.deformation_mlp import DeformationMLP
from taichi_phys.bridge.deformation_planes import DeformationPlanes
from taichi_phys.bridge.dynamics_mlp import DynamicsMLP
from taichi_phys.rigid import about_origin, advance, advance_rigid


FRAMES_A_SAMPLE = 2  # frames for each sample in time of planes (K-Planes, sec. 4)


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Rates:
    """Rates of m particles at one time, as `rigid.advance` names them, each (m, 3) in SI units;
    or, with c, v_c and a_c instead of v_bar and a_bar, as `rigid.advance_rigid` does."""

    w: torch.Tensor
    eps: torch.Tensor
    v_bar: torch.Tensor | None = None
    a_bar: torch.Tensor | None = None
    c: torch.Tensor | None = None
    v_c: torch.Tensor | None = None
    a_c: torch.Tensor | None = None

    def carry(
        self, x: torch.Tensor, quats: torch.Tensor, duration: float, step: float, order: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Carry x (m, 3) m and quats (m, 4) along for duration s; returns both.

        step: the longest step, s; order: of the time integration, 1 or 2.
        """
        if self.v_bar is not None and self.a_bar is not None:
            rates = (self.v_bar, self.a_bar, self.w, self.eps)
            return advance(x, quats, *rates, duration, step, order)[:2]
        return advance_rigid(x, quats, *self._center_rates(), self.w, self.eps, duration, step)[:2]

    def origin_rates(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """v_bar, a_bar, w and eps, computed from c, v_c and a_c if these are given instead."""
        if self.v_bar is not None and self.a_bar is not None:
            return self.v_bar, self.a_bar, self.w, self.eps
        v_bar, a_bar = about_origin(*self._center_rates(), self.w, self.eps)
        return v_bar, a_bar, self.w, self.eps

    def _center_rates(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        assert self.c is not None and self.v_c is not None and self.a_c is not None
        return self.c, self.v_c, self.a_c


class TraceModel(nn.Module):
    """Gaussians of t = 0, their deformation, and their dynamics.

    center: (3,) m, and half_side: m, of the scene, as `fitting.region.find_region` finds them;
    duration: the observed time, s; frame_dt: the time between frames, s.
    """

    moving: torch.Tensor  # (n,) bool, false for Gaussians that stand still

    def __init__(
        self,
        gaussians: GaussianModel,
        config: TraceConfig,
        *,
        center: Sequence[float],
        half_side: float,
        duration: float,
        frame_dt: float,
    ):
        super().__init__()
        self.gaussians, self.config = gaussians, config
        self.center, self.half_side = tuple(map(float, center)), float(half_side)
        self.duration, self.frame_dt = float(duration), float(frame_dt)
        scene: dict[str, Any] = {"center": center, "scale": half_side, "duration": duration}
        self.deformation: DeformationMLP | DeformationPlanes | None = None
        common: dict[str, Any] = {
            "width": config.deformation_width,
            "shaded": config.light != "off" and config.motion == "parts",
        }
        if config.deformation == "mlp":
            self.deformation = DeformationMLP(
                **scene, **common, depth=config.deformation_depth,
                frequencies=config.deformation_frequencies,
                time_frequencies=config.time_frequencies,
            )  # fmt: skip
        elif config.deformation == "planes":
            self.deformation = DeformationPlanes(
                **scene, **common, interval=FRAMES_A_SAMPLE * self.frame_dt,
                resolution=config.planes_resolution, channels=config.planes_channels,
            )  # fmt: skip
        self.dynamics = None
        if config.dynamics != "none":
            self.dynamics = DynamicsMLP(
                **scene, size=config.dynamics_size, rigid=config.dynamics == "rigid",
                squared=config.squared_accelerations,
            )  # fmt: skip
        self.register_buffer("moving", torch.ones(len(gaussians), dtype=torch.bool))
        self.shared: SharedMotion | None = None  # until parts are found
        self.light: Light | None = None  # that shines on parts
        self.lit = True  # until it is found that nothing changes its brightness

    def scene(self) -> dict[str, Any]:
        """What a checkpoint needs, besides weights and settings, to make the model again."""
        laws = None if self.shared is None else self.shared.laws
        return {
            "center": list(self.center),
            "half_side": self.half_side,
            "duration": self.duration,
            "frame_dt": self.frame_dt,
            "laws": None if laws is None else [law.record() for law in laws],
            "lit": self.lit,
        }

    @classmethod
    def from_state(
        cls, state: Mapping[str, torch.Tensor], scene: Mapping[str, Any], config: TraceConfig
    ) -> "TraceModel":
        """Make the model from a state_dict, a record that `scene` returned, and the settings.

        Raises ValueError if these do not fit each other.
        """
        try:
            count = len(state["gaussians.means"])
            colors = 1 + state["gaussians.sh_rest"].shape[1]
            if colors not in SH_COUNTS:
                raise ValueError(f"{colors} color coefficients")
            blank = Gaussians(
                means=torch.zeros(count, 3),
                quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(count, 1),
                scales=torch.ones(count, 3),
                opacities=torch.full((count,), 0.5),
                sh=torch.zeros(count, colors, 3),
            )
            laws, is_lit = scene.get("laws"), bool(scene.get("lit", True))
            scene = {name: scene[name] for name in scene if name not in ("laws", "lit")}
            head = state.get("deformation.head.weight")
            if head is not None and len(head) == 3 + 4 + 3:  # as of runs before there was light
                config = dataclasses.replace(config, light="off")
            model = cls(GaussianModel(blank), config, **scene)
            model.lit = is_lit
            model.prepare(state)
            model.load_state_dict(state)
            if model.shared is not None and laws:
                model.shared.laws = [MotionLaw.from_record(law) for law in laws]
        except (KeyError, TypeError, RuntimeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ValueError(f"model: made by another version ({reason})") from None
        return model

    def prepare(self, state: Mapping[str, torch.Tensor]) -> None:
        """Make room for shared motions and light in a state_dict that is to be loaded, if any."""
        prefix, normals = "shared.", state.get("light.normals")
        own = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
        self.shared = SharedMotion.blank(own).to(self.moving.device) if own else None
        self.light = None if normals is None else Light(normals).to(self.moving.device)

    @torch.no_grad()
    def share(self, part: np.ndarray, knots: Sequence[float], *, light: bool = False) -> None:
        """Give all Gaussians of a part one rigid motion.

        part: (n,) int, 1 to K, 0 for Gaussians that go on moving by themselves, -1 for Gaussians
        that stand still from now on; knots: times, s, from 0 to the last observed one, at which the
        motion has poses of its own; light: whether a light that is fixed in the world may shade
        the parts.
        """
        states = [self.tensors_at(t) for t in knots]
        x, quats, scales, weights = (
            np.stack([s[name].double().cpu().numpy() for s in states])
            for name in ("means", "quats", "scales", "opacities")
        )
        motion, *baked = bodies(knots, x, quats, np.log(scales), part.clip(0), weights[0])
        own, stay = torch.as_tensor(part != 0), torch.zeros(len(part), dtype=torch.bool)
        g, device = self.gaussians, self.moving.device
        if self.shared is not None:  # which have the colors of the part by now, others their shade
            stay = (self.shared.part.cpu() > 0) & torch.as_tensor(part > 0)
        g.recolor((own & ~stay).to(device), torch.stack([s["sh"] for s in states]).mean(dim=0))
        if light:
            normals = torch.as_tensor(outward(x[0], part, weights[0])).to(g.means)
            self.light = Light(normals) if self.light is None else self.light
            self.light.normals[~stay] = normals[~stay]
        for parameter, values in zip((g.means, g.quats, g.log_scales), baked, strict=True):
            where = own.to(parameter.device)
            parameter[where] = torch.as_tensor(values).to(parameter)[where]
        self.moving &= torch.as_tensor(part >= 0).to(self.moving.device)
        self.shared = motion.to(g.means.device)

    @torch.no_grad()
    def put_out_light(self) -> None:
        """Give all Gaussians their mean shades, those of parts at the knots, and no light."""
        if self.light is not None and self.shared is not None:
            g, own = self.gaussians, self.shared.part.nonzero()[:, 0]
            x, quats = g.means[own], g.quats[own]
            turns = [self.shared.carry(t, x, quats, own)[2] for t in self.shared.knots.tolist()]
            shade = torch.stack([self.light(R, own) for R in turns]).mean(dim=0)
            sh = lit(g.tensors()["sh"][own], shade)
            colors = g.tensors()["sh"].index_copy(0, own, sh)
            g.recolor(self.shared.part > 0, colors)
        if self.shaded:
            self._settle_shades(self.free)
        self.light, self.lit = None, False

    def extend(self, times: Sequence[float], knots: Sequence[float]) -> None:
        """Go on to later observed times, s, with knots, s, among them, for the shared motions."""
        if self.shared is not None:
            self.shared = self.shared.extended(knots)
        self.duration = float(max(times))
        if isinstance(self.deformation, DeformationPlanes):
            self.deformation.extend(self.duration)

    def regularization(self) -> torch.Tensor:
        """What the loss has besides the pictures: faint, small Gaussians, and smooth planes."""
        total = regularization(self.gaussians, self.config, self.half_side)
        if isinstance(self.deformation, DeformationPlanes) and self.free.any():
            total = total + self.config.planes_weight * self.deformation.variation()
        return total

    def find_laws(self) -> None:
        """Find the law of every part, which gives its poses after the observed time."""
        shared = self.shared
        if shared is not None:
            knots, sizes = shared.knots.double().cpu().numpy(), shared.sizes.tolist()
            known: Sequence[MotionLaw | None] = shared.laws or [None] * len(shared)
            shared.laws = [
                find_law(knots, *path, size, law)
                for path, size, law in zip(shared.paths(), sizes, known, strict=True)
            ]

    def deviations(self, t: float) -> torch.Tensor:
        """Standard deviations (n,) m of the places of the Gaussians at t s, 0 where none is known.

        They are known of Gaussians that share the motion of a part, after the observed time.
        """
        shared = self.shared
        if shared is None or shared.laws is None or t <= self.duration + 1e-9:
            return torch.zeros(len(self.gaussians))
        known = [0.0, *(float(law.deviations([t])[0]) for law in shared.laws)]
        return torch.tensor(known)[shared.part.cpu()]

    @property
    def free(self) -> torch.Tensor:
        """Which Gaussians (n,) bool move by themselves."""
        return self.moving if self.shared is None else self.moving & (self.shared.part == 0)

    @property
    def shaded(self) -> bool:
        """Whether the deformation says how bright Gaussians are that move by themselves."""
        return self.lit and self.deformation is not None and self.deformation.shaded

    @property
    def frozen(self) -> bool:
        """Whether any Gaussian has been frozen because it stands still."""
        return not bool(self.moving.all())

    def deformed(
        self, t: float, index: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
        """The deformation at time t s: dx (m, 3) m, dq (m, 4), ds (m, 3) and brightness (m, 1).

        index: (m,) of the Gaussians, by default all.
        """
        x = self.gaussians.means.detach()
        x = x if index is None else x[index]
        if self.deformation is None:
            identity = x.new_tensor([1.0, 0, 0, 0]).expand(len(x), 4)
            return torch.zeros_like(x), identity, torch.zeros_like(x), torch.ones_like(x[:, :1])
        dx, dq, ds, *shade = self.deformation(x, t)
        return dx, dq, ds, shade[0].exp() if self.shaded else torch.ones_like(dx[:, :1])

    def motion(self, x: torch.Tensor, t: float) -> Rates:
        """The rates that the dynamics give particles at x (m, 3) m at time t s.

        Raises ValueError if the model has no dynamics.
        """
        if self.dynamics is None:
            raise ValueError("dynamics: the model was made without dynamics, so it has no rates")
        if self.config.dynamics == "rigid":
            c, v_c, a_c, w, eps = self.dynamics(x, t)
            return Rates(c=c, v_c=v_c, a_c=a_c, w=w, eps=eps)
        v_bar, a_bar, w, eps = self.dynamics(x, t)
        if self.config.dynamics == "velocity":  # no rates of the rates
            a_bar, eps = torch.zeros_like(a_bar), torch.zeros_like(eps)
        return Rates(v_bar=v_bar, a_bar=a_bar, w=w, eps=eps)

    def tensors_at(
        self, t: float, source: float | None = None, *, follow: bool = True
    ) -> dict[str, Any]:
        """The Gaussians at time t s as `splat.render` takes them, in the graph.

        source: the observed time t' whose deformed state is carried to t by the dynamics; None
        for t itself, or the last observed time where t is later. One query of the dynamics at t',
        from a detached start (TRACE, sec. 3): the gradient of a position reaches the dynamics
        through the path, and the deformation and the canonical position straight, as if the path
        were a shift. follow=False: nothing but the dynamics gets a gradient, for long paths.
        """
        source = min(t, self.duration) if source is None else source
        if self.shared is not None:
            return self._parts_at(t, self._free_at(t, source, follow))
        return self._free_at(t, source, follow)

    def _parts_at(self, t: float, g: dict[str, Any]) -> dict[str, Any]:
        """Gaussians g at time t s, in which those of parts are still as they are at time 0."""
        assert self.shared is not None
        own = self.shared.part.nonzero()[:, 0]
        x, q, R = self.shared.carry(t, g["means"][own], g["quats"][own], own)
        axes = torch.eye(3).to(x).repeat(len(g["means"]), 1, 1)
        if self.light is not None:
            own_sh = lit(g["sh"][own], self.light(R, own))
            g = g | {"sh": g["sh"].index_copy(0, own, own_sh)}
        return g | {
            "means": g["means"].index_copy(0, own, x),
            "quats": g["quats"].index_copy(0, own, q),
            "sh_axes": axes.index_copy(0, own, R),
        }

    def _free_at(self, t: float, source: float, follow: bool) -> dict[str, Any]:
        """The Gaussians at time t s, in which only those move that move by themselves."""
        free = self.free
        index = None if bool(free.all()) else free.nonzero()[:, 0]
        if index is not None and not len(index):
            return self.gaussians.tensors()
        with torch.set_grad_enabled(follow and torch.is_grad_enabled()):
            g = self.gaussians.tensors()
            means, quats, sh = g["means"], g["quats"], g["sh"]
            log_scales = self.gaussians.log_scales
            if index is not None:
                means, quats, sh = means[index], quats[index], sh[index]
                log_scales = log_scales[index]
            dx, dq, ds, bright = self.deformed(source, index)
            sh = lit(sh, bright.expand(-1, 3)) if self.shaded else sh
            x, q = means + dx, quaternion_product(dq, quats)
            log_scales = log_scales + ds
        if self.dynamics is not None and abs(t - source) > 1e-9:
            start = x.detach()
            turn = torch.zeros_like(q)
            turn[:, 0] = 1
            end, turn = self.motion(start, source).carry(
                start, turn, t - source, self.config.step * self.frame_dt, self.config.rk
            )
            x, q = x + (end - start), quaternion_product(turn, q)
        scales = log_scales.exp()
        if index is None:
            return g | {"means": x, "quats": q, "scales": scales, "sh": sh}
        return g | {
            "means": g["means"].index_copy(0, index, x),
            "quats": g["quats"].index_copy(0, index, q),
            "scales": g["scales"].index_copy(0, index, scales),
            "sh": g["sh"].index_copy(0, index, sh),
        }

    @torch.no_grad()
    def find_static(self, threshold: float = 0.01, samples: int = 16) -> int:
        """Freeze the Gaussians that the deformation hardly moves; returns how many are frozen.

        They stay where they are at t = 0, as bright as on average. threshold: the largest movement
        since t = 0 of a Gaussian that stands still, in half sides; samples: number of observed
        times that are compared.
        """
        first, dq, ds, _ = self.deformed(0.0)
        farthest = torch.zeros_like(first[:, 0])
        for k in range(1, samples + 1):
            dx = self.deformed(self.duration * k / samples)[0]
            farthest = torch.maximum(farthest, (dx - first).norm(dim=1))
        moving = farthest > threshold * self.half_side
        frozen = self.moving & ~moving
        g = self.gaussians
        if self.shaded:
            self._settle_shades(frozen, samples)
        g.means[frozen] += first[frozen]
        g.quats[frozen] = quaternion_product(dq, g.quats)[frozen]
        g.log_scales[frozen] += ds[frozen]
        self.moving &= moving
        return int((~self.moving).sum())

    def _settle_shades(self, which: torch.Tensor, samples: int = 16) -> None:
        """Make the mean brightness of Gaussians, which (n,) bool, a part of their colors."""
        times = [self.duration * k / samples for k in range(samples + 1)]
        bright = torch.stack([self.deformed(t)[3] for t in times]).mean(dim=0)
        g = self.gaussians
        g.recolor(which, lit(g.tensors()["sh"], bright.expand(-1, 3)))
