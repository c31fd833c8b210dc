"""Tests of a policy's training run: log, checkpoints, exact resuming, and refusals."""

import csv

import gymnasium
import numpy as np
import pytest

from data_generators.errors import UserError
from maml_tf.runs.checkpoints import available
from rl import build
from rl import training as training_module
from rl.experiment import RLExperiment
from rl.training import COLUMNS
from tests.rl.small_runs import SMALL, train, training, weights

TIMES = [name for name in COLUMNS if name.startswith("seconds")]


def progress(folder):
    """Returns the rows of the log without the times."""
    with open(folder / "progress.csv", newline="") as file:
        return [{name: text for name, text in row.items() if name not in TIMES} for row in csv.DictReader(file)]


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """An uninterrupted run."""
    run = training(tmp_path_factory.mktemp("straight") / "run")
    train(run)
    return run


def test_log_has_every_metric(straight):
    rows = progress(straight.store.folder)
    assert [row["iteration"] for row in rows] == ["0", "1", "2", "3"]
    numbers = [{name: float(text) for name, text in row.items()} for row in rows]
    for row in numbers:
        assert set(row) == {"iteration", *COLUMNS} - set(TIMES)
        assert row["return_before"] < 0
        assert row["return_after"] < 0
        assert 0 < row["env_steps"] <= 2 * 2 * 3 * 8
        if not row["rejected"]:
            assert row["loss"] < row["loss_before"]
            assert row["kl"] <= 0.01
    assert numbers[0]["policy_std"] == 1
    assert not all(row["rejected"] for row in numbers)


def test_checkpoints_and_the_best_policy(straight):
    assert available(straight.store.folder) == [2, 4]
    returns = [float(row["return_after"]) for row in progress(straight.store.folder)]
    assert available(straight.store.folder / "best") == [int(np.argmax(returns))]
    assert straight.best_return.numpy() == pytest.approx(max(returns), rel=1e-6)


def test_every_25th_policy_is_kept(tmp_path):
    run = training(tmp_path)
    for iteration in range(20, 60):
        run.store.save(iteration)
    assert available(tmp_path) == [25, 50, 55, 56, 57, 58, 59]
    for iteration in 25, 50:
        run.best.save(iteration)
    assert available(tmp_path / "best") == [50]


def test_interrupted_run_resumes_exactly(straight, tmp_path):
    first = training(tmp_path, iterations=3)
    train(first)
    assert available(tmp_path) == [2, 3]
    with open(tmp_path / "progress.csv", "a") as file:
        file.write("3,-1,half a row of an iteration that was never saved")
    second = training(tmp_path)
    train(second)
    assert weights(second) == weights(straight)
    assert progress(tmp_path) == progress(straight.store.folder)
    assert second.best_return.numpy() == straight.best_return.numpy()


def test_best_policies_of_iterations_that_were_lost_are_dropped(tmp_path):
    run = training(tmp_path)
    run.best.save(7)  # left by a process that was killed before its first checkpoint
    with run.opened(0):
        assert available(tmp_path / "best") == []
    run.best.save(7)  # left by a process that was killed after its first checkpoint
    run._keep_best(3, -1.0)
    assert available(tmp_path / "best") == [3]
    run._keep_best(3, -2.0)
    assert available(tmp_path / "best") == [3]


def test_environments_have_folders_of_their_own(tmp_path):
    names = ("half_cheetah_velocity", "half_cheetah_direction", "ant_velocity")
    folders = [build.run_folder(RLExperiment.of(env=name), tmp_path) for name in names]
    assert len(set(folders)) == 3
    assert [folder.parent for folder in folders] == [tmp_path / name for name in names]
    assert build.run_folder(RLExperiment.of(env=names[0])).parts[:2] == ("logs", names[0])


def test_request_to_stop_saves(tmp_path, monkeypatch):
    import os
    import signal

    run = training(tmp_path)
    iterate = run.iterate

    def interrupted(iteration):
        metrics = iterate(iteration)
        os.kill(os.getpid(), signal.SIGINT)
        return metrics

    monkeypatch.setattr(run, "iterate", interrupted)
    assert not train(run)
    assert available(tmp_path) == [1]


@pytest.mark.parametrize("baseline", ["pretrained", "oracle"])
def test_baselines_train_and_come_back(tmp_path, baseline):
    given = {"baseline": baseline, "iterations": 2, "optimizer": "adam"}
    folder = build.run_folder(RLExperiment.of(**(SMALL | given)), tmp_path)
    run = training(folder, **given)
    before = weights(run)
    goals = run._goals(0)
    assert goals.shape == (2, 3, 2)
    assert len(np.unique(goals[..., 0])) == 6  # a goal per trajectory
    train(run)
    assert weights(run) != before
    assert run.envs.obs_dim == (4 if baseline == "oracle" else 2)
    policy, iteration = build.load_policy(run.experiment, tmp_path)
    assert iteration == 2
    assert policy.flat().numpy().tolist() == weights(run)


def test_settings_reach_the_estimates_and_the_learner(tmp_path, monkeypatch):
    run = training(tmp_path, discount=0.9, gae_lambda=0.8, num_grad_updates=2, meta_step_size=0.02, fast_lr=0.3)
    learner, found, estimate = run.learner, [], training_module.estimate
    assert (learner.step_size, learner.region.delta) == (0.3, 0.02)
    monkeypatch.setattr(learner, "adapt", lambda params, samples: params)
    monkeypatch.setattr(learner, "step", lambda before, after: {"updates": float(len(before))})

    def noted(batch, discount, gae_lambda, **others):
        found.append((discount, gae_lambda))
        return estimate(batch, discount, gae_lambda, **others)

    monkeypatch.setattr(training_module, "estimate", noted)
    assert run.iterate(0)["updates"] == 2
    assert found == 3 * [(0.9, 0.8)]


def test_checkpoint_of_another_environment_or_network_is_refused(straight):
    for given, message in (
        ({"env": "my:Env"}, r"was made with --env=point_navigation \(now my:Env\)"),
        ({"hidden_size": 5}, r"was made with --hidden_size=4 \(now 5\)"),
    ):
        other = RLExperiment.of(**(SMALL | {"fast_lr": 0.5} | given))
        straight.store.settings = other
        with pytest.raises(UserError, match=message):
            straight.store.restore()
    straight.store.settings = straight.experiment


def test_no_such_run_says_how_to_make_it(tmp_path):
    experiment = RLExperiment.of(fast_lr=0.25, seed=3)
    command = f"python -m scripts.train_rl --fast_lr=0.25 --seed=3 --logdir={tmp_path}"
    with pytest.raises(UserError, match=f"no trained policy in .*: make it by `{command}`"):
        build.load_policy(experiment, tmp_path)
    assert build.train_command(experiment, "my runs").endswith(" --seed=3 '--logdir=my runs'")


def test_log_drops_what_is_computed_again(tmp_path):
    run = training(tmp_path)
    with run.opened(0):
        for iteration in range(3):
            run.table.add(iteration, {"return_before": iteration / 3} | ({"loss": 1.0} if iteration else {}))
    returns = [(row["iteration"], row["return_before"], row["loss"]) for row in progress(tmp_path)]
    assert returns == [("0", "0", ""), ("1", "0.3333333", "1"), ("2", "0.6666667", "1")]
    with run.opened(2):
        assert [row["iteration"] for row in progress(tmp_path)] == ["0", "1"]


@pytest.mark.parametrize("baseline", ["maml", "pretrained", "oracle"])
def test_dicts_as_goals_reach_every_trajectory(tmp_path, room, baseline):
    run = training(tmp_path, env=room, baseline=baseline)
    run.envs.reset(run._goals(0), (0,))
    taken = [env.unwrapped.goal for env in run.envs._envs]
    assert all(type(goal["floor"]) is int and goal["at"].shape == (1, 2) for goal in taken)
    assert len({float(goal["at"][0, 0]) for goal in taken}) == (2 if baseline == "maml" else 6)
    assert run.envs.obs_dim == 2 + 3 * (baseline == "oracle")


@pytest.fixture
def room():
    """The id of a user's environment whose goals are dicts."""

    class Room(gymnasium.Env):
        observation_space, action_space = gymnasium.spaces.Box(-9, 9, (2,)), gymnasium.spaces.Box(-1, 1, (2,))

        def sample_task(self, random):
            return {"floor": int(random.integers(3)), "at": random.uniform(size=(1, 2))}

        def set_task(self, goal):
            self.goal = goal

        def reset(self, *, seed=None, options=None):
            return np.zeros(2), {}

    gymnasium.register("own/Dicts-v0", Room)
    yield "own/Dicts-v0"
    del gymnasium.registry["own/Dicts-v0"]


def spoil(best, damage):
    for file in best.glob("model*"):
        if damage == "deleted":
            file.unlink()
        elif damage == "damaged" and "data" in file.name:
            content = bytearray(file.read_bytes())
            content[len(content) // 2] ^= 1
            file.write_bytes(content)
        elif damage == "cut" and "index" in file.name:
            file.write_bytes(file.read_bytes()[:40])


@pytest.mark.parametrize("damage", ["deleted", "damaged", "cut"])
def test_a_best_policy_that_is_not_whole_is_told_and_sought_anew(tmp_path, capsys, damage):
    folder = build.run_folder(RLExperiment.of(**SMALL), tmp_path)
    train(training(folder, iterations=2))
    spoil(folder / "best", damage)
    with pytest.raises(UserError, match="best holds no whole policy: leave --best out to take the latest, or train"):
        build.load_policy(RLExperiment.of(**SMALL), tmp_path, best=True)
    assert build.load_policy(RLExperiment.of(**SMALL), tmp_path)[1] == 2
    run = training(folder, iterations=3)
    train(run)
    assert f"{folder / 'best'} holds no whole policy: a new best one is chosen" in capsys.readouterr().out
    assert available(folder / "best") == [2]
    assert run.best.is_whole()
    assert run.best_return.numpy() == pytest.approx(float(progress(folder)[2]["return_after"]), rel=1e-6)
    train(training(folder, iterations=3))
    assert "no whole policy" not in capsys.readouterr().out


def test_a_best_policy_that_cannot_be_saved_does_not_end_the_training(tmp_path, capsys, monkeypatch):
    def cannot_be_saved(iteration):
        raise UserError("no space left")

    run = training(tmp_path)
    run._keep_best(0, -5.0)
    with monkeypatch.context() as full:
        full.setattr(run.best, "save", cannot_be_saved)
        run._keep_best(1, -4.0)
        run._keep_best(1, -3.0)
    told = "\nwarning: no space left: training continues, and best/ keeps the earlier policy\n"
    assert capsys.readouterr().err == told
    assert run.best_return.numpy() == -5
    assert available(tmp_path / "best") == [0]
    run._keep_best(1, -4.0)
    assert available(tmp_path / "best") == [1]
    assert run.best_return.numpy() == -4
