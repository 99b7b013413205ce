"""Names of variables for people."""

from pipeline.fields import long_name


def test_names_for_people():
    assert long_name({}, "t2m") == "T2m"
    assert long_name({"standard_name": "air_temperature"}, "t2m") == "Air temperature"
    assert long_name({"standard_name": "air_temperature", "long_name": "2 m temperature"}, "t2m") == "2 m temperature"
