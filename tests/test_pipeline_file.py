"""dvc.yaml beside params.yaml and the code of the stages."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from vit_hk.report.settings import NOT_SHOWN

STAGES = ["download", "check", "train", "evaluate", "attention", "report"]
SECTIONS = ("data", "model", "train", "evaluate", "attention")
MAX_LINES = 190
# Sections that a stage passes on as a whole, and need not list as a whole. The model is compared
# with that of the weights, which are a dependency; Explainer reads two keys of attention.
PASSED_ON = {"evaluate": {"model", "attention"}, "attention": {"model"}}


@pytest.fixture(scope="module")
def stages(project) -> dict:
    return yaml.safe_load((project / "dvc.yaml").read_text("utf-8"))["stages"]


def leaves(tree: dict, prefix: str = "") -> set[str]:
    """Return the dotted keys of all values."""
    keys = set()
    for name, value in tree.items():
        keys |= leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name}
    return keys


@pytest.fixture(scope="module")
def keys(project) -> set[str]:
    """Return all keys of params.yaml."""
    return leaves(yaml.safe_load((project / "params.yaml").read_text("utf-8")))


def is_listed(key: str, params: list[str]) -> bool:
    """Return whether a stage with these params depends on a key, by itself or by its section."""
    return any(key == listed or key.startswith(f"{listed}.") for listed in params)


def covered(stage: dict, keys: set[str]) -> set[str]:
    """Return the keys of params.yaml that a stage depends on."""
    return {key for key in keys if is_listed(key, stage["params"])}


def of_sections(keys: set[str], *sections: str) -> set[str]:
    return {key for key in keys if key.split(".")[0] in sections}


def test_file_is_short(project):
    assert len((project / "dvc.yaml").read_text("utf-8").splitlines()) < MAX_LINES


def test_each_setting_belongs_to_a_stage(stages, keys):
    # A key that no stage lists could be changed without any effect on dvc repro.
    assert set().union(*(covered(stage, keys) for stage in stages.values())) == keys


@pytest.mark.parametrize("stage", STAGES)
def test_each_listed_setting_or_section_exists_once(stages, keys, stage):
    listed = stages[stage]["params"]
    for name in listed:
        assert any(is_listed(key, [name]) for key in keys), name
        assert not is_listed(name, [other for other in listed if other != name])
    assert len(set(listed)) == len(listed)


def test_download_depends_on_the_section_data_alone(stages, keys):
    assert covered(stages["download"], keys) == of_sections(keys, "data")


def test_training_depends_on_seed_platform_model_and_recipe(stages, keys):
    expected = of_sections(keys, "seed", "platform", "model", "train")
    assert covered(stages["train"], keys) == expected


def test_evaluation_depends_on_its_settings_and_those_of_the_maps_it_measures(stages, keys):
    maps = {"attention.head_fusion", "attention.discard_ratio"}
    assert covered(stages["evaluate"], keys) == of_sections(keys, "platform", "evaluate") | maps


def test_attention_depends_on_its_settings_and_the_batch_size_of_inference(stages, keys):
    expected = of_sections(keys, "platform", "attention") | {"evaluate.batch_size"}
    assert covered(stages["attention"], keys) == expected


def test_report_depends_on_the_settings_that_it_shows(stages, keys):
    assert covered(stages["report"], keys) == keys - set(NOT_SHOWN)


def python_files(project: Path, dependencies: list[str]) -> list[Path]:
    paths = [project / name for name in dependencies]
    files = [file for path in paths for file in (path.rglob("*.py") if path.is_dir() else [path])]
    return [file for file in files if file.suffix == ".py"]


@pytest.mark.parametrize("stage", ["train", "evaluate", "attention", "report"])
def test_each_setting_that_the_code_of_a_stage_reads_is_listed(project, stages, stage):
    # The code of this project reads settings as config.KEY or config.SECTION.KEY.
    read = re.compile(rf"\bconfig\.(seed|platform|(?:{'|'.join(SECTIONS)})(?:\.\w+)?)\b")
    files = python_files(project, stages[stage]["deps"])
    keys = {key for file in files for key in read.findall(file.read_text("utf-8"))}
    assert "model" in keys
    unlisted = {key for key in keys if not is_listed(key, stages[stage]["params"])}
    assert unlisted <= PASSED_ON.get(stage, set())


def test_check_reads_all_settings(stages, settings_of_tests):
    # A mistake in one that it does not watch would be found after DVC has removed results.
    assert set(stages["check"]["params"]) == set(settings_of_tests)


@pytest.mark.parametrize("stage", STAGES)
def test_stage_runs_the_script_of_its_name(project, stages, stage):
    # LAUNCH is mpirun or srun, and empty for one process. Where it is, fish refuses $LAUNCH as the
    # first word, and zsh does not split it into words.
    command = f"python -m stages.{stage}"
    expected = f"exec sh -c 'exec $LAUNCH {command}'" if stage == "train" else command
    assert stages[stage]["cmd"] == expected
    assert (project / "stages" / f"{stage}.py").is_file()


@pytest.mark.parametrize("shell", list(filter(shutil.which, ["sh", "dash", "bash", "zsh", "fish"])))
def test_dvc_is_the_parent_of_a_training_in_every_shell(stages, shell):
    print_parent = f'{sys.executable} -c "import os; print(os.getppid())"'
    command = stages["train"]["cmd"].replace("python -m stages.train", print_parent)
    run = subprocess.run([shell, "-c", command], capture_output=True, text=True, check=True)
    assert int(run.stdout) == os.getpid()


def test_no_output_lies_in_an_output_of_another_stage(stages):
    outs = [
        Path(next(iter(out)) if isinstance(out, dict) else out)
        for stage in stages.values()
        for out in stage["outs"]
    ]
    for number, out in enumerate(outs):
        for other in outs[:number]:
            assert out != other
            assert out not in other.parents
            assert other not in out.parents


def test_no_stage_depends_on_the_record_of_its_speed(stages):
    # results/timing.json differs from run to run; as an output it would change dvc.lock.
    text = yaml.safe_dump(stages)
    assert "timing.json" not in text
