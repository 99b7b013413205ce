"""Input at a URL: its files brought into a folder of the pipeline, its Zarr groups named there and read where they are.

`place` lists what fsspec reaches, `fetching` fetches what is new or changed, `wording` says what went wrong. What does
not live here: what becomes of the files (`ingest`), and opening a Zarr group (`opening`).

    found = fetch("s3://bucket/era5", Path("runs/era5/fetched"), ["{time:%Y}/*.nc"], archived=digests)
    found.paths, found.known, found.failed

A file is fetched under another name and renamed when all its bytes are there. Beside it is a record of what the place
said about it (size, ETag or time of change) and of its sha256; while both hold, it is not fetched again. What is in the
archive as a whole is removed and known by its record from then on. Credentials are those that the library of the
protocol finds in the environment; they are neither taken nor kept here.
"""

from .fetching import RECORDS, Fetched, discard, fetch
from .place import known_of, storage_options

__all__ = ["RECORDS", "Fetched", "discard", "fetch", "known_of", "storage_options"]
