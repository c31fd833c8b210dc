"""Films a policy of scripts.train_rl before and after adapting to a goal, side by side, as .gif or .mp4.

python -m scripts.render_rl --env=half_cheetah_velocity --goal=1.5
python -m scripts.render_rl --env=point_navigation --goal=0.3,-0.2 --num_updates=3 --out=navigation.gif

Give the flags of the training. The latest checkpoint is filmed unless --test_iter or --best names another. The policy
adapts as in scripts.evaluate_rl; the film shows the first trajectory before and after. MuJoCo draws with OpenGL.
Without a screen, set MUJOCO_GL=egl (the default then) or MUJOCO_GL=osmesa.
"""

import importlib.util
import itertools
import multiprocessing
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import gymnasium
import imageio.v2 as imageio
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data_generators.errors import UserError
from data_generators.files import check_writable, replacing
from maml_tf.runs.flags import Flags, command
from maml_tf.runs.process import quiet_import
from rl import envs
from rl.experiment import RLExperiment

MOST_PICTURES = 2000  # each takes 0.9 MB of memory until the film is written
_SIZE = 320  # width and height of the picture of each trajectory, in pixels
_CAPTION = 44


def define(flags: Flags) -> None:
    """Defines the flags."""
    flags.settings(RLExperiment)
    flags.string("logdir", None, "folder of the runs; the run is in its subfolder <env>; default: logs")
    flags.string("goal", None, "goal, as numbers with commas between them; default: the first published test goal")
    flags.integer("num_updates", 1, "gradient steps of the adaptation", least=1, most=1000)
    trajectories = "trajectories per update; default: the original's, 20 or 40"
    flags.integer("trajectories", None, trajectories, least=1, most=100_000)
    flags.integer("test_iter", None, "iteration of the checkpoint; default: the latest")
    flags.boolean("best", False, "take the policy with the best training return")
    flags.exclusive("best", "test_iter", "name different checkpoints")
    flags.integer("fps", 25, "pictures per second; a GIF has 100, 50, 33, 25, 20 and so on", least=1, most=100)
    every = "steps from one picture to the next; default: 1 in 2D navigation, else 2"
    flags.integer("every", None, every, least=1, most=10**6)
    flags.path("out", None, "film, .gif or .mp4; default: <env>.gif in the folder of the runs")


def run(flags: Flags) -> None:
    """Writes the film."""
    experiment = RLExperiment.of(**flags.given(RLExperiment))
    if sys.platform == "linux" and not os.environ.get("DISPLAY"):
        os.environ.setdefault("MUJOCO_GL", "egl")  # before MuJoCo is imported
    goal = _goal(flags, experiment)
    every = flags.every or envs.find(experiment.env).film_every
    with quiet_import():
        from maml_tf.runs import process
        from rl.build import load_policy, run_folder

    out = flags.out or run_folder(experiment, flags.logdir).parent / f"{experiment.env}.gif"
    check_format(out, -(-experiment.horizon // every) + 1)
    process.configure(process.TASKS_SIDE_BY_SIDE)
    policy, iteration = load_policy(experiment, flags.logdir, flags.test_iter, flags.best)
    check_writable(out)
    print(f"policy of iteration {iteration}, goal {', '.join(f'{number:g}' for number in goal)}")
    trajectories, captions = _adapted(experiment, policy, goal, flags)
    print(film(experiment.env, goal, trajectories, captions, every, flags.fps, out))


def check_format(path: Path, pictures: int) -> None:
    """Checks the format and the size of a film before it is drawn, since drawing takes minutes.

    Args:
        path: path of the film.
        pictures: largest number of its pictures, which are all held in memory.

    Raises:
        UserError: the format or the size is not supported.
    """
    if path.suffix not in (".gif", ".mp4"):
        raise UserError(f"A film is written as .gif or .mp4, not as {path.name!r}: name one of these.")
    if path.suffix == ".mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
        raise UserError("Writing .mp4 needs imageio-ffmpeg: run `pip install imageio-ffmpeg`, or name a .gif.")
    if pictures > MOST_PICTURES:
        raise UserError(
            f"{pictures} pictures are too many, at most {MOST_PICTURES} fit into memory: give a larger --every"
        )


def _goal(flags, experiment) -> np.ndarray:
    """Returns the goal, [goal_dim].

    Raises:
        UserError: the environment or the baseline cannot be filmed, or --goal is malformed.
    """
    if experiment.env not in envs.ENVIRONMENTS:
        raise UserError(f"--env={experiment.env} cannot be filmed: only {', '.join(envs.ENVIRONMENTS)} can.")
    if experiment.baseline == "oracle":
        raise UserError("--baseline=oracle does not adapt: there is no before and after to film")
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
    """Adapts; returns the first trajectory before and after adaptation, [steps, obs_dim] each, and their captions."""
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


def film(
    name: str,
    goal: np.ndarray,
    trajectories: Sequence[np.ndarray],
    captions: Sequence[str],
    every: int,
    fps: int,
    out: Path,
) -> Path:
    """Writes a film in a new process, which does not load TensorFlow.

    If OpenGL draws in software, Mesa and TensorFlow each have their own LLVM, and a process with both crashes.

    Args:
        name, goal, trajectories, every: see `frames`.
        captions: one for each trajectory, see `captioned`.
        fps: pictures per second.
        out: path of the film.

    Returns:
        `out`.

    Raises:
        UserError: the environment cannot be drawn here.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_film, name, goal, trajectories, captions, every, fps, out).result()
        except BrokenProcessPool as error:
            raise UserError(
                "OpenGL crashed: set the environment variable MUJOCO_GL to another of egl, osmesa and glfw"
            ) from error


def _film(name, goal, trajectories, captions, every, fps, out):
    return write((captioned(pictures, captions) for pictures in frames(name, goal, trajectories, every)), out, fps)


def frames(
    name: str, goal: np.ndarray, trajectories: Sequence[np.ndarray], every: int = 1
) -> Iterator[list[np.ndarray]]:
    """Draws trajectories of one environment step by step; a trajectory that has ended keeps its last picture.

    Args:
        name: name of the environment, one of rl.envs.ENVIRONMENTS.
        goal: [goal_dim].
        trajectories: observations [steps, obs_dim] of each; their numbers of steps may differ.
        every: number of steps from one picture to the next.

    Yields:
        A list of pictures [320, 320, 3] uint8, one for each trajectory.

    Raises:
        UserError: the environment cannot be drawn here.
    """
    environment = envs.find(name)
    made = {"goal": goal, "render_mode": "rgb_array"} | environment.view
    drawn = [gymnasium.make(environment.gym_id, **made).unwrapped for _ in trajectories]
    for env in drawn:
        env.reset(seed=0)
    try:
        pictures = [None] * len(trajectories)
        steps = max(map(len, trajectories))
        for step in range(steps):
            for i, (env, observations) in enumerate(zip(drawn, trajectories, strict=True)):
                if step < len(observations):
                    env.place(observations[step])
                    if step % every == 0 or step == len(observations) - 1:
                        pictures[i] = env.render()
            if step % every == 0 or step == steps - 1:
                yield list(pictures)
    finally:
        for env in drawn:
            env.close()


def captioned(pictures: Sequence[np.ndarray], captions: Sequence[str]) -> np.ndarray:
    """Joins pictures side by side into one, each below its caption of up to two lines."""
    image = Image.new("RGB", (_SIZE * len(pictures), _SIZE + _CAPTION), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(15)
    for i, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        image.paste(Image.fromarray(picture), (i * _SIZE, _CAPTION))
        draw.multiline_text((i * _SIZE + 8, 3), caption, fill="black", font=font)
    return np.asarray(image)


def write(pictures: Iterator[np.ndarray], path: Path, fps: int) -> Path:
    """Writes pictures [height, width, 3] as a film; the file is complete, or is not written at all."""
    hundredths = int(100 / fps + 0.5)  # for which a GIF shows each picture
    settings = {"duration": 10 * hundredths, "loop": 0}  # in milliseconds; loop 0 repeats it for ever
    if path.suffix == ".gif" and hundredths * fps != 100:
        print(f"A GIF shows each picture for whole hundredths of a second: {100 / hundredths:.3g} a second, not {fps}")
    if path.suffix == ".mp4":
        settings = {"fps": fps, "macro_block_size": 2, "output_params": ["-f", "mp4"]}
    with replacing(path) as part, imageio.get_writer(part, path.suffix, mode="I", **settings) as writer:
        last = None
        for last in pictures:
            writer.append_data(last)
        for _ in itertools.repeat(None, fps):  # shows the last picture for another second
            writer.append_data(last)
    return path


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    return command(__doc__, define, run, arguments)


if __name__ == "__main__":
    sys.exit(main())
