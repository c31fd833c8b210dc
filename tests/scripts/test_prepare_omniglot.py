"""The command that prepares Omniglot, when it fails."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_user_error_is_one_sentence_and_exit_code_2(tmp_path):
    command = [sys.executable, "-m", "scripts.prepare_omniglot", f"--data_dir={tmp_path}/data"]
    command.append(f"--base_url={(tmp_path / 'nowhere').as_uri()}")
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    assert "images_background.zip is missing and could not be downloaded" in result.stderr
