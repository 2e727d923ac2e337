"""Attention arrays in, explanations out."""
