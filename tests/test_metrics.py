"""Errors of images: PSNR, SSIM against a slow twin, LPIPS only where its weights are; of videos."""

import math
import sys
import types
import warnings

import numpy as np
import pytest
import torch
from scipy.signal import convolve2d

from inverse import metrics
from inverse.commands.runner import plain_warnings
from inverse.metrics import lpips, mean_metrics, motion_fidelity, psnr, ssim


f64 = torch.float64


def pair(height=24, width=17, noise=0.1, dtype=f64):
    reference = torch.rand(height, width, 3, dtype=dtype)
    return reference + noise * torch.randn(reference.shape, dtype=dtype), reference


def window_statistics(image, reference):
    """SSIM of every window inside the image, one 11 x 11 convolution at a time: (H-10, W-10, 3)."""
    d = np.arange(11) - 5.0
    window = np.exp(-(d[:, None] ** 2 + d**2) / (2 * 1.5**2))
    window /= window.sum()
    maps = []
    for x, y in zip(np.moveaxis(image, -1, 0), np.moveaxis(reference, -1, 0), strict=True):
        mean_x, mean_y = (convolve2d(t, window, mode="valid") for t in (x, y))
        var_x = convolve2d(x * x, window, mode="valid") - mean_x**2
        var_y = convolve2d(y * y, window, mode="valid") - mean_y**2
        cov = convolve2d(x * y, window, mode="valid") - mean_x * mean_y
        luminance = (2 * mean_x * mean_y + 1e-4) / (mean_x**2 + mean_y**2 + 1e-4)
        maps.append(luminance * (2 * cov + 9e-4) / (var_x + var_y + 9e-4))
    return np.stack(maps, axis=-1)


def padded(t):
    return np.pad(t.numpy(), ((5, 5), (5, 5), (0, 0)))


def mask_of(reference):
    mask = torch.zeros(reference.shape[:2], dtype=torch.bool)
    mask[:7, 3:9] = True
    return mask


# PSNR


def test_psnr_of_a_constant_error():
    _, reference = pair()
    assert psnr(reference + 0.1, reference) == pytest.approx(20.0)
    assert psnr(reference - 0.01, reference) == pytest.approx(40.0)
    assert psnr(reference, reference.clone()) == math.inf


def test_psnr_sees_the_masked_pixels_only():
    _, reference = pair()
    mask = mask_of(reference)
    image = reference + torch.where(mask, 0.1, 0.5)[..., None]
    assert psnr(image, reference, mask) == pytest.approx(20.0)
    assert psnr(image, reference, ~mask) == pytest.approx(20 * math.log10(2))
    weights = torch.where(mask, 3.0, 1.0)
    share = weights[mask].sum() / weights.sum()
    expected = -10 * math.log10(share * 0.01 + (1 - share) * 0.25)
    assert psnr(image, reference, weights) == pytest.approx(expected)


# SSIM


@pytest.mark.parametrize("size", [(24, 17), (11, 30)])
@pytest.mark.parametrize("noise", [0.02, 0.5])
def test_ssim_is_the_twin(size, noise):
    image, reference = pair(*size, noise)
    expected = window_statistics(image.numpy(), reference.numpy()).mean()
    assert ssim(image, reference).item() == pytest.approx(expected, rel=1e-12)
    same = window_statistics(padded(image), padded(reference))
    assert ssim(image, reference, padding="same").item() == pytest.approx(same.mean(), rel=1e-12)
    assert abs(same.mean() - expected) > 1e-4
    image, reference = image.float(), reference.float()
    assert ssim(image, reference).item() == pytest.approx(expected, abs=1e-6)


def test_ssim_of_constant_images():
    """Without variance only the luminance is left: (2 a b + C1) / (a^2 + b^2 + C1)."""
    a, b = (torch.full((20, 20, 3), value, dtype=f64) for value in (0.25, 0.75))
    expected = (2 * 0.1875 + 1e-4) / (0.0625 + 0.5625 + 1e-4)
    assert ssim(a, b).item() == pytest.approx(expected, rel=1e-9)
    assert ssim(a, a).item() == pytest.approx(1.0)


def test_ssim_of_masked_pixels():
    image, reference = pair()
    same = window_statistics(padded(image), padded(reference)).mean(axis=-1)
    mask = mask_of(reference)
    expected = same[mask.numpy()].mean()
    assert ssim(image, reference, mask).item() == pytest.approx(expected)
    weights = torch.rand(mask.shape)
    expected = (same * weights.numpy()).sum() / weights.sum().item()
    assert ssim(image, reference, weights).item() == pytest.approx(expected)


@pytest.mark.parametrize("padding", ["valid", "same"])
def test_ssim_gradient(padding):
    image, reference = pair(13, 12)
    image.requires_grad_()
    reference.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: ssim(x, y, padding=padding), (image, reference))
    mask = mask_of(reference)
    (grad,) = torch.autograd.grad(ssim(image, reference, mask), image)
    assert torch.isfinite(grad).all()
    assert (grad[12] == 0).all() and (grad[6 + 5] != 0).any()  # as far as the windows reach


def test_ssim_gradient_at_equal_images():
    """The maximum: no gradient, and no NaN, on flat and on textured images."""
    _, reference = pair()
    for y in (reference, torch.ones_like(reference)):
        x = y.clone().requires_grad_()
        (grad,) = torch.autograd.grad(ssim(x, y), x)
        assert grad.abs().max() < 1e-10


# LPIPS


class FakeNetwork(torch.nn.Module):
    """Stands for lpips.LPIPS: the mean difference of what it is given."""

    def __init__(self, net, verbose):
        super().__init__()
        assert net == "vgg" and not verbose

    def forward(self, x, y):
        assert x.shape == y.shape == (1, 3, 24, 17) and not torch.is_grad_enabled()
        return (x - y).mean().reshape(1, 1, 1, 1)


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty place for weights, and a forgotten network before and after."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    metrics._lpips_network.cache_clear()
    yield tmp_path
    metrics._lpips_network.cache_clear()


def install(monkeypatch, package):
    monkeypatch.setitem(sys.modules, "lpips", package)


def test_lpips_where_its_weights_are(hub, monkeypatch):
    install(monkeypatch, types.SimpleNamespace(LPIPS=FakeNetwork))
    (hub / "checkpoints").mkdir()
    (hub / "checkpoints" / metrics.VGG16).touch()
    _, reference = pair()
    assert lpips((reference + 0.25).requires_grad_(), reference) == pytest.approx(0.25)


@pytest.mark.parametrize("package", [None, types.SimpleNamespace(LPIPS=None)])
def test_lpips_without_package_or_weights(hub, monkeypatch, package):
    """None, one warning that names the cure, and no attempt to make (so to download) a network."""
    install(monkeypatch, package)
    image, reference = pair()
    with pytest.warns(UserWarning, match=rf"pip install lpips.*{hub}.*{metrics.VGG16}"):
        assert lpips(image, reference) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert lpips(image, reference) is None


def test_warnings_of_commands_are_one_sentence(hub, monkeypatch):
    install(monkeypatch, None)
    before = warnings.formatwarning
    with plain_warnings(), pytest.warns(UserWarning) as caught:
        assert lpips(*pair()) is None
        (one,) = caught
        text = warnings.formatwarning(one.message, one.category, one.filename, one.lineno)
        other = warnings.formatwarning("old", DeprecationWarning, "file.py", 3, "")
    says = "warning: LPIPS is not computed: its package or its weights are missing; run pip"
    assert text.startswith(says) and text.count("\n") == 1
    assert "file.py:3: DeprecationWarning" in other and warnings.formatwarning is before


# PMF


def wave(amplitude, t, y, x, size=(6, 8, 10)):
    """A gray video in which one wave has so many periods in time, rows and columns."""
    at = torch.meshgrid(*(torch.arange(n, dtype=f64) / n for n in size), indexing="ij")
    phase = sum(n * u for n, u in zip((t, y, x), at, strict=True))
    return (0.5 + amplitude * torch.cos(2 * math.pi * phase))[..., None].expand(*size, 3)


def share(amplitude):
    """Of the energy, in a wave: an average of 0.5 has 0.25, a cosine half of its square."""
    return amplitude**2 / 2 / (0.25 + amplitude**2 / 2)


def test_motion_fidelity_of_waves():
    moving = wave(0.2, 1, 0, 2)
    for other in (wave(0.2, 2, 0, 2), wave(0.2, 1, 1, 2), wave(0.2, -1, 0, 2)):  # the last: back
        assert motion_fidelity(other, moving) == pytest.approx(-math.log(share(0.2)))
    assert motion_fidelity(wave(0.1, 1, 0, 2), moving) == pytest.approx(
        -math.log(share(0.2) - share(0.1))
    )


def test_motion_fidelity_does_not_see_where_and_how_bright():
    best = pytest.approx(-math.log(1e-8))
    video = torch.rand(5, 7, 8, 3, dtype=f64)
    for same in (video, video.roll((1, 3, 2), (0, 1, 2)), 0.5 * video, video[..., [1, 2, 0]]):
        assert motion_fidelity(same, video) == best
    black = torch.zeros_like(video)
    assert motion_fidelity(black, black) == best
    assert motion_fidelity(video, black) < 1


@pytest.mark.parametrize("size", [(5, 7, 8), (4, 6, 9), (1, 3, 1)])
def test_motion_fidelity_is_the_twin(size):
    """With whole spectra, in numpy."""
    shares = []
    for video in (videos := torch.rand(2, *size, 3, dtype=f64)):
        energy = (np.abs(np.fft.fftn(video.numpy(), axes=(0, 1, 2))) ** 2).mean(axis=-1)
        shares.append(energy / energy.sum())
    expected = -math.log(0.5 * np.abs(shares[0] - shares[1]).sum())
    assert motion_fidelity(*videos) == pytest.approx(expected)
    assert motion_fidelity(*videos.float()) == pytest.approx(expected, rel=1e-4)


def test_bad_videos():
    good = torch.rand(2, 3, 4, 3)
    for bad in (good[0], good[:1], good[..., :1]):
        with pytest.raises(ValueError, match="^video: got .*, expected"):
            motion_fidelity(bad, good)
    with pytest.raises(ValueError, match="^image: got .*, expected finite"):
        motion_fidelity(good * math.nan, good)


# Errors


def spoilt(value):
    image, _ = pair()
    image[3, 4, 1] = value
    return image


@pytest.mark.parametrize("metric", [psnr, ssim, lpips])
@pytest.mark.parametrize(
    ("name", "image", "reference"),
    [
        ("image", torch.zeros(24, 17, 4), torch.zeros(24, 17, 4)),
        ("image", torch.zeros(17, 3), torch.zeros(17, 3)),
        ("image", torch.zeros(24, 17, 3, dtype=torch.uint8), torch.zeros(24, 17, 3)),
        ("reference", torch.zeros(24, 17, 3), torch.zeros(17, 24, 3)),
        ("reference", torch.zeros(24, 17, 3), torch.zeros(24, 17, 3, dtype=f64)),
        ("image", spoilt(math.nan), pair()[1]),
        ("image", spoilt(math.inf), pair()[1]),
        ("reference", pair()[0], spoilt(math.nan)),
    ],
)
def test_bad_images(metric, name, image, reference):
    with pytest.raises(ValueError, match=f"^{name}: got .*, expected"):
        metric(image, reference)


@pytest.mark.parametrize("metric", [psnr, ssim])
@pytest.mark.parametrize(
    "mask",
    [
        torch.ones(17, 24), torch.zeros(24, 17), torch.full((24, 17), math.nan),
        torch.ones(24, 17) - 2 * torch.eye(24, 17), torch.ones(24, 17, 1),
    ],
)  # fmt: skip
def test_bad_mask(metric, mask):
    with pytest.raises(ValueError, match="^mask: got .*, expected"):
        metric(*pair(), mask)


def test_bad_windows():
    with pytest.raises(ValueError, match="^padding: got 'reflect', expected"):
        ssim(*pair(), padding="reflect")
    with pytest.raises(ValueError, match="^image: got .*, expected at least 11"):
        ssim(*pair(10, 40))
    assert ssim(*pair(10, 40), padding="same") < 1


def test_a_camera_with_a_single_picture_does_not_hide_how_the_videos_of_others_move():
    records = [{"psnr": 20.0, "lpips": None, "pmf": pmf} for pmf in (3.0, 5.0, None)]
    assert mean_metrics(records) == {"psnr": 20.0, "lpips": None, "pmf": 4.0}
    assert mean_metrics(records[2:])["pmf"] is None
    assert mean_metrics([{"lpips": 0.5}, {"lpips": None}]) == {"lpips": None}
