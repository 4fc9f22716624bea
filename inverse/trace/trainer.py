"""Training TRACE: the canonical Gaussians, then the deformation and the dynamics together."""

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inverse.fitting.fitter import ADAM, gaussian_groups
from inverse.fitting.photometric import PhotoLoss
from inverse.fitting.relocation import relocate, wander
from inverse.runs.checkpoint import fingerprint_of
from inverse.runs.training import BACKGROUNDS, Training
from inverse.trace.config import TraceConfig
from inverse.trace.model import TraceModel
from inverse.trace.parts import knots_of, label_parts, rigid_parts
from inverse.trace.photographs import Photographs
from inverse.trace.ranks import Ranks
from inverse.trace.shared import without_jumps
from inverse.trace.trial import Trial, held_out, light_errors, revert, same_parts, shines, worse
from renderers.splats.render import render


# How far apart, relative to what is sure, the motions of parts may be that are tried as one, at
# each search; once there are parts, pixels decide.
REACHES = (1.0, 4.0, 4.0, 2.0)
# Share of the errors of held-out photographs, by which these must be larger without changes of
# brightness, before there are parts. Where nothing is shaded it is a thousandth, either way.
CLEAR = 0.01
SHADES = 256  # Gaussians whose brightness counts in a step's loss
SHARED_START = 0.3  # of the rate of the means, with which they go on once parts share a motion


class TraceTrainer(Training):
    """Trains a TraceModel on photographs (TRACE, sec. 3; the schedule is that of its code).

    In the warm-up the Gaussians learn what t = 0 looks like. Then each step renders a photograph
    of a random observed time t from the deformed state at a time t', which the dynamics carry to
    t. The paper's t' is one interval away. Two more kinds of steps make the training faster: t' = t
    teaches the deformation alone, and any other t' teaches the dynamics alone, above all
    accelerations, of which neighboring times show next to nothing.

    model: trained in place; train: photographs with their times; checkpoint: path of the file, None
    for no checkpoint; ranks: the processes that train together, by default this one alone; parts:
    the number of moving parts, None to find it; since: the last time, s, that the model has already
    learned, None for a new one: half of the photographs are then later ones. Raises
    ValueError for a batch that leaves a process without a photograph.
    """

    def __init__(
        self,
        model: TraceModel,
        train: Photographs,
        config: TraceConfig,
        *,
        seed: int = 0,
        checkpoint: str | Path | None = None,
        ranks: Ranks | None = None,
        parts: int | None = None,
        since: float | None = None,
    ):
        super().__init__(config, seed=seed, checkpoint=checkpoint)
        self.model, self.train = model.to(self.device), train
        self.photographs = PhotoLoss(train.images, self.device)
        self.times = sorted(set(train.times))
        self.moment = max(train.times[k] for k in train.first())  # what the warm-up takes for t = 0
        self.ranks = Ranks() if ranks is None else ranks
        self.batch = config.batch or self.ranks.size
        if self.batch < self.ranks.size:
            raise ValueError(
                f"batch: got {self.batch} images for {self.ranks.size} processes, expected "
                "one for each or more"
            )
        self.parts = parts
        self.since = since
        self.trial: Trial | None = None  # of parts that were made last
        self.verdicts: list[dict[str, Any]] = []  # on all pieces of parts that have been tried
        self.light: dict[str, Any] | None = None  # the verdict on the light
        # Refused unions: in each, a piece, 1, did not go with the rest of a part, 2.
        self.apart = np.zeros((0, len(model.gaussians)), dtype=np.int8)
        seeks = config.motion == "parts" and None not in (model.dynamics, model.deformation)
        # How often parts have been sought; they are settled where they are known or not wanted.
        self.tries = len(REACHES) if model.shared is not None or not seeks else 0
        self.shared_at = config.share  # progress at which the last of them were made
        later = [k for k, t in enumerate(train.times) if t > self.moment]
        self.held = [] if self.decided else [later[k] for k in held_out(len(later), seed)]
        self.views = [(k, train.cameras[k], train.times[k]) for k in self.held]
        if config.light == "auto" and not self.held and not self.decided:
            model.lit = False  # since nothing could show whether there is a light
        self.searched = since is not None
        self.quiet = True if self.ranks.rank else None
        groups = gaussian_groups(model.gaussians, config, model.half_side)
        self.rates = {"deformation": config.deformation_rate, "dynamics": config.dynamics_rate}
        for name, rate in self.rates.items():
            if getattr(model, name) is not None:
                parameters = list(getattr(model, name).parameters())
                groups.append({"params": parameters, "lr": rate, "network": name})
        self.optimizer = torch.optim.Adam(groups, **ADAM)
        self._learn_shared()

    @property
    def progress(self) -> float:
        """The share that is done, 0 to 1; what has been learned before counts."""
        begin = 0.0
        if self.since is not None:
            shared = self.model.shared is not None
            begin = (1 + self.config.share) / 2 if shared else self.config.curriculum
        return begin + (1 - begin) * super().progress

    def step(self) -> float:
        """One iteration; returns its loss."""
        config, progress = self.config, self.progress
        decay = 0.01**progress
        if not self.decided:
            self._decide(progress)
        if self.model.shared is not None:  # places are learned anew
            again = 0.01 ** ((progress - self.shared_at) / (1 - self.shared_at))
            decay = max(decay, SHARED_START * again)
            self.rates["shared"] = config.poses_rate * self.model.half_side * again / decay
            self.rates["light"] = config.light_rate * again / decay
        rate = config.means_rate * self.model.half_side * decay
        self.optimizer.param_groups[0]["lr"] = rate
        for group in self.optimizer.param_groups:
            if "network" in group:
                group["lr"] = self.rates[group["network"]] * decay
        if progress >= config.freeze and not self.searched:
            self.searched = True
            if self.model.deformation is not None:
                self.model.find_static()
        self.optimizer.zero_grad()
        total = 0.0
        # Each process takes its share of the batch; gradients are summed, as one process would.
        for item in range(self.ranks.rank, self.batch, self.ranks.size):
            loss = self._image_loss(item, progress) / self.batch
            loss.backward()
            total += loss.item()
        (self.model.regularization() / self.ranks.size).backward()
        self.ranks.sum_gradients(self.optimizer)
        self.optimizer.step()
        if progress < config.relocate_until:
            generator = self.generator(self.batch)  # the same in all processes
            if (self.iteration + 1) % config.relocate_every == 0:
                dead, target = relocate(self.model.gaussians, self.optimizer, generator)
                _follow(self, dead, target)
            wander(self.model.gaussians, config.noise * rate, generator)
        return total

    @property
    def decided(self) -> bool:
        """Whether it is settled which parts share a motion."""
        return self.tries == len(REACHES) and self.trial is None

    def _decide(self, progress: float) -> None:
        """Judge the parts that were made, and make others, each at its time."""
        if progress < self.config.share + self.config.trial * self.tries:
            return
        if self.trial is not None:
            self._judge(progress)
        if self.tries == 0 and self.held and self.model.shaded:
            _judge_light(self, CLEAR)
        if self.tries < len(REACHES):
            if self._share(REACHES[self.tries]):
                self.shared_at = progress
            self.tries += 1
        if self.decided and self.held and self.model.light is not None:
            _judge_light(self)

    def _share(self, reach: float) -> bool:
        """Find the rigid parts, and give each one motion; returns whether there are new ones."""
        model = self.model
        knots = knots_of(self.times, len(self.train))
        known = np.zeros(len(model.gaussians), dtype=np.int64)
        if model.shared is not None:
            known = model.shared.part.cpu().numpy()
            if not self.held:  # without photographs to judge by, only what is sure is believed
                return False
        pieces = label_parts(model, self.parts, self.seed)
        labels = rigid_parts(
            model, pieces, knots, self.parts, reach if known.any() else 1.0, self.apart
        )
        jumps = model.shared is not None and any(
            without_jumps(turns) is not None for _, turns in model.shared.paths()
        )
        if not (labels > 0).any() or (same_parts(labels, known) and not jumps):
            return False  # parts that are not found again stay
        before = copy.deepcopy(model)
        self._forget("shared")
        model.share(labels, knots, light=model.shaded)
        assert model.shared is not None
        if self.held:
            trial = Trial(before, labels, pieces, model.shared.mend_jumps())
            self.trial = trial if trial.count else None
        self._learn_shared()
        return True

    def _judge(self, progress: float) -> None:
        """Take from new parts the pieces that they explain worse than the model before."""
        model, trial = self.model, self.trial
        assert trial is not None and model.shared is not None
        errors = trial.compare(model, self.photographs, self.views, self.background)
        bad = worse(errors)
        part = model.shared.part.cpu().numpy()
        for k, (before, now) in enumerate(errors.tolist()):
            own = trial.pieces == k + 1
            rest = np.isin(part, part[own]) & ~own
            if bad[k] and rest.any():
                self.apart = np.concatenate([self.apart, (own + 2 * rest)[None].astype(np.int8)])
            self.verdicts.append(
                {"progress": progress, "gaussians": int(own.sum()), "kept": not bad[k],
                 "error_before": before, "error": now}
            )  # fmt: skip
        if bad.any():
            self._forget("shared")
            revert(model, trial, bad, self.optimizer)
            self._learn_shared()
        self.trial = None

    def _learn_shared(self) -> None:
        """Let the optimizer learn the poses of the parts, and the light, where there are any."""
        known = {group.get("network") for group in self.optimizer.param_groups}
        for name in ("light", "shared"):
            module = getattr(self.model, name)
            if module is not None and name not in known:
                parameters = list(module.parameters())
                self.optimizer.add_param_group({"params": parameters, "lr": 0.0, "network": name})

    def _forget(self, name: str) -> None:
        """Take "shared" or "light", the poses of parts or their light, from the optimizer."""
        groups = self.optimizer.param_groups
        gone = [group for group in groups if group.get("network") == name]
        groups[:] = [group for group in groups if group.get("network") != name]
        for group in gone:
            for parameter in group["params"]:
                self.optimizer.state.pop(parameter, None)

    def _image_loss(self, item: int, progress: float) -> torch.Tensor:
        config, model = self.config, self.model
        draw = self.iteration * self.batch + item
        generator = self.generator(item)
        index = self._photograph(draw, progress)
        t = self.train.times[index]
        degree = min(config.sh_degree, int(10 * progress))
        if progress < config.warm_up:
            tensors = model.gaussians.tensors()
        else:
            source, follow = self._source(t, generator, progress)
            tensors = model.tensors_at(t, source, follow=follow)
        tensors["sh"] = tensors["sh"][:, : (degree + 1) ** 2]
        background = torch.tensor(self.background).to(self.device)
        image = render(self.train.cameras[index], **tensors, background=background).rgb
        loss, self.note = self.photographs.loss(index, image, background, config.ssim_weight)
        if model.shaded and progress >= config.warm_up and model.free.any():
            some = torch.randint(len(model.gaussians), (SHADES,), generator=generator)
            shades = model.deformed(t, some.to(self.device))[3].log()
            loss = loss + config.shade_weight * shades.square().mean()
        return loss

    @property
    def background(self) -> tuple[float, float, float]:
        """The color behind transparent pixels, in 0..1."""
        return BACKGROUNDS["white" if self.config.white_background else "black"]

    def _seen(self, progress: float) -> float:
        """The latest time that the curriculum uses so far, s."""
        config = self.config
        share = (progress - config.warm_up) / max(config.curriculum - config.warm_up, 1e-9)
        return self.times[-1] * min(max(share, 1e-9), 1.0)

    def _ramp(self, progress: float) -> float:
        """How far hops may go, from 0, one interval, to 1, the whole video."""
        start = self.config.curriculum
        return min(max((progress - start) / max(self.config.hop_ramp - start, 1e-9), 0.0), 1.0)

    def _photograph(self, draw: int, progress: float) -> int:
        """The index of a photograph: at first of one of t = 0, at last of any of them."""
        last = self.moment if progress < self.config.warm_up else self._seen(progress)
        last = next((time for time in self.times if time >= last - 1e-9), self.times[-1])
        held = [] if self.decided else self.held
        allowed = [
            k for k, time in enumerate(self.train.times) if time <= last + 1e-9 and k not in held
        ]
        if self.since is not None:
            draw, recent = divmod(draw, 2)
            later = [k for k in allowed if self.train.times[k] > self.since + 1e-9]
            allowed = later if recent and later else allowed
        return allowed[self.permutation(len(allowed), draw)]

    def _source(
        self, t: float, generator: torch.Generator, progress: float
    ) -> tuple[float | None, bool]:
        """The time t' whose state is carried to t, and whether the gradient follows it there."""
        config = self.config
        if self.model.dynamics is None or not self.model.free.any():
            return None, True
        dt, last = self.model.frame_dt, max(self._seen(progress), self.model.frame_dt)
        kind, sign, place = torch.rand(3, generator=generator).tolist()
        if self.model.deformation is None:
            return 0.0, True
        if kind < config.direct:
            return t, True
        ramp = self._ramp(progress)
        if kind < config.direct + config.long_hops * ramp:
            # No farther than the dynamics already see: a path that misses the object altogether
            # gets no gradient that would bring it back.
            reach = dt + ramp * (self.times[-1] - dt)
            first, latest = max(t - reach, 0.0), min(t + reach, last, self.model.duration)
            # The future follows from the rates at the last time, so these are trained most.
            source = latest if sign < config.from_last else first + place * (latest - first)
            return source, abs(source - t) < 1e-6  # without a hop, the deformation is trained
        source = t - dt if sign < 0.5 else t + dt
        return min(max(source, 0.0), self.model.duration), True

    def fingerprint(self) -> str:
        """Return a digest of the settings and the photographs."""
        settings = dataclasses.asdict(self.config) | {"batch": self.batch, "seed": self.seed}
        settings["since"] = self.since
        views = [(view.time, dataclasses.asdict(view.camera)) for view in self.train.views]
        scene = self.model.scene() | {"laws": None, "lit": None}  # which come of the training
        return fingerprint_of((settings, scene, views), self.photographs.arrays())

    def own_state(self) -> dict[str, Any]:
        """Return what a checkpoint holds besides the state of the loop."""
        return {
            "model": self.model.state_dict(),
            "scene": self.model.scene(),
            "optimizer": self.optimizer.state_dict(),
            "searched": self.searched,
            "tries": self.tries,
            "shared_at": self.shared_at,
            "verdicts": self.verdicts,
            "light": self.light,
            "apart": torch.as_tensor(self.apart),
            "trial": None if self.trial is None else self.trial.state(),
            "since": self.since,
        }

    def load_own_state(self, state: dict[str, Any]) -> None:
        """Restore what own_state() returned."""
        if self.model.shared is None:
            self.model.prepare(state["model"])
            self._learn_shared()
        self.model.load_state_dict(state["model"])
        self.model.lit = state["scene"]["lit"]
        self.optimizer.load_state_dict(state["optimizer"])
        for name in ("searched", "tries", "shared_at", "verdicts", "light"):
            setattr(self, name, state[name])
        self.apart = state["apart"].cpu().numpy()
        if state["trial"] is not None:
            self.trial = Trial.from_state(state["trial"], self.model)

    def elapsed(self, seconds: float) -> float:
        """Seconds of training so far in the first process, which all processes use."""
        return self.ranks.agree(seconds)

    def save(self) -> None:
        """Write the checkpoint, in the first process only; at the end with the parts' laws."""
        if self.ranks.rank == 0:
            if self.progress >= 1:
                self.model.find_laws()
            super().save()


@torch.no_grad()
def _follow(trainer: TraceTrainer, dead: torch.Tensor, target: torch.Tensor) -> None:
    """Let Gaussians dead (k,), moved onto target (k,), move and be lit as these."""
    model = trainer.model
    model.moving[dead] = model.moving[target]
    if model.shared is not None:
        model.shared.part[dead] = model.shared.part[target]
    if model.light is not None:
        normals = model.light.normals
        normals[dead] = normals[target]
        for values in trainer.optimizer.state.get(normals, {}).values():
            if values.shape == normals.shape:
                values[dead] = 0
    to, source = dead.cpu().numpy(), target.cpu().numpy()
    trainer.apart[:, to] = trainer.apart[:, source]
    if trainer.trial is not None:
        trainer.trial.pieces[to] = trainer.trial.pieces[source]


def _judge_light(trainer: TraceTrainer, least: float | None = None) -> None:
    """Put the light out unless it is on, or photographs that were held out show it.

    least: as in `shines`.
    """
    model = trainer.model
    if trainer.config.light != "auto":
        return
    errors = light_errors(model, trainer.photographs, trainer.views, trainer.background)
    before, now = errors.mean(axis=0).tolist()
    trainer.light = {"kept": shines(errors, least), "error_without": before, "error": now}
    if not trainer.light["kept"]:
        trainer._forget("light")
        model.put_out_light()
