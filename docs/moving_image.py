"""README's moving image, out of the videos of two commands:

    make demo
    taichi-phys simulate dam_break

`python docs/moving_image.py` then writes docs/images/moving.webp.
"""

from pathlib import Path

import numpy as np
from PIL import Image

from renderers.video import read_video


VIDEOS = "out/wind/video.mp4", "out/dam_break/video.mp4"  # one above the other
FRAMES, FPS, WIDTH = 48, 15, 480  # slow motion: both videos have 24 frames per second
OUT = Path(__file__).parent / "images" / "moving.webp"

rows = []
for video in VIDEOS:
    frames = read_video(video).frames[: FRAMES + 1]
    size = WIDTH, round(WIDTH * frames.shape[1] / frames.shape[2])
    shown = np.linspace(0, len(frames) - 1, FRAMES).round().astype(int)
    rows.append([np.asarray(Image.fromarray(frames[k]).resize(size, Image.LANCZOS)) for k in shown])
pictures = [Image.fromarray(np.concatenate(row)) for row in zip(*rows, strict=True)]
options = {"quality": 75, "method": 4, "kmax": 8, "loop": 0, "duration": 1000 // FPS}
pictures[0].save(OUT, save_all=True, append_images=pictures[1:], **options)
print(f"{OUT}: {OUT.stat().st_size / 1e3:.0f} kB, {pictures[0].width} x {pictures[0].height} px")
