"""Parts that share a rigid motion: which fragments are one, and how their Gaussians are carried."""

import copy

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from tiny_scene import cameras, photograph

from inverse.fitting.model import GaussianModel
from inverse.fitting.photometric import PhotoLoss
from inverse.trace import TraceConfig, TraceModel
from inverse.trace.parts import knots_of, rigid_parts, united_parts
from inverse.trace.paths import rigid_path
from inverse.trace.shared import SharedMotion, bodies, rotation_exponential, without_jumps
from inverse.trace.trial import Trial, held_out, revert, same_parts, worse
from renderers.splats.gaussians import Gaussians
from taichi_phys.rotations import rotation_matrix


TIMES = [0.0, 0.15, 0.3, 0.45, 0.6]
SPIN = np.array([0.0, 0.0, 3.0])


def turning(arms, spin=SPIN, velocity=(0.0, 0.0, 0.0)):
    """Paths (T, n, 3) of a body that turns about the origin and moves on."""
    return np.stack([Rotation.from_rotvec(spin * t).apply(arms) + np.multiply(velocity, t)
                     for t in TIMES])  # fmt: skip


def blade(n, low, high, seed):
    rng = np.random.default_rng(seed)
    return rng.uniform((low, -0.08, -0.03), (high, 0.08, 0.03), (n, 3))


def test_a_tip_that_lags_behind_is_no_part_of_its_own():
    """Its Gaussians slide by less than their size; another body, near to it, is not taken."""
    rng = np.random.default_rng(0)
    size = 0.06
    inner, tip = turning(blade(200, 0.0, 0.5, 0)), turning(blade(60, 0.5, 0.7, 1))
    tip = turning(blade(60, 0.5, 0.7, 1), SPIN * 0.98)
    box = turning(0.1 * rng.normal(size=(100, 3)), 0 * SPIN, (0.5, 0, 0)) + (0.5, 0.3, 0)
    x = np.concatenate([inner, tip, box], axis=1)
    x += 0.005 * rng.normal(size=x.shape)
    labels = np.repeat([1, 2, 3], [200, 60, 100])
    found = united_parts(x, labels, np.ones(360), np.full(360, size), 1)
    assert found.tolist() == [1] * 260 + [2] * 100
    refused = np.repeat([[2, 1, 0]], [200, 60, 100], axis=1)  # the tip did not go with the rest
    alone = united_parts(x, labels, np.ones(360), np.full(360, size), 1, refused)
    assert len(np.unique(alone)) == 3
    halves = np.repeat([1, 2, 4, 3], [200, 30, 30, 100])  # of the tip still go with each other
    alone = united_parts(x, halves, np.ones(360), np.full(360, size), 1, refused)
    assert alone.tolist() == [1] * 200 + [3] * 60 + [2] * 100
    kept = united_parts(x, labels, np.ones(360), np.full(360, size), 3)
    assert len(np.unique(kept)) == 3


def test_bodies_that_move_by_less_than_the_size_of_their_gaussians_are_told_apart():
    """Halves of one are united still."""
    arms = blade(200, -0.3, 0.3, 0)
    falls = turning(arms, 0 * SPIN, (0.0, 0.0, -0.3))
    slides = turning(arms, 0 * SPIN, (0.0, 0.3, 0.0)) + (0.0, 1.0, 0.0)
    x = np.concatenate([falls, slides], axis=1)
    x += 0.005 * np.random.default_rng(1).normal(size=x.shape)
    labels = np.repeat([1, 2, 3], [120, 80, 200])
    found = united_parts(x, labels, np.ones(400), np.full(400, 0.24), 1)
    assert found.tolist() in ([1] * 200 + [2] * 200, [2] * 200 + [1] * 200)


def test_far_strays_do_not_turn_a_body():
    """A tenth of the particles, ten times as far away, that stand still."""
    x = turning(blade(200, 0.0, 0.6, 0))
    strays = 6 * np.random.default_rng(1).normal(size=(20, 3))
    x = np.concatenate([x, np.broadcast_to(strays, (len(TIMES), 20, 3))], axis=1)
    _, turns, _ = rigid_path(x, np.ones(220))
    np.testing.assert_allclose(turns.as_rotvec()[-1], SPIN * 0.6, atol=1e-3)


def make_model(x, size=0.05):
    """A model whose deformation moves Gaussians along x (T, n, 3)."""
    n = x.shape[1]
    start = Gaussians(
        means=torch.as_tensor(x[0]).float(), quats=torch.tensor([[1.0, 0, 0, 0]]).repeat(n, 1),
        scales=torch.full((n, 3), size), opacities=torch.full((n,), 0.8), sh=torch.zeros(n, 1, 3),
    )  # fmt: skip
    model = TraceModel(
        GaussianModel(start), TraceConfig(), center=(0, 0, 0), half_side=1.0, duration=0.6,
        frame_dt=0.15,
    )  # fmt: skip
    shifts = torch.as_tensor(x - x[0]).float()

    def deformation(at, t):
        k = int(round(float(t) / 0.15))
        turn = torch.tensor([[1.0, 0, 0, 0]]).repeat(len(at), 1)
        nearest = torch.cdist(at, torch.as_tensor(x[0]).float()).argmin(dim=1)
        return shifts[k][nearest], turn, torch.zeros_like(at), torch.zeros_like(at[:, :1])

    model.deformation.forward = deformation
    return model


def test_rigid_parts_are_told_from_soft_ones_and_from_parts_at_rest():
    rng = np.random.default_rng(0)
    spinning = turning(blade(80, 0.0, 0.6, 0))
    still = np.broadcast_to(0.1 * rng.normal(size=(60, 3)) + (1, 0, 0), (len(TIMES), 60, 3))
    soft = 0.2 * rng.normal(size=(70, 3))
    soft = np.stack([soft * (1 + 3 * t, 1 - 1.2 * t, 1) + (-1, 0, 0) for t in TIMES])
    model = make_model(np.concatenate([spinning, still, soft], axis=1))
    labels = np.repeat([1, 2, 3], [80, 60, 70])
    part = rigid_parts(model, labels, TIMES)
    assert part.tolist() == [1] * 80 + [-1] * 60 + [0] * 70


def test_a_part_moves_as_one_and_goes_on():
    rng = np.random.default_rng(0)
    model = make_model(turning(blade(80, 0.0, 0.6, 0)) + 0.01 * rng.normal(size=(5, 80, 3)))
    with pytest.raises(ValueError, match="no laws"):
        model.share(np.ones(80, int), TIMES)
        model.tensors_at(0.9)
    model.find_laws()
    at = {t: model.tensors_at(t) for t in (0.0, 0.4, 0.9)}
    apart = [(now["means"][:, None] - now["means"]).norm(dim=2) for now in at.values()]
    for distance in apart[1:]:
        torch.testing.assert_close(distance, apart[0], atol=1e-4, rtol=0)
    later = Rotation.from_rotvec(SPIN * 0.9).apply(at[0.0]["means"].detach().numpy())
    assert np.abs(at[0.9]["means"].detach().numpy() - later).max() < 0.05
    # Orientations, and the axes of the colors, turn with it.
    axes = at[0.9]["sh_axes"]
    torch.testing.assert_close(
        rotation_matrix(at[0.9]["quats"]), axes @ rotation_matrix(at[0.0]["quats"]),
        atol=2e-3, rtol=0,
    )  # fmt: skip
    assert model.deviations(0.5).max() == 0
    assert (model.deviations(1.2) >= model.deviations(0.9)).all() and model.deviations(0.9).all()
    state = model.state_dict()
    again = TraceModel.from_state(state, model.scene(), model.config)
    torch.testing.assert_close(again.tensors_at(0.9)["means"], at[0.9]["means"])


def test_poses_have_gradients_from_all_gaussians():
    x = turning(blade(30, 0.0, 0.6, 0))
    quats = np.broadcast_to([1.0, 0, 0, 0], (5, 30, 4))
    part = np.array([1] * 20 + [0] * 10)
    motion, means, quats, _ = bodies(TIMES, x, quats, np.zeros((5, 30, 3)), part, np.ones(30))
    motion = motion.double()
    own = torch.arange(20)
    start = torch.as_tensor(means[:20])

    def carried(shift, turn):
        motion.shift, motion.turn = torch.nn.Parameter(shift), torch.nn.Parameter(turn)
        return motion.carry(0.3, start, torch.as_tensor(quats[:20]), own)[0]

    rng = torch.Generator().manual_seed(0)
    shift, turn = (0.05 * torch.randn(1, 5, 3, generator=rng).double() for _ in range(2))
    weights = torch.randn(20, 3, generator=rng).double()
    (carried(shift, turn) * weights).sum().backward()
    for given, values in ((motion.shift.grad, shift), (motion.turn.grad, turn)):
        for index in ((0, 2, 0), (0, 2, 2), (0, 3, 1)):
            step = torch.zeros_like(values)
            step[index] = 1e-5
            pairs = [(shift + s, turn) if values is shift else (shift, turn + s)
                     for s in (step, -step)]  # fmt: skip
            up, down = ((carried(*pair).detach() * weights).sum() for pair in pairs)
            assert float(given[index]) == pytest.approx(float(up - down) / 2e-5, abs=1e-6)


def test_rotation_exponential_is_smooth_at_zero():
    zero = torch.zeros(1, 3, requires_grad=True)
    quats = rotation_exponential(zero)
    torch.testing.assert_close(quats, torch.tensor([[1.0, 0, 0, 0]]))
    quats[0, 1].backward()
    torch.testing.assert_close(zero.grad, torch.tensor([[0.5, 0, 0]]))
    vectors = torch.tensor([[0.3, -0.2, 2.0]])
    expected = Rotation.from_rotvec(vectors.numpy()).as_matrix()
    np.testing.assert_allclose(rotation_matrix(rotation_exponential(vectors)), expected, atol=1e-6)


def test_knots_have_photographs():
    times = [0.1 * k for k in range(41)]
    assert knots_of(times, 400) == times
    few = knots_of(times, 41)
    assert few[0] == times[0] and few[-1] == times[-1] and len(few) == 10
    assert isinstance(SharedMotion([1], [0, 1], np.zeros((1, 2, 3)), np.ones((1, 2, 4)), [1]).part,
                      torch.Tensor)  # fmt: skip


def colored_bodies():
    """A bar that turns, and two boxes that part; each has a color of its own."""
    rng = np.random.default_rng(0)
    bar = turning(blade(60, -0.4, 0.4, 0)) + (0, 0, 0.7)
    boxes = [
        0.08 * rng.normal(size=(40, 3)) + np.outer(TIMES, (0, way, 0))[:, None] + (0, 0, -0.6)
        for way in (1.0, -1.0)
    ]
    model = make_model(np.concatenate([bar, *boxes], axis=1))
    colors = torch.tensor([[1.0, -1, -1]] * 60 + [[-1, 1.0, -1]] * 40 + [[-1, -1, 1.0]] * 40)
    model.gaussians.sh_first.data[:, 0] = colors
    return model


def test_what_is_no_rigid_body_moves_by_itself_again():
    """The bar is one; the two boxes, taken for one body, are not what the photographs show."""
    model = colored_bodies()
    views = [(k, camera, TIMES[k]) for k, camera in enumerate(cameras(5, size=32))]
    with torch.no_grad():
        shown = [photograph(c, Gaussians(**model.tensors_at(t))) for _, c, t in views]
    photographs = PhotoLoss(shown, torch.device("cpu"))
    truth = {t: model.tensors_at(t)["means"].detach() for t in TIMES}
    optimizer = torch.optim.Adam(model.gaussians.parameters())
    labels = np.repeat([1, 2], [60, 80])
    trial = Trial(copy.deepcopy(model), labels, labels, np.zeros(2, bool))
    model.share(labels, TIMES)
    errors = trial.compare(model, photographs, views, (1.0, 1.0, 1.0))
    assert (errors[:, 0] < 1e-6).all() and errors[1, 1] > max(0.01, 10 * errors[0, 1])
    assert worse(np.array([[0.02, 0.01], [0.01, 0.02], [np.nan, np.nan]])).tolist() == [0, 1, 0]
    learned = 0.01 * torch.randn(60, 3)
    model.gaussians.means.data[:60] += learned
    again = Trial.from_state(trial.state(), model)
    again.before.deformation.forward = model.deformation.forward
    revert(model, again, np.array([False, True]), optimizer)
    assert model.shared.part.tolist() == [1] * 60 + [0] * 80
    for t in TIMES:
        now = model.tensors_at(t)["means"].detach()
        torch.testing.assert_close(now[60:], truth[t][60:])
    torch.testing.assert_close(model.tensors_at(0.0)["means"][:60], truth[0.0][:60] + learned,
                               atol=1e-4, rtol=0)  # fmt: skip
    revert(model, again, np.array([True, True]), optimizer)
    assert model.shared is None and model.free.all()


def test_photographs_are_held_out_where_there_are_enough():
    assert held_out(31, 0) == [] and len(held_out(32, 0)) == 4 and len(held_out(320, 0)) == 20
    assert max(held_out(320, 0)) < 320 and held_out(320, 0) != held_out(320, 1)


def test_parts_are_compared_whatever_their_numbers():
    one = np.array([1, 1, 2, 0, -1])
    assert same_parts(one, np.array([2, 2, 1, 0, 0]))
    assert not same_parts(one, np.array([1, 1, 1, 0, 0]))
    assert not same_parts(one, np.array([1, 2, 3, 0, 0]))
    assert not same_parts(one, np.array([1, 1, 0, 0, 0]))


def test_a_union_that_pixels_refute_is_undone():
    """Two boxes with motions of their own, taken for one body: one gets its own back."""
    model = colored_bodies()
    model.share(np.repeat([1, 2, 3], [60, 40, 40]), TIMES)
    own = {t: model.tensors_at(t)["means"].detach() for t in TIMES}
    labels, pieces = np.repeat([1, 2], [60, 80]), np.repeat([5, 7, 9], [60, 40, 40])
    trial = Trial(copy.deepcopy(model), labels, pieces, np.zeros(2, bool))
    assert trial.pieces.tolist() == [0] * 60 + [1] * 40 + [2] * 40  # the bar is no new part
    model.share(labels, TIMES)
    assert (model.tensors_at(0.6)["means"] - own[0.6]).detach().norm(dim=1).max() > 0.1
    revert(model, trial, np.array([False, True]), torch.optim.Adam(model.gaussians.parameters()))
    assert same_parts(model.shared.part.numpy(), pieces)
    for t in TIMES:
        now = model.tensors_at(t)["means"].detach()
        torch.testing.assert_close(now[100:], own[t][100:], atol=1e-5, rtol=0)


def test_a_body_that_is_taken_for_itself_turned_by_a_quarter_is_not():
    times = np.linspace(0, 1, 12)
    swing = Rotation.from_rotvec(np.outer(np.sin(3 * times), (0.2, 1, 0.1)))
    assert without_jumps(swing) is None
    quarter = Rotation.from_rotvec((0, np.pi / 2, 0))
    jumps = Rotation.concatenate([swing[:5], swing[5:] * quarter])
    mended = without_jumps(jumps)
    assert (mended * swing.inv()).magnitude().max() < 0.05
    spin_up = Rotation.from_rotvec(np.outer(np.maximum(times - 0.5, 0), (0, 0, 12.0)))
    assert without_jumps(spin_up) is None  # a push changes the spin, and the new spin stays
    path = np.zeros((2, 12, 3))
    turns = np.stack([r.as_quat(scalar_first=True) for r in (swing, jumps)])
    motion = SharedMotion([1, 2], times, path, turns, np.ones(2))
    assert motion.mend_jumps().tolist() == [False, True]
    assert (motion.paths()[1][1] * swing.inv()).magnitude().max() < 0.05
