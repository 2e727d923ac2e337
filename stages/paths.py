"""Every file that stages share, relative to the project's folder."""

from pathlib import Path

DATASET = Path("data/dataset.npz")
CHECKED = Path("data/checked.txt")
WEIGHTS = Path("models/vit.safetensors")
HISTORY = Path("results/history.csv")
SNAPSHOTS = Path("results/snapshots.npz")
METRICS = Path("results/metrics.json")
PREDICTIONS = Path("results/predictions.csv")
PER_CLASS = Path("results/per_class.csv")
FAITHFULNESS = Path("results/faithfulness.csv")
CORRUPTIONS = Path("results/corruptions.csv")
ATTENTION = Path("results/attention")  # a folder: heatmaps, and the arrays that they show
ATTENTION_ARRAYS = ATTENTION / "attention.npz"
MEAN_ATTENTION = ATTENTION / "mean_attention.npz"
ATTENTION_IMAGES = ATTENTION / "images"  # a folder: a sheet for each explained image
FIGURES = Path("results/figures")
REPORT = Path("results/report.html")
TIMING = Path("results/timing.json")  # a record, and no output of a stage
DEFAULT_PARAMS = Path("recipes/default.yaml")
