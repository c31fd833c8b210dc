"""Films a policy of scripts.train_rl before and after adapting to a goal, side by side, as .gif or .mp4.

python -m scripts.render_rl --env=half_cheetah_velocity --goal=1.5
python -m scripts.render_rl --env=point_navigation --goal=0.3,-0.2 --num_updates=3 --out=navigation.gif

The flags of training say which run to take, its latest checkpoint unless --test_iter or --best says otherwise. The
policy adapts as in scripts.test_rl, and the first trajectory of the batches before and after is shown. MuJoCo draws
with OpenGL: without a screen, MUJOCO_GL=egl (the default then) or MUJOCO_GL=osmesa.
"""

import os
import sys
from pathlib import Path

import numpy as np

from data_generators.errors import UserError
from data_generators.files import check_writable
from maml_tf.runs.process import quiet_import
from rl import envs
from scripts import command
from scripts.rl import flags as rl_flags


def main(arguments: list[str] | None = None) -> int:
    """Films; returns the exit code, 2 for a mistake that the user can mend."""
    parser = rl_flags.parser("render_rl", __doc__)
    parser.add_argument("--goal", help="numbers with commas between; default, the first published test goal")
    parser.add_argument("--num_updates", type=int, default=1, help="gradient steps of the adaptation (default: 1)")
    parser.add_argument("--trajectories", type=int, help="per update; default the original's, 20 or 40")
    parser.add_argument("--test_iter", type=int, help="iteration of the checkpoint; default, the latest")
    parser.add_argument("--best", action="store_true", help="take the policy with the best training return")
    parser.add_argument("--fps", type=int, default=25, help="pictures per second (default: 25)")
    parser.add_argument("--every", type=int, help="show every so many steps; default 1 in 2D navigation, else 2")
    parser.add_argument("--out", type=Path, help=".gif or .mp4; default <env>.gif in the folder of the runs")
    return command.guarded(lambda: _run(parser.parse_args(arguments)))


def _run(flags):
    experiment = rl_flags.experiment_of(flags)
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")  # before MuJoCo is imported
    goal = _checked(flags, experiment)
    with quiet_import():  # only now, so that --help and mistakes need not wait for TensorFlow
        from maml_tf.runs import process
        from rl.build import load_policy, run_folder
        from scripts.figures import film

    out = flags.out or run_folder(experiment, flags.logdir).parent / f"{experiment.env}.gif"
    every = flags.every or envs.find(experiment.env).film_every
    film.check_sizes(out, flags.fps, -(-experiment.horizon // every) + 1)
    process.configure(process.TASKS_SIDE_BY_SIDE)
    policy, iteration = load_policy(experiment, flags.logdir, flags.test_iter, flags.best)
    check_writable(out)
    print(f"policy of iteration {iteration}, goal {', '.join(f'{number:g}' for number in goal)}")
    trajectories, captions = _adapted(experiment, policy, goal, flags)
    print(film.make(experiment.env, goal, trajectories, captions, every, flags.fps, out))


def _checked(flags, experiment) -> np.ndarray:
    """The goal [goal_dim].

    Raises:
        UserError: a flag makes no sense.
    """
    if experiment.env not in envs.ENVIRONMENTS:
        raise UserError(f"--env={experiment.env} cannot be filmed: only {', '.join(envs.ENVIRONMENTS)} can.")
    if experiment.baseline == "oracle":
        raise UserError("--baseline=oracle does not adapt: there is no before and after to film")
    command.check_counts(flags, rl_flags.MOST_IN_TESTS | {"fps": 10**6, "every": 10**6})
    rl_flags.refuse_two_checkpoints(flags)
    usual = envs.test_goals(experiment.env)[0]
    if flags.goal is None:
        return usual
    try:
        goal = np.array([float(number) for number in flags.goal.split(",")])
    except ValueError:
        goal = np.array([])
    if goal.shape != usual.shape or not np.isfinite(goal).all():
        example = ",".join(f"{number:.2g}" for number in usual)
        raise UserError(f"--goal of {experiment.env} is written as --goal={example}, not {flags.goal!r}")
    return goal


def _adapted(experiment, policy, goal, flags):
    """The first trajectory before and after adaptation, [steps, obs_dim] each, and their captions."""
    from rl.evaluation import adapt_by_protocol

    of_goal = experiment, experiment.baseline, policy, goal[None], flags.num_updates, flags.trajectories
    batches = adapt_by_protocol(*of_goal, keep_trajectories=True).trajectories
    last = f"after {flags.num_updates} update{'' if flags.num_updates == 1 else 's'}"
    shown, captions = [], []
    for when, batch in (("before any update", batches[0]), (last, batches[-1])):
        shown.append(batch.observations[0, 0][batch.mask[0, 0] > 0])
        mean = batch.returns.mean()
        captions.append(f"{when}\nreturn {batch.returns[0, 0]:.1f} (mean of the batch {mean:.1f})")
    return shown, captions


if __name__ == "__main__":
    sys.exit(main())
