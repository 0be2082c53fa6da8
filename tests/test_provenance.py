"""Where numbers come from."""

import subprocess
from pathlib import Path

import pytest

from actloc import provenance


def git(*words: str) -> None:
    identity = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.org")
    subprocess.run(["git", *identity, *words], check=True, capture_output=True)


def test_a_commit_says_whether_files_differ_from_it_or_are_not_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(provenance, "_REPOSITORY", tmp_path)
    assert (provenance.commit(), provenance.changed_files()) == (None, None)
    git("init", "--quiet")
    Path(".gitignore").write_text("ignored\n")
    Path("code.py").write_text("x = 1\n")
    git("add", ".")
    git("commit", "--quiet", "--message", "first")
    Path("ignored").touch()
    clean = provenance.commit()
    assert clean is not None
    assert clean.isalnum()
    assert provenance.changed_files() == 0
    Path("new.py").touch()
    assert (provenance.commit(), provenance.changed_files()) == (f"{clean}+changes", 1)
    Path("code.py").write_text("x = 2\n")
    assert provenance.changed_files() == 2
