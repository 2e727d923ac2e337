import importlib.metadata
import shutil
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest
import yaml
from packaging.utils import canonicalize_name

from vit_hk.errors import UserError
from vit_hk.params import AugmentSettings, ModelSettings, TrainSettings
from vit_hk.training import fingerprint
from vit_hk.training.code_identity import PROJECT, package_versions, read_code, stage_code
from vit_hk.training.fingerprint import compute_fingerprint
from vit_hk.training.inputs import read_inputs
from vit_hk.training.state import state_folder

CPU = SimpleNamespace(platform="cpu", device_kind="cpu")
GPU = SimpleNamespace(platform="gpu", device_kind="H200")


@pytest.fixture
def dataset(tmp_path) -> Path:
    path = tmp_path / "dataset.npz"
    path.write_bytes(b"digits")
    return path


@pytest.fixture
def no_packages(monkeypatch):
    """Leave out the package versions, which take long to find."""
    monkeypatch.setattr(fingerprint, "package_versions", lambda _: {})


def fingerprint_of(config, dataset, device, project=PROJECT) -> str:
    code = read_code(project, "train")
    return compute_fingerprint(read_inputs(config, dataset, code.hash), code.files, device)


@pytest.fixture
def project_copy(project, tmp_path) -> Path:
    """Return a copy of the project's code and dvc.yaml that a test may change."""
    folder = tmp_path / "project"
    for package in ("stages", "vit_hk"):
        shutil.copytree(
            project / package, folder / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(project / "dvc.yaml", folder)
    return folder


# --- fingerprint: settings, data and machine ---


@pytest.mark.usefixtures("no_packages")
def test_same_training_has_the_same_fingerprint(make_config, dataset, tmp_path):
    other_path = tmp_path / "other.npz"
    shutil.copy(dataset, other_path)
    first = fingerprint_of(make_config(), dataset, CPU)
    assert fingerprint_of(make_config(), other_path, CPU) == first
    assert len(first) == 16
    assert int(first, 16) >= 0


# Another value for each setting of a training.
MODEL = {
    "patch_size": 2, "stem": "conv", "hidden_size": 32, "num_layers": 2, "num_heads": 4,
    "mlp_dim": 8, "pool": "gap", "position": "learned", "dropout": 0.1, "drop_path": 0.1,
    "qk_norm": True, "registers": 1, "gelu": "tanh", "norm_eps": 1e-5,
}  # fmt: skip
AUGMENT = {
    "shift": 1, "flip": True, "rotate": 1.0, "scale": 0.1, "elastic": 1.0, "trivial": True,
    "erase": 0.1, "mixup": 0.1, "cutmix": 0.1,
}  # fmt: skip
TRAIN = {
    "freeze": ["norm"], "layer_decay": 0.9, "epochs": 4, "batch_size": 8, "optimizer": "muon",
    "learning_rate": 0.02, "warmup_epochs": 0.0, "weight_decay": 0.0, "label_smoothing": 0.1,
    "class_weights": "balanced", "grad_clip": 0.0, "sam_rho": 0.1, "ema_decay": 0.9,
    "validation_fraction": 0.5, "snapshot_epochs": [1], "precision": "bfloat16",
    "scan_layers": True, "remat": True,
}  # fmt: skip


@pytest.mark.usefixtures("no_packages")
def test_each_setting_of_the_training_changes_the_fingerprint(make_config, dataset):
    assert MODEL.keys() == ModelSettings.model_fields.keys()
    assert AUGMENT.keys() == AugmentSettings.model_fields.keys()
    # Two decide no byte (see below), and the values of `augment` are changed one by one.
    others = TrainSettings.model_fields.keys() - {"init_from", "checkpoint_steps", "augment"}
    assert TRAIN.keys() == others
    changes = [
        {"seed": 1},
        *({"model": {name: value}} for name, value in MODEL.items()),
        *({"augment": {name: value}} for name, value in AUGMENT.items()),
        *({name: value} for name, value in TRAIN.items()),
    ]

    def without_code(config) -> str:  # which takes long to read
        return compute_fingerprint(read_inputs(config, dataset, None), [], CPU)

    before = without_code(make_config())
    for change in changes:
        assert without_code(make_config(**change)) != before, change


@pytest.mark.usefixtures("no_packages")
@pytest.mark.parametrize(
    "change",
    [{"evaluate": {"batch_size": 7}}, {"attention": {"num_images": 3}}, {"platform": "auto"}],
    ids=str,
)
def test_setting_that_training_does_not_read_keeps_the_fingerprint(make_config, dataset, change):
    config = make_config()
    sections = {
        key: getattr(config, key).model_copy(update=value) if isinstance(value, dict) else value
        for key, value in change.items()
    }
    changed = config.model_copy(update=sections)
    assert changed != config
    assert fingerprint_of(changed, dataset, CPU) == fingerprint_of(config, dataset, CPU)


@pytest.mark.usefixtures("no_packages")
def test_data_change_the_fingerprint(make_config, dataset):
    before = fingerprint_of(make_config(), dataset, CPU)
    dataset.write_bytes(b"other digits")
    assert fingerprint_of(make_config(), dataset, CPU) != before


@pytest.mark.usefixtures("no_packages")
def test_weights_to_start_from_change_the_fingerprint(make_config, dataset, tmp_path):
    path = tmp_path / "digits.safetensors"
    fingerprints = {fingerprint_of(make_config(), dataset, CPU)}
    for content in (b"weights", b"other weights"):
        path.write_bytes(content)
        fingerprints.add(fingerprint_of(make_config(init_from=str(path)), dataset, CPU))
    assert len(fingerprints) == 3


@pytest.mark.usefixtures("no_packages")
def test_what_decides_no_byte_keeps_the_fingerprint(make_config, dataset, tmp_path):
    fingerprints = set()
    for name, checkpoint_steps in [("digits", 0), ("digits", 7), ("moved", 0)]:
        path = tmp_path / f"{name}.safetensors"
        path.write_bytes(b"weights")
        config = make_config(init_from=str(path), checkpoint_steps=checkpoint_steps)
        fingerprints.add(fingerprint_of(config, dataset, CPU))
    assert len(fingerprints) == 1


# By these JAX and XLA compute other numbers.
VARIABLES = (
    "JAX_DEFAULT_DTYPE_BITS", "JAX_DEFAULT_MATMUL_PRECISION", "JAX_DEFAULT_PRNG_IMPL",
    "JAX_DISABLE_MOST_OPTIMIZATIONS", "JAX_ENABLE_X64", "JAX_EXEC_TIME_OPTIMIZATION_EFFORT",
    "JAX_OPTIMIZATION_LEVEL", "JAX_RANDOM_SEED_OFFSET", "JAX_SOFTMAX_CUSTOM_JVP",
    "JAX_THREEFRY_PARTITIONABLE", "XLA_FLAGS",
)  # fmt: skip


@pytest.mark.usefixtures("no_packages")
def test_devices_and_cores_change_the_fingerprint(make_config, dataset, monkeypatch):
    fingerprints = {fingerprint_of(make_config(), dataset, device) for device in (CPU, GPU)}
    with monkeypatch.context() as patch:
        patch.setattr(jax, "device_count", lambda: 7)
        fingerprints.add(fingerprint_of(make_config(), dataset, CPU))
    with monkeypatch.context() as patch:
        patch.setattr(fingerprint, "xla_threads", lambda: 77)
        fingerprints.add(fingerprint_of(make_config(), dataset, CPU))
    with monkeypatch.context() as patch:
        patch.setenv("VIT_HK_KERNELS", "0")
        fingerprints.add(fingerprint_of(make_config(), dataset, CPU))
    for name in VARIABLES:
        with monkeypatch.context() as patch:
            patch.setenv(name, "another value")
            fingerprints.add(fingerprint_of(make_config(), dataset, CPU))
    assert len(fingerprints) == 5 + len(VARIABLES)


@pytest.mark.usefixtures("no_packages")
def test_devices_spread_over_processes_keep_the_fingerprint(make_config, dataset, monkeypatch):
    monkeypatch.setattr(fingerprint, "xla_threads", jax.device_count)
    one_process = fingerprint_of(make_config(), dataset, CPU)
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    assert fingerprint_of(make_config(), dataset, CPU) == one_process


@pytest.mark.usefixtures("no_packages")
def test_cores_beside_a_gpu_keep_the_fingerprint(make_config, dataset, monkeypatch):
    first = fingerprint_of(make_config(), dataset, GPU)
    monkeypatch.setattr(fingerprint, "xla_threads", lambda: 77)
    assert fingerprint_of(make_config(), dataset, GPU) == first


# --- fingerprint: code and packages ---


def append_comment(path: Path) -> None:
    with path.open("a") as file:
        file.write("# changed\n")


def train_code(project: Path) -> list[Path]:
    """Return the Python files among the dependencies of `train`, as dvc.yaml lists them."""
    pipeline = yaml.safe_load((project / "dvc.yaml").read_text("utf-8"))
    files = set()
    for dependency in pipeline["stages"]["train"]["deps"]:
        if (project / dependency).is_dir():
            files.update((project / dependency).glob("**/*.py"))
        elif dependency.endswith(".py"):
            files.add(project / dependency)
    return sorted(files)


@pytest.mark.usefixtures("no_packages")
def test_each_file_of_the_training_code_changes_the_fingerprint(make_config, dataset, project_copy):
    files = train_code(project_copy)
    names = {file.relative_to(project_copy).as_posix() for file in files}
    assert names >= {
        "stages/train.py",
        "vit_hk/data/dataset.py",
        "vit_hk/kernels/attention.py",
        "vit_hk/kernels/vector_builder.py",
        "vit_hk/model/attention.py",
        "vit_hk/params.py",
        "vit_hk/runtime/batch_layout.py",
        "vit_hk/training/train_step.py",
    }
    fingerprints = [fingerprint_of(make_config(), dataset, CPU, project_copy)]
    for file in files:
        append_comment(file)
        fingerprints.append(fingerprint_of(make_config(), dataset, CPU, project_copy))
        assert fingerprints[-1] not in fingerprints[:-1], file


@pytest.mark.usefixtures("no_packages")
def test_new_file_in_a_folder_of_the_training_code_changes_the_fingerprint(
    make_config, dataset, project_copy
):
    before = fingerprint_of(make_config(), dataset, CPU, project_copy)
    (project_copy / "vit_hk/kernels/softmax.py").write_text("import numpy\n")
    assert fingerprint_of(make_config(), dataset, CPU, project_copy) != before


@pytest.mark.usefixtures("no_packages")
def test_other_code_keeps_the_fingerprint(make_config, dataset, project_copy):
    before = fingerprint_of(make_config(), dataset, CPU, project_copy)
    for folder in ("vit_hk/figures", "vit_hk/report", "vit_hk/data/sources"):
        for file in (project_copy / folder).rglob("*.py"):
            append_comment(file)
    append_comment(project_copy / "stages/report.py")
    (project_copy / "vit_hk/kernels/notes.txt").write_text("no code")
    (project_copy / "vit_hk/kernels/.#gelu.py").symlink_to("as an editor locks a file")
    assert fingerprint_of(make_config(), dataset, CPU, project_copy) == before


def test_file_that_is_no_python_is_named(project_copy, one_line):
    (project_copy / "vit_hk/kernels/draft.py").write_text("def (")
    with pytest.raises(UserError, match=r"draft\.py is no Python \(.*\); repair it") as caught:
        package_versions(stage_code(project_copy, "train"))
    one_line(caught.value)


PACKAGES = (
    "dm-haiku", "jax", "jaxlib", "jmp", "llvmlite", "numpy", "optax", "orbax-checkpoint",
)  # fmt: skip


def test_versions_of_all_packages_of_the_training_code_are_found(project):
    versions = package_versions(stage_code(project, "train"))
    assert versions.keys() >= set(PACKAGES)
    for name, version in versions.items():
        assert name == canonicalize_name(name)
        assert version == importlib.metadata.version(name)


def test_cuda_libraries_of_a_plugin_count_and_other_extras_do_not(monkeypatch):
    requires = {
        "jax-plugin": ["nvidia-cudnn; extra == 'with-cuda'", "pytest; extra == 'tests'"],
        "nvidia-cudnn": None,
    }
    monkeypatch.setattr(
        importlib.metadata, "packages_distributions", lambda: {"jax_plugins": ["jax-plugin"]}
    )
    monkeypatch.setattr(importlib.metadata, "requires", requires.__getitem__)
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "1")
    assert package_versions([]).keys() == requires.keys()


def test_version_of_a_package_changes_the_fingerprint(make_config, dataset, monkeypatch):
    before = fingerprint_of(make_config(), dataset, CPU)
    installed = importlib.metadata.version

    def version(name: str) -> str:
        # The code does not import this package; jax requires it.
        return "999" if canonicalize_name(name) == "ml-dtypes" else installed(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert fingerprint_of(make_config(), dataset, CPU) != before


@pytest.mark.parametrize(
    "content",
    [
        None,
        "",
        "stages: [",
        "stages: {}",
        "stages: {train: {cmd: python}}",
        "stages: {train: {deps: }}",
        "stages: {train: {deps: [1]}}",
        "\xff",
    ],
    ids=ascii,
)
def test_dvc_yaml_without_the_dependencies_of_a_stage_ends_in_one_line(
    make_config, dataset, project_copy, one_line, content
):
    path = project_copy / "dvc.yaml"
    path.unlink()
    if content is not None:
        path.write_text(content, "latin-1")
    with pytest.raises(UserError) as caught:
        fingerprint_of(make_config(), dataset, CPU, project_copy)
    message = one_line(caught.value)
    assert message.startswith(f"{path} does not list the dependencies of the stage train")
    assert message.endswith("what has changed in it shows: git diff dvc.yaml")


def test_state_folder_lies_in_the_project_that_dvc_names(monkeypatch, tmp_path):
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    assert state_folder("0123") == tmp_path / ".scratch/train/0123"
