"""A process that answers once, says why it ends, and ends: `python -m tests.scripts.dying`."""

import sys

print('{"ready": 1}', flush=True)
sys.stderr.write("out of memory\n")
sys.exit(3)
