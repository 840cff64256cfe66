"""Files inside a folder, and nowhere else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from holdfast_agent.builtin import workspace as module
from holdfast_agent.builtin.workspace import Workspace, WorkspaceError


@pytest.fixture
def inside(tmp_path: Path) -> Path:
    """The workspace's folder; beside it lies a secret."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


def test_what_is_written_is_read_and_listed(inside: Path) -> None:
    files = Workspace(inside)
    assert files.write("a/b/c.txt", "hello ä") == {"path": "a/b/c.txt", "size": 8}
    assert files.read("./a//b/c.txt") == {"text": "hello ä", "size": 8, "next_offset": None}
    assert files.write("a/b/c.txt", "new")["size"] == 3
    (inside / "other").symlink_to("nowhere")
    top = files.list()
    assert [(entry["name"], entry["kind"]) for entry in top["entries"]] == [("a", "folder"), ("other", "other")]  # type: ignore[attr-defined]
    assert top["more"] is False
    assert files.list("a/b")["entries"] == [{"name": "c.txt", "kind": "file", "size": 3}]


OUTSIDE = ["../secret", "a/../../secret", "/etc/passwd", "link", "link/secret", "up/secret", "a\x00b", "..", ""]


@pytest.mark.parametrize("path", OUTSIDE)
def test_nothing_leads_out(inside: Path, path: str) -> None:
    (inside / "link").symlink_to(inside.parent / "secret")
    (inside / "up").symlink_to(inside.parent)
    files = Workspace(inside)
    with pytest.raises(WorkspaceError):
        files.read(path)
    if path != "link":  # which writing replaces, see below
        with pytest.raises(WorkspaceError):
            files.write(path, "overwritten")
    if path != "":  # the workspace itself
        with pytest.raises(WorkspaceError):
            files.list(path)
    assert (inside.parent / "secret").read_text() == "secret"


def test_writing_over_a_link_replaces_the_link_and_not_what_it_leads_to(inside: Path) -> None:
    (inside / "link").symlink_to(inside.parent / "secret")
    Workspace(inside).write("link", "mine")
    assert (inside / "link").read_text() == "mine"
    assert not (inside / "link").is_symlink()
    assert (inside.parent / "secret").read_text() == "secret"


def test_a_folder_that_becomes_a_link_in_the_middle_leads_nowhere(
    inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (inside / "a").mkdir()
    opened = os.open

    def swap(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if path == "a" and not (inside / "a").is_symlink():
            (inside / "a").rmdir()
            (inside / "a").symlink_to(inside.parent)
        return opened(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", swap)
    with pytest.raises(WorkspaceError):
        Workspace(inside).read("a/secret")


def test_large_files_are_read_in_pieces_and_too_large_ones_not_written(
    inside: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "READ_BYTES_MAX", 4)
    monkeypatch.setattr(module, "WRITE_BYTES_MAX", 6)
    files = Workspace(inside)
    files.write("f", "123456")
    first = files.read("f")
    assert first == {"text": "1234", "size": 6, "next_offset": 4}
    assert files.read("f", 4) == {"text": "56", "size": 6, "next_offset": None}
    with pytest.raises(WorkspaceError, match="7 bytes"):
        files.write("f", "1234567")
    assert files.list()["entries"] == [{"name": "f", "kind": "file", "size": 6}]


def test_a_pipe_is_no_file_and_holds_nobody_up(inside: Path) -> None:
    os.mkfifo(inside / "pipe")
    with pytest.raises(WorkspaceError, match="not a file"):
        Workspace(inside).read("pipe")


def test_a_folder_is_not_overwritten_and_what_is_missing_is_said(inside: Path) -> None:
    (inside / "a").mkdir()
    files = Workspace(inside)
    with pytest.raises(WorkspaceError, match="is a folder"):
        files.write("a", "x")
    with pytest.raises(WorkspaceError, match="there is no"):
        files.read("b")
    assert [entry["name"] for entry in files.list()["entries"]] == ["a"]  # type: ignore[attr-defined]


def test_bytes_that_are_no_text_are_shown_as_such(inside: Path) -> None:
    (inside / "binary").write_bytes(b"a\x00\xff")
    assert Workspace(inside).read("binary")["text"] == "a\ufffd\ufffd"
