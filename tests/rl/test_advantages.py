"""Compares returns, advantages and the baseline with the original's numbers, also with padding."""

import numpy as np
import pytest

from rl import advantages as ours
from rl.sampling import Trajectories
from tests.rl.goldens import estimates

GOLDEN = estimates()
BATCHES = ["p_equal", "p_clip", "p_cheetah_like"]


def batch(name, *keys):
    """Returns golden arrays as [1 task, trajectories, horizon, ...]; all trajectories have the same length."""
    lens = GOLDEN[f"{name}/lens"]
    arrays = [GOLDEN[f"{name}/{key}"] for key in keys]
    return [array.reshape(1, len(lens), lens[0], *array.shape[1:]) for array in arrays]


def padded(array, steps):
    return np.pad(array, [(0, 0), (0, 0), (0, steps)] + [(0, 0)] * (array.ndim - 3))


@pytest.mark.parametrize("discount", [0.95, 0.99, 1])
def test_discounted_sums(discount):
    sums = ours.discounted_sums(GOLDEN["discount_cumsum/x"], discount)
    np.testing.assert_allclose(sums, GOLDEN[f"discount_cumsum/y_{discount}"], rtol=1e-13)


def test_centred():
    x = GOLDEN["center_advantages/x"][None]
    np.testing.assert_allclose(ours.centred(x, np.ones_like(x))[0], GOLDEN["center_advantages/y"], rtol=1e-12)


def test_explained_variance():
    predictions, targets = GOLDEN["explained_variance/ypred"], GOLDEN["explained_variance/y"]
    everything = np.ones_like(targets)
    found = ours.explained_variance(predictions, targets, everything)
    assert found == pytest.approx(float(GOLDEN["explained_variance/ev"]), rel=1e-12)
    assert ours.explained_variance(predictions, everything, everything) == 0
    assert ours.explained_variance(everything, everything, everything) == 1


@pytest.mark.parametrize("name", BATCHES)
def test_features_and_coefficients(name):
    observations, returns = batch(name, "observations", "returns")
    rows = ours.features(observations)
    np.testing.assert_allclose(rows[0, 0], GOLDEN[f"{name}/features0"], rtol=1e-15)
    found = ours.fit(rows.reshape(-1, rows.shape[-1]), returns.ravel())
    # The coefficient of a feature that is always 0 depends on rounding only, so it is not compared.
    counts = rows.any((0, 1, 2))
    np.testing.assert_allclose(found[counts], GOLDEN[f"{name}/coeffs"][counts], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("padding", [0, 7])
@pytest.mark.parametrize("name", BATCHES)
def test_returns_values_and_advantages(name, padding):
    arrays = batch(name, "observations", "rewards", "returns", "baseline_pred", "advantages", "advantages_lam0.95")
    observations, rewards, returns, values, advantages, advantages_095 = (padded(array, padding) for array in arrays)
    mask = padded(np.ones_like(arrays[1]), padding)
    found = ours.discounted_sums(rewards, 0.99)
    np.testing.assert_allclose(found, returns, rtol=1e-12)
    found = ours.fitted_values(observations, returns, mask)
    np.testing.assert_allclose(found, values, rtol=1e-8, atol=1e-8)
    for gae_lambda, expected in ((1.0, advantages), (0.95, advantages_095)):
        found = ours.generalised_advantages(rewards, values, mask, 0.99, gae_lambda)
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-10)


def random_trajectories(lens, horizon, seed=0):
    """Returns random Trajectories of given lengths [tasks, trajectories], with 2-dimensional vectors."""
    random = np.random.default_rng(seed)
    mask = (np.arange(horizon) < np.asarray(lens)[..., None]).astype(np.float32)
    vectors = [(random.standard_normal((*mask.shape, 2)) * mask[..., None]).astype(np.float32) for _ in range(3)]
    return Trajectories(
        vectors[0], vectors[1], random.standard_normal(mask.shape) * mask, mask, vectors[2], mask[:, 0, :2]
    )


def test_padding_changes_nothing_and_each_task_is_by_itself():
    lens = [[5, 3, 4], [5, 5, 2]]
    drawn = random_trajectories(lens, 5)
    found, _ = ours.estimate(drawn, 0.99, 1.0, np.float64)
    for task in range(2):
        alone, _ = ours.estimate(Trajectories(*(array[task : task + 1] for array in drawn)), 0.99, 1.0, np.float64)
        np.testing.assert_allclose(found.advantages[task], alone.advantages[0], rtol=1e-12)
    taken = drawn.mask.reshape(2, -1) > 0
    advantages = found.advantages.numpy()
    assert (advantages[~taken] == 0).all()
    for of_task, steps in zip(advantages, taken, strict=True):
        assert of_task[steps].mean() == pytest.approx(0, abs=1e-12)
        assert of_task[steps].std() == pytest.approx(1, abs=1e-6)
    longer = Trajectories(*(padded(array, 4) for array in drawn[:5]), drawn.log_stds)
    more, variance = ours.estimate(longer, 0.99, 1.0, np.float64)
    np.testing.assert_allclose(more.advantages.numpy()[longer.mask.reshape(2, -1) > 0], advantages[taken], rtol=1e-12)
    assert variance < 1


def test_ridge_grows_while_the_solution_is_not_a_number(monkeypatch):
    ridges = []

    def lstsq(gram, moment, rcond):
        ridges.append(gram[0, 0] - 1)
        return [np.full(len(gram), np.nan if len(ridges) < 3 else 1.0)]

    monkeypatch.setattr(np.linalg, "lstsq", lstsq)
    assert (ours.fit(np.identity(2), np.ones(2)) == 1).all()
    np.testing.assert_allclose(ridges, [1e-5, 1e-4, 1e-3])


def test_returns_are_undiscounted():
    drawn = random_trajectories([[5, 3]], 5)
    np.testing.assert_allclose(drawn.returns, drawn.rewards.sum(-1))
