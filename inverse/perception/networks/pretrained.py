"""Loading of models from a local folder, from the libraries' own cache, or from where they are."""

import contextlib
import logging
import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any


CONNECTION = 5.0  # s
INSTALL = "pip install 'taichi-phys[perception]'"


def load_config(name: str, what: str) -> Any:
    """The configuration of a model, which says of what kind it is; errors as in `load_part`."""
    return load_part("AutoConfig", name, what)


def load_part(kind: str, name: str, what: str, **options: Any) -> Any:
    """kind.from_pretrained(name) of transformers, such as an AutoModelForDepthEstimation.

    name: of a model, or a local folder; what: the setting that names it, for errors; options: of
    from_pretrained. A local copy is taken as it is, without asking for a newer one. Raises
    ValueError, which says what to do, where transformers or the weights are missing.
    """
    try:
        import transformers
    except ImportError as error:
        raise ValueError(f"{what}: it needs transformers ({error}); {INSTALL}") from None
    loader = getattr(transformers, kind)
    folder = Path(name).expanduser()
    if folder.exists() or name.startswith((".", "/", "~")):
        if not (folder / "config.json").is_file():
            raise ValueError(
                f"{what} {name}: expected a folder of a model, with config.json, weights and "
                "preprocessor_config.json"
            )
        return _load(loader, str(folder), f"{what} {name}", **options)
    with _quiet():
        try:
            return loader.from_pretrained(name, local_files_only=True, **options)
        except (OSError, ValueError, ImportError):
            if _offline() or not _reachable():
                raise ValueError(f"{what} {name}: {_absent(name)}") from None
        try:
            return loader.from_pretrained(name, **options)
        except Exception as error:  # each library of the network has errors of its own
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise ValueError(f"{what} {name}: {_absent(name)} ({reason})") from None


def _load(loader: Any, folder: str, place: str, **options: Any) -> Any:
    with _quiet():
        try:
            return loader.from_pretrained(folder, local_files_only=True, **options)
        except Exception as error:  # of safetensors, json, torch
            reason = (str(error).splitlines() or [type(error).__name__])[0][:200]
            raise ValueError(f"{place}: cannot be loaded ({reason})") from None


def _absent(name: str) -> str:
    return (
        f"its weights are not on this machine and cannot be fetched; where there is a network, run "
        f"'hf download {name}', or give the path of a folder that holds them"
    )


def _offline() -> bool:
    switches = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
    return any(os.environ.get(name, "").upper() in ("1", "TRUE", "YES", "ON") for name in switches)


def _reachable() -> bool:
    """Whether the host of the models answers; the libraries would go on asking for minutes."""
    if urllib.request.getproxies():
        return True  # the proxy knows
    host = urllib.parse.urlsplit(os.environ.get("HF_ENDPOINT", "https://huggingface.co"))
    try:
        port = host.port or (80 if host.scheme == "http" else 443)
        socket.create_connection((host.hostname or "", port), timeout=CONNECTION).close()
    except (OSError, ValueError):
        return False
    return True


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without the remarks of the libraries, which users can do nothing about."""
    loggers = [logging.getLogger(name) for name in ("transformers", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
