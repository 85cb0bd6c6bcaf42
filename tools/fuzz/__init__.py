"""Fuzzing: the package is given altered files, texts, requests and detections; it gives a result or a named error.

`python -m tools.fuzz --cases 100000` runs every target; `--seconds 120` what fits into the time; `--atheris` lets the
package atheris choose the cases by coverage. Each run prints its seed, with which it can be repeated.
"""
