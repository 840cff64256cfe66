"""Files by way of the client: inside the folder only."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from acp import RequestError

from holdfast_agent.acp.workspace import Workspace


async def test_reads_and_writes_inside(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path)
    await workspace.write(str(tmp_path / "new" / "a.txt"), "1\n2\n3\n4")
    assert await workspace.read(str(tmp_path / "new" / "a.txt")) == "1\n2\n3\n4"
    assert await workspace.read(str(tmp_path / "new" / "a.txt"), line=2, limit=2) == "2\n3\n"
    assert await workspace.read(str(tmp_path / "new" / "a.txt"), line=4) == "4"


@pytest.mark.parametrize(
    "path", ["../out.txt", "/etc/passwd", "a/../../out.txt", "link/out.txt", "out-link", "relative", "a\x00b"]
)
async def test_nothing_outside_is_read_or_written(tmp_path: Path, path: str) -> None:
    folder, outside = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    outside.mkdir()
    (outside / "out.txt").write_text("secret")
    (folder / "link").symlink_to(outside)
    (folder / "out-link").symlink_to(outside / "out.txt")
    wanted = path if path in ("relative", "/etc/passwd") else f"{folder}/{path}"
    workspace = Workspace(folder)
    with pytest.raises(RequestError):
        await workspace.read(wanted)
    with pytest.raises(RequestError):
        await workspace.write(wanted, "x")
    assert (outside / "out.txt").read_text() == "secret"
    assert not (tmp_path / "out.txt").exists()


async def test_a_pipe_is_not_waited_for_and_binary_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    workspace = Workspace(tmp_path)
    with pytest.raises(RequestError):
        await workspace.write(str(tmp_path / "pipe"), "x")
    with pytest.raises(RequestError):
        await workspace.read(str(tmp_path / "binary"))
    with pytest.raises(RequestError):
        await workspace.read(str(tmp_path / "missing"))
    with pytest.raises(RequestError):
        await workspace.read(str(tmp_path))
