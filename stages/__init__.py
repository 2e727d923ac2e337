"""The stages of the pipeline, one script each, and the files that they share."""
