from pipeline.rejection import Rejection


def test_rejection_reads_as_one_line(tmp_path):
    assert str(Rejection("Q-NAN", tmp_path / "a.nc", "it is bad")) == "Q-NAN: a.nc: it is bad"
