"""Measures steps of this project in turns with those of an earlier commit of it, or of PyTorch and JAX.

Every turn measures an equal block of steps of each, one after the other, so a machine that slows down affects all.
"""

import contextlib
import csv
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from data_generators.errors import UserError
from data_generators.files import check_writable
from maml_tf.runs import process
from maml_tf.supervised import variants
from maml_tf.supervised.experiment import Experiment
from scripts import benchmark_record as record
from scripts.served import ROOT, Served, last_line, machine

AGREE = 1e-4  # largest relative difference at which two meta-gradients count as equal
_PER_BLOCK = 10  # with peers, a block has a tenth of the steps that `scripts.benchmark` times


class Peer(NamedTuple):
    """A way to do a step in another framework.

    package: package that it needs.
    module: module of scripts/peers that runs it.
    kind: kind of the workloads that it can do.
    way: how it goes through the tasks.
    processes: whether it has a process (or device) per core, rather than one in all.
    """

    package: str
    module: str
    kind: str
    way: str
    processes: bool = False


PEERS = {
    "PyTorch, vmap": Peer("torch", "torch_peer", "steps", "vmap"),
    "PyTorch, loop": Peer("torch", "torch_peer", "steps", "loop"),
    "PyTorch, vmap, a process per core": Peer("torch", "torch_peer", "steps", "vmap", True),
    "PyTorch, loop, a process per core": Peer("torch", "torch_peer", "steps", "loop", True),
    "JAX, jit(vmap)": Peer("jax", "jax_peer", "steps", "vmap"),
    "JAX, jit(lax.map), a device per core": Peer("jax", "jax_peer", "steps", "map", True),
    "JAX, lax.scan": Peer("jax", "jax_peer", "compiled_loop", "scan"),
}


class Party(NamedTuple):
    """One of the parties that are measured in turns.

    who: its name in tables.
    measure: function that measures a block and returns a dict of ms and, if known, peak_mb and first_s; or returns
        None if the party does not have the workload.
    version, setting: version of another framework, and the setting that it runs with; otherwise "".
    """

    who: str
    measure: Callable[[], dict[str, Any]]
    version: str = ""
    setting: str = ""


def run(workloads: Mapping[str, Any], turns: int, path: Path | None, steps: int | None, commit: str | None) -> int:
    """Measures workloads in turns, prints a table of each, and writes the rows of all.

    Args:
        workloads: `benchmark.Workload` by name.
        turns: number of times that each party is measured.
        path: csv to write, which keeps its rows of other workloads; None for no csv.
        steps: number of steps of a block; None for a number that fits the workload.
        commit: commit to compare with; None to compare with the peers.

    Returns:
        The exit code: 1 where nothing was measured.

    Raises:
        UserError: git does not know the commit, a peer's meta-gradient differs from ours, a measurement fails, or the
            csv cannot be written or holds another comparison.
    """
    if path:
        check_writable(path)  # now rather than after minutes of measuring
        record.check(path, commit)
    here = {"machine": machine(), "load": round(os.getloadavg()[0], 1)}
    measured = 0
    with contextlib.ExitStack() as stack:
        tree = stack.enter_context(_worktree(commit)) if commit else None
        known = None if commit else _installed()
        for name, workload in workloads.items():
            with contextlib.ExitStack() as parties:
                if tree:
                    found = _commits(name, steps or max(1, workload.steps // 2), commit, tree)
                else:
                    found = _peers(name, workload, steps, known, parties)
                rows = _in_turns(name, found, turns, here) if len(found) > 1 else []
            if not rows:
                print(f"{name}: nothing to compare with")
                continue
            measured += 1
            print("\n".join(record.printed(rows)), flush=True)
            if path:
                record.replace(path, rows)
    return 0 if measured else 1


def _in_turns(name, parties, turns, here):
    """Measures a workload in turns; returns its rows, or none if one of the parties does not have the workload."""
    rows = []
    for turn in range(turns):
        for party in parties:
            if (found := party.measure()) is None:
                return []
            of_party = {"who": party.who, "version": party.version, "setting": party.setting, "turn": turn}
            measured = {key: found.get(key) for key in ("ms", "peak_mb", "first_s")}
            rows.append({"workload": name} | of_party | measured | here)
    return rows


def _commits(name, steps, commit, tree):
    """Returns the parties for the commit and the present files, each measured by its own command in a new process."""

    def measure(folder):
        with tempfile.TemporaryDirectory() as out:
            path = Path(out, "measured.csv")
            flags = f"--workload={name}", f"--steps={steps}", f"--csv={path}"
            line = [sys.executable, "-m", "scripts.benchmark", *flags]
            result = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
            if result.returncode == 2 and folder != ROOT and "--workload" in result.stderr:
                return None  # the commit does not have the workload
            if result.returncode:
                raise UserError(
                    f"the benchmark in {folder} has ended with {result.returncode}: {last_line(result.stderr)}"
                )
            with path.open(newline="", encoding="utf-8") as file:
                (row,) = csv.DictReader(file)
        names = {"ms": "ms_per_step", "peak_mb": "peak_mb", "first_s": "first_step_seconds"}
        return {ours: float(row[theirs]) if row[theirs] else None for ours, theirs in names.items()}

    return [Party(commit, lambda: measure(tree)), Party(record.OURS, lambda: measure(ROOT))]


@contextlib.contextmanager
def _worktree(commit: str) -> Iterator[Path]:
    """Gives a temporary folder with the files of a commit, and removes it at the end."""
    git = ["git", "worktree"]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "commit")
        line = [*git, "add", "--detach", str(tree), commit]
        result = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
        if result.returncode:
            raise UserError(f"--against={commit} is no commit that git can check out here ({result.stderr.strip()})")
        try:
            yield tree
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], cwd=ROOT, capture_output=True, check=False)


def _installed():
    """Returns the peers whose packages are installed; prints which packages are missing."""
    missing = {peer.package for peer in PEERS.values()} - {p for p in ("torch", "jax") if importlib.util.find_spec(p)}
    for package in sorted(missing):
        print(f"{package} is not installed and left out: pip install -r requirements/peers.txt")
    return {who: peer for who, peer in PEERS.items() if peer.package not in missing}


def _peers(name, workload, steps, known, stack):
    """Starts, checks and warms up this project and the peers, each in its own process; returns the parties."""
    known = {who: peer for who, peer in known.items() if peer.kind == workload.kind}
    experiment = Experiment.of(**workload.settings)
    if not known or variants.described(experiment):
        return []
    steps = steps or max(1, workload.steps // _PER_BLOCK)
    cores = min(process.available_cores(), experiment.meta_batch_size)
    path = Path(stack.enter_context(tempfile.TemporaryDirectory()), "problem.npz")
    problem(path, workload.settings, max(2, cores))
    environment = process.kernel_environment(experiment.image_side)
    request = {"settings": workload.settings, "kind": workload.kind, "serve": True}
    ours = stack.enter_context(Served(["scripts.benchmark_worker", json.dumps(request)], environment))
    ask = {"tasks": experiment.meta_batch_size, "steps": steps}
    parties = [Party(record.OURS, lambda: ours.ask(ask))]
    ours.ask(ask)  # to warm up, as the peers do by themselves
    for who, peer in known.items():
        if peer.processes and (cores == 1 or (peer.way == "map" and experiment.meta_batch_size % cores)):
            continue  # each device must get an equal share of the tasks
        served = stack.enter_context(served_peer(peer, path, cores))
        if not served.first["difference"] <= AGREE:
            off = f"{served.first['difference']:.1e}"
            raise UserError(
                f"{name}: the meta-gradient of {who} is not ours, but {off} of it away: no time is measured"
            )
        told = served.first["version"], served.first["setting"]
        parties.append(Party(who, lambda served=served: served.ask({"steps": steps}), *told))
    return parties


def served_peer(peer: Peer, path: Path, cores: int) -> Served:
    """Starts a peer on the problem in a file."""
    request = {"problem": str(path), "way": peer.way, "processes": cores if peer.processes else 1}
    return Served([f"scripts.peers.{peer.module}", json.dumps(request)], {})


def problem(path: Path, settings: Mapping[str, Any], checked: int) -> None:
    """Writes the problem that all parties compute, in a new process; see `peers.problem.write`.

    Raises:
        UserError: the process has failed.
    """
    line = [sys.executable, "-m", "scripts.peers.problem", str(path), json.dumps(settings), str(checked)]
    result = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode:
        raise UserError(f"the meta-gradient to compare with cannot be computed: {last_line(result.stderr)}")
