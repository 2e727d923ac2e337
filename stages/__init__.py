"""The stages of the pipeline, one script each: python -m stages.NAME from the project's folder."""
