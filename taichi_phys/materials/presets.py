"""Materials by name, with the sources of their numbers."""

from taichi_phys.checks import one_of
from taichi_phys.materials.base import Material
from taichi_phys.materials.elastic import Elastic
from taichi_phys.materials.elastoplastic import Elastoplastic
from taichi_phys.materials.fluid import Fluid
from taichi_phys.materials.sand import Sand
from taichi_phys.materials.snow import Snow
from taichi_phys.materials.viscoplastic import HerschelBulkley, Viscoplastic


PRESETS: dict[str, tuple[Material, float]] = {
    # Gelatin gels: 4.3 to 277 kPa for 20 to 2 parts of water (Bonavia, arXiv:2512.20502); mostly
    # water, so nearly incompressible: nu lowered to 0.45 for the time step.
    "jelly": (Elastic(E=2e4, nu=0.45), 1030.0),
    # Soft unfilled natural rubber: typical handbook range E 1 to 5 MPa, density 920 to 960; the
    # handbooks give nu as 0.499, lowered to 0.47 for the time step.
    "rubber": (Elastic(E=1e6, nu=0.47), 930.0),
    # Modeling clay at room temperature: typical values, E a few MPa, yield stress 50 to 200 kPa
    # when worked by hand, density 1700 to 1900.
    "plasticine": (Elastoplastic(E=2e6, nu=0.4, yield_stress=8e4, hardening=5e4), 1800.0),
    # Annealed aluminium 1100: typical handbook values E 69 GPa, nu 0.33, yield stress 35 MPa,
    # tangent modulus about 0.5 GPa, density 2700; all stresses are divided by 1000, which keeps the
    # strains at yield and makes time steps 30 times longer.
    "metal": (Elastoplastic(E=6.9e7, nu=0.33, yield_stress=3.5e4, hardening=5e5), 2700.0),
    # Soap foam: shear modulus 50 to 85 Pa, viscosity 1.5 to 2 Pa s at 10 to 25 cm^3/g (Komatsu et
    # al. 1978, J. Soc. Cosmet. Chem. 29, 237); shear yield strain about 0.2, typical of dry
    # foams. Real foam resists a change of volume far more than nu 0.3 does.
    "foam": (Viscoplastic(E=170.0, nu=0.3, yield_stress=22.0, viscosity=3.5), 60.0),
    # Typical rheometer readings: shear yield stress 100 Pa, consistency 60 Pa s^0.4, flow index
    # 0.4, shear modulus a few kPa, density 1300; the yield stress is multiplied by sqrt(3) and the
    # consistency by 2 (see HerschelBulkley).
    "toothpaste": (
        HerschelBulkley(E=1e4, nu=0.45, yield_stress=170.0, viscosity=120.0, exponent=0.4),
        1300.0,
    ),
    # Dry medium-dense quartz sand: typical handbook friction angle 30 to 36 degrees, bulk density
    # 1500 to 1700; the handbooks give E as 10 to 50 MPa, lowered to 1 MPa for the time step.
    "sand": (Sand(E=1e6, nu=0.3, friction_angle=33.0), 1600.0),
    # Stomakhin et al. 2013, table 2: E 0.14 MPa, nu 0.2, initial density 400, and the defaults.
    "snow": (Snow(E=1.4e5, nu=0.2), 400.0),
    # Water at 20 C: density 998, viscosity 1.0 mPa s, gamma 7; bulk modulus 2.2 GPa lowered to
    # 0.2 MPa: the speed of sound is 14 m/s, and 1 m of water compresses it by 5 %.
    "water": (Fluid(bulk_modulus=2e5, viscosity=1e-3), 998.0),
}


def preset(name: str) -> tuple[Material, float]:
    """The material and the density, kg/m^3, of a preset; comments in PRESETS give the sources.

    name: a key of PRESETS. Metal, sand and water are softer than the real materials, and rubber,
    jelly and foam more compressible, because a high speed of sound forces short explicit time
    steps. Raises ValueError.
    """
    return PRESETS[one_of("name", name, tuple(PRESETS))]
