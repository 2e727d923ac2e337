"""Machine code of kernels, kept where JAX keeps what XLA has compiled.

A file has the SHA-256 of the code in front of it: damaged code would crash the process.
"""

import contextlib
import hashlib
from pathlib import Path

import jax

from vit_hk.atomic import replacing
from vit_hk.errors import UserError

DIGEST = hashlib.sha256().digest_size


def read(name: str) -> bytes | None:
    """The code that was kept under this name, if there is any and it is whole."""
    folder = _folder()
    try:
        kept = (folder / _file(name)).read_bytes() if folder else b""
    except OSError:
        return None
    digest, code = kept[:DIGEST], kept[DIGEST:]
    return code if hashlib.sha256(code).digest() == digest else None


def keep(name: str, code: bytes) -> None:
    """Keep code under this name; where that fails, the next process compiles it again."""
    folder = _folder()
    if folder:
        with contextlib.suppress(UserError), replacing(folder / _file(name)) as temporary:
            temporary.write_bytes(hashlib.sha256(code).digest() + code)


def _folder() -> Path | None:
    """None where JAX keeps nothing, or where it keeps it is no folder of this machine."""
    place = jax.config.jax_compilation_cache_dir  # type: ignore[attr-defined]
    return Path(place) if place and "://" not in place else None


def _file(name: str) -> str:
    return f"{name}.kernel"
