"""The archive of the code: what goes along, what never does, and the same bytes for the same files."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from aws.errors import PlaceError
from aws.machines import bundle as bundle_module
from aws.machines.bundle import Bundle, build_bundle, is_excluded
from utils.errors import StoreError

PROJECT = Path(__file__).resolve().parents[2]
FILES = {
    "config.py": "SEED = 7\n",
    "aws_config.yaml": "paths:\n  data: data\n",
    "requirements.txt": "boto3==1\n",
    "aws/ssh.py": "import paramiko\n",
    "data/characters.jsonl": "{}\n",
    "data/sample_series/transcripts/S01E01.csv": "name,line\n",
    "scripts/run it.sh": "#!/bin/sh\n",
    "data/sample_series/Žluťoučký kůň.csv": "name,line\n",
}
NEVER = (
    ".env",
    ".env.local",
    "aws/.env.production",
    "stranger-things.pem",
    "keys/server.PEM",
    "keys/tls.key",
    "id_rsa",
    "id_ed25519",
    "id_ed25519.pub",
    "keys/id_work",
    "data/transcripts/x.csv",
    "data/transcripts/README.md",
    "data/subtitles/S01E01.srt",
    "runs/registry/models/latest.json",
    "logs/training.log",
    ".venv/bin/python",
    "venv/bin/python",
    "aws/__pycache__/ssh.cpython-311.pyc",
    "aws/left.pyc",
    ".pytest_cache/README.md",
    ".mypy_cache/missing_stubs",
    ".ruff_cache/x",
    ".hypothesis/x",
    ".aws/credentials",
    ".ssh/config",
    "tests/test_config.py",
    "docs/training.md",
)


def write(folder: Path, name: str, text: str = "x\n") -> Path:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small project without git."""
    made = tmp_path / "project"
    for name, text in FILES.items():
        write(made, name, text)
    (made / "scripts/run it.sh").chmod(0o700)
    return made


@pytest.fixture
def repository(folder: Path) -> Path:
    """The same with everything committed."""
    git(folder, "init", "-q")
    write(folder, ".gitignore", "secret-notes.txt\n")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "all")
    return folder


@pytest.fixture
def pack(tmp_path: Path) -> Callable[..., Bundle]:
    return lambda folder, name="code.tar.gz": build_bundle(folder, tmp_path / name)


def names(bundle: Bundle) -> list[str]:
    with tarfile.open(bundle.file) as archive:
        return archive.getnames()


def test_all_that_is_tracked_goes_along(repository: Path, pack: Callable[..., Bundle], tmp_path: Path) -> None:
    bundle = pack(repository)
    assert names(bundle) == sorted([*FILES, ".gitignore"])
    assert (bundle.files, bundle.changed, bundle.from_git) == (len(FILES) + 1, (), True)
    assert bundle.size_bytes == bundle.file.stat().st_size
    assert bundle.sha256 == hashlib.sha256(bundle.file.read_bytes()).hexdigest()
    subprocess.run(["tar", "-xzf", str(bundle.file), "-C", str(tmp_path)], check=True)
    for name, text in FILES.items():
        assert (tmp_path / name).read_text(encoding="utf-8") == text


def test_modes_and_owners_are_plain(repository: Path, pack: Callable[..., Bundle]) -> None:
    with tarfile.open(pack(repository).file) as archive:
        entries = {entry.name: entry for entry in archive}
    assert entries["scripts/run it.sh"].mode == 0o755
    assert entries["config.py"].mode == 0o644
    assert {(e.uid, e.gid, e.uname, e.gname, e.mtime) for e in entries.values()} == {(0, 0, "", "", 0)}


def test_the_same_files_make_the_same_bytes(repository: Path, pack: Callable[..., Bundle]) -> None:
    first = pack(repository, "a.tar.gz")
    for file in repository.rglob("*"):
        os.utime(file, (1, 1))
    assert pack(repository, "b.tar.gz").sha256 == first.sha256
    write(repository, "config.py", "SEED = 8\n")
    assert pack(repository, "c.tar.gz").sha256 != first.sha256


@pytest.mark.parametrize("name", NEVER)
def test_is_known_as_excluded(name: str) -> None:
    assert is_excluded(name)


def test_never_goes_along(repository: Path, pack: Callable[..., Bundle]) -> None:
    for name in NEVER:
        write(repository, name)
    untracked = pack(repository)
    assert set(NEVER) & set(names(untracked)) == set()
    assert untracked.changed == ()
    git(repository, "add", "-f", *NEVER)  # not even if somebody committed it
    git(repository, "commit", "-q", "-m", "a mistake")
    assert set(NEVER) & set(names(pack(repository))) == set()
    shutil.rmtree(repository / ".git")
    assert set(NEVER) & set(names(pack(repository))) == set()


def test_is_not_left_out_by_mistake(repository: Path, pack: Callable[..., Bundle]) -> None:
    wanted = {
        ".env.example",
        "aws/runs.py",
        "utils/id_numbers.py",
        "data/transcripts.py",
        "utils/logs.py",
        "testing.py",
    }
    for name in wanted:
        write(repository, name)
    assert wanted <= set(names(pack(repository)))


def test_git_itself_stays_here(repository: Path, pack: Callable[..., Bundle]) -> None:
    assert is_excluded(".git/config")
    assert [name for name in names(pack(repository)) if name.startswith(".git/")] == []


@pytest.mark.parametrize("kind", ["OPENSSH ", "RSA ", ""])
def test_a_private_key_of_any_name_stays_here(repository: Path, pack: Callable[..., Bundle], kind: str) -> None:
    write(repository, "notes", f"-----BEGIN {kind}PRIVATE KEY-----\nAAAA\n")
    assert "notes" not in names(pack(repository))


def test_what_git_ignores_stays_here(repository: Path, pack: Callable[..., Bundle]) -> None:
    write(repository, "secret-notes.txt")
    assert "secret-notes.txt" not in names(pack(repository))


def test_changes_are_named(repository: Path, pack: Callable[..., Bundle]) -> None:
    write(repository, "config.py", "SEED = 9\n")
    write(repository, "aws/ssh.py", "staged\n")
    git(repository, "add", "aws/ssh.py")
    write(repository, "a new one.py")
    write(repository, "nový.py")
    bundle = pack(repository)
    assert bundle.changed == ("a new one.py", "aws/ssh.py", "config.py", "nový.py")
    with tarfile.open(bundle.file) as archive:
        content = archive.extractfile("config.py")
        assert content is not None
        assert content.read() == b"SEED = 9\n"


def test_a_deleted_file_is_left_out(repository: Path, pack: Callable[..., Bundle]) -> None:
    (repository / "config.py").unlink()
    bundle = pack(repository)
    assert "config.py" not in names(bundle)
    assert bundle.changed == ()


def test_without_a_commit_yet(folder: Path, pack: Callable[..., Bundle]) -> None:
    git(folder, "init", "-q")
    git(folder, "add", "config.py")
    bundle = pack(folder)
    assert names(bundle) == sorted(FILES)
    assert bundle.changed == tuple(sorted(FILES))


def test_without_git(folder: Path, pack: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, "environment/pyvenv.cfg")
    write(folder, "environment/bin/python")
    bundle = pack(folder)
    assert names(bundle) == sorted(FILES)
    assert (bundle.changed, bundle.from_git) == ((), False)
    monkeypatch.setenv("PATH", "")  # git is not even installed
    assert pack(folder).sha256 == bundle.sha256


def test_a_copy_below_another_repository(tmp_path: Path, folder: Path, pack: Callable[..., Bundle]) -> None:
    git(tmp_path, "init", "-q")
    bundle = pack(folder)
    assert names(bundle) == sorted(FILES)
    assert not bundle.from_git


def test_a_folder_of_a_larger_repository(tmp_path: Path, folder: Path, pack: Callable[..., Bundle]) -> None:
    git(tmp_path, "init", "-q")
    write(tmp_path, "elsewhere.py")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "all")
    write(folder, "config.py", "SEED = 9\n")
    write(tmp_path, "elsewhere.py", "changed\n")
    bundle = pack(folder)
    assert names(bundle) == sorted(FILES)
    assert bundle.changed == ("config.py",)


def test_git_of_a_hook_is_not_asked(
    repository: Path, pack: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert pack(repository).from_git


def test_a_link_inside_stays_a_link(repository: Path, pack: Callable[..., Bundle]) -> None:
    (repository / "aws/settings.yaml").symlink_to("../aws_config.yaml")
    (repository / "series").symlink_to("data/sample_series")
    with tarfile.open(pack(repository).file) as archive:
        assert archive.getmember("aws/settings.yaml").linkname == "../aws_config.yaml"
        assert archive.getmember("series").issym()
    shutil.rmtree(repository / ".git")
    assert {"aws/settings.yaml", "series"} <= set(names(pack(repository)))


@pytest.mark.parametrize("with_git", [True, False])
@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside", "{folder}/config.py"])
def test_a_link_that_leads_out_is_refused(
    repository: Path, pack: Callable[..., Bundle], target: str, with_git: bool
) -> None:
    (repository / "aws/link").symlink_to(target.format(folder=repository))
    if not with_git:
        shutil.rmtree(repository / ".git")
    with pytest.raises(PlaceError, match=r"aws/link is a link to .* not part of the code") as caught:
        pack(repository)
    assert "echo /aws/link >> .git/info/exclude" in str(caught.value)


def test_a_link_in_place_of_the_transcripts_is_no_matter(repository: Path, pack: Callable[..., Bundle]) -> None:
    (repository / "data/transcripts").symlink_to("/tmp")  # noqa: S108
    assert "data/transcripts" not in names(pack(repository))


@pytest.mark.parametrize("added", [True, False])
def test_a_repository_within_is_refused(repository: Path, pack: Callable[..., Bundle], added: bool) -> None:
    write(repository, "vendor/tool/a.py")
    git(repository / "vendor/tool", "init", "-q")
    git(repository / "vendor/tool", "add", "a.py")
    git(repository / "vendor/tool", "commit", "-q", "-m", "all")
    if added:
        git(repository, "add", "vendor/tool")
    with pytest.raises(PlaceError, match="vendor/tool is a git repository of its own"):
        pack(repository)


def test_too_much_is_refused_before_it_is_packed(
    repository: Path, pack: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(bundle_module, "LARGEST_BYTES", 1_000_000)
    write(repository, "weights.bin", "x" * 2_000_000)
    with pytest.raises(PlaceError, match=r"has 2 MB, and 1 MB are sent.*\n.*weights.bin \(2 MB\)"):
        pack(repository)
    assert not (tmp_path / "code.tar.gz").exists()


def test_git_that_says_no_is_no_reason_to_send_all(repository: Path, pack: Callable[..., Bundle]) -> None:
    (repository / ".git/index").write_bytes(b"damaged")
    with pytest.raises(PlaceError, match=r"git cannot list the files of .*: .*index"):
        pack(repository)


def test_nothing_there(tmp_path: Path, pack: Callable[..., Bundle]) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(PlaceError, match="there is no code in"):
        pack(tmp_path / "empty")
    with pytest.raises(StoreError, match="cannot be read"):
        pack(tmp_path / "missing")


def test_a_target_that_cannot_be_written(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        build_bundle(repository, tmp_path / "file" / "code.tar.gz")


def test_this_project(pack: Callable[..., Bundle]) -> None:
    bundle = pack(PROJECT)
    found = set(names(bundle))
    needed = {"config.py", "training_pipeline.py", "gradio_app.py", "requirements.txt", "aws_config.yaml"}
    assert needed | {"data/characters.jsonl", "data/sample_series/series.json", "utils/series.py"} <= found
    assert bundle.size_bytes < 5_000_000
    assert [name for name in found if "transcripts/" in name and "sample_series" not in name] == []
