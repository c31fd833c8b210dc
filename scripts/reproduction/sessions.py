"""How long a run took over all its sessions, and at which commits: noted in its folder when a session ends."""

import contextlib
import json
import subprocess
from pathlib import Path
from typing import NamedTuple

from data_generators.files import DAMAGE, replacing

FILE = "sessions.json"
_ROOT = Path(__file__).parents[2]


class Session(NamedTuple):
    """One call of a command, from its start to its end or to Ctrl-C.

    start, end: iterations done before and after.
    seconds: it took.
    commit: of the code; "" where that is not known.
    """

    start: int
    end: int
    seconds: float
    commit: str


class Effort(NamedTuple):
    """What all sessions of a run took together.

    seconds: over the sessions that are noted.
    commits: the different ones, in order.
    whole: whether the sessions cover all iterations; a session that was killed is not noted.
    """

    seconds: float
    commits: list[str]
    whole: bool


def note(folder: str | Path, session: Session) -> None:
    """Adds a session to those of a run; without effect where the folder is missing or cannot be written."""
    path = Path(folder) / FILE
    if not path.parent.is_dir():
        return
    sessions = [*_read(path), session]
    with contextlib.suppress(OSError), replacing(path) as part:
        part.write_text(json.dumps([s._asdict() for s in sessions], indent=1), encoding="utf-8")


def effort(folder: str | Path, done: int) -> Effort:
    """What the run in a folder took to come to where it is.

    Args:
        folder: of the run.
        done: iterations that it has done.
    """
    sessions = _read(Path(folder) / FILE)
    # A run that was begun anew in the same folder counts from its new beginning.
    begin = max((i for i, s in enumerate(sessions) if s.start == 0), default=0)
    sessions = sessions[begin:]
    ends = [0, *(s.end for s in sessions)]
    whole = bool(sessions) and [s.start for s in sessions] == ends[:-1] and ends[-1] == done
    return Effort(sum(s.seconds for s in sessions), list(dict.fromkeys(s.commit for s in sessions)), whole)


def commit() -> str:
    """The commit of this clone and whether files differ from it; "" where it is no clone or there is no git."""
    try:
        return _git("rev-parse", "--short", "HEAD") + (
            " with changes" if _git("status", "--porcelain", "--untracked-files=no") else ""
        )
    except (OSError, subprocess.SubprocessError):
        return ""


def _git(*arguments):
    # Only the clone of this project: an installation may lie within another one.
    if not (_ROOT / ".git").exists():
        raise OSError("no clone")
    command = ["git", "-C", str(_ROOT), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.strip()


def _read(path):
    try:
        return [_session(made) for made in json.loads(path.read_text(encoding="utf-8"))]
    except DAMAGE:
        return []


def _session(made):
    session = Session(**made)
    if not all(type(number) in (int, float) for number in session[:3]) or type(session.commit) is not str:
        raise ValueError("this is no session")
    return session
