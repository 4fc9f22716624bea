"""The loop that simulates the frames of a scene and writes them to a folder."""

import math
import time
from collections.abc import Iterator
from typing import Any

import taichi_phys as tp
from inverse.runs.folder import RunFolder
from taichi_phys.io.states import INDEX, load_extras, remove_frames
from taichi_phys.runtime import one_torch_thread
from taichi_phys.scenes.scene import Scene


FRAMES = "frames"  # the folder within that of the run
STATE = "state.npz"  # the checkpoint


class Simulation:
    """The simulation of a scene's frames.

    done: number of frames simulated so far; seconds: time spent on them; state: the state after the
    last of them, None before the first.
    """

    def __init__(self, scene: Scene, folder: RunFolder):
        self.scene, self.checkpoint, self.frames = scene, folder.checkpoint(STATE), folder / FRAMES
        self.format = "ply" if scene.output.frames == "none" else scene.output.frames
        self.done, self.seconds = 0, 0.0
        self.state: tp.State | None = None

    def resume(self) -> None:
        """Continue from the checkpoint, if it exists. Raises ValueError if that is impossible."""
        if not self.checkpoint.exists():
            return
        extras = load_extras(self.checkpoint)
        self.done, self.seconds = int(extras["frame"]), float(extras["seconds"])
        self.state = tp.load_state(self.checkpoint)
        if not (self.frames / INDEX).exists():
            raise ValueError(
                f"{self.frames}: cannot resume, because the frames of this run were removed, as "
                'after a run with frames = "none"; run without --resume to start again'
            )
        if self.done > self.scene.time.frames:
            raise ValueError(
                f"{self.checkpoint}: the run has already simulated {self.done} frames, but the "
                f"scene asks for {self.scene.time.frames}; give more frames, or another --out"
            )

    def run(self, sim: tp.MPM, force: tp.ForceField | None) -> tp.State:
        """Simulate all frames that are left, and return the last state.

        The state after the last whole frame is saved even if the simulation fails or is stopped.
        Raises ValueError if the simulation fails.
        """
        start = sim.initial_state() if self.state is None else self.state
        self.state = start
        if self.done == 0:
            remove_frames(self.frames)
        every, fps = self.scene.output.every, self.scene.time.fps
        try:
            with one_torch_thread():
                tp.write_frames(
                    self._kept(sim, start, force), self.frames, format=self.format, fps=fps / every,
                    scalars=self._scalars, start=math.ceil(self.done / every),
                )  # fmt: skip
        except tp.SimulationError as error:
            when = f"at frame {self.done + 1}, t = {self.done / fps:.3f} s"
            raise ValueError(f"{self.scene.path}: {when}: {error}") from None
        finally:
            self._save(self.state)
        return self.state

    def _kept(
        self, sim: tp.MPM, start: tp.State, force: tp.ForceField | None
    ) -> Iterator[tp.State]:
        """The states that become frames; each is saved when its frame has been written."""
        every, started = self.scene.output.every, time.perf_counter() - self.seconds
        if self.done % every == 0:  # the first state, or the one that was written at the stop
            yield start
            self._save(start)
        left = self.scene.time.frames - self.done
        for state in sim.run(frames=left, fps=self.scene.time.fps, start=start, force=force):
            self.state, self.done = state, self.done + 1
            self.seconds = time.perf_counter() - started
            if self.done % every == 0:
                yield state
                self._save(state)

    def _scalars(self, state: tp.State) -> dict[str, Any]:
        """What frames hold besides the state; .npz files always hold the plastic strain."""
        scalars: dict[str, Any] = {"plastic": state.plastic} if self.format == "ply" else {}
        if self.scene.simulation.outside == "remove":
            scalars["removed"] = state.removed
        return scalars

    def _save(self, state: tp.State) -> None:
        tp.save_state(self.checkpoint, state, frame=self.done, seconds=self.seconds)
