"""The file `gradient_cosine.csv` of a run: how near the first-order meta-gradient was to the true one, by iteration."""

from pathlib import Path

from maml_tf.table import Table


class CosineLog:
    """Rows of iteration and cosine, to which a resumed run appends.

    Args:
        folder: of the run; exists.
        iteration: where the run starts; what the file has of this iteration and later ones, which a killed run may
            have left, is dropped, since it comes again.
    """

    NAME = "gradient_cosine.csv"

    def __init__(self, folder, iteration):
        self._table = Table(Path(folder) / self.NAME, ["cosine"])
        rows = self._table.begin(iteration)
        self._latest = float(rows[-1]["cosine"]) if rows else None

    @property
    def latest(self):
        """The latest cosine, or None."""
        return self._latest

    def add(self, iteration, cosine):
        """Adds a row. Where it cannot be written, a warning is printed, and the run continues without the file."""
        self._latest = cosine
        self._table.add(iteration, [repr(float(cosine))])
