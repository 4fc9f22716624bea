"""Moving points, surfaces, solids and cameras as one USD stage, for Blender and other programs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from taichi_phys.checks import finite_number, finite_vector, path_of
from taichi_phys.geometry.surfacing import SurfaceMesh
from taichi_phys.io.files import atomic_path, plain_name


SUFFIXES = (".usdc", ".usda", ".usd")
WORLD = "/World"
APERTURE = 36.0  # width of a camera's film, mm
NEAR_FRAME = 1e-3  # frames: times so near a frame are at the frame


class UsdWriter:
    """A USD stage that is written when its block ends without an error.

        with UsdWriter("splash.usdc", fps=24) as stage:
            for frame in tp.read_frames("out/dam_break/frames"):
                stage.points("water", frame.time, frame.x, v=frame.v, width=0.01)

    path: a name ending in .usdc (binary), .usda (text) or .usd; fps: time codes per second, so that
    frame k of a film with so many frames a second has time code k; up: (3,) the direction that
    points up; the stage, whose z axis points up, is turned so that it does. Lengths are in meters.
    Each method samples one object at a time in s, in ascending order. Raises ValueError, and
    ImportError without the package usd-core.
    """

    def __init__(
        self, path: str | Path, *, fps: float = 24.0, up: Sequence[float] = (0.0, 0.0, 1.0)
    ):
        self.path = path_of("path", path)
        if self.path.suffix.lower() not in SUFFIXES:
            raise ValueError(f"path: got {self.path}, expected a name in {', '.join(SUFFIXES)}")
        self.fps = finite_number("fps", fps, "a positive number", low=0, open_end=True)
        up = finite_vector("up", up)
        try:
            from pxr import Usd, UsdGeom
        except ImportError:
            raise ImportError(
                "USD needs a package that is not installed: pip install usd-core"
            ) from None
        self.stage = Usd.Stage.CreateInMemory()
        UsdGeom.SetStageUpAxis(self.stage, UsdGeom.Tokens.z)
        UsdGeom.SetStageMetersPerUnit(self.stage, 1.0)
        self.stage.SetTimeCodesPerSecond(self.fps)
        self.stage.SetFramesPerSecond(self.fps)
        self.world = UsdGeom.Xform.Define(self.stage, WORLD)
        self.stage.SetDefaultPrim(self.world.GetPrim())
        turn = _upright(np.array(up))
        if not np.allclose(turn, np.eye(3)):
            self.world.AddTransformOp().Set(_matrix(turn, np.zeros(3)))
        self._codes: list[float] = []
        self._prims: dict[str, Any] = {}

    def __enter__(self) -> "UsdWriter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.save()

    def points(
        self,
        name: str,
        time: float,
        x: np.ndarray,
        *,
        v: np.ndarray | None = None,
        width: np.ndarray | float,
        colors: np.ndarray | None = None,
        ids: np.ndarray | None = None,
        arrays: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Sample particles, whose number may change.

        x: (n, 3) m; v: (n, 3) m/s; width: diameter, m, (n,) or one number; colors: (n, 3) or (3,)
        from 0 to 1; ids: (n,) int; arrays: further numbers (n,) or vectors (n, 3) by name.
        """
        from pxr import UsdGeom, Vt

        prim = self._prim(UsdGeom.Points, name)
        code = self._code(time)
        prim.CreatePointsAttr().Set(_vectors(x), code)
        _set_extent(prim, x, code)
        widths = np.broadcast_to(np.asarray(width, np.float32), len(x))
        prim.CreateWidthsAttr().Set(Vt.FloatArray.FromNumpy(np.ascontiguousarray(widths)), code)
        prim.SetWidthsInterpolation(UsdGeom.Tokens.vertex)
        if v is not None:
            prim.CreateVelocitiesAttr().Set(_vectors(v), code)
        if ids is not None:
            ids = np.ascontiguousarray(ids, dtype=np.int64)
            prim.CreateIdsAttr().Set(Vt.Int64Array.FromNumpy(ids), code)
        self._color(prim, colors, code)
        for key, array in (arrays or {}).items():
            self._array(prim, key, np.asarray(array), code)

    def surface(self, name: str, time: float, mesh: SurfaceMesh) -> None:
        """Sample a surface, whose number of vertices may change, with its normals and, where the
        mesh has them, velocities and colors."""
        from pxr import UsdGeom, Vt

        prim = self._prim(UsdGeom.Mesh, name)
        code = self._code(time)
        prim.CreatePointsAttr().Set(_vectors(mesh.vertices), code)
        _set_faces(prim, mesh.faces, code)
        _set_extent(prim, mesh.vertices, code)
        prim.CreateNormalsAttr().Set(Vt.Vec3fArray.FromNumpy(_single(mesh.normals)), code)
        prim.SetNormalsInterpolation(UsdGeom.Tokens.vertex)
        if mesh.v is not None:
            prim.CreateVelocitiesAttr().Set(_vectors(mesh.v), code)
        self._color(prim, mesh.colors, code)

    def solid(
        self,
        name: str,
        vertices: np.ndarray,
        faces: np.ndarray,
        *,
        color: Sequence[float],
        opacity: float = 1.0,
    ) -> None:
        """Add a rigid thing, such as a collider, which `pose` moves.

        vertices: (m, 3) m; faces: (k, 3); color: (3,) and opacity from 0 to 1.
        """
        from pxr import UsdGeom

        prim = self._prim(UsdGeom.Mesh, name)
        prim.CreatePointsAttr().Set(_vectors(vertices))
        _set_faces(prim, faces, None)
        _set_extent(prim, vertices, None)
        self._color(prim, np.array(color, dtype=float), None)
        self.paint(name, color, opacity)

    def pose(
        self,
        name: str,
        time: float,
        rotation: np.ndarray,
        translation: np.ndarray,
        *,
        visible: bool = True,
    ) -> None:
        """Sample the pose of a solid: rotation (3, 3), then translation (3,) m; and whether it is
        there at this time."""
        from pxr import UsdGeom

        prim, code = self._prims[name], self._code(time)
        ops = prim.GetOrderedXformOps()
        (ops[0] if ops else prim.AddTransformOp()).Set(_matrix(rotation, translation), code)
        word = UsdGeom.Tokens.inherited if visible else UsdGeom.Tokens.invisible
        prim.CreateVisibilityAttr().Set(word, code)

    def camera(
        self,
        name: str,
        time: float,
        *,
        fx: float,
        fy: float,
        cx: float,
        cy: float,
        width: int,
        height: int,
        world_to_camera: np.ndarray,
    ) -> None:
        """Sample a camera, given as in `renderers.Camera`: px, and (4, 4) to x right, y down, z
        forward."""
        from pxr import Gf, UsdGeom

        prim, code = self._prim(UsdGeom.Camera, name), self._code(time)
        focal = APERTURE * fx / width
        prim.CreateFocalLengthAttr().Set(focal, code)
        prim.CreateHorizontalApertureAttr().Set(APERTURE, code)
        prim.CreateVerticalApertureAttr().Set(focal * height / fy, code)
        prim.CreateHorizontalApertureOffsetAttr().Set(focal * (width / 2 - cx) / fx, code)
        prim.CreateVerticalApertureOffsetAttr().Set(focal * (cy - height / 2) / fy, code)
        prim.CreateClippingRangeAttr().Set(Gf.Vec2f(0.01, 1e5))
        place = np.linalg.inv(np.asarray(world_to_camera, dtype=float))
        ops = prim.GetOrderedXformOps()
        turn = place[:3, :3] * (1.0, -1.0, -1.0)  # USD's cameras look along -z, with y up
        (ops[0] if ops else prim.AddTransformOp()).Set(_matrix(turn, place[:3, 3]), code)

    def paint(self, name: str, color: Sequence[float], opacity: float = 1.0) -> None:
        """Give points or a surface a material of one color (3,) and opacity from 0 to 1."""
        from pxr import Gf, Sdf, UsdShade

        place = f"{WORLD}/Materials/{_identifier(name)}"
        material = UsdShade.Material.Define(self.stage, place)
        shader = UsdShade.Shader.Define(self.stage, f"{place}/Surface")
        shader.CreateIdAttr("UsdPreviewSurface")
        rgb = Gf.Vec3f(*map(float, color))
        shader.CreateInput("diffuseColor", Sdf.ValueTypeNames.Color3f).Set(rgb)
        shader.CreateInput("roughness", Sdf.ValueTypeNames.Float).Set(0.5)
        shader.CreateInput("opacity", Sdf.ValueTypeNames.Float).Set(float(opacity))
        material.CreateSurfaceOutput().ConnectToSource(shader.ConnectableAPI(), "surface")
        UsdShade.MaterialBindingAPI.Apply(self._prims[name].GetPrim()).Bind(material)

    def save(self) -> None:
        """Write the file, whole or not at all."""
        if self._codes:
            self.stage.SetStartTimeCode(min(self._codes))
            self.stage.SetEndTimeCode(max(self._codes))
        with atomic_path(self.path) as partial:
            if not self.stage.Export(str(partial)):
                raise ValueError(f"{self.path}: cannot be written")

    def _code(self, time: float) -> float:
        code = float(time) * self.fps
        code = float(round(code)) if abs(code - round(code)) < NEAR_FRAME else code
        self._codes.append(code)
        return code

    def _prim(self, schema: Any, name: str) -> Any:
        if name not in self._prims:
            from pxr import UsdGeom

            prim = schema.Define(self.stage, f"{WORLD}/{_identifier(name)}")
            prim.GetPrim().SetDisplayName(name)
            if schema is UsdGeom.Mesh:
                prim.CreateSubdivisionSchemeAttr().Set(UsdGeom.Tokens.none)
            self._prims[name] = prim
        return self._prims[name]

    def _color(self, prim: Any, colors: np.ndarray | None, code: float | None) -> None:
        if colors is None:
            return
        from pxr import UsdGeom, Vt

        colors = np.asarray(colors)
        of = UsdGeom.Tokens.constant if colors.ndim == 1 else UsdGeom.Tokens.vertex
        values = Vt.Vec3fArray.FromNumpy(_single(colors.reshape(-1, 3)))
        primvar = prim.CreateDisplayColorPrimvar(of)
        primvar.Set(values) if code is None else primvar.Set(values, code)

    def _array(self, prim: Any, name: str, array: np.ndarray, code: float) -> None:
        from pxr import Sdf, UsdGeom, Vt

        if array.ndim == 1:
            kind, values = Sdf.ValueTypeNames.FloatArray, Vt.FloatArray.FromNumpy(_single(array))
        elif array.shape[1:] == (3,):
            kind, values = Sdf.ValueTypeNames.Vector3fArray, _vectors(array)
        else:
            return  # USD has no arrays of tensors
        api = UsdGeom.PrimvarsAPI(prim)
        api.CreatePrimvar(_identifier(name), kind, UsdGeom.Tokens.vertex).Set(values, code)


def _identifier(name: str) -> str:
    """The name as USD allows names of objects."""
    plain = plain_name(name)
    return f"_{plain}" if plain[0].isdigit() else plain


def _single(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array, dtype=np.float32)


def _vectors(array: np.ndarray) -> Any:
    from pxr import Vt

    return Vt.Vec3fArray.FromNumpy(_single(np.asarray(array).reshape(-1, 3)))


def _set_faces(prim: Any, faces: np.ndarray, code: float | None) -> None:
    from pxr import Vt

    at = () if code is None else (code,)
    counts, index = np.full(len(faces), 3, np.int32), np.ascontiguousarray(faces, np.int32)
    prim.CreateFaceVertexCountsAttr().Set(Vt.IntArray.FromNumpy(counts), *at)
    prim.CreateFaceVertexIndicesAttr().Set(Vt.IntArray.FromNumpy(index.reshape(-1)), *at)


def _set_extent(prim: Any, points: np.ndarray, code: float | None) -> None:
    ends = np.stack([points.min(axis=0), points.max(axis=0)]) if len(points) else np.zeros((2, 3))
    at = () if code is None else (code,)
    prim.CreateExtentAttr().Set(_vectors(ends), *at)


def _matrix(rotation: np.ndarray, translation: np.ndarray) -> Any:
    """A matrix of USD, which acts on rows from the right."""
    from pxr import Gf

    whole = np.eye(4)
    whole[:3, :3], whole[3, :3] = np.asarray(rotation, float).T, translation
    return Gf.Matrix4d(whole.tolist())


def _upright(up: np.ndarray) -> np.ndarray:
    """The smallest rotation (3, 3) that turns up (3,) to z; none for a zero vector."""
    from scipy.spatial.transform import Rotation

    length = np.linalg.norm(up)
    if not length > 0:
        return np.eye(3)
    axis = np.cross(up / length, (0.0, 0.0, 1.0))
    sine, cosine = float(np.linalg.norm(axis)), float(up[2] / length)
    if sine < 1e-9:
        return np.diag([1.0, 1.0, 1.0] if cosine > 0 else [1.0, -1.0, -1.0])
    return Rotation.from_rotvec(axis / sine * np.arctan2(sine, cosine)).as_matrix()
