"""The lists that tests are parametrized over hold every kind that the simulator has."""

import helpers
from helpers import kinds_of

import taichi_phys as tp
from taichi_phys.mpm.colliders import Collider


def test_every_material_is_listed():
    kinds = set(kinds_of(tp.Material))
    registered = {name: kind for name, kind in tp.MATERIALS.items() if kind in kinds}
    assert {name: type(material) for name, material in helpers.MATERIALS.items()} == registered


def test_every_force_and_flow_of_air_is_listed():
    assert {type(force) for force in helpers.FORCES.values()} == set(kinds_of(tp.ForceField))
    assert {type(air) for air in helpers.AIR.values()} == set(kinds_of(tp.AirVelocity))


def test_every_collider_is_listed():
    """But rigid bodies, which take the shape of another."""
    kinds = {kind for kind, _ in helpers.COLLIDERS.values()}
    assert kinds == set(kinds_of(Collider)) - {tp.RigidBody}
