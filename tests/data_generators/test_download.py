"""Downloads from a server on localhost: whole or not at all."""

import hashlib
import os
import re
import time

import pytest

from data_generators import archives, progress
from data_generators.archives import fetch
from data_generators.errors import UserError
from data_generators.progress import Lines
from tests.data_generators.conftest import QuietHandler

CONTENT = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def url(serve, tmp_path):
    (tmp_path / "www").mkdir()
    (tmp_path / "www/data.bin").write_bytes(CONTENT)
    return serve(tmp_path / "www") + "/data.bin"


def files(folder):
    return sorted(file.name for file in folder.iterdir())


def test_downloads_into_a_new_folder(url, tmp_path):
    path = tmp_path / "new" / "folder" / "data.bin"
    fetch(url, path, SHA256, len(CONTENT))
    assert path.read_bytes() == CONTENT
    assert files(path.parent) == ["data.bin"]


def test_left_over_part_does_no_harm(url, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(b"half")
    os.utime(tmp_path / "data.bin.part", (1, 1))  # old; a new one might be a user's running download
    fetch(url, tmp_path / "data.bin", SHA256, len(CONTENT))
    assert (tmp_path / "data.bin").read_bytes() == CONTENT
    assert files(tmp_path) == ["data.bin", "www"]


def test_existing_file_is_left_alone(no_network, tmp_path):
    (tmp_path / "data.bin").write_bytes(b"mine")
    fetch(f"{no_network}/data.bin", tmp_path / "data.bin", SHA256, len(CONTENT))
    assert (tmp_path / "data.bin").read_bytes() == b"mine"


def test_file_that_appears_meanwhile_is_not_overwritten(url, tmp_path, monkeypatch):
    path = tmp_path / "data.bin"
    whole = archives._download

    def slow(*arguments):
        path.write_bytes(b"mine")
        return whole(*arguments)

    monkeypatch.setattr(archives, "_download", slow)
    fetch(url, path, SHA256, len(CONTENT))
    assert path.read_bytes() == b"mine"
    assert files(tmp_path) == ["data.bin", "www"]


@pytest.mark.parametrize("size", [len(CONTENT), len(CONTENT) - 100, 1])
def test_other_content_is_refused(url, tmp_path, size):
    with pytest.raises(UserError, match=r"not the expected data\.bin \(its SHA-256 is .*put it at .*data\.bin"):
        fetch(url, tmp_path / "data.bin", SHA256[::-1], size)
    assert files(tmp_path) == ["www"]


def test_endless_content_is_cut_off(serve, tmp_path):
    class Endless(QuietHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(bytes(1 << 16))
            except OSError:
                pass

    with pytest.raises(UserError, match="not the expected"):
        fetch(serve(Endless) + "/data.bin", tmp_path / "data.bin", SHA256, 1 << 20)
    assert files(tmp_path) == []


def test_broken_connection(serve, tmp_path):
    class Breaks(QuietHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[:1000])

    with pytest.raises(UserError, match=r"broke after 1,000 of 256,000 bytes\): get it from http.* and put it there"):
        fetch(serve(Breaks) + "/data.bin", tmp_path / "data.bin", SHA256, len(CONTENT))
    assert files(tmp_path) == []


def test_silent_server(serve, tmp_path, monkeypatch):
    class Silent(QuietHandler):
        def do_GET(self):
            time.sleep(0.5)

    monkeypatch.setattr(archives, "_CONNECT_SECONDS", 0.1)
    with pytest.raises(UserError, match="timed out"):
        fetch(serve(Silent) + "/data.bin", tmp_path / "data.bin", SHA256, len(CONTENT))
    assert files(tmp_path) == []


def test_interruption_leaves_nothing(url, tmp_path, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(Lines, "update", interrupt)
    with pytest.raises(KeyboardInterrupt):
        fetch(url, tmp_path / "data.bin", SHA256, len(CONTENT))
    assert files(tmp_path) == ["www"]


def test_no_network_and_no_such_file_name_file_address_and_place(url, no_network, tmp_path):
    for address, why in ((f"{no_network}/data.bin", "refused"), (f"{url}.gone", "404")):
        with pytest.raises(UserError) as error:
            fetch(address, tmp_path / "data.bin", SHA256, len(CONTENT))
        assert why in str(error.value)
        assert f"get it from {address}" in str(error.value)
        assert f"{tmp_path / 'data.bin'} is missing" in str(error.value)
    assert files(tmp_path) == ["www"]


def test_folder_that_cannot_be_written(url, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match="could not be downloaded"):
        fetch(url, tmp_path / "file" / "data.bin", SHA256, len(CONTENT))


def test_a_long_download_is_heard_of_without_a_terminal(serve, tmp_path, monkeypatch, capsys):
    class Slow(QuietHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(CONTENT[:100_000])
            time.sleep(0.2)
            self.wfile.write(CONTENT[100_000:])

    monkeypatch.setattr(progress, "EVERY_SECONDS", 0.05)
    fetch(serve(Slow) + "/data.bin?x=1", tmp_path / "data.bin", SHA256, len(CONTENT))
    assert re.search(r"^Downloading data\.bin: [\d,]+ of 256,000 bytes, 0 s left$", capsys.readouterr().err, re.M)
