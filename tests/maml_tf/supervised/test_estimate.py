"""Tests of `--estimate`, which tells from a few steps how long a training would take."""

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from maml_tf.supervised import estimate as module
from maml_tf.supervised.estimate import Estimate, Part, estimate
from maml_tf.supervised.training import Schedule
from tests.command import ROOT, assert_refused
from tests.maml_tf import small_runs

QUICK = ("--meta_batch_size=2", "--jit=false", "--estimate", "--logdir=runs")


def test_estimate_is_the_sum_of_its_parts():
    found = Estimate(
        [Part("meta-training steps", 60000, 0.125), Part("validations of 600 tasks", 24, 10.0)], 4.0, 677.4
    )
    assert found.seconds == 60000 * 0.125 + 240 + 4
    assert [line.split("  ")[0] for line in found.text().splitlines()][1:3] == [part.what for part in found.parts]
    ends = [" ".join(line.split()[-2:]) for line in found.text().splitlines()][1:]
    assert ends == ["5 min", "4 min", "9 min", "677 MB"]  # of 2 h 5 min and 2 h 9 min, without the hours
    assert "8.0 per second  2 h 5 min" in found.text()
    assert "10.0 s each" in found.text()


@pytest.mark.parametrize("settings", [small_runs.SINUSOID, small_runs.IMAGES], ids=["compiled", "host"])
def test_every_phase_is_timed_by_steps_of_its_own(settings, tmp_path, monkeypatch):
    """The test uses a fake clock that knows how long each step takes."""
    if settings is small_runs.IMAGES:
        small_runs.use_small_omniglot(monkeypatch, tmp_path)
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    monkeypatch.setattr(module, "steps_for", lambda *args: clock)
    experiment = small_runs.small(settings, 100, pretrain_iterations=20, first_order_iterations=30)
    schedule = Schedule(summary=15, validate=50, tasks=7)
    run = small_runs.training(experiment, tmp_path / "run", schedule, log=True, jit=False)
    run.training.log_gradient_cosine = True
    for name in ("evaluate", "summary", "cosine"):
        monkeypatch.setattr(run.training, name, getattr(clock, name))
    found = estimate(run.training, seconds=0.5)
    assert [(part.what, part.number, round(part.seconds, 9)) for part in found.parts] == [
        ("summaries", 8, 0.2),  # at 0, 15, ... 105
        ("cosines of gradients", 6, 0.4),  # at 30, ... 105
        ("steps of pretraining", 20, 0.01),
        ("meta-training steps", 30, 0.02),
        ("meta-training steps from 50 on", 70, 0.04),
        ("validations of 7 tasks", 3, 0.3),
    ]
    assert found.first == pytest.approx(7.0 + 8.0 + 3 * 5.0 + 9.0)
    assert not (tmp_path / "run").exists()


def test_a_validation_of_many_calls_is_timed_by_some(tmp_path, monkeypatch):
    small_runs.use_small_omniglot(monkeypatch, tmp_path)
    monkeypatch.setattr(module, "time", clock := Clock())
    monkeypatch.setattr(module, "steps_for", lambda *args: clock)
    experiment = small_runs.small(small_runs.IMAGES, 100)
    run = small_runs.training(experiment, tmp_path / "run", Schedule(validate=40, tasks=190), jit=False)
    monkeypatch.setattr(run.training, "evaluate", clock.evaluate)
    *_, validations = estimate(run.training, seconds=1.0).parts
    # 8 calls of up to 25 tasks, each taking 0.3 s.
    assert validations == ("validations of 190 tasks", 3, pytest.approx(8 * 0.3))
    assert clock.evaluated == [25, 75]


class Clock:
    """A fake clock, and fake work that advances it.

    A step takes 0.01 s in pretraining, 0.02 s to first order and 0.04 s afterwards; a summary takes 0.2 s, a cosine
    0.4 s, and a call of a validation 0.3 s. Compiling takes 5 s more in the first step of each phase, and 7, 8 and 9 s
    more in the first summary, cosine and validation.
    """

    def __init__(self):
        self.now, self.compiled, self.evaluated = 100.0, set(), []

    def perf_counter(self):
        return self.now

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def run(self, start, stop):
        phase = (start >= 20) + (start >= 50)
        self.compile(phase, 5)
        for done in range(start + 1, stop + 1):
            self.now += 0.01 * 2**phase
            yield done, {}

    def summary(self, steps, iteration):
        assert (steps, iteration) == (self, 0)
        self.compile("summary", 7)
        self.now += 0.2

    def cosine(self, steps, iteration):
        assert (steps, iteration) == (self, 20)  # the first iteration of meta-training
        self.compile("cosine", 8)
        self.now += 0.4

    def evaluate(self, num_tasks):
        self.compile("validation", 9)
        self.now += 0.3 * -(-num_tasks // 25)
        self.evaluated.append(num_tasks)

    def compile(self, what, seconds):
        self.now += seconds * (what not in self.compiled)
        self.compiled.add(what)


def test_command_prints_it_and_writes_nothing(run_main, tmp_path):
    result = run_main(*QUICK, "--datasource=sinusoid", "--metatrain_iterations=1010", "--validation_tasks=3")
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    (header,) = (i for i, line in enumerate(lines) if line.startswith("training"))
    assert [line.split("  ")[0] for line in lines[header + 1 : -1]] == [
        "summaries",
        "meta-training steps",
        "validations of 3 tasks",
        "in all, with compilation",
    ]
    assert lines[-1].startswith("Peak memory: ")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_training_has_no_estimate(run_main):
    assert_refused(run_main("--estimate", "--train=False"), "--estimate is of a training: leave out --train=False")
    assert_refused(run_main("--estimate", "--export_dir=x"), "are two things")


# Runs main.py, then prints the seconds that it estimated, or that its training took, and its peak memory. Seconds are
# processor time, since other processes may use the machine too.
MEASURED = """
import json, sys, time, types
import main
from maml_tf.runs import loop, process
from maml_tf.supervised import commands, estimate

def noted(function, seconds):
    def call(*args, **kwargs):
        begun = time.process_time()
        result = function(*args, **kwargs)
        told["seconds"] = seconds(result, time.process_time() - begun)
        return result
    return call

told = {}
estimate.time = types.SimpleNamespace(perf_counter=time.process_time)
commands.estimate = noted(commands.estimate, lambda estimate, took: estimate.seconds)
loop.run = noted(loop.run, lambda finished, took: took)
assert main.main(["main.py", *sys.argv[1:]]) == 0
print(json.dumps(told | {"memory": process.peak_memory()}))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "flags",
    [
        "--metatrain_iterations=5000 --validation_interval=2500",
        "--datasource=omniglot --metatrain_iterations=300 --meta_batch_size=8 --validation_interval=150",
        "--datasource=folder --metatrain_iterations=30 --meta_batch_size=2 --num_filters=8 --validation_interval=15 "
        "--validation_tasks=40",
    ],
    ids=["sinusoid", "omniglot", "folder"],
)
def test_a_whole_run_takes_the_time_and_memory_of_the_estimate_within_30_percent(flags, tmp_path, request):
    flags = flags.split()
    if "--datasource=omniglot" in flags:
        flags += [f"--data_dir={request.getfixturevalue('real_omniglot')}"]
    if "--datasource=folder" in flags:
        flags += [f"--data_dir={write_photographs(tmp_path / 'images')}"]
    estimated, took = (
        measured("--logdir=logs", "--test_tasks=20", *flags, *more, folder=tmp_path) for more in (["--estimate"], [])
    )
    ratios = {name: estimated[name] / took[name] for name in took}
    assert all(0.7 < ratio < 1.3 for ratio in ratios.values()), ratios


def measured(*flags, folder):
    """Runs MEASURED with flags; returns the numbers that it prints at its end."""
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n{MEASURED}"
    command = [sys.executable, "-c", program, *flags]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout.splitlines()[-1])


def write_photographs(folder):
    """Writes 5 classes for each split, each of 20 noise images of miniImagenet's size, 84x84; returns the folder."""
    pixels = np.random.default_rng(0).integers(0, 256, (20, 84, 84, 3), np.uint8)
    for split in ("train", "val", "test"):
        for name in range(5):
            (folder / split / f"{split}{name}").mkdir(parents=True)
            for i, image in enumerate(pixels):
                Image.fromarray(image).save(folder / split / f"{split}{name}" / f"{i}.png")
    return folder
