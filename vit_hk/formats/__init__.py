"""Weights in the formats of other libraries, both ways, and ONNX. Needs none of those libraries."""
