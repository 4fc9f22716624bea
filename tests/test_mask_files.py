"""Masks as segmentation tools and picture editors write them."""

import cv2
import numpy as np
import pytest
from PIL import Image

from inverse.perception import is_sequence, load_labels, load_mask, load_masks
from renderers.video import write_video


SIZE = (64, 48)


def disc(x=30, y=22, radius=12):
    columns, rows = np.meshgrid(np.arange(SIZE[0]), np.arange(SIZE[1]))
    return np.hypot(columns - x, rows - y) < radius


def indexed(labels, colors):
    image = Image.fromarray(labels.astype(np.uint8), mode="P")
    image.putpalette(np.asarray(colors, np.uint8).ravel().tolist())
    return image


def picture(seed=0):
    noise = np.random.default_rng(seed).random((*SIZE[::-1], 3))
    return (255 * cv2.GaussianBlur(noise, (0, 0), 3)).astype(np.uint8)


def rgba(mask, seed=0):
    return np.dstack([picture(seed), 255 * mask.astype(np.uint8)])


def soft(mask):
    return cv2.GaussianBlur(255 * mask.astype(np.uint8), (5, 5), 0)


WRITERS = {
    "white.png": lambda p, m: cv2.imwrite(str(p), 255 * m.astype(np.uint8)),
    "ones.png": lambda p, m: cv2.imwrite(str(p), m.astype(np.uint8)),
    "one_bit.png": lambda p, m: Image.fromarray(m).save(p),
    "sixteen_bits.png": lambda p, m: cv2.imwrite(str(p), 65535 * m.astype(np.uint16)),
    "soft.png": lambda p, m: cv2.imwrite(str(p), soft(m)),
    "white.jpg": lambda p, m: cv2.imwrite(str(p), 255 * m.astype(np.uint8)),
    "red.png": lambda p, m: Image.fromarray(m[..., None] * np.uint8([200, 0, 0])).save(p),
    "cut_out.png": lambda p, m: Image.fromarray(rgba(m)).save(p),
    "cut_out.webp": lambda p, m: Image.fromarray(rgba(m)).save(p, lossless=True),
    "gray_alpha.png": lambda p, m: Image.fromarray(rgba(m)[..., 2:], mode="LA").save(p),
    "opaque.png": lambda p, m: Image.fromarray(
        np.dstack([255 * np.repeat(m[..., None], 3, 2), 255 + 0 * m]).astype(np.uint8)
    ).save(p),
    "davis.png": lambda p, m: indexed(m, [(0, 0, 0), (128, 0, 0)]).save(p),
    "label_7.png": lambda p, m: cv2.imwrite(str(p), 7 * m.astype(np.uint8)),
    "gray_palette.png": lambda p, m: indexed(~m, [(255, 255, 255), (0, 0, 0)]).save(p),
    "bool.npy": lambda p, m: np.save(p, m),
    "batch.npy": lambda p, m: np.save(p, m[None]),
    "channel.npy": lambda p, m: np.save(p, m[..., None].astype(np.float32)),
    "probability.npy": lambda p, m: np.save(p, 0.98 * m + 0.01),
    "logits.npy": lambda p, m: np.save(p, np.where(m, 7.5, -12.25).astype(np.float32)),
    "mask.npz": lambda p, m: np.savez(p, mask=m, scores=np.array([0.9])),
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_mask_is_read_from(name, tmp_path):
    mask = disc()
    WRITERS[name](tmp_path / name, mask)
    found = load_mask(tmp_path / name, SIZE)
    assert found.dtype == bool and found.shape == mask.shape
    wrong = (found ^ mask).sum()
    assert wrong == 0 or (name in ("soft.png", "white.jpg") and wrong <= 8)
    assert not is_sequence(tmp_path / name)


REFUSED = {
    "full.png": (lambda p, m: cv2.imwrite(str(p), np.full(m.shape, 255, np.uint8)), "all of its"),
    "empty.png": (lambda p, m: cv2.imwrite(str(p), np.zeros(m.shape, np.uint8)), "it is empty"),
    "clear.png": (lambda p, m: Image.fromarray(rgba(0 * m)).save(p), "rather than a mask"),
    "inverted.png": (
        lambda p, m: cv2.imwrite(str(p), 255 * (~m).astype(np.uint8)), "inverted.*invert it",
    ),
    "photo.png": (lambda p, m: Image.fromarray(picture()).save(p), "picture rather than a mask"),
    "photo.jpg": (lambda p, m: Image.fromarray(picture()).save(p), "picture rather than a mask"),
    "two.png": (
        lambda p, m: cv2.imwrite(str(p), (m + 2 * disc(50, 35, 8)).astype(np.uint8)),
        "labels of 2 objects, expected one",
    ),
    "gray_labels.png": (
        lambda p, m: cv2.imwrite(str(p), (127 * m + 255 * disc(50, 35, 8)).astype(np.uint8)),
        "labels of 2 objects",
    ),
    "colors.png": (
        lambda p, m: Image.fromarray(
            m[..., None] * np.uint8([200, 0, 0]) + disc(50, 35, 8)[..., None] * np.uint8([0, 90, 0])
        ).save(p),
        "labels of 2 objects",
    ),
    "palette.png": (
        lambda p, m: indexed(
            m + 2 * disc(50, 35, 8), [(0, 0, 0), (128, 0, 0), (0, 128, 0)]
        ).save(p),
        "labels of 2 objects",
    ),
    "three.npy": (lambda p, m: np.save(p, np.stack([m, m, m])), "holds 3 masks, expected one"),
    "text.png": (lambda p, m: p.write_text("no image"), "not a readable image"),
    "cut.png": (
        lambda p, m: (WRITERS["white.png"](p, m), p.write_bytes(p.read_bytes()[:60])),
        "not a readable image",
    ),
    "pickle.npy": (lambda p, m: np.save(p, np.array([{}])), "not a readable npy"),
    "square.png": (
        lambda p, m: cv2.imwrite(str(p), 255 * m[:40, :40].astype(np.uint8)),
        "40x40, expected 64x48, that of the video, or its proportions",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_mask_is_refused_in_a_sentence(name, tmp_path):
    writer, message = REFUSED[name]
    writer(tmp_path / name, disc())
    with pytest.raises(ValueError, match=f"mask .*{name}: .*{message}"):
        load_mask(tmp_path / name, SIZE)


@pytest.mark.parametrize("name", ["two.png", "gray_labels.png", "palette.png"])
def test_labels_are_numbered_by_their_values(name, tmp_path):
    first, second = disc(), disc(50, 35, 8)
    REFUSED[name][0](tmp_path / name, first & ~second)
    assert np.array_equal(load_labels(tmp_path / name, SIZE), (first & ~second) + 2 * second)


def test_a_mask_of_a_networks_size_is_resized(tmp_path):
    notes, mask = [], disc()
    cv2.imwrite(str(tmp_path / "m.png"), 255 * mask.astype(np.uint8))
    found = load_mask(tmp_path / "m.png", (256, 192), notes=notes)
    columns, rows = np.meshgrid(np.arange(256), np.arange(192))
    expected = np.hypot(columns - 121.5, rows - 89.5) < 48
    assert found.shape == (192, 256) and (found ^ expected).sum() < 0.05 * expected.sum()
    assert notes == ["The mask of 64x48 was resized to the 256x192 of the video."]


def write_folder(path, masks):
    path.mkdir()
    for k, mask in enumerate(masks):  # 9 comes before 10
        cv2.imwrite(str(path / f"frame_{k + 8}.png"), 255 * mask.astype(np.uint8))


SEQUENCES = {
    "folder": write_folder,
    "masks.npy": lambda p, masks: np.save(p, masks),
    "masks.npz": lambda p, masks: np.savez(p, masks=np.stack(masks)[:, None]),
    "film.mp4": lambda p, masks: write_video(
        p,
        [255 * np.repeat(mask[..., None], 3, 2).astype(np.uint8) for mask in masks],
        24,
        quality=1,
    ),
}


@pytest.mark.parametrize("name", SEQUENCES)
def test_masks_of_all_frames_are_read_from(name, tmp_path):
    masks = [disc(x=10 + 4 * k) for k in range(5)]
    masks[3] = np.zeros_like(masks[3])  # out of sight
    SEQUENCES[name](tmp_path / name, masks)
    assert is_sequence(tmp_path / name)
    found = load_masks(tmp_path / name, SIZE, 4)
    assert found.shape == (4, 48, 64) and (found ^ masks[:4]).sum() <= 20 * name.endswith("mp4")
    with pytest.raises(ValueError, match="5 masks for 6 frames, expected one for each"):
        load_masks(tmp_path / name, SIZE, 6)


def test_masks_of_all_frames_name_the_one_that_is_wrong(tmp_path):
    write_folder(tmp_path / "m", [disc(), disc(), disc()])
    (tmp_path / "m" / "frame_9.png").write_text("no image")
    with pytest.raises(ValueError, match=r"frame_9\.png: not a readable image"):
        load_masks(tmp_path / "m", SIZE, 3)
    cv2.imwrite(str(tmp_path / "m" / "frame_9.png"), disc().astype(np.uint8) + 2 * disc(50, 35, 8))
    with pytest.raises(ValueError, match=r"frame_9\.png: it has labels of"):
        load_masks(tmp_path / "m", SIZE, 3)
    cv2.imwrite(str(tmp_path / "m" / "frame_8.png"), np.zeros(SIZE[::-1], np.uint8))
    cv2.imwrite(str(tmp_path / "m" / "frame_9.png"), 255 * disc().astype(np.uint8))
    with pytest.raises(ValueError, match=r"it is empty"):
        load_masks(tmp_path / "m", SIZE, 3)
