import dataclasses
import itertools

import pytest

from data_generators.errors import UserError
from maml_tf.supervised.experiment import Experiment

OMNIGLOT = {"datasource": "omniglot"}


def values(experiment, *names):
    return [getattr(experiment, name) for name in names]


@pytest.mark.parametrize(
    ("given", "update_lr", "num_updates", "meta_batch_size", "reported_update", "iterations"),
    [
        ({}, 0.01, 1, 25, 10, 70000),
        (OMNIGLOT, 0.4, 1, 32, 3, 60000),
        (OMNIGLOT | {"num_classes": 5, "conv": False}, 0.4, 1, 32, 3, 60000),
        (OMNIGLOT | {"num_classes": 20}, 0.1, 5, 16, 5, 60000),
        ({"datasource": "miniimagenet"}, 0.01, 5, 4, 10, 60000),
        ({"datasource": "miniimagenet", "update_batch_size": 5}, 0.01, 5, 4, 10, 60000),
    ],
)
def test_what_is_not_given_takes_the_paper_s_value(
    given, update_lr, num_updates, meta_batch_size, reported_update, iterations
):
    experiment = Experiment.of(**given)
    assert experiment.meta_lr == 1e-3
    names = ("update_lr", "num_updates", "meta_batch_size", "reported_update", "iterations")
    assert values(experiment, *names) == [update_lr, num_updates, meta_batch_size, reported_update, iterations]


def test_networks_and_shots_are_the_paper_s():
    names = ("norm", "num_filters", "max_pool", "conv", "update_batch_size", "stop_grad", "baseline")
    assert values(Experiment.of(), *names)[0] == "None"
    assert Experiment.of().update_batch_size == 10
    assert values(Experiment.of(**OMNIGLOT), *names) == ["batch_norm", 64, False, True, 1, False, None]
    mini = Experiment.of(datasource="miniimagenet")
    assert values(mini, *names) == ["batch_norm", 32, True, True, 1, False, None]


def test_a_folder_of_images_takes_miniimagenet_s_settings_and_a_size():
    folder = dataclasses.asdict(Experiment.of(datasource="folder"))
    mini = dataclasses.asdict(Experiment.of(datasource="miniimagenet"))
    assert folder == mini | {"datasource": "folder", "image_size": 84, "image_channels": 3}
    names = ("reported_update", "summary_updates", "test_updates", "image_side")
    assert values(Experiment.of(datasource="folder"), *names) == [10, 5, 10, 84]


def test_size_of_images_is_a_setting_of_folders_only():
    for datasource in ("sinusoid", "omniglot", "miniimagenet"):
        assert values(Experiment.of(datasource=datasource), "image_size", "image_channels") == [None, None]
    assert Experiment.of(datasource="folder", image_size=1, max_pool=False).image_size == 1
    assert Experiment.of(datasource="folder", image_size=1, conv=False, image_channels=1).image_channels == 1


def test_what_is_given_is_kept():
    given = {"datasource": "omniglot", "num_classes": 20, "update_lr": 0.5, "max_pool": True, "seed": 3, "norm": "None"}
    experiment = Experiment.of(**given, num_updates=None)
    assert {name: getattr(experiment, name) for name in given} == given
    assert experiment.num_updates == 5


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({}, "cls_5.mbs_25.ubs_10.numstep1.updatelr0.01nonorm"),
        ({"update_batch_size": 5, "update_lr": 1e-3}, "cls_5.mbs_25.ubs_5.numstep1.updatelr0.001nonorm"),
        ({"update_lr": 1e-5}, "cls_5.mbs_25.ubs_10.numstep1.updatelr1e-05nonorm"),
        (OMNIGLOT, "cls_5.mbs_32.ubs_1.numstep1.updatelr0.4batchnorm"),
        (OMNIGLOT | {"num_classes": 20}, "cls_20.mbs_16.ubs_1.numstep5.updatelr0.1batchnorm"),
        (
            {"datasource": "miniimagenet"},
            "cls_5.mbs_4.ubs_1.numstep5.updatelr0.01hidden32maxpoolbatchnorm",
        ),
        (
            {"datasource": "folder", "image_size": 32, "image_channels": 1},
            "cls_5.mbs_4.ubs_1.numstep5.updatelr0.01hidden32maxpoolbatchnorm.images32x1",
        ),
        (
            OMNIGLOT | {"num_filters": 32, "max_pool": True, "stop_grad": True, "norm": "layer_norm"},
            "cls_5.mbs_32.ubs_1.numstep1.updatelr0.4hidden32maxpoolstopgradlayernorm",
        ),
    ],
)
def test_folder_of_a_meta_trained_run_is_the_original_s(given, name):
    assert Experiment.of(**given).name == name


def test_folder_of_an_oracle_begins_as_the_original_s():
    name = Experiment.of(baseline="oracle").name
    assert name == "cls_5.mbs_25.ubs_10.numstep1.updatelr0.01oraclenonorm.pretrained"


def test_runs_that_differ_never_share_a_folder():
    durations = [(0, 7), (7, 0), (7, 7), (8, 7)]
    others = itertools.product((False, True), ("None", "batch_norm", "layer_norm"), (0, 1), (False, True))
    names = []
    for learn, norm, seed, stop_grad in others:
        settings = {"learn_update_lr": learn, "norm": norm, "seed": seed, "stop_grad": stop_grad}
        for pretrain, metatrain in durations:
            if metatrain == 0 and (learn or stop_grad):  # which it would not do
                continue
            run = settings | {"pretrain_iterations": pretrain, "metatrain_iterations": metatrain}
            names.append(Experiment.of(**run).name)
            names.append(Experiment.of(**OMNIGLOT, **run, conv=False).name)
            names.append(Experiment.of(**OMNIGLOT, **run).name)
            names.extend(Experiment.of(datasource="folder", **run, image_size=size).name for size in (16, 17))
            names.append(Experiment.of(datasource="folder", **run, image_channels=1).name)
        if not (learn or stop_grad):
            names.append(Experiment.of(**settings, baseline="oracle").name)
    assert len(set(names)) == len(names)


def test_an_oracle_is_pretrained_as_in_the_original():
    wanted = (70000, 0)
    for given in ({}, {"metatrain_iterations": 70000}, {"pretrain_iterations": 70000, "metatrain_iterations": 0}):
        oracle = Experiment.of(baseline="oracle", **given)
        assert (oracle.pretrain_iterations, oracle.metatrain_iterations) == wanted
    both = Experiment.of(baseline="oracle", pretrain_iterations=3, metatrain_iterations=4)
    assert (both.pretrain_iterations, both.metatrain_iterations, both.iterations) == (7, 0, 7)


def test_updates_in_reports_are_the_original_s():
    assert values(Experiment.of(), "summary_updates", "test_updates") == [5, 10]
    assert values(Experiment.of(**OMNIGLOT), "summary_updates", "test_updates") == [5, 10]
    assert values(Experiment.of(datasource="miniimagenet"), "summary_updates", "test_updates") == [5, 10]
    assert values(Experiment.of(num_updates=12), "summary_updates", "test_updates") == [12, 12]


def test_settings_cannot_be_changed_afterwards():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Experiment.of().seed = 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"datasource": "imagenet"},
            "unknown datasource 'imagenet': choose one of sinusoid, omniglot, miniimagenet, cifar_fs, fc100, folder",
        ),
        (OMNIGLOT | {"image_size": 28}, "--image_size goes with --datasource=folder: omniglot has its own"),
        ({"datasource": "miniimagenet", "image_channels": 3}, "--image_channels goes with --datasource=folder"),
        ({"datasource": "folder", "image_size": 15}, "--image_size must be at least 16, not 15"),
        ({"datasource": "folder", "image_size": 0, "max_pool": False}, "--image_size must be at least 1, not 0"),
        ({"datasource": "folder", "image_channels": 4}, "--image_channels must be 1 (grey) or 3 (RGB), not 4"),
        (
            {"norm": "group_norm"},
            "unknown norm 'group_norm': choose one of batch_norm, per_update_batch_norm, layer_norm, None",
        ),
        ({"baseline": "random"}, "unknown baseline 'random': the only one is 'oracle'"),
        (OMNIGLOT | {"baseline": "oracle"}, "--baseline=oracle needs --datasource=sinusoid"),
        (OMNIGLOT | {"num_classes": 1}, "--num_classes must be at least 2, not 1"),
        (OMNIGLOT | {"num_classes": -5}, "--num_classes must be at least 2, not -5"),
        ({"meta_batch_size": 0}, "--meta_batch_size must be at least 1, not 0"),
        ({"update_batch_size": -1}, "--update_batch_size must be at least 1, not -1"),
        ({"num_updates": 0}, "--num_updates must be at least 1, not 0"),
        (OMNIGLOT | {"num_filters": 0}, "--num_filters must be at least 1, not 0"),
        ({"pretrain_iterations": -1}, "--pretrain_iterations must be at least 0, not -1"),
        ({"metatrain_iterations": -1}, "--metatrain_iterations must be at least 0, not -1"),
        ({"metatrain_iterations": -1, "baseline": "oracle"}, "--metatrain_iterations must be at least 0, not -1"),
        ({"metatrain_iterations": 0}, "nothing to train"),
        ({"meta_lr": 0.0}, "--meta_lr must be a positive number, not 0.0"),
        ({"update_lr": -0.1}, "--update_lr must be a positive number, not -0.1"),
        ({"update_lr": float("nan")}, "--update_lr must be a positive number, not nan"),
        ({"meta_lr": float("inf")}, "--meta_lr must be a positive number, not inf"),
        ({"seed": -1}, "--seed must be at least 0, not -1"),
        (OMNIGLOT | {"num_classes": 2**31}, "--num_classes must be at most 10000, not 2147483648"),
        ({"meta_batch_size": 10**30}, f"--meta_batch_size must be at most 10000, not {10**30}"),
        ({"update_batch_size": 2**31}, "--update_batch_size must be at most 10000, not 2147483648"),
        ({"num_updates": 2**31 - 1}, "--num_updates must be at most 1000, not 2147483647"),
        (OMNIGLOT | {"num_filters": 2**31}, "--num_filters must be at most 65536, not 2147483648"),
        ({"pretrain_iterations": 2**31}, "--pretrain_iterations must be at most 2147483647, not 2147483648"),
        ({"metatrain_iterations": 2**31}, "--metatrain_iterations must be at most 2147483647, not 2147483648"),
        ({"datasource": "folder", "image_size": 10**18}, f"--image_size must be at most 4096, not {10**18}"),
        ({"seed": 2**32}, "--seed must be at most 4294967295, not 4294967296"),
    ],
)
def test_a_setting_out_of_range_is_named(given, message):
    with pytest.raises(UserError) as error:
        Experiment.of(**given)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
