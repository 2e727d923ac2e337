"""The panels of a run, in the order of the page."""

from vit_hk.data.dataset import Dataset
from vit_hk.explain.attention_moments import AttentionMoments
from vit_hk.params import ModelSettings
from vit_hk.report.panels.architecture import architecture_panel
from vit_hk.report.panels.mean_attention import mean_attention_panel
from vit_hk.report.panels.panel import Panel
from vit_hk.report.panels.reliability import reliability_panel
from vit_hk.report.panels.training_maps import training_panel
from vit_hk.report.predictions import Predictions
from vit_hk.report.snapshots import Snapshots
from vit_hk.report.weights_file import WeightsFile


def make_panels(
    model: ModelSettings,
    dataset: Dataset,
    predictions: Predictions,
    weights: WeightsFile,
    snapshots: Snapshots,
    moments: AttentionMoments,
) -> list[Panel]:
    """Make all panels from what the stage `report` has read."""
    correct = predictions.classes == dataset.y_test
    return [
        architecture_panel(weights),
        mean_attention_panel(moments, model, dataset.image_shape),
        Panel("flow", "Attention flow from layer to layer", None),
        Panel("feature_map", "Features of the images after each layer", None),
        training_panel(snapshots, model),
        reliability_panel(predictions.confidence, correct),
    ]
