import re
import runpy
from pathlib import Path

from setuptools import find_packages, setup


ROOT = Path(__file__).parent

EXTRAS = {
    # GGUI is part of taichi; it needs Vulkan from the system (Debian: mesa-vulkan-drivers
    # libvulkan1), and nothing from pip.
    "view": [],
    "usd": ["usd-core>=24.8"],
    # Depth, boxes and masks from networks, whose weights their libraries fetch. It needs no
    # torchvision. CoTracker is not on PyPI: torch.hub fetches it, or --cotracker names a clone or a
    # checkpoint. As a model it needs torch only.
    "perception": ['transformers>=5; python_version >= "3.11"'],
    "web": ["viser>=1.1,<2"],
    "docs": [
        "mkdocs>=1.6,<2",
        "mkdocs-material>=9.5",
        "mkdocstrings-python>=1.16",
        "pymdown-extensions>=10.3,<12",
    ],
}
# the tests build the documentation, open the web page, make tiny networks and write USD
EXTRAS["dev"] = ["pytest>=8", "pytest-xdist>=3.6", "ruff>=0.6", "mypy>=2", "hypothesis>=6.100"]
EXTRAS["dev"] += [*EXTRAS["docs"], *EXTRAS["web"], *EXTRAS["perception"], *EXTRAS["usd"]]

# The clips and scenes of assets are package data: inverse/commands/assets.py finds them.
ASSETS = ["leaf/*", "rotor_puck/**/*", "scenes/*.toml", "scenes/meshes/*.stl"]


def index_page(readme: str) -> str:
    """README for the page of a package index, which has neither our pictures nor our other files.

    What stands between two comments about that is left out, and relative links become plain text.
    """
    readme = re.sub(r"<!-- pictures -->.*?<!-- end of pictures -->\n+", "", readme, flags=re.S)
    return re.sub(r"(?<!!)\[([^]]+)\]\((?!https?://)[^)]+\)", r"\1", readme)


setup(
    name="taichi-phys",
    version=runpy.run_path(str(ROOT / "taichi_phys" / "version.py"))["__version__"],
    description="What moved this, and what happens next? Differentiable physics for video.",
    long_description=index_page((ROOT / "README.md").read_text(encoding="utf-8")),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.10,<3.14",
    classifiers=[
        "Development Status :: 3 - Alpha",
        "Intended Audience :: Science/Research",
        "Programming Language :: Python :: 3",
        "Topic :: Scientific/Engineering :: Physics",
        "Topic :: Scientific/Engineering :: Image Recognition",
        "Typing :: Typed",
    ],
    keywords="differentiable physics, material point method, inverse problems, Gaussian splatting",
    packages=[
        *find_packages(include=["taichi_phys*", "renderers*", "inverse*"]),
        "inverse.assets",
    ],
    package_dir={"inverse.assets": "assets"},
    package_data={
        "taichi_phys": ["py.typed"],
        "renderers": ["py.typed"],
        "inverse": ["py.typed", "materials/*.toml"],
        "inverse.assets": ASSETS,
    },
    exclude_package_data={"inverse.assets": ["leaf/result.png"]},  # a picture for README
    entry_points={"console_scripts": ["taichi-phys = inverse.commands:main"]},
    install_requires=[
        "taichi>=1.7.2,<1.8",
        "torch>=2.4",
        "numpy>=1.26",
        "scipy>=1.11",
        "imageio>=2.34",
        "imageio-ffmpeg>=0.5",
        "opencv-python-headless>=4.8",
        "pillow>=10",
        "matplotlib>=3.8",
        "threadpoolctl>=3.1",
        "tqdm>=4.66",
        "plyfile>=1.0",
        "trimesh>=4",
        'tomli>=2; python_version < "3.11"',
        "scikit-learn>=1.4",
        "scikit-image>=0.24",
    ],
    extras_require=EXTRAS,
)
