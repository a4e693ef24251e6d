"""The code as one archive for an instance: what git tracks, as it lies in the work tree, and never a secret.

    bundle = build_bundle(PROJECT_FOLDER, Path("code.tar.gz"))

The same files make the same archive, byte for byte. Tests and documents stay here: they are most of the bytes, and
an instance runs neither.
"""

from __future__ import annotations

import fnmatch
import gzip
import io
import os
import shlex
import stat
import subprocess
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from aws.errors import PlaceError
from utils.files import disk_errors, replacing, sha256_file

STAY_HERE = ("tests", "docs", "runs", "logs", "data/transcripts", "data/subtitles")  # below the folder
# Anywhere; * stands for anything.
EXCLUDED = (
    ".git", ".hg", ".svn", ".ssh", ".aws", ".netrc", ".venv", "venv", "node_modules", ".DS_Store",
    "__pycache__", "*.pyc", ".*_cache", ".hypothesis", ".cache", ".coverage", "htmlcov",
    ".env", ".env.*", "*.pem", "*.key", "*.ppk", "*.p12", "*.pfx", "id_rsa*", "id_dsa*", "id_ecdsa*", "id_ed25519*",
)  # fmt: skip
ALLOWED = (".env.example",)
PRIVATE_KEY = b"PRIVATE KEY-----"  # in the first line of a key file, whatever its name
LARGEST_BYTES = 200_000_000  # of all files; more is there by mistake
SUBMODULE = "160000"  # its mode in git's index
COMPRESSION = 6


@dataclass(frozen=True)
class Bundle:
    """An archive.

    Args:
        size_bytes: of the archive.
        changed: files in it that are not as they were committed, or are not tracked.
        from_git: False: there is no git here; all files of the folder went along but those that never do.
    """

    file: Path
    sha256: str
    files: int
    size_bytes: int
    changed: tuple[str, ...] = ()
    from_git: bool = True


def build_bundle(folder: Path, target: Path) -> Bundle:
    """Pack the code of ``folder`` into ``target`` (tar.gz).

    Raises:
        PlaceError: a submodule, a link that leads out, far too many bytes, nothing at all, or git says no.
        StoreError: a file cannot be read or ``target`` not be written.
    """
    with disk_errors(folder, "read"):
        tracked = _tracked(folder)
        names = _existing(folder, tracked + _untracked(folder)) if tracked else sorted(_walk(folder))
        _check_size(folder, names)
    with disk_errors(target, "written"), replacing(target) as file:
        _write(folder, names, file)
    changed = set(_changed(folder)) & set(names) if tracked else set()
    size_bytes = target.stat().st_size
    return Bundle(target, sha256_file(target), len(names), size_bytes, tuple(sorted(changed)), bool(tracked))


def is_excluded(name: str) -> bool:
    """Whether a path below the folder never goes along."""
    path = PurePosixPath(name)
    if any(path == PurePosixPath(kept) or PurePosixPath(kept) in path.parents for kept in STAY_HERE):
        return True
    return any(_is_excluded_part(part) for part in path.parts)


def _is_excluded_part(part: str) -> bool:
    if part.startswith("id_") and "." not in part:
        return True  # as ssh-keygen names private keys
    return part not in ALLOWED and any(fnmatch.fnmatchcase(part.lower(), pattern.lower()) for pattern in EXCLUDED)


# git


def _tracked(folder: Path) -> list[str]:
    """Files of the index; empty where the folder is not under git."""
    names = []
    for entry in _git(folder, "ls-files", "-z", "--cached", "--stage"):
        mode, name = entry.split(" ", 1)[0], entry.split("\t", 1)[1]
        if mode == SUBMODULE and not is_excluded(name):
            raise _foreign(name)
        names.append(name)
    return names


def _untracked(folder: Path) -> list[str]:
    names = _git(folder, "ls-files", "-z", "--others", "--exclude-standard")
    for name in names:
        if name.endswith("/") and not is_excluded(name):
            raise _foreign(name.rstrip("/"))
    return names


def _foreign(name: str) -> PlaceError:
    return PlaceError(
        f"{name} is a git repository of its own, and its files are not sent.",
        remedies=[
            ("Make it part of this one", f"rm -rf {shlex.quote(f'{name}/.git')} && git add {shlex.quote(name)}"),
            ("Or leave it here", f"echo {shlex.quote(f'/{name}/')} >> .git/info/exclude"),
        ],
    )


def _changed(folder: Path) -> Iterator[str]:
    """Files that differ from the last commit, and untracked ones; named from the folder on."""
    prefix = "".join(_git(folder, "rev-parse", "--show-prefix")).strip("\n")
    options = ("--porcelain", "-z", "--untracked-files=all", "--no-renames", "--ignore-submodules")
    for entry in _git(folder, "status", *options, "--", "."):
        yield entry[3:].removeprefix(prefix)


def _git(folder: Path, *words: str) -> list[str]:
    """What git lists, split at NUL; empty where there is no git or no repository. Raises PlaceError."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C"}  # look and leave no trace, in English
    try:
        done = subprocess.run(["git", *words], cwd=folder, env=environment, capture_output=True, check=False)
    except FileNotFoundError:
        if not folder.is_dir():
            raise
        return []
    if done.returncode == 0:
        return [os.fsdecode(entry) for entry in done.stdout.split(b"\0") if entry]
    said = done.stderr.decode(errors="replace").strip()
    if "not a git repository" in said:
        return []
    # Without git's list, files that are ignored for a reason would go along.
    raise PlaceError(
        f"git cannot list the files of {folder}: {said.partition(chr(10))[0]}",
        remedies=[("See more", f"git -C {shlex.quote(str(folder))} status")],
    )


# files


def _existing(folder: Path, names: Sequence[str]) -> list[str]:
    """Those that go along and have not been deleted, sorted."""
    return sorted({name for name in names if not is_excluded(name) and _goes_along(folder / name, folder)})


def _walk(folder: Path) -> Iterator[str]:
    for root, folders, files in os.walk(folder, onerror=_raise):
        here = Path(root).relative_to(folder)
        folders[:] = [each for each in folders if not is_excluded((here / each).as_posix())]
        folders[:] = [each for each in folders if not (Path(root) / each / "pyvenv.cfg").exists()]
        links = [each for each in folders if (Path(root) / each).is_symlink()]
        for name in ((here / each).as_posix() for each in files + links):
            if not is_excluded(name) and _goes_along(folder / name, folder):
                yield name


def _raise(error: OSError) -> None:
    raise error


def _goes_along(file: Path, folder: Path) -> bool:
    """Whether it is a file or a link inside the folder, and no private key. Raises PlaceError: a link leads out."""
    if not os.path.lexists(file):
        return False  # tracked, but deleted here
    if file.is_symlink():
        _check_link(file, folder)
        return True
    if not stat.S_ISREG(file.lstat().st_mode):
        return False
    with file.open("rb") as opened:
        return PRIVATE_KEY not in opened.readline(100)


def _check_link(link: Path, folder: Path) -> None:
    target = link.readlink()
    if not target.is_absolute() and (link.parent / target).resolve().is_relative_to(folder.resolve()):
        return
    name = link.relative_to(folder).as_posix()
    raise PlaceError(
        f"{name} is a link to {target}, which is not part of the code that is sent.",
        remedies=[
            ("Put a copy in its place", f"cp -rL {shlex.quote(name)} copy && mv copy {shlex.quote(name)}"),
            ("Or leave it here", f"echo {shlex.quote('/' + name)} >> .git/info/exclude"),
        ],
    )


def _check_size(folder: Path, names: Sequence[str]) -> None:
    sizes = {name: (folder / name).lstat().st_size for name in names}
    if not sizes:
        raise PlaceError(f"there is no code in {folder} that could be sent.")
    if sum(sizes.values()) > LARGEST_BYTES:
        largest = sorted(sizes, key=sizes.__getitem__, reverse=True)[:3]
        raise PlaceError(
            f"the code in {folder} has {sum(sizes.values()) / 1e6:.0f} MB, and {LARGEST_BYTES / 1e6:.0f} MB are sent"
            " at most.",
            instead="The largest: " + ", ".join(f"{name} ({sizes[name] / 1e6:.0f} MB)" for name in largest),
            remedies=[("Leave one here", f"echo {shlex.quote('/' + largest[0])} >> .gitignore")],
        )


def _write(folder: Path, names: Sequence[str], file: BinaryIO) -> None:
    """An archive that depends on names, modes and contents alone."""
    with (
        gzip.GzipFile("", "wb", COMPRESSION, file, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name in names:
            with disk_errors(folder / name, "read"):
                entry, content = _entry(folder / name, name)
            archive.addfile(entry, io.BytesIO(content))


def _entry(file: Path, name: str) -> tuple[tarfile.TarInfo, bytes]:
    entry = tarfile.TarInfo(name)  # its other fields are 0 or empty
    if file.is_symlink():
        entry.type, entry.linkname, entry.mode = tarfile.SYMTYPE, str(file.readlink()), 0o777
        return entry, b""
    content = file.read_bytes()
    entry.size, entry.mode = len(content), 0o755 if file.stat().st_mode & stat.S_IXUSR else 0o644
    return entry, content
