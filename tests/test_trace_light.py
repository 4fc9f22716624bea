"""Light that is fixed in the world: what it does to colors, and when it is kept."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from tiny_scene import cameras, figure, photograph, write_frames

from inverse.fitting.model import GaussianModel
from inverse.fitting.photometric import PhotoLoss
from inverse.trace import TraceConfig, TraceJob, TraceModel, trainer
from inverse.trace.learn import first_model
from inverse.trace.light import Light, lit, outward
from inverse.trace.photographs import check_training, load_photographs
from inverse.trace.trial import light_errors, shines
from renderers.splats.gaussians import Gaussians
from renderers.splats.sh import shade


SUN = np.array([0.6, -0.3, 0.5]) / np.linalg.norm([0.6, -0.3, 0.5])
TIMES = [0.0, 0.2, 0.4, 0.6]
WHITE = (1.0, 1.0, 1.0)


def test_lit_colors_are_the_factors_times_the_colors():
    rng = torch.Generator().manual_seed(0)
    sh, x = 0.3 * torch.randn(7, 9, 3, generator=rng), torch.randn(7, 3, generator=rng)
    factors = 2 * torch.rand(7, 3, generator=rng)
    eye = torch.tensor([3.0, 1.0, 0.0])
    torch.testing.assert_close(shade(lit(sh, factors), x, eye), factors * shade(sh, x, eye))


def test_the_light_of_a_lamp_is_nearly_a_polynomial():
    """Ramamoorthi and Hanrahan's approximation, found by least squares through the terms."""
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(2000, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    light = Light(normals)
    eyes = torch.eye(3).repeat(len(normals), 1, 1)

    def red(terms):
        return torch.func.functional_call(light, {"terms": terms}, (eyes, slice(None)))[:, 0]

    basis = torch.autograd.functional.jacobian(red, torch.zeros(8, 3))[:, :, 0].double().numpy()
    ambient, sun = 0.5, np.clip(normals @ SUN, 0, None)
    truth = (ambient + sun) / (ambient + 0.25)  # whose mean over all directions is 1
    terms = np.linalg.lstsq(basis, truth - 1, rcond=None)[0]
    miss = basis @ terms + 1 - truth
    assert np.sqrt((miss**2).mean()) < 0.06 and np.abs(miss).max() < 0.14
    light.terms.data[:] = torch.as_tensor(terms).float()[:, None]
    turn = Rotation.from_rotvec([0.3, 1.0, -0.4])
    turned = light(torch.as_tensor(turn.as_matrix()).float()[None], slice(None))
    there = turn.apply(normals)
    truth = (ambient + np.clip(there @ SUN, 0, None)) / (ambient + 0.25)
    assert np.abs(turned[:, 0].detach().numpy() - truth).max() < 0.14


def test_gaussians_face_outward():
    rng = np.random.default_rng(0)
    ball = rng.normal(size=(600, 3))
    ball /= np.linalg.norm(ball, axis=1, keepdims=True)
    x = np.concatenate([0.4 * ball[:300], 0.4 * ball[300:] + (0.9, 0, 0)])
    part = np.repeat([1, 2], 300)
    normals = outward(x, part, np.ones(600))
    assert ((normals * ball).sum(axis=1) > 0.8).all()
    assert not outward(x, 0 * part, np.ones(600)).any()


def turning_model(light):
    """A ball of Gaussians that turns about z, shaded or not; its colors are those of time 0."""
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(150, 3))
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    n = len(normals)
    start = Gaussians(
        means=torch.as_tensor(0.4 * normals).float(),
        quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1),
        scales=torch.full((n, 3), 0.05), opacities=torch.full((n,), 0.8), sh=torch.zeros(n, 1, 3),
    )  # fmt: skip
    model = TraceModel(
        GaussianModel(start), TraceConfig(light="on"), center=(0, 0, 0), half_side=1.0,
        duration=0.6, frame_dt=0.2,
    )  # fmt: skip

    def turned(t, *_):
        turn = Rotation.from_rotvec([0, 0, 4 * t])
        quats = torch.as_tensor(turn.as_quat(scalar_first=True)).float().repeat(n, 1)
        means = torch.as_tensor(turn.apply(0.4 * normals)).float()
        return model.gaussians.tensors() | {"means": means, "quats": quats}

    model.tensors_at = turned
    model.share(np.ones(n, int), TIMES, light=True)
    del model.tensors_at
    model.light.terms.data[:3] = light * torch.as_tensor(SUN).float()[:, None]
    return model.requires_grad_(False)


def pictures(model):
    return [
        photograph(camera, Gaussians(**{k: v for k, v in model.tensors_at(t).items()
                                        if k != "sh_axes"}))
        for camera in cameras(3) for t in TIMES
    ]  # fmt: skip


@pytest.mark.parametrize("strength", [0.0, 0.6])
def test_light_is_kept_where_photographs_show_it(strength):
    """A model with a light, judged by photographs of one that turns without it, or with it."""
    truth, model = turning_model(strength), turning_model(0.6)
    if not strength:
        truth.put_out_light()
    photographs = PhotoLoss(pictures(truth), torch.device("cpu"))
    views = [(k, c, t) for k, (c, t) in enumerate((c, t) for c in cameras(3) for t in TIMES)]
    errors = light_errors(model, photographs, views, WHITE)
    assert errors.shape == (12, 2)
    assert shines(errors) == bool(strength)
    assert model.light is not None  # judging changes nothing


def test_the_light_survives_a_checkpoint_and_is_put_out():
    model = turning_model(0.6)
    model.find_laws()
    again = TraceModel.from_state(model.state_dict(), model.scene(), model.config)
    for t in (0.3, 0.9):
        one, two = model.tensors_at(t), again.tensors_at(t)
        assert torch.equal(one["sh"], two["sh"])
    shades = torch.stack([model.tensors_at(t)["sh"] for t in TIMES])
    assert shades.std(dim=0).max() > 0.1
    model.put_out_light()
    torch.testing.assert_close(model.tensors_at(0.3)["sh"], shades.mean(dim=0))
    assert torch.equal(model.tensors_at(0.9)["sh"], model.tensors_at(0.0)["sh"])


def test_chance_is_no_light():
    errors = np.array([[1.0, 0.9], [1.0, 1.1], [1.0, 0.95], [1.0, 1.04]])
    assert not shines(errors)
    assert shines(errors * (1, 0.8))


def test_what_leaves_a_part_keeps_its_mean_shade():
    model = turning_model(0.6)
    before = torch.stack([model.tensors_at(t)["sh"] for t in TIMES])
    part = np.ones(150, int)
    part[:40] = -1
    model.share(part, TIMES, light=True)
    for k, t in enumerate(TIMES):
        now = model.tensors_at(t)["sh"]
        torch.testing.assert_close(now[:40], before.mean(dim=0)[:40])
        torch.testing.assert_close(now[40:], before[k, 40:], atol=1e-4, rtol=0)


def test_the_deformation_shades_what_moves_by_itself():
    """Its brightness multiplies colors, and becomes part of them where Gaussians are frozen."""
    model = turning_model(0.0)
    model.shared = model.light = None
    assert model.shaded
    model.deformation.head.bias.data[-1] = 0.5
    bright = np.exp(np.tanh(0.5))
    sh = lit(model.gaussians.tensors()["sh"], torch.full((150, 3), bright))
    torch.testing.assert_close(model.tensors_at(0.3)["sh"], sh)
    assert model.find_static() == 150
    torch.testing.assert_close(model.tensors_at(0.3)["sh"], sh)


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_parts_are_sought_with_shades_only_where_photographs_show_them(strength):
    """Before there are parts, the deformation alone says how bright Gaussians are."""
    model = turning_model(0.0)
    model.shared = model.light = None
    head, seen = model.deformation.head, []
    torch.manual_seed(0)
    weights = torch.randn(head.weight.shape[1])
    head.weight.data[-1] = weights
    weights *= 0.2 / torch.stack([model.deformed(t)[3] for t in TIMES]).std(dim=0).mean()
    head.weight.data[-1] = strength * weights
    photographs = PhotoLoss(pictures(model), torch.device("cpu"))
    head.weight.data[-1] = weights
    views = [(k, c, t) for k, (c, t) in enumerate((c, t) for c in cameras(3) for t in TIMES)]
    one = SimpleNamespace(
        model=model, photographs=photographs, views=views, background=WHITE, config=TraceConfig(),
        light=None, _forget=seen.append,
    )  # fmt: skip
    trainer._judge_light(one, trainer.CLEAR)
    assert one.light["kept"] == model.shaded == bool(strength)


@pytest.mark.parametrize("kept", [True, False])
def test_training_with_a_light_can_be_interrupted(kept, tmp_path, monkeypatch):
    """Before the light is judged, and after, with the same end."""
    frames = [
        (f"v{k}_t{i}", camera, figure(), t)
        for k, camera in enumerate(cameras(12)) for i, t in enumerate(TIMES)
    ]  # fmt: skip
    write_frames(tmp_path, "train", frames)
    config = TraceConfig(gaussians=120, iterations=30, sh_degree=0, relocate_every=5)
    train = load_photographs(str(tmp_path), "train")
    times, frame_dt = check_training(str(tmp_path), train)
    halves = np.repeat([1, 2], 60)
    monkeypatch.setattr(trainer, "label_parts", lambda *_: halves)
    monkeypatch.setattr(trainer, "rigid_parts", lambda *_: halves)
    monkeypatch.setattr(trainer, "worse", lambda errors: np.array([False, True]))
    monkeypatch.setattr(trainer, "shines", lambda errors, least: kept or least is not None)

    def make(checkpoint=None):
        job = TraceJob(data=str(tmp_path))
        model = first_model(job, config, train, times[-1], frame_dt)
        return trainer.TraceTrainer(model, train, config, checkpoint=checkpoint)

    def stop():
        raise KeyboardInterrupt

    whole = make()
    whole.run()
    assert whole.light["kept"] == kept and (whole.model.light is not None) == kept
    assert whole.model.shared is not None and whole.verdicts
    for last in (18, 22, 28):
        path = tmp_path / f"{last}.pt"
        part = make(path)
        steps = part.step
        part.step = lambda p=part, s=steps, n=last: stop() if p.iteration == n else s()
        with pytest.raises(KeyboardInterrupt):
            part.run()
        rest = make(path)
        rest.resume()
        assert rest.iteration == last
        rest.run()
        assert rest.light == whole.light
        for name, value in whole.model.state_dict().items():
            assert torch.equal(value, rest.model.state_dict()[name]), name
    # Parts that are not found again stay.
    monkeypatch.setattr(trainer, "rigid_parts", lambda *_: np.zeros(120, dtype=np.int64))
    shared = whole.model.shared
    assert whole.held and not whole._share(1.0) and whole.model.shared is shared
