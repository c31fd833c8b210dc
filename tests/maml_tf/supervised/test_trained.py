import os
import shlex

import numpy as np
import pytest
import tensorflow as tf

import main
from data_generators.errors import UserError
from maml_tf.supervised import build
from maml_tf.supervised.build import load_run, run_folder, train_command
from maml_tf.supervised.experiment import Experiment
from tests.maml_tf.small_runs import SINUSOID, small


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a small run, its Experiment and its MAML."""
    logdir = tmp_path_factory.mktemp("logs")
    experiment = small(SINUSOID, 2, seed=1)
    maml = build.build(experiment, build.load(experiment, None).source, jit=False)
    store = build.store(logdir / experiment.name, maml, experiment)
    for iteration in (1, 2):
        maml.weights[0].assign_add(tf.ones_like(maml.weights[0]))
        store.save(iteration)
    return logdir, experiment, maml


def test_a_run_is_restored_with_its_data(trained):
    logdir, experiment, maml = trained
    run = load_run(experiment, logdir, shots=7, jit=False)
    assert run.iteration == 2
    assert run.folder == run_folder(experiment, logdir) == logdir / experiment.name
    assert run.experiment == experiment
    for variable, expected in zip(run.maml.weights, maml.weights, strict=True):
        np.testing.assert_array_equal(variable, expected)
    assert run.data.evaluation_tasks("test", 0, 4).support_x.shape == (4, 7, 1)
    earlier = load_run(experiment, logdir, iteration=1, jit=False)
    assert earlier.iteration == 1
    np.testing.assert_allclose(earlier.maml.weights[0] + 1, maml.weights[0], rtol=1e-6)


def test_a_run_that_is_missing_or_of_other_settings(trained):
    logdir, experiment, _ = trained
    with pytest.raises(UserError, match=r"no trained run in .*seed3: make it by `python main.py .*--seed=3"):
        load_run(small(SINUSOID, 2, seed=3), logdir)
    with pytest.raises(UserError, match="no checkpoint of iteration 9"):
        load_run(experiment, logdir, iteration=9)
    with pytest.raises(UserError, match=r"--meta_lr=0\.001 "):
        load_run(small(SINUSOID, 2, seed=1, meta_lr=0.01), logdir)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"pretrain_iterations": 70000, "metatrain_iterations": 0, "baseline": "oracle"},
        {"datasource": "omniglot"},
        {"datasource": "omniglot", "num_classes": 20, "update_batch_size": 5, "stop_grad": True, "conv": False},
        {
            "datasource": "miniimagenet",
            "max_pool": False,
            "num_filters": 64,
            "norm": "None",
            "seed": 2,
            "update_lr": 0.1,
        },
    ],
)
def test_the_command_trains_that_experiment(settings):
    experiment = Experiment.of(**settings)
    for logdir, data_dir in (("some/logs", None), ("my logs", "~/birds & 'bees'")):
        program, *arguments = shlex.split(train_command(experiment, logdir, data_dir))
        assert program == "python"
        values = main.parse(arguments)
        assert main.experiments(values)[0] == experiment
        assert (values.logdir, values.data_dir) == (logdir, data_dir and os.path.expanduser(data_dir))


def test_the_advice_can_be_pasted_and_names_the_data(tmp_path):
    experiment, data_dir = Experiment.of(datasource="folder"), tmp_path / "my birds"
    with pytest.raises(UserError) as raised:
        load_run(experiment, tmp_path / "my runs", data_dir=data_dir)
    command = str(raised.value).partition("make it by `")[2].removesuffix("`")
    flags = [f"--data_dir={data_dir}", f"--logdir={tmp_path / 'my runs'}"]
    assert shlex.split(command) == ["python", "main.py", "--datasource=folder", *flags]


def test_the_command_has_no_needless_flags():
    assert train_command(Experiment.of()) == "python main.py"
    assert train_command(Experiment.of(datasource="omniglot")) == "python main.py --datasource=omniglot"
    ways_20 = Experiment.of(datasource="omniglot", num_classes=20)
    assert train_command(ways_20) == "python main.py --datasource=omniglot --num_classes=20"
