"""dvc.yaml beside params.yaml and the stages."""

import re
from pathlib import Path

import pytest
import yaml

from vit_hk.report.settings import NOT_SHOWN

STAGES = ["download", "train", "evaluate", "attention", "report"]


@pytest.fixture(scope="module")
def stages(project) -> dict:
    return yaml.safe_load((project / "dvc.yaml").read_text("utf-8"))["stages"]


def leaves(tree: dict, prefix: str = "") -> set[str]:
    keys = set()
    for name, value in tree.items():
        keys |= leaves(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name}
    return keys


@pytest.fixture(scope="module")
def keys(project) -> set[str]:
    return leaves(yaml.safe_load((project / "params.yaml").read_text("utf-8")))


def test_each_setting_belongs_to_a_stage(stages, keys):
    # A key that no stage lists could be changed without any effect on dvc repro.
    listed = {key for stage in stages.values() for key in stage["params"]}
    assert keys - listed == set()


@pytest.mark.parametrize("stage", STAGES)
def test_each_listed_setting_exists_once(stages, keys, stage):
    listed = stages[stage]["params"]
    assert set(listed) <= keys
    assert len(set(listed)) == len(listed)


def test_download_depends_on_the_data_settings_alone(stages, keys):
    assert set(stages["download"]["params"]) == {key for key in keys if key.startswith("data.")}


def test_training_depends_on_seed_model_and_recipe(stages, keys):
    wanted = {key for key in keys if key == "seed" or key.startswith(("model.", "train."))}
    assert set(stages["train"]["params"]) == wanted


EXPLAINED = {"train.platform", "evaluate.batch_size"} | {
    f"attention.{key}" for key in ("head_fusion", "discard_ratio")
}


def test_evaluation_depends_on_its_settings_and_those_of_the_maps_it_tests(stages):
    assert set(stages["evaluate"]["params"]) == EXPLAINED | {"evaluate.faithfulness_share"}


def test_attention_depends_on_all_of_its_settings(stages, keys):
    own = {key for key in keys if key.startswith("attention.")}
    assert set(stages["attention"]["params"]) == EXPLAINED | own


def test_report_depends_on_the_settings_that_it_shows(stages, keys):
    assert set(stages["report"]["params"]) == keys - set(NOT_SHOWN)


@pytest.mark.parametrize("stage", STAGES)
def test_stage_lists_all_settings_that_its_code_reads(project, stages, stage):
    # params.SECTION.KEY in the stage's own script; the exact keys are checked above.
    text = (project / "stages" / f"{stage}.py").read_text("utf-8")
    sections = ("data", "model", "train", "evaluate", "attention")
    read = set(re.findall(rf"params\.((?:{'|'.join(sections)})\.\w+)", text))
    assert read <= set(stages[stage]["params"])


@pytest.mark.parametrize("stage", STAGES)
def test_stage_is_its_script(project, stages, stage):
    assert stages[stage]["cmd"] == f"python -m stages.{stage}"
    assert (project / "stages" / f"{stage}.py").is_file()


def test_no_output_is_written_by_two_stages(stages):
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
