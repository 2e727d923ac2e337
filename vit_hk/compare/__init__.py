"""Two runs side by side in one page: settings, metrics, curves, images and attention."""
