"""Records every number that the commands of a project write, so that two commits can be compared bit by bit.

python -m tests.net.numbers record --project=PATH --out=FILE.npz
python -m tests.net.numbers compare A.npz B.npz
"""

import argparse
import os
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# isort: split

from tests.net import arrays, commands, data

_SINE = ("--meta_batch_size=3", "--save_interval=5")
_CHARACTERS = ("--datasource=omniglot", "--data_dir=omniglot", "--num_classes=3", "--meta_batch_size=3")
_OMNIGLOT = (*_CHARACTERS, "--num_filters=4", "--save_interval=3", "--metatrain_iterations=6")
_PICTURES = ("--datasource=folder", "--data_dir=mine", "--num_classes=3", "--num_filters=4", "--image_size=16")
_POLICY = ("--horizon=8", "--hidden_size=4")
_SMALL_POLICY = ("--meta_batch_size=2", "--fast_batch_size=3", *_POLICY)
_RETURNS = (*_SMALL_POLICY, "--trajectories=2", "--num_updates=2", "--out=runs/returns")
_CLASSIFIER = ("--batch_size=8", "--num_tasks=10", "--tuning_tasks=4", "--num_updates=3", "--step_sizes=0.1,0.01")

# Name -> (function that makes the data, commands to run one after another). All write into runs/.
RUNS = {
    "sinusoid": (
        None,
        ("main", *_SINE, "--pretrain_iterations=4", "--metatrain_iterations=8", "--validation_interval=5"),
        ("main", *_SINE, "--pretrain_iterations=4", "--metatrain_iterations=8", "--export_dir=runs/export"),
    ),
    "sinusoid, learned step sizes": (
        None,
        (
            *("main", *_SINE, "--metatrain_iterations=4", "--learn_update_lr", "--num_updates=2", "--norm=batch_norm"),
            *("--jit=false", "--log_gradient_cosine", "--validation_interval=0"),
        ),
    ),
    "sinusoid, oracle": (None, ("main", *_SINE, "--baseline=oracle", "--metatrain_iterations=4", "--jit=false")),
    "omniglot by map": (data.omniglot, ("main", *_OMNIGLOT, "--task_axis=map", "--validation_interval=3")),
    "omniglot without convolutions": (
        data.omniglot,
        ("main", *_CHARACTERS, "--conv=false", "--save_interval=3", "--metatrain_iterations=6"),
    ),
    "omniglot, first order, max-pooling": (
        data.omniglot,
        ("main", *_OMNIGLOT, "--stop_grad", "--max_pool", "--num_updates=2", "--update_batch_size=2"),
    ),
    "omniglot vectorized, learned step sizes": (
        data.omniglot,
        ("main", *_OMNIGLOT, "--task_axis=vectorize", "--norm=layer_norm", "--learn_update_lr", "--jit=false"),
    ),
    "folder": (
        data.pictures,
        (
            *("main", *_PICTURES, "--num_updates=2", "--metatrain_iterations=3", "--meta_batch_size=2"),
            "--transductive=false",
        ),
    ),
    "policies": (
        None,
        ("scripts.train_rl", *_SMALL_POLICY, "--iterations=3"),
        ("scripts.train_rl", *_POLICY, "--baseline=pretrained", "--iterations=2"),
        ("scripts.train_rl", *_POLICY, "--baseline=oracle", "--iterations=2"),
        ("scripts.evaluate_rl", *_RETURNS),
        ("scripts.evaluate_rl", *_RETURNS, "--update=trpo", "--best", "--policy=maml"),
        ("scripts.export_rl", *_SMALL_POLICY, "--export_dir=runs/export"),
    ),
    "robots": (
        None,
        ("scripts.train_rl", "--env=half_cheetah_velocity", *_SMALL_POLICY, "--iterations=2"),
        ("scripts.train_rl", "--env=half_cheetah_velocity", "--baseline=oracle", *_POLICY, "--iterations=2"),
        (
            *("scripts.train_rl", "--env=ant_direction", *_SMALL_POLICY, "--iterations=1", "--num_grad_updates=2"),
            *("--hessian_product=exact", "--nonlinearity=tanh"),
        ),
    ),
    "baselines": (
        data.omniglot,
        (
            *("scripts.baselines", "--datasource=omniglot", "--data_dir=omniglot", "--num_classes=3"),
            *("--iterations=3", "--num_filters=2", *_CLASSIFIER),
        ),
    ),
}


def record(project, out, names):
    """Runs the commands of these RUNS in a project, two runs at a time, and writes their arrays."""
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(2) as pool:
        folders = {name: Path(folder, name) for name in names}
        list(pool.map(lambda name: _run(project, folders[name], *RUNS[name]), names))
        found = {f"{n}/{key}": a for n, path in folders.items() for key, a in arrays.in_folder(path / "runs").items()}
    np.savez_compressed(out, **found)
    print(f"{len(found)} arrays of {project} in {time.monotonic() - start:.0f} s: {out}")


def _run(project, folder, make_data, *lines):
    folder.mkdir()
    if make_data:
        make_data(folder)
    for program, *arguments in lines:
        logdir = () if "--logdir" in arguments else ("--logdir=runs",)
        start = time.monotonic()
        result = commands.run(folder, program, *arguments, *logdir, project=project)
        print(f"{time.monotonic() - start:6.1f} s: {program} {' '.join(arguments)}", file=sys.stderr)
        if result.returncode:
            raise SystemExit(f"{program} {' '.join(arguments)}: exit code {result.returncode}\n{result.stderr}")


def compare(before, after):
    """Prints which arrays differ; returns whether all are equal."""
    with np.load(before) as a, np.load(after) as b:
        a, b = dict(a), dict(b)
    both = sorted(a.keys() & b.keys())
    different = [name for name in both if _bits(a[name]) != _bits(b[name])]
    print(f"{len(both) - len(different)} of {len(both)} arrays are equal bit for bit")
    for name in different:
        print(f"differs: {name}{_how(a[name], b[name])}")
    for title, found, others in (("only before", a, b), ("only now", b, a)):
        elsewhere = {_bits(others[name]): name for name in others.keys() - found.keys()}
        for name in sorted(found.keys() - others.keys()):
            same = elsewhere.get(_bits(found[name]))
            print(f"{title}: {name}" + (f" (as {same}?)" if same else ""))
    return not different and a.keys() == b.keys()


def _bits(array):
    return array.dtype.str, array.shape, array.tobytes()


def _how(a, b):
    if a.shape != b.shape or a.dtype != b.dtype:
        return f": {a.dtype} {a.shape}, now {b.dtype} {b.shape}"
    if a.dtype.kind not in "fi":
        return f": {a}, now {b}"
    with np.errstate(invalid="ignore"):
        return f": by {np.nanmax(np.abs(a - b)):.3g} at most, of {np.nanmax(np.abs(a)):.3g}"


def main():
    """Records or compares; returns the exit code: 1 if anything differs."""
    parser = argparse.ArgumentParser("python -m tests.net.numbers", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True)
    recording = actions.add_parser("record")
    recording.add_argument("--project", type=Path, default=commands.ROOT)
    recording.add_argument("--out", type=Path, required=True)
    recording.add_argument("--only", action="append", choices=RUNS, help="may be repeated; default: all")
    comparing = actions.add_parser("compare")
    comparing.add_argument("before", type=Path)
    comparing.add_argument("after", type=Path)
    flags = parser.parse_args()
    if flags.action == "record":
        record(flags.project.resolve(), flags.out, flags.only or RUNS)
        return 0
    return 0 if compare(flags.before, flags.after) else 1


if __name__ == "__main__":
    sys.exit(main())
