from setuptools import find_packages, setup

setup(
    name="taichi-phys",
    version="0.1.0",
    description="What moved this, and what happens next? Differentiable physics for video.",
    long_description=open("README.md", encoding="utf-8").read(),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10,<3.14",
    packages=find_packages(
        include=["taichi_phys*", "renderers*", "inverse*"],
    ),
    install_requires=[
        "taichi>=1.7.2,<1.8",
        "torch>=2.4",
        "numpy>=1.26",
        "scipy>=1.11",
        "imageio>=2.34",
        "imageio-ffmpeg>=0.5",
        "opencv-python-headless>=4.8",
        "matplotlib>=3.8",
        "tqdm>=4.66",
        "trimesh>=4.0",
        "plyfile>=1.0",
    ],
    extras_require={
        "view": [],
        "open3d": ["open3d>=0.18; python_version < '3.13'"],
        "perception": ["cotracker"],
        "dev": ["pytest>=8", "ruff>=0.6"],
    },
)
