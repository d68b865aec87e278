from pathlib import Path

from senet.cache import archives_folder, cache_folder, name_of


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "senet"
    monkeypatch.setenv("SENET_HOME", str(tmp_path / "here"))
    assert cache_folder() == tmp_path / "here"
    monkeypatch.delenv("SENET_HOME")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "senet"


def test_a_file_of_an_archive_is_named_by_its_place_there(monkeypatch, tmp_path):
    monkeypatch.setenv("SENET_HOME", str(tmp_path))
    place = archives_folder() / "key" / "a.b.tar.gz"
    assert name_of(place) == "a.b.tar.gz"
    assert name_of(str(place / "cat" / "1.jpg")) == "a.b.tar.gz/cat/1.jpg"


def test_any_other_file_keeps_its_name(monkeypatch, tmp_path):
    monkeypatch.setenv("SENET_HOME", str(tmp_path))
    for name in ("", "1.jpg", "./1.jpg", str(tmp_path / "archives"), "https://a.org//1.jpg", "-"):
        assert name_of(name) == name
