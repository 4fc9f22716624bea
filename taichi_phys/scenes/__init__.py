"""Scene files: what lies where, of what material, moved by what, and how it is filmed (TOML)."""

from taichi_phys.scenes.keys import SceneError as SceneError
from taichi_phys.scenes.scene import Scene as Scene
from taichi_phys.scenes.scene import load_scene as load_scene
from taichi_phys.scenes.scene import shrink as shrink


__all__ = ["Scene", "SceneError", "load_scene", "shrink"]
