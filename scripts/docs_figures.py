"""Makes the pictures of README.md and RESULTS.md anew, with their csv files: the one command that writes docs/figures.

python -m scripts.docs_figures
python -m scripts.docs_figures --picture=sinusoid --picture=point_navigation

To be called in a clone whose logs/ holds the runs of RESULTS.md. Each picture is drawn by the command that is printed;
where a run is missing, that command says so, and the other pictures are made.
"""

import shlex
import subprocess
import sys

from maml_tf.supervised.experiment import Experiment
from scripts import command

FIGURES = "docs/figures"
_HALF_CHEETAH = ["--env=half_cheetah_direction", "--meta_step_size=0.02"]
_TANH = [*_HALF_CHEETAH, "--nonlinearity=tanh"]


def commands() -> dict[str, list[list[str]]]:
    """The commands of each picture: the name of a script, and its arguments."""
    found = {"sinusoid": [["plot_sinusoid", f"--out={FIGURES}"]]}
    for datasource in ("omniglot", "miniimagenet"):
        folder = f"logs/{datasource}/{Experiment.of(datasource=datasource).name}"
        found[datasource] = [["plot_validation", folder, f"--name={datasource}_5way_1shot", f"--out={FIGURES}"]]
    found |= {
        "point_navigation": _of_returns(["--env=point_navigation"], "--seeds=0,1,2"),
        "half_cheetah_direction": _of_returns(_HALF_CHEETAH),
        "half_cheetah_direction_tanh": _of_returns(_TANH, "--name=half_cheetah_direction_tanh"),
        "half_cheetah_velocity": _of_returns(["--env=half_cheetah_velocity", "--fast_batch_size=10"]),
        "ant_velocity": _of_returns(["--env=ant_velocity"]),
        "ant_direction": _of_returns(["--env=ant_direction"]),
    }
    film = ["render_rl", *_TANH, "--logdir=runs", "--goal=1.5", f"--out={FIGURES}/half_cheetah_direction.gif"]
    return found | {"film": [film]}


def _of_returns(run, *training):
    name = [flag for flag in training if flag.startswith("--name=")]
    out = f"--out={FIGURES}"
    return [["test_rl", *run, *name, out], ["plot_rl", *run, *training, out]]


def main(arguments: list[str] | None = None) -> int:
    """Draws; returns the exit code: 0, or that of the last command that failed."""
    return command.guarded(lambda: _run(arguments))


def _run(arguments):
    pictures = commands()
    parser = command.parser("docs_figures", __doc__)
    parser.add_argument("--picture", action="append", choices=pictures, help="may be repeated; default: all")
    code = 0
    for name in parser.parse_args(arguments).picture or pictures:
        for script, *flags in pictures[name]:
            line = ["python", "-m", f"scripts.{script}", *flags]
            print(shlex.join(line), flush=True)
            # In a process of its own, since each sets its own number of threads.
            code = subprocess.run([sys.executable, *line[1:]]).returncode or code
    return code


if __name__ == "__main__":
    sys.exit(main())
