"""The stages of the pipeline: detection, parsing, blending, background."""
