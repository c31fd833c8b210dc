"""No more of an archive is read than allowed, which tests/data_generators/test_omniglot*.py cannot see from outside."""

import pytest

from data_generators import archives
from data_generators.errors import UserError


class Endless:
    """A file that gives as many bytes as it is asked for, and counts them."""

    asked = 0

    def read(self, count: int) -> bytes:
        assert count >= 0
        self.asked += count
        return bytes(count)


def test_file_without_end_is_not_read_to_its_end():
    file = Endless()
    with pytest.raises(UserError, match="photo is longer than 1,000 bytes"):
        archives._bounded(file, "photo", 1000)
    assert file.asked == 1001


def test_longest_allowed_image(tmp_path):
    (tmp_path / "group/class").mkdir(parents=True)
    (tmp_path / "group/class/image.PNG").write_bytes(b"12345")
    assert list(archives.ImageFolder(tmp_path, 5).read()) == [("group/class/image.PNG", b"12345")]
    with pytest.raises(UserError, match=r"image\.PNG is longer than 4 bytes"):
        list(archives.ImageFolder(tmp_path, 4).read())
