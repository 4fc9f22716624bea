"""The table of common materials, and what a wind run makes of it."""

import dataclasses

import numpy as np
import pytest

import taichi_phys as tp
from inverse.materials import Range, Substance, find_substance, substances
from inverse.wind import WindJob
from inverse.wind.inputs.material import settle_material, soften


PICTURE = (np.zeros((9, 9, 3), np.uint8), None)
CLIP = {"video": ("clip.mp4",), "fov": 40.0, "distance": 2.0, "box": (0.0, 0.0, 9.0, 9.0)}


@pytest.mark.parametrize("name", substances())
def test_a_common_material_has_ranges_sources_and_works(name):
    one = substances()[name]
    assert isinstance(one.make_material(), tp.Material)
    for key in one.typical():
        if key != "material":
            given = getattr(one, key)
            assert given.low <= given.typical <= given.high
            assert one.sources[key]
    assert one.name in one.sentence() and "from the table" in one.sentence()
    assert find_substance(name) is one


@pytest.mark.parametrize(
    "words, name",
    [
        ("a Dry Leaf", "dry leaf"), ("the leaf", "dry leaf"), ("leaf of green grass", "green leaf"),
        ("my old T-shirt", "cotton cloth"), ("cardboard box", "corrugated board"),
        ("the cardboard", "cardboard"), ("silk scarf", "silk"), ("tennis ball", "tennis ball"),
        ("ball", "football"), ("an aluminum foil", "aluminum foil"),
    ],
)  # fmt: skip
def test_words_find_the_most_exact_name(words, name):
    assert find_substance(words).name == name


def test_unknown_words_list_what_is_known():
    with pytest.raises(ValueError, match="'dri lef'.* did you mean dry leaf.*wood.*--density"):
        find_substance("dri lef")
    with pytest.raises(ValueError, match="made_of: got 'leaflet'"):
        find_substance("leaflet")
    with pytest.raises(ValueError, match="made_of: got '42'"):
        find_substance("42")


def make(**changes):
    values = {"density": Range(low=1, typical=2, high=3), "E": Range(low=10, typical=11, high=12)}
    values |= {"nu": Range(low=0, typical=0.3, high=0.4)} | changes
    return Substance(name="stuff", law=values.pop("law", "elastic"), **values)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"law": "jam"}, "law"),
        ({"law": "elastoplastic"}, "yield_stress: none given"),
        ({"E": Range(low=1, typical=2, high=3)}, "E: got 1, expected numbers from 10 to 1.3e"),
        ({"nu": Range(low=0, typical=0.3, high=0.5)}, "nu: got 0.5"),
        ({"density": Range(low=3, typical=2, high=4)}, r"density: got \[3.0, 2.0, 4.0\]"),
        ({"thickness": Range(low=1, typical=2, high=float("nan"))}, "thickness: got nan"),
    ],
)
def test_a_substance_refuses_what_no_material_has(changes, message):
    with pytest.raises(ValueError, match=message):
        make(**changes)


def test_a_run_takes_from_the_table_what_is_not_given():
    said = []
    job, substance = settle_material(
        WindJob(**CLIP, made_of="dry leaf", density=500.0), *PICTURE, said
    )
    assert (job.density, job.E, job.thickness) == (500.0, 5e7, 2e-4)
    assert substance.E == Range(low=5e6, typical=5e7, high=5e8)
    assert len(said) == 1 and "E 5e+07 (5e+06 to 5e+08) Pa" in said[0]
    named, _ = settle_material(WindJob(**CLIP, object="the leaf"), *PICTURE, [])
    assert (
        named.E == 5e7
        and WindJob(**CLIP, object="it")
        == settle_material(WindJob(**CLIP, object="it"), *PICTURE, [])[0]
    )
    plain, none = settle_material(WindJob(**CLIP), *PICTURE, said)
    assert plain == WindJob(**CLIP) and none is None and len(said) == 1
    clay, _ = settle_material(WindJob(**CLIP, made_of="clay"), *PICTURE, [])
    assert clay.material == "elastoplastic" and clay.yield_stress == 8e4
    # A law that the job gives has its own parameters: those of another law would not fit it.
    other, _ = settle_material(
        WindJob(**CLIP, made_of="jelly", material="viscoplastic"), *PICTURE, []
    )
    assert other.material == "viscoplastic" and (other.E, other.density) == (1e3, 1030.0)


def test_stiffness_of_the_table_is_limited_to_what_can_be_simulated():
    """The limit is in the steps of the real simulator."""
    said = []
    job, substance = settle_material(WindJob(**CLIP, made_of="clay"), *PICTURE, said)
    soft = soften(job, substance, 0.02, 30.0, said)
    x, volume = tp.sample_box((0, 0, 0), (0.1, 0.1, 0.1), count=60)
    grid = tp.Grid.around(x[None], dx=0.02, margin=0.05)
    body = tp.Particles(x, volume=volume, density=soft.density, material=soft.make_material())
    sim = tp.MPM(particles=body, grid=grid, gravity=(0, 0, 0))
    assert sim.substeps(1 / 30) in (20, 21)
    assert soft.yield_stress / soft.E == pytest.approx(job.yield_stress / job.E)
    assert len(said) == 2 and "in place of 2e+06 Pa" in said[1]
    assert soften(soft, substance, 0.02, 30.0, said) is soft and len(said) == 2
    given = dataclasses.replace(job, E=3e6)
    assert soften(given, substance, 0.02, 30.0, said) is given
    assert soften(WindJob(**CLIP, E=1e9), None, 0.02, 30.0, said).E == 1e9
