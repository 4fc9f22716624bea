"""Files that are written completely or not at all."""

import contextlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside path, renamed to path if the block succeeds, removed if it fails.

    Folders above path are made if needed. Raises ValueError, in one sentence, if path cannot be
    written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(
            dir=path.parent, prefix=f".{path.stem}-", suffix=".part" + path.suffix
        )
        os.close(handle)
    except OSError as error:
        files = [f"{parent} is a file, not a folder" for parent in path.parents if parent.is_file()]
        reason = files[0] if files else error.strerror
        raise ValueError(f"{path}: cannot be written ({reason})") from None
    partial = Path(name)
    try:
        yield partial
        umask = os.umask(0)
        os.umask(umask)
        partial.chmod(0o666 & ~umask)  # mkstemp lets only the owner read the file
        os.replace(partial, path)
    except OSError as error:
        raise ValueError(f"{path}: cannot be written ({error.strerror or error})") from None
    finally:
        partial.unlink(missing_ok=True)


def plain_name(name: str) -> str:
    """A name as files and stages have it: letters and digits, with _ in place of all others."""
    return re.sub(r"[^0-9A-Za-z]+", "_", name).strip("_") or "body"
