"""FLOPs, bytes and shares of a GPU's limits, against cases computed by hand and against XLA."""

import dataclasses

import numpy as np
import pytest

from benchmarks.flops import flops_per_batch
from benchmarks.gpu.check import judge
from benchmarks.gpu.chips import find_chip
from benchmarks.gpu.plan import VIT_B_16, full_plan
from benchmarks.gpu.run import compare, summarize
from benchmarks.gpu.traffic import bytes_per_batch
from benchmarks.workload import Workload

B_16 = Workload("infer", 1, **VIT_B_16)
# One layer, two patches of 2 x 2 pixels with 3 channels would be 12 inputs; here one patch.
SMALL = Workload(
    "infer", 2, patch_size=2, hidden_size=4, num_layers=1, mlp_dim=8, image_size=2, channels=3
)


def test_flops_of_vit_b_16_are_the_17_6_gmacs_of_the_literature():
    # 17.58 G multiplications (fvcore's count in DeiT's and timm's tables: 17.6).
    assert flops_per_batch(B_16, whole_last_block=True) / 2 == pytest.approx(17.58e9, rel=2e-3)


def test_bytes_of_a_small_model_by_hand():
    # Patches: 1 x (12 + 4). Block, 2 tokens x (qkv 4 + 12, out 4 + 4, in 4 + 8, out 8 + 4,
    # attention 12 + 4) = 2 x 64. Of 2 images: 288 elements; and 100 parameters.
    assert bytes_per_batch(SMALL, 100) == 4 * (2 * (16 + 128) + 100)
    low = dataclasses.replace(SMALL, precision="bfloat16")
    assert bytes_per_batch(low, 100) == 2 * (2 * (16 + 128) + 100)
    train = dataclasses.replace(SMALL, task="train")
    # No gradient of the images: their patches are read twice, not three times.
    expected = 4 * (2 * (2 * 16 + 3 * 128) + 3 * 100) + 7 * 4 * 100
    assert bytes_per_batch(train, 100) == expected
    # Ours reads of the last block the two tokens of 4 elements, and computes one.
    assert bytes_per_batch(SMALL, 100, whole_last_block=False) == 4 * (2 * (16 + 2 * 4) + 100)


def test_shares_of_the_limits():
    chip = find_chip("NVIDIA A100-SXM4-80GB")
    facts = {"compile_seconds": 1.0, "parameters": 86_567_656}
    result = summarize(B_16, "timm", [2.0, 0.001, 0.001], facts, chip)
    assert result["images_per_second"] == 1000
    # 35.16 GFLOP in a millisecond, of 156 TFLOP/s.
    assert result["share_of_tflops"] == pytest.approx(35.16 / 156, rel=2e-3)
    gigabytes = bytes_per_batch(B_16, 86_567_656) / 1e9
    ours = summarize(B_16, "ours", [0.001], facts, chip)
    assert ours["gigabytes_per_second"] < 1000 * gigabytes
    assert result["share_of_bandwidth"] == pytest.approx(gigabytes * 1000 / 2039)


def test_an_unknown_chip_has_no_shares():
    assert find_chip("NVIDIA B9999") is None
    result = summarize(B_16, "ours", [1.0], {"compile_seconds": 1.0, "parameters": 1}, None)
    assert result["share_of_tflops"] is None
    assert result["share_of_bandwidth"] is None


def test_a_chip_without_bfloat16_has_no_share_of_it():
    work = dataclasses.replace(B_16, precision="bfloat16")
    facts = {"compile_seconds": 1.0, "parameters": 1}
    result = summarize(work, "ours", [1.0], facts, find_chip("Tesla T4"))
    assert result["share_of_tflops"] is None
    assert result["share_of_bandwidth"] > 0


def test_the_speedup_is_the_median_of_ratios_within_rounds():
    seconds = {"ours": [1.0, 2.0, 4.0], "slow": [9.0] * 3, "fast": [3.0, 4.0, 6.0]}
    assert compare(seconds, {}) == {"fastest_peer": "fast", "speedup": 2.0}
    assert compare(seconds, {"fast": "failed"})["fastest_peer"] == "slow"
    assert compare(seconds, {"ours": "failed"})["speedup"] is None


def test_the_most_valuable_cell_comes_first():
    first, *_, last = full_plan(480).cells
    assert str(first) == "B/16, training, bfloat16, batch 128"
    assert str(last) == "S, inference, float32, batch 4096"
    assert {len(cell.contenders) for cell in full_plan(480).cells} == {2, 3}


def test_float32_logits_may_differ_by_1e_4_and_bfloat16_by_its_rounding():
    logits, gradient = np.ones((2, 3), np.float32), np.ones(5, np.float32)
    expected = logits, gradient

    def verdict(float32_error=0.0, bfloat16_error=0.0, gradient_error=0.0):
        full = logits + np.float32(float32_error), gradient * np.float32(1 + gradient_error)
        low = logits * np.float32(1 + bfloat16_error), gradient
        return judge(expected, full, low)

    assert verdict()["passed"]
    assert verdict(float32_error=9e-5, bfloat16_error=0.04)["passed"]
    assert not verdict(float32_error=2e-4)["passed"]
    assert verdict(gradient_error=9e-4)["passed"]
    assert not verdict(gradient_error=2e-3)["passed"]
    assert not verdict(bfloat16_error=0.06)["passed"]
    not_finite = verdict(bfloat16_error=np.nan)
    assert not not_finite["passed"]
    assert not_finite["bfloat16_distances"]["logits"] is None  # JSON has no NaN
