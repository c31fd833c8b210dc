"""The errors of section 5.1 as a table of text."""

from maml_tf.supervised.report import aligned, loss_text
from scripts.figures.sinusoid_errors import DIVERGED, MAML, MEAN, ORIGINAL, SHOTS, UPDATES

SHOWN_UPDATES = (0, 1, 5, 10)


def table(rows, iterations) -> str:
    """The errors after 0, 1, 5 and 10 updates.

    Args:
        rows: of `errors.error_rows`.
        iterations: of training.
    """
    names = [f"{n} update{'' if n == 1 else 's'}" for n in SHOWN_UPDATES]
    cells = []
    for shots in SHOTS:
        cells += [[f"K = {shots}", "step size", *names, "median", "diverged"], *_lines(rows, shots)]
    lines = ["", *(f"\n{line}" if line.startswith("K = ") else line for line in aligned(cells))]
    return "\n".join(
        [
            "Mean squared error on the query points of 600 test tasks, +- 95 % confidence interval over tasks;",
            f"trained with K = 10 for {iterations} iterations",
            *lines[1:],
            "",
            f"median, diverged: of the errors after {UPDATES} updates, and how many are above {DIVERGED:.0f}",
            "original: the authors' code, run under TensorFlow 1.2.1 for 70000 iterations; *: on the support points",
        ]
    )


def _lines(rows, shots):
    """A list of texts for each learner, seed and step size."""
    lines = {}
    for row in rows:
        query = row["points"] == "query" or row["learner"] in ORIGINAL.values()
        if row["shots"] == shots and row["split"] == "test" and query:
            lines.setdefault((_name(row), f"{row['step_size']:g}"), {})[row["updates"]] = row
    return [[*key, *(_text(of_key.get(n)) for n in SHOWN_UPDATES), *_last(of_key)] for key, of_key in lines.items()]


def _name(row):
    if row["learner"] != MAML:
        return row["learner"]
    return "MAML, mean over seeds" if row["seed"] == MEAN else f"MAML, seed {row['seed']}"


def _text(row):
    if row is None:
        return ""
    text = f"{row['mse']:.4g}" if row["ci95"] is None else loss_text(row["mse"], row["ci95"])
    return text + ("*" if row["points"] == "support" else "")


def _last(of_key):
    last = of_key.get(UPDATES)
    if last is None or last["median"] is None:
        return ["", ""]
    return [f"{last['median']:.4g}", str(last["diverged"])]
