"""What a run shows over time, in the form in which it is exported."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch

from renderers.camera import Camera
from renderers.splats.binding import bind, total_deformation
from taichi_phys.geometry.repair import Triangles
from taichi_phys.geometry.surfacing import SurfaceMesh, carry_values, surface_mesh
from taichi_phys.io.states import Frame
from taichi_phys.rotations import nearest_rotation


Pose = Callable[[float], tuple[np.ndarray, np.ndarray]]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Actor:
    """A body of a take.

    name; rows: (m,) indices of its particles; volume: (m,) m^3, at rest; color: (3,) from 0 to 1;
    skin: its surface in the first frame, if it moves with the particles.
    """

    name: str
    rows: np.ndarray
    volume: np.ndarray
    color: tuple[float, float, float]
    skin: "Skin | None" = None

    def surface(self, frame: Frame, *, voxel: float | None, smooth: float) -> SurfaceMesh:
        """The surface in a frame; voxel, smooth: as in `surface_mesh`."""
        here = ~frame.removed[self.rows]
        rows = self.rows[here]
        x, v = frame.x[rows].astype(np.float64), frame.v[rows]
        if self.skin is not None and here.all():
            mesh = self.skin.at(x)
        else:
            mesh = surface_mesh(x, self.volume[here], voxel=voxel, smooth=smooth)
        return dataclasses.replace(mesh, v=carry_values(mesh.vertices, x, v))


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Prop:
    """A rigid thing of a take, such as a collider.

    name; vertices: (m, 3) m; faces: (k, 3); color: (3,) and opacity from 0 to 1; pose: rotation
    (3, 3) and translation (3,) m at a time, None if it stands still; during: (t0, t1) s in which
    it is there, None for always.
    """

    name: str
    vertices: np.ndarray
    faces: np.ndarray
    color: tuple[float, float, float]
    opacity: float = 1.0
    pose: Pose | None = None
    during: tuple[float, float] | None = None

    def there(self, t: float) -> bool:
        """Whether it is there at time t s."""
        return self.during is None or self.during[0] <= t < self.during[1]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Take:
    """What a run shows over time.

    frames: of all particles, in order, with the further arrays of the run; fps: frames per second;
    actors, props; colors: (n, 3) of the particles, None for the color of their body; cameras: one
    for each frame, or none; up: (3,); solid: whether the particles fill their bodies, so that these
    have a surface.
    """

    frames: Sequence[Frame]
    fps: float
    actors: tuple[Actor, ...]
    props: tuple[Prop, ...] = ()
    colors: np.ndarray | None = None
    cameras: tuple[Camera, ...] = ()
    up: tuple[float, float, float] = (0.0, 0.0, 1.0)
    solid: bool = True


class Skin:
    """A mesh that follows the particles inside it.

    mesh: in place in the first frame; x: (n, 3) m, the particles there.
    """

    def __init__(self, mesh: Triangles, x: np.ndarray):
        self.faces = np.asarray(mesh.faces)
        self.start = torch.as_tensor(np.asarray(x, dtype=np.float64))
        vertices = torch.as_tensor(np.asarray(mesh.vertices, dtype=np.float64))
        flat = torch.zeros((len(vertices), 3, 3), dtype=torch.float64)
        self.binding = bind(vertices, flat, self.start)

    def at(self, x: np.ndarray) -> SurfaceMesh:
        """The mesh where its particles are at x (n, 3) m."""
        import trimesh

        now = torch.as_tensor(np.asarray(x, dtype=np.float64))
        unknown = torch.zeros((len(now), 3, 3), dtype=torch.float64)
        # in directions in which the neighbors do not extend, as across a sheet, it is a rotation
        turn = nearest_rotation(total_deformation(self.start, now, unknown))
        vertices, _ = self.binding.deform(now, total_deformation(self.start, now, turn))
        made = trimesh.Trimesh(vertices.numpy(), self.faces, process=False)
        return SurfaceMesh(
            vertices=vertices.numpy(), faces=self.faces, normals=np.array(made.vertex_normals)
        )
