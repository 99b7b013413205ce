"""The stages of the pipeline as plain functions, from ingest to the report.

A stage takes a section of the configuration and paths or objects, returns a small frozen result and keeps no state.
Stages never print; they call the `pipeline.progress.Progress` they are given. The commands live in `workflows`.
"""

# First, because the GRIB library brings an SQLite of its own, too old for MLflow, and the first one loaded serves all.
import sqlite3  # noqa: F401
