"""What `python main.py` refuses: it writes one sentence to stderr, exits with code 2 and harms nothing on disk."""

import shutil
from pathlib import Path

import pytest

from maml_tf.runs.checkpoints import available
from maml_tf.supervised import build
from maml_tf.supervised.experiment import Experiment
from tests.command import assert_refused
from tests.data_generators.synthetic_images import tree, write
from tests.data_generators.synthetic_omniglot import snapshot

# Flags that leave little to compile and few tasks.
QUICK = ("--log=False", "--validation_interval=0", "--jit=false", "--meta_batch_size=2", "--metatrain_iterations=4")
SMALL_IMAGES = ("--datasource=omniglot", "--num_classes=2", "--num_filters=2")


def test_no_miniimagenet_and_no_folder(run_main, tmp_path):
    message = (
        "data/miniImagenet holds no miniImagenet, data/miniImagenet/{train,val,test}/<class>/*.jpg of 84x84 pixels"
    )
    assert_refused(run_main("--datasource=miniimagenet"), message)
    assert_refused(run_main("--datasource=folder"), "--datasource=folder needs --data_dir")
    assert_refused(run_main("--datasource=folder", "--data_dir=mine"), "mine does not exist: put them there as")
    assert_refused(run_main("--data_dir=mine"), "--datasource=sinusoid reads no files: leave out --data_dir, or give")
    assert_refused(run_main("--export_transductive"), "--export_transductive goes with --export_dir")
    assert list(tmp_path.iterdir()) == []


def test_images_without_a_split_that_training_needs(run_main, tmp_path):
    write(tmp_path / "mine", tree({"train/a": 16, "train/b": 16, "test/c": 2, "test/d": 2}, width=16, height=16))
    arguments = (*QUICK, "--datasource=folder", "--data_dir=mine", "--num_classes=2", "--image_size=16")
    assert_refused(
        run_main(*arguments), "training needs the splits train and val, but the data have only train and test"
    )
    untested = tree({"train/a": 16, "train/b": 16, "val/c": 16, "val/d": 16}, width=16, height=16)
    write(tmp_path / "yours", untested)
    result = run_main(*arguments, "--data_dir=yours", "--test_set=True")
    assert_refused(result, "there are no classes of a test split")
    assert not (tmp_path / "logs").exists()


def test_a_run_is_not_resumed_on_other_images(run_main, built_once, monkeypatch, tmp_path, caplog):
    """The run may be tested on them. Runs of earlier versions did not record their images, so they are not checked."""
    monkeypatch.setattr(build, "build", built_once)
    for name, last in (("mine", "d"), ("yours", "e")):
        classes = dict.fromkeys(["val/a", "val/b", "train/c", f"train/{last}"], 2)
        write(tmp_path / name, tree(classes, width=16, height=16))
    sizes = ("--num_classes=2", "--queries=1", "--image_size=16", "--conv=False", "--norm=None", "--test_tasks=2")
    command = (*QUICK, "--datasource=folder", *sizes, "--num_updates=1", "--logdir=runs")
    assert run_main(*command, "--data_dir=mine").returncode == 0
    before = snapshot(tmp_path / "runs")
    other = (*command, "--data_dir=yours")
    for more in ((), ("--metatrain_iterations=6",)):
        assert_refused(run_main(*other, *more), "was trained on other images, 2 classes, 4 images (")
        assert snapshot(tmp_path / "runs") == before
    assert run_main(*other, "--train=False").returncode == 0
    assert "was trained on" not in caplog.text
    write(tmp_path / "moved", tree(dict.fromkeys(["val/a", "val/d", "train/c", "train/e"], 2), width=16, height=16))
    assert run_main(*command, "--data_dir=moved", "--train=False").returncode == 0
    assert "was trained on 1 of the 2 classes of the val split (d)" in caplog.text
    result = run_main(*command, "--data_dir=mine", "--metatrain_iterations=5")
    assert "Resuming from the checkpoint of iteration 4" in result.stdout
    (file,) = tmp_path.glob("runs/*/data.json")
    file.unlink()
    assert run_main(*other, "--metatrain_iterations=6").returncode == 0
    assert not file.exists()
    assert run_main(*other, "--resume=False").returncode == 0
    assert_refused(run_main(*command, "--data_dir=mine"), "was trained on other images")


def test_more_classes_or_images_than_there_are(run_main, small_omniglot, tmp_path):
    before = snapshot(tmp_path)
    assert_refused(run_main("--datasource=omniglot", "--num_classes=4"), "A 4-way task needs 4 classes")
    assert_refused(run_main(*SMALL_IMAGES, "--update_batch_size=2"), "need 4 images")
    # The test has too many shots. The command must say so before the training, not after it.
    arguments = (*SMALL_IMAGES, *QUICK, "--train_update_batch_size=1", "--update_batch_size=2")
    assert_refused(run_main(*arguments), "need 4 images")
    assert snapshot(tmp_path) == before


def test_testing_without_a_checkpoint(run_main, tmp_path):
    result = run_main("--train=False", "--datasource=omniglot", "--logdir=runs")
    assert_refused(result, f"no checkpoint in {Path('runs', Experiment.of(datasource='omniglot').name)}: train first")
    assert list(tmp_path.iterdir()) == []  # nothing was downloaded either


def test_iteration_to_test_is_for_tests_only(run_main, tmp_path):
    assert_refused(run_main("--test_iter=100"), "--test_iter goes with --train=False")
    assert list(tmp_path.iterdir()) == []


def test_cosine_of_meta_gradients_is_for_meta_training_only(run_main, tmp_path):
    pretraining = ("--metatrain_iterations=0", "--pretrain_iterations=3")
    for arguments in (("--train=False",), pretraining, ("--baseline=oracle",)):
        assert_refused(run_main("--log_gradient_cosine", *arguments), "--log_gradient_cosine goes with meta-training")
    assert list(tmp_path.iterdir()) == []


def test_remat_is_for_training_to_second_order_only(run_main, tmp_path):
    pretraining = ("--metatrain_iterations=0", "--pretrain_iterations=3")
    for arguments in (("--train=False",), pretraining, ("--stop_grad=True",), ("--algorithm=reptile",)):
        assert_refused(run_main("--remat", *arguments), "--remat goes with a training to second order")
    assert_refused(run_main("--remat", "--export_dir=x"), "do not go together: an export keeps no activations")
    assert list(tmp_path.iterdir()) == []


def test_logdir_that_cannot_be_written(run_main, tmp_path):
    (tmp_path / "file").write_text("mine")
    assert_refused(run_main(*QUICK, "--logdir=file"), "cannot write to file/cls_5")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("name", ["a" * 300, "x\udcff", "a\0b", "file/below"])
def test_names_that_cannot_be(run_main, tmp_path, name):
    (tmp_path / "file").write_text("mine")
    for arguments in (f"--logdir={name}",), (f"--logdir={name}", "--train=False"):
        result = run_main(*QUICK, *arguments)
        assert result.returncode == 2
        assert len(result.stderr.splitlines()) == 1
        assert result.stderr.startswith("error: ")
    for arguments in (f"--data_dir={name}",), (f"--data_dir={name}", "--logdir=runs"):
        result = run_main(*QUICK, "--datasource=folder", *arguments)
        assert result.returncode == 2
        assert len(result.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("file", ["nowhere", ".", "a" * 300, "/proc/self/mem", "binary"])
def test_file_of_flags_that_cannot_be_read(run_main, tmp_path, file):
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    result = run_main(f"--flagfile={file}")
    assert_refused(result, "flagfile")
    assert not result.stderr.startswith("error: ERROR")


def test_loss_that_is_not_finite(run_main, tmp_path):
    result = run_main(*QUICK, "--update_lr=1e6", "--save_interval=1", "--logdir=runs")
    assert_refused(result, "no longer finite at iteration 1: training stops")
    assert list(tmp_path.rglob("model*")) == []
    result = run_main(*QUICK, "--meta_lr=1e6", "--save_interval=1", "--logdir=runs")
    assert_refused(result, "no longer finite at iteration 1: training stops")
    (folder,) = {file.parent for file in tmp_path.rglob("model*")}
    assert available(folder) == [1]
    assert_refused(run_main(*QUICK, "--logdir=runs"), "was made with --meta_lr=1000000.0 (now 0.001): give the")
    assert available(folder) == [1]


def test_ctrl_c_before_training(run_main, monkeypatch):
    from maml_tf.supervised import commands

    def ctrl_c(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "run", ctrl_c)
    result = run_main()
    assert result.returncode == 130
    assert "Traceback" not in result.stderr


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a run with checkpoints of iterations 1980 and 2000; its MAML is untrained."""
    experiment = Experiment.of(metatrain_iterations=2000)
    folder = tmp_path_factory.mktemp("runs") / experiment.name
    store = build.store(folder, build.build(experiment, experiment.dataset.shapes(experiment), jit=False), experiment)
    for iteration in (1980, 2000):
        store.save(iteration)
    return folder


def test_checkpoint_that_is_not_there(run_main, trained):
    result = run_main("--train=False", "--test_iter=7", f"--logdir={trained.parent}")
    assert_refused(result, f"no checkpoint of iteration 7 in {trained}; there are: 1980, 2000")


def test_checkpoint_made_with_other_settings(run_main, trained):
    before = snapshot(trained)
    for train in ("True", "False"):
        result = run_main(f"--train={train}", "--meta_lr=0.5", f"--logdir={trained.parent}")
        assert_refused(result, f"{trained}/model2000 was made with --meta_lr=0.001 (now 0.5): give the same")
    assert snapshot(trained) == before


def test_damaged_checkpoint(run_main, trained, tmp_path):
    folder = shutil.copytree(trained, tmp_path / "runs" / trained.name)
    file = folder / "model2000.data-00000-of-00001"
    file.write_bytes(file.read_bytes()[:1000])
    before = snapshot(folder)
    for train in ("True", "False"):
        assert_refused(run_main(f"--train={train}", "--logdir=runs"), "model2000 is damaged")
    assert snapshot(folder) == before
