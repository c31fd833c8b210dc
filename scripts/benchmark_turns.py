"""Measures steps of this project in turns with others: an earlier commit of it, or PyTorch and JAX.

Every turn measures an equal block of each, one after the other, so that a machine that slows down does so for all.
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

AGREE = 1e-4  # relative difference of two meta-gradients
_PER_BLOCK = 10  # a block has a tenth of the steps that `scripts.benchmark` times


class Peer(NamedTuple):
    """Another framework's way to do a step.

    package: which it needs.
    module: that serves it.
    kind: of the workloads that it does.
    way: to go through the tasks.
    processes: whether there is one on each core, rather than one.
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
    """One of those that take turns.

    who: its name in tables.
    measure: measures a block; dict of ms, and of peak_mb and first_s where these are known.
    version, setting: of another framework, and how it runs.
    """

    who: str
    measure: Callable[[], dict[str, Any]]
    version: str = ""
    setting: str = ""


def run(workloads: Mapping[str, Any], turns: int, path: Path | None, steps: int | None, commit: str | None) -> int:
    """Measures workloads in turns, prints a table of each, and writes the rows of all.

    Args:
        workloads: `benchmark.Workload` by name.
        turns: how often each is measured.
        path: csv, in which the rows of other workloads stay; None for none.
        steps: of a block, in place of those that fit the workload.
        commit: to compare with; None for the peers.

    Returns:
        The exit code: 1 where nothing was measured.

    Raises:
        UserError: git does not know the commit, a peer has another meta-gradient, or a measurement fails.
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
    """The rows of a workload; none where one of the parties does not know it."""
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
    """The commit and this state of the files, each measured by its own command in a fresh process."""

    def measure(folder):
        with tempfile.TemporaryDirectory() as out:
            path = Path(out, "measured.csv")
            flags = f"--workload={name}", f"--steps={steps}", f"--csv={path}"
            line = [sys.executable, "-m", "scripts.benchmark", *flags]
            result = subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)
            if result.returncode == 2 and folder != ROOT and "--workload" in result.stderr:
                return None  # it does not know the workload
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
    """A folder with the files of a commit, while entered."""
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
    """The peers that can run; says which cannot."""
    missing = {peer.package for peer in PEERS.values()} - {p for p in ("torch", "jax") if importlib.util.find_spec(p)}
    for package in sorted(missing):
        print(f"{package} is not installed and left out: pip install -r requirements/peers.txt")
    return {who: peer for who, peer in PEERS.items() if peer.package not in missing}


def _peers(name, workload, steps, known, stack):
    """This project and the peers, each in a process that serves; started, checked and warm."""
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
            continue  # devices have equal shares
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
    """A peer that works on the problem in a file."""
    request = {"problem": str(path), "way": peer.way, "processes": cores if peer.processes else 1}
    return Served([f"scripts.peers.{peer.module}", json.dumps(request)], {})


def problem(path: Path, settings: Mapping[str, Any], checked: int) -> None:
    """Writes what all compute, by a process of its own; see `peers.problem.write`.

    Raises:
        UserError: that process has failed.
    """
    line = [sys.executable, "-m", "scripts.peers.problem", str(path), json.dumps(settings), str(checked)]
    result = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    if result.returncode:
        raise UserError(f"the meta-gradient to compare with cannot be computed: {last_line(result.stderr)}")
