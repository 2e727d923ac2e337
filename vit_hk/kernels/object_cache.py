"""Object cache: machine code of kernels on disk, in the folder of JAX's compilation cache.

Each file starts with the SHA-256 of the code that follows, because damaged code would crash the
process.
"""

import contextlib
import hashlib
import os
from pathlib import Path

import jax

from vit_hk.atomic import replacing
from vit_hk.errors import UserError

DIGEST_SIZE = hashlib.sha256().digest_size


def load(name: str) -> bytes | None:
    """Return the code stored under this name, or None if it is missing or damaged."""
    folder = _folder()
    if folder is None:
        return None
    path = folder / _file(name)
    try:
        content = path.read_bytes()
    except OSError:
        return None
    with contextlib.suppress(OSError):  # the least recently used ones are removed
        os.utime(path)
    digest, code = content[:DIGEST_SIZE], content[DIGEST_SIZE:]
    return code if hashlib.sha256(code).digest() == digest else None


def store(name: str, code: bytes) -> None:
    """Store code under this name; if that fails, the next process compiles it again."""
    folder = _folder()
    if folder:
        with contextlib.suppress(UserError), replacing(folder / _file(name)) as temporary:
            temporary.write_bytes(hashlib.sha256(code).digest() + code)


def _folder() -> Path | None:
    """Return the folder, or None if JAX's cache is switched off or is not a local folder."""
    is_on = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]
    path = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    return Path(path) if is_on and path and "://" not in path else None


def _file(name: str) -> str:
    return f"{name}.kernel"
