"""Films of sampled trajectories, side by side."""

import importlib.util
import itertools
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import gymnasium
import imageio.v2 as imageio
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data_generators.errors import UserError
from data_generators.files import replacing
from rl import envs

_SIZE = 320  # pixels, of each trajectory
_CAPTION = 44
MOST_FPS = 100  # a GIF counts in hundredths of a second
MOST_PICTURES = 2000  # of 0.9 MB each in memory, until the film is written


def check_sizes(path: Path, fps: int, pictures: int) -> None:
    """Finds out before a film is drawn, which takes minutes, whether there can be such a one.

    Args:
        path: of the film.
        fps: pictures per second.
        pictures: their number at most; all are held in memory.

    Raises:
        UserError: it cannot.
    """
    if path.suffix not in (".gif", ".mp4"):
        raise UserError(f"A film is written as .gif or .mp4, not as {path.name!r}: name one of these.")
    if path.suffix == ".mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
        raise UserError("Writing .mp4 needs imageio-ffmpeg: run `pip install imageio-ffmpeg`, or name a .gif.")
    if fps > MOST_FPS:
        raise UserError(f"--fps must be at most {MOST_FPS}, the most that a GIF can say, not {fps}")
    if pictures > MOST_PICTURES:
        raise UserError(
            f"{pictures} pictures are too many, at most {MOST_PICTURES} fit into memory: give a larger --every"
        )


def make(
    name: str,
    goal: np.ndarray,
    trajectories: Sequence[np.ndarray],
    captions: Sequence[str],
    every: int,
    fps: int,
    out: Path,
) -> Path:
    """Writes a film, in a process of its own, to which TensorFlow is unknown.

    Where OpenGL draws in software, Mesa and TensorFlow each bring an LLVM, and a process with both crashes.

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
            return pool.submit(_make, name, goal, trajectories, captions, every, fps, out).result()
        except BrokenProcessPool as error:
            raise UserError(
                "OpenGL crashed: set the environment variable MUJOCO_GL to another of egl, osmesa and glfw"
            ) from error


def _make(name, goal, trajectories, captions, every, fps, out):
    return write((captioned(pictures, captions) for pictures in frames(name, goal, trajectories, every)), out, fps)


def frames(
    name: str, goal: np.ndarray, trajectories: Sequence[np.ndarray], every: int = 1
) -> Iterator[list[np.ndarray]]:
    """Draws trajectories of one environment step by step; one that has ended stays at its last picture.

    Args:
        name: of the environment, one of rl.envs.ENVIRONMENTS.
        goal: [goal_dim].
        trajectories: observations [steps, obs_dim] of each; their numbers of steps may differ.
        every: draw only every so many steps.

    Yields:
        A picture [320, 320, 3] uint8 of each trajectory.

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
    """One picture of several beside each other, each below its caption of up to two lines."""
    image = Image.new("RGB", (_SIZE * len(pictures), _SIZE + _CAPTION), "white")
    draw, font = ImageDraw.Draw(image), ImageFont.load_default(15)
    for i, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        image.paste(Image.fromarray(picture), (i * _SIZE, _CAPTION))
        draw.multiline_text((i * _SIZE + 8, 3), caption, fill="black", font=font)
    return np.asarray(image)


def write(pictures: Iterator[np.ndarray], path: Path, fps: int) -> Path:
    """Writes pictures [height, width, 3] as a film, whole or not at all."""
    # A GIF counts in milliseconds and, with loop 0, begins again for ever.
    settings = {"duration": 1000 / fps, "loop": 0}
    if path.suffix == ".mp4":
        settings = {"fps": fps, "macro_block_size": 2, "output_params": ["-f", "mp4"]}
    with replacing(path) as part, imageio.get_writer(part, path.suffix, mode="I", **settings) as writer:
        last = None
        for last in pictures:
            writer.append_data(last)
        for _ in itertools.repeat(None, fps):  # a second to look at how it ended
            writer.append_data(last)
    return path
