"""Registers every row, in the order in which they are listed. Rows of other experiments are added here."""

from scripts.reproduction.baseline_rows import baseline_rows
from scripts.reproduction.main_rows import miniimagenet_rows, omniglot_rows, sinusoid_rows
from scripts.reproduction.registry import register
from scripts.reproduction.rl_rows import rl_rows

for _row in (*omniglot_rows(), *miniimagenet_rows(), *baseline_rows(), *sinusoid_rows(), *rl_rows()):
    register(_row)
