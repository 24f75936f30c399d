"""The stages of the pipeline, one function each."""
