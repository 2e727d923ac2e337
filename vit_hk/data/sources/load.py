"""Loads the data set that params.yaml names: raw files, one's own images, or the offline sample."""

import tarfile
import zlib
from pathlib import Path

from vit_hk.atomic import WRITE_REMEDY
from vit_hk.data.dataset import SAMPLE_SOURCE, Dataset, read_source
from vit_hk.data.image_preparation import ENDINGS
from vit_hk.data.sources.download import UnreachableError, ensure_file
from vit_hk.data.sources.image_folder import SOURCE_PREFIX as FOLDER_PREFIX
from vit_hk.data.sources.image_folder import load_image_folder
from vit_hk.data.sources.offline_sample import offline_sample
from vit_hk.data.sources.own_npz import SOURCE_PREFIX as NPZ_PREFIX
from vit_hk.data.sources.own_npz import load_own_npz
from vit_hk.data.sources.torchvision_sets import Source, find_source
from vit_hk.errors import UserError, in_one_line, shorten
from vit_hk.params import DataSettings

DOWNLOADS = Path("data/raw")  # in the project's folder; the default of data.root
OWN = ("npz", "folder")  # names of data sets that are files of one's own
TORCHVISION_SOURCE = "torchvision"  # Dataset.source of raw files


def load_source(settings: DataSettings, project: Path) -> Dataset:
    """Read a data set, and fetch and verify its raw files where it has some.

    Raw files that lie in `data.root` with the right content are used without a network.

    Args:
      settings: the section `data` of params.yaml.
      project: the folder that a relative data.root with raw files starts from. One's own file or
        folder is a dependency in DVC's eyes, so its path starts from the current folder.

    Raises:
      UserError: the hosts cannot be reached and no sample may stand in, a host sends files
        with a wrong checksum, or data.root cannot be read or written.
    """
    if settings.name in OWN:
        _check_watched(settings.root)
    if settings.name == "npz":
        return load_own_npz(Path(settings.root))
    if settings.name == "folder":
        return load_image_folder(settings)
    source = find_source(settings.name)
    folder = project / settings.root / source.folder
    try:
        _check_download_folder(project / settings.root, settings)
        files = [ensure_file(file, source.mirrors, folder) for file in source.files]
    except UnreachableError as unreachable:
        return _fall_back(settings, source, folder, unreachable)
    except OSError as error:
        raise UserError(
            f"{folder} cannot be used: {error.strerror or error}; {WRITE_REMEDY}, or choose "
            "another folder in params.yaml: data.root"
        ) from None
    try:
        x_train, y_train, x_test, y_test = source.read(files)
    except (OSError, EOFError, LookupError, ValueError, zlib.error, tarfile.TarError) as error:
        raise UserError(
            f"{folder} cannot be read: {in_one_line(error)}; remove it and run: dvc repro download"
        ) from None
    return Dataset(
        x_train, y_train, x_test, y_test, settings.name, TORCHVISION_SOURCE, source.class_names
    )


def _check_watched(root: str) -> None:
    """Make sure that DVC notices a change of one's own images: .dvcignore hides downloads."""
    if Path(root).resolve() == DOWNLOADS.resolve():
        raise UserError(
            f"params.yaml: data.root is {root}, the folder of downloads; name your own folder or "
            "file, outside of it, for example data/own"
        )
    if Path(root).resolve().is_relative_to(DOWNLOADS.resolve()):
        raise UserError(
            f"params.yaml: data.root is {root}; images of your own must not lie in {DOWNLOADS}, "
            "where DVC does not notice changes (.dvcignore); move them, for example into data/own"
        )


def _check_download_folder(root: Path, settings: DataSettings) -> None:
    """Refuse to download into a file, or into a folder of images, perhaps one's own."""
    if root.is_file():
        raise UserError(
            f"params.yaml: data.root is {settings.root}, a file, and {settings.name} is downloaded "
            f"into a folder; set data.root to {DOWNLOADS}, or for a file of your own data.name to "
            "npz or folder"
        )
    if not root.is_dir():
        return
    found = (path for pattern in ("*", "*/*", "*/*/*") for path in root.glob(pattern))
    image = next((path for path in found if path.suffix.lower() in ENDINGS), None)
    if image:
        remedy = f"set data.root to {DOWNLOADS}, or data.name to folder"
        if root.resolve() == DOWNLOADS.resolve():
            remedy = "move the images away, for example into data/own"
        raise UserError(
            f"params.yaml: data.root is {settings.root}, where images lie ({image.name}), and "
            f"{settings.name} would be downloaded there; {remedy}"
        )


def check_replaceable(path: Path) -> None:
    """Make sure that a file was written from one of the sources here, or is not there.

    Raises:
      UserError: it is somebody's own file, or damaged.
    """
    if not path.exists():
        return
    source = read_source(path)
    if source is None:
        raise UserError(
            f"{path} cannot be read, so it may be a file of yours, and is not replaced; move it "
            "away, then start again"
        )
    known = (TORCHVISION_SOURCE, SAMPLE_SOURCE)
    if source not in known and not source.startswith((NPZ_PREFIX, FOLDER_PREFIX)):
        raise UserError(
            f"{path} holds images from {shorten(source)}, was not written by this stage and is not "
            "replaced; move it away, and to train on it name it in params.yaml: data.name: npz, "
            "data.root: PATH"
        )


def _fall_back(
    settings: DataSettings, source: Source, folder: Path, unreachable: UnreachableError
) -> Dataset:
    """Return the offline sample where it exists and is allowed.

    Raises:
      UserError: it does not exist, or is not allowed.
    """
    names = ", ".join(file.name for file in source.files)
    if settings.offline == "sample" and settings.name == "mnist":
        print(_SAMPLE_WARNING.format(problem=unreachable, names=names, folder=folder))
        return offline_sample()
    reason = (
        "the offline sample exists for mnist only"
        if settings.offline == "sample"
        else "params.yaml: data.offline is fail"
    )
    raise UserError(
        f"{settings.name} could not be fetched, {unreachable}; {reason}; connect to a "
        f"network, or put {names} into {folder}"
    )


_SAMPLE_WARNING = """
==================================================================================
WARNING: this is NOT full MNIST. It could not be fetched:
  {problem}
The offline sample stands in: 4,000 training and 1,000 test digits, all of them
from MNIST's training set. Its figures cannot be compared with those of full MNIST,
and results/metrics.json says "source": "offline sample …".
To get the full set later, connect to a network, or put these files:
  {names}
into {folder}, and run:
  dvc repro --force --single-item download && dvc repro
==================================================================================
"""
