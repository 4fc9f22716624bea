"""Scene files in TOML: bodies, materials, colliders, forces, camera and output of a simulation."""

from taichi_phys.scenes.keys import SceneError as SceneError
from taichi_phys.scenes.scene import Scene as Scene
from taichi_phys.scenes.scene import load_scene as load_scene
from taichi_phys.scenes.scene import shrink as shrink


__all__ = ["Scene", "SceneError", "load_scene", "shrink"]
