"""The lists of quick tests, and of files that stay together, name only what exists."""

from pathlib import Path

from tests.conftest import TOGETHER

ROOT = Path(__file__).parents[1]


def test_quick_tests_are_there(missing_quick_tests):
    assert missing_quick_tests == set()


def test_files_that_stay_together_are_there():
    assert all((ROOT / file).is_file() for files in TOGETHER for file in files)
