"""Where the pixels around keypoints move, in space, as a lift says it.

On a sheet the surface between keypoints bends as little as can. The surface of a solid is known:
each pixel lies on a face of it, which the nodes in the volume carry, so that a patch over the edge
of a limb, or over a sharp corner, is warped as it is seen.
"""

from typing import Protocol

import numpy as np
from scipy.ndimage import distance_transform_edt

from inverse.lifting.sheet import thin_plate_weights
from inverse.lifting.solve import Lifted
from inverse.lifting.volume import VolumeNodes
from inverse.perception.mesh import mesh_in_view
from inverse.spread import farthest_points
from renderers.camera import Camera
from taichi_phys.geometry.repair import Triangles


SHEET_NODES = 100  # control points of the warp of a sheet
BEYOND = 3.0  # of a face: farther out of it, its plane says nothing
BEHIND = 3.0  # widths of a pixel behind what a picture shows, beyond which a point is hidden


class Warp(Protocol):
    """Pixels of one picture, N times P, that move with a body."""

    def positions(self, lifted: Lifted, frame: int) -> np.ndarray:
        """(N, P, 3) m: where the pixels are in a frame."""
        ...


class SheetWarp:
    """Pixels places (N, P, 2) px of a picture of a sheet; template: (m, 2) px, where the keypoints
    around (m,), by index, are in it."""

    def __init__(self, places: np.ndarray, template: np.ndarray, around: np.ndarray):
        chosen = farthest_points(template, SHEET_NODES)
        self.nodes, self.shape = around[chosen], places.shape[:2]
        self.W = thin_plate_weights(template[chosen], places.reshape(-1, 2))

    def positions(self, lifted: Lifted, frame: int) -> np.ndarray:
        """(N, P, 3) m: where the pixels are in a frame."""
        return (self.W @ lifted.points[frame, self.nodes]).reshape(*self.shape, 3)


class CarriedSurface:
    """The surface of a solid in frame 0, and the nodes in its volume that carry it."""

    def __init__(self, surface: Triangles, volume: VolumeNodes):
        self.faces, self.weights = surface.faces, volume.weights_at(surface.vertices)

    def vertices(self, lifted: Lifted, frame: int) -> np.ndarray:
        """(V, 3) m in a frame."""
        return self.weights @ lifted.nodes[frame]

    def warp(
        self, places: np.ndarray, camera: Camera, lifted: Lifted, frame: int
    ) -> "SurfaceWarp | None":
        """The warp of pixels places (N, P, 2) px of the picture that a camera took of a frame; None
        where the picture does not show the surface.

        Pixels beside the object lie in the plane of the face that is nearest in the picture.
        """
        vertices = self.vertices(lifted, frame)
        owner = mesh_in_view(Triangles(vertices, self.faces), camera)[1]
        if (owner < 0).all():
            return None
        rows, columns = distance_transform_edt(owner < 0, return_indices=True)[1]
        size = np.array([camera.width, camera.height])
        column, row = np.moveaxis(np.clip(np.floor(places).astype(int), 0, size - 1), -1, 0)
        faces = self.faces[owner[rows[row, column], columns[row, column]]]
        share = _on_planes(places, vertices[faces], camera)
        return SurfaceWarp(self, faces, share)

    def shown(self, points: np.ndarray, camera: Camera, lifted: Lifted, frame: int) -> np.ndarray:
        """Whether a picture of a frame shows points (N, 3) m on the surface: (N,) bool, False for
        those behind another part."""
        surface = Triangles(self.vertices(lifted, frame), self.faces)
        depth = mesh_in_view(surface, camera)[0]
        xy, z = camera.project(points)
        size = np.array([camera.width, camera.height])
        column, row = np.clip(np.floor(xy).astype(int), 0, size - 1).T
        behind: np.ndarray = z - depth[row, column] > BEHIND * z / camera.fx
        return ~behind


class SurfaceWarp:
    """Pixels on the faces (N, P, 3), vertices by index, with their barycentric shares (N, P, 3)."""

    def __init__(self, skin: CarriedSurface, faces: np.ndarray, share: np.ndarray):
        self.skin, self.faces, self.share = skin, faces, share

    def positions(self, lifted: Lifted, frame: int) -> np.ndarray:
        """(N, P, 3) m: where the pixels are in a frame."""
        corners = self.skin.vertices(lifted, frame)[self.faces]
        return np.einsum("npk,npkd->npd", self.share, corners)


def _on_planes(places: np.ndarray, corners: np.ndarray, camera: Camera) -> np.ndarray:
    """Barycentric shares (..., 3) of where the rays through places (..., 2) px meet the planes of
    triangles (..., 3, 3) m."""
    local = camera.to_camera(corners.reshape(-1, 3)).reshape(corners.shape)
    ones = np.ones((*places.shape[:-1], 1))
    middle = np.array([camera.cx, camera.cy])
    ray = np.concatenate([(places - middle) / [camera.fx, camera.fy], ones], axis=-1)
    a, b, c = np.moveaxis(local, -2, 0)
    # The signed volumes that the ray spans with pairs of corners are in the ratio of the shares.
    parts = np.stack(
        [(ray * np.cross(p, q)).sum(axis=-1) for p, q in ((b, c), (c, a), (a, b))], axis=-1
    )
    whole = parts.sum(axis=-1, keepdims=True)
    share = parts / np.where(np.abs(whole) > 1e-300, whole, 1.0)
    share = np.clip(share, -BEYOND, BEYOND)
    return share + (1 - share.sum(axis=-1, keepdims=True)) / 3
