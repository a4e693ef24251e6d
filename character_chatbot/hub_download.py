"""A base from the hub onto this machine: its bytes are told, Ctrl-C ends it at once, what stops it is a sentence.

folder = download("Qwen/Qwen2.5-0.5B-Instruct", ["*.json", "*.safetensors"], token, progress)

Files that have come whole stay in the hub's cache, and the next download goes on from there. Half a file does not stay:
the hub's library (2.4) never takes one up again.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path

from character_chatbot.hub_faults import explain, first_line
from character_chatbot.load_progress import FETCHING, LoadProgress, LoadStoppedError, download_bar
from utils.errors import BaseModelError

PIECE_BYTES = 512 * 1024  # between two words of how far it is, and before a stop is heard; the library's are 10 MiB
STALE_SECONDS = 3600  # half a file that nobody has written to for so long is a killed download's


def download(repository: str, patterns: Sequence[str], token: str, progress: LoadProgress) -> Path:
    """The folder of a repository, with what was missing of it.

    Raises:
        BaseModelError: the hub refuses it, the connection breaks, or the disk is full.
        LoadStoppedError: ``progress`` was stopped.
    """
    _prepare(repository)
    progress.begin(FETCHING, f"{repository} from the hub")
    done: Future[str] = Future()
    arguments = (done, repository, patterns, token, progress)
    threading.Thread(target=_work, args=arguments, name="download", daemon=True).start()
    try:
        return Path(done.result())
    except LoadStoppedError:
        raise
    except Exception as error:  # of many kinds, all of which say why in their first line
        explained = explain(repository, repository, error, token)
        raise explained or BaseModelError(f"base model {repository} cannot be had: {first_line(error)}") from error
    except BaseException:  # Ctrl-C: the library's threads would go on to the end of their files, and be waited for
        progress.stop()
        raise


def _work(done: Future[str], repository: str, patterns: Sequence[str], token: str, progress: LoadProgress) -> None:
    from huggingface_hub import snapshot_download

    try:
        folder = snapshot_download(
            repository, allow_patterns=list(patterns), token=token or None, tqdm_class=download_bar(progress)
        )
        done.set_result(folder)
    except BaseException as error:  # handed over to the thread that waits
        done.set_exception(error)


def _prepare(repository: str) -> None:
    """Small pieces, no warning twice, and no halves that killed downloads have left."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    constants.DOWNLOAD_CHUNK_SIZE = min(constants.DOWNLOAD_CHUNK_SIZE, PIECE_BYTES)
    if logging.getLogger().handlers:  # the library's own handler writes what our log writes as well
        library = logging.getLogger("huggingface_hub")
        for handler in tuple(library.handlers):
            library.removeHandler(handler)
    blobs = Path(constants.HF_HUB_CACHE, repo_folder_name(repo_id=repository, repo_type="model"), "blobs")
    for half in blobs.glob("*.incomplete"):
        with suppress(OSError):
            if time.time() - half.stat().st_mtime > STALE_SECONDS:
                half.unlink()
