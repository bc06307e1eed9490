"""What leaves of a folder that a server may write to meanwhile: its own files, and nothing that a link points to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tausestack_runtime.life.files import LeavingFiles


@pytest.mark.covers("life:moved")
def test_a_folder_that_becomes_a_link_while_it_leaves_is_left_out(tmp_path: Path) -> None:
    root, outside = tmp_path / "servers", tmp_path / "outside"
    (root / "z").mkdir(parents=True)
    outside.mkdir()
    (root / "a").write_text("mine")
    (root / "z" / "key").write_text("mine")
    (outside / "key").write_text("somebody else's")
    leaving = LeavingFiles(root)
    told: list[dict[str, Any]] = []
    for record in leaving.records():
        told.append(record)
        if record.get("file") == "a":
            (root / "z" / "key").unlink()
            (root / "z").rmdir()
            (root / "z").symlink_to("../outside")
    assert [record["file"] for record in told if "file" in record] == ["a"]
    assert "somebody" not in repr(told)
    assert leaving.left_out == 1


@pytest.mark.covers("life:moved")
def test_a_link_that_could_not_be_taken_in_again_keeps_nothing_else_from_leaving(tmp_path: Path) -> None:
    (tmp_path / "fine").write_text("mine")
    (tmp_path / "odd").symlink_to(os.fsdecode(b"a\xffb"))
    (tmp_path / "long").symlink_to("x/" * 2000)
    leaving = LeavingFiles(tmp_path)
    told = [record for record in leaving.records() if "file" in record or "link" in record]
    assert [record.get("file") or record.get("link") for record in told] == ["fine", "long"]
    assert leaving.left_out == 1
