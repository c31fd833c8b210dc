"""Films of sampled paths, side by side."""

import importlib.util
import itertools
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import imageio.v2 as imageio
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from data_generators.errors import UserError
from rl import envs

_SIZE = 320  # pixels, of each path
_CAPTION = 44


def check(path: Path) -> None:
    """Raises UserError unless `write` can write this file: a film takes minutes to draw."""
    if path.suffix not in (".gif", ".mp4"):
        raise UserError(f"A film is written as .gif or .mp4, not as {path.name!r}: name one of these.")
    if path.suffix == ".mp4" and importlib.util.find_spec("imageio_ffmpeg") is None:
        raise UserError("Writing .mp4 needs imageio-ffmpeg: run `pip install imageio-ffmpeg`, or name a .gif.")


def make(name: str, goal: np.ndarray, paths: Sequence[np.ndarray], captions: Sequence[str], every: int, fps: int, out):
    """Writes a film, in a process of its own, to which TensorFlow is unknown.

    Where OpenGL draws in software, Mesa and TensorFlow each bring an LLVM, and a process with both crashes.

    Args:
        name, goal, paths, every: see `frames`.
        captions: one for each path, see `captioned`.
        fps: pictures per second.
        out: Path of the film.

    Returns:
        The path.

    Raises:
        UserError: the environment cannot be drawn here.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            return pool.submit(_make, name, goal, paths, captions, every, fps, out).result()
        except BrokenProcessPool as error:
            raise UserError(
                "OpenGL crashed: set the environment variable MUJOCO_GL to another of egl, osmesa and glfw"
            ) from error


def _make(name, goal, paths, captions, every, fps, out):
    return write((captioned(pictures, captions) for pictures in frames(name, goal, paths, every)), out, fps)


def frames(name: str, goal: np.ndarray, paths: Sequence[np.ndarray], every: int = 1) -> Iterator[list[np.ndarray]]:
    """Draws paths of one environment step by step; one that has ended stays at its last picture.

    Args:
        name: of the environment, one of rl.envs.NAMES.
        goal: [goal_dim].
        paths: observations [steps, obs_dim] of each path; their numbers of steps may differ.
        every: draw only every so many steps.

    Yields:
        A picture [320, 320, 3] uint8 of each path.

    Raises:
        UserError: the environment cannot be drawn here.
    """
    view = {} if name == "point_navigation" else {"width": _SIZE, "height": _SIZE, "camera_name": "track"}
    drawn = [envs.make_single(name, goal=goal, render_mode="rgb_array", **view).unwrapped for _ in paths]
    for env in drawn:
        env.reset(seed=0)
    try:
        pictures = [None] * len(paths)
        for step in range(max(map(len, paths))):
            for i, (env, path) in enumerate(zip(drawn, paths, strict=True)):
                if step < len(path):
                    env.place(path[step])
                    if step % every == 0 or step == len(path) - 1:
                        pictures[i] = env.render()
            if step % every == 0 or step == max(map(len, paths)) - 1:
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
    """Writes pictures [height, width, 3] as a film, beside the file first, so that none is ever half written."""
    unfinished = path.with_name(f".{path.stem}.unfinished{path.suffix}")
    # A GIF counts in milliseconds and, with loop 0, begins again for ever.
    settings = {"duration": 1000 / fps, "loop": 0} if path.suffix == ".gif" else {"fps": fps, "macro_block_size": 2}
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with imageio.get_writer(unfinished, mode="I", **settings) as writer:
            last = None
            for last in pictures:
                writer.append_data(last)
            for _ in itertools.repeat(None, fps):  # a second to look at how it ended
                writer.append_data(last)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path
