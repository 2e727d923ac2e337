"""Panels of the page: NAME.py prepares one, NAME.html shows it, NAME.js reacts to a person."""
