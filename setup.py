from pathlib import Path

from setuptools import find_packages, setup


EXTRAS = {
    # GGUI is part of taichi; it needs Vulkan from the system (Debian: mesa-vulkan-drivers
    # libvulkan1), and nothing from pip.
    "view": [],
    "open3d": ["open3d>=0.18"],
    # CoTracker is not on PyPI: torch.hub fetches it, or --cotracker names a clone or a
    # checkpoint. As a model it needs torch only.
    "perception": [],
    "web": ["viser>=1.1,<2"],
    "docs": [
        "mkdocs>=1.6,<2",
        "mkdocs-material>=9.5",
        "mkdocstrings-python>=1.16",
        "pymdown-extensions>=10.3,<12",
    ],
}
# the tests build the documentation and open the web page
EXTRAS["dev"] = ["pytest>=8", "pytest-xdist>=3.6", "ruff>=0.6", "mypy>=2", "hypothesis>=6.100"]
EXTRAS["dev"] += [*EXTRAS["docs"], *EXTRAS["web"]]

setup(
    name="taichi-phys",
    version="0.1.0",
    description="What moved this, and what happens next? Differentiable physics for video.",
    long_description=(Path(__file__).parent / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    license_files=["LICENSE"],
    python_requires=">=3.10,<3.14",
    packages=find_packages(include=["taichi_phys*", "renderers*", "inverse*"]),
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
    ],
    extras_require=EXTRAS,
)
