"""Draws the pictures of README.md, RESULTS.md and docs/ into docs/figures, with the csv files of what they show.

python -m scripts.docs_figures
python -m scripts.docs_figures --picture=sinusoid --picture=point_navigation

Run it in a clone whose logs/ holds the runs of RESULTS.md. Some pictures need no runs: --picture=results needs
docs/results.csv, --picture=benchmark needs docs/benchmark_peers.csv, and --picture=scaling and --picture=cost need
scaling.csv and cost.csv in docs/figures. --picture=film and --picture=half_cheetah_direction_seeds read the runs in
runs/. It prints the command that draws each picture. If a run is missing, that command says so, and the other pictures
are still drawn.
"""

import shlex
import subprocess
import sys

from maml_tf.runs.flags import Flags, command
from maml_tf.supervised.experiment import Experiment

FIGURES = "docs/figures"
_HALF_CHEETAH = ["--env=half_cheetah_direction", "--meta_step_size=0.02"]
_TANH = [*_HALF_CHEETAH, "--nonlinearity=tanh"]

# The lines of the picture of the seeds; each shows the iterations that its run has done so far.
_RUNS = "runs/half_cheetah_direction"
_RUN = f"{_RUNS}/maml.mbs_40.fbs_20.numgrad1.fastlr0.1.delta0.02"
_OF_SEED = {seed: f".seed{seed}" if seed else "" for seed in range(7)}  # the end of the name of a seed's run
_LINES = {f"original, seed {seed}": f"{_RUNS}/original_relu_seed{seed}.csv" for seed in (1, 2)}
_LINES |= {f"ReLU, seed {seed}": _RUN + name for seed, name in _OF_SEED.items()}
_LINES |= {f"original weights, from {i}": f"{_RUNS}/relu_from_original_seed1_iteration{i}.csv" for i in (0, 25)}
_LINES |= {f"tanh, seed {seed}": f"{_RUN}.nonlinearitytanh{_OF_SEED[seed]}" for seed in range(3)}


def commands() -> dict[str, list[list[str]]]:
    """Returns the commands of each picture; a command is the name of a script, then its arguments."""
    found = {name: [[f"plot_{name}", f"--out={FIGURES}"]] for name in ("results", "sinusoid", "benchmark")}
    for datasource in ("omniglot", "miniimagenet"):
        folder = f"logs/{datasource}/{Experiment.of(datasource=datasource).name}"
        found[datasource] = [["plot_validation", folder, f"--name={datasource}_5way_1shot", f"--out={FIGURES}"]]
    found |= {
        "point_navigation": _of_returns(["--env=point_navigation"], "--seeds=0,1,2"),
        "half_cheetah_direction": _of_returns(_HALF_CHEETAH),
        "half_cheetah_direction_tanh": _of_returns(_TANH, "--name=half_cheetah_direction_tanh"),
        "half_cheetah_direction_seeds": [
            [
                "compare_rl",
                *(f"--line={name}={path}" for name, path in _LINES.items()),
                "--env=half_cheetah_direction",
                "--name=half_cheetah_direction_seeds",
                f"--out={FIGURES}",
            ]
        ],
        "half_cheetah_velocity": _of_returns(["--env=half_cheetah_velocity", "--fast_batch_size=10"]),
        "ant_velocity": _of_returns(["--env=ant_velocity"]),
        "ant_direction": _of_returns(["--env=ant_direction"]),
    }
    film = ["render_rl", *_TANH, "--logdir=runs", "--goal=1.5", f"--out={FIGURES}/half_cheetah_direction.gif"]
    scaling = ["plot_scaling", f"--measured={FIGURES}/scaling.csv", f"--out={FIGURES}/scaling.png"]
    cost = ["plot_cost", f"--measured={FIGURES}/cost.csv", f"--out={FIGURES}/cost.png"]
    return found | {"film": [film], "scaling": [scaling], "cost": [cost]}


def _of_returns(run, *training):
    name = [flag for flag in training if flag.startswith("--name=")]
    out = f"--out={FIGURES}"
    return [["evaluate_rl", *run, *name, out], ["plot_rl", *run, *training, out]]


def define(flags: Flags) -> None:
    """Defines the flags."""
    flags.several("picture", commands(), "which to draw; default: all")


def run(flags: Flags) -> int:
    """Draws the pictures; returns the exit code: 0, or that of the last command that failed."""
    pictures, code = commands(), 0
    for name in flags.picture or pictures:
        for script, *given in pictures[name]:
            line = ["python", "-m", f"scripts.{script}", *given]
            print(shlex.join(line), flush=True)
            # In a new process, since each command sets the number of threads of its process.
            code = subprocess.run([sys.executable, *line[1:]]).returncode or code
    return code


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
