"""The page of figures says what the recorded results say."""

from __future__ import annotations

from benchmarks import report


def test_the_page_is_what_the_results_say() -> None:
    assert report.PAGE.read_text() == report.page(), "run ./mosaicfs bench --report"
    assert report.RESULTS.joinpath("bench.json").exists()
