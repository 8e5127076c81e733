"""What the benchmark of several workers says follows from what it measured."""

import pytest

from maml.benchmarks import sharing


def test_a_ring_takes_two_rounds_for_each_worker_but_one():
    """4 workers, 0.5 ms a round, 8 MB at 1 GB/s: 6 rounds of 0.5 ms and 2 ms."""
    assert sharing.ring_seconds(8e6, 0.5e-3, 1e9, 4) == pytest.approx(15e-3)


def test_the_efficiency_is_the_part_of_the_time_that_is_not_spent_on_the_ring():
    """Of a step of 45 ms beside those 15 ms."""
    assert sharing.efficiency(45e-3, 8e6, 0.5e-3, 1e9, 4) == pytest.approx(0.75)
    assert sharing.efficiency(45e-3, 8e6, 0.5e-3, 1e9, 1) == 1


def test_what_is_printed_has_a_row_for_each_number_of_workers(monkeypatch, capsys):
    """100 ms alone; two: 60 ms, with M tasks each 110 ms; one on both cores 55 ms."""
    seconds = dict(zip(sharing.FORMS, (0.1, 0.06, 0.11, 0.055)))
    monkeypatch.setattr(
        sharing, "_in_processes", lambda form, *_: {"seconds": seconds[form], "bytes": 1000000, "all_reduce": 2e-3}
    )
    sharing.main("omniglot")
    said = capsys.readouterr().out
    assert "two on a core each 1.67, with M tasks each 1.82; one on two cores 1.82" in said
    assert "1,000,000 bytes between two processes of this machine: 2.00 ms" in said
    # 8 workers: 14 rounds of 1 ms and 0.1 ms at 10 Gb/s, so 100 / (100 + 15.4).
    rows = [line.split() for line in said.splitlines()[-3:]]
    assert [row[0] for row in rows] == ["8", "64", "512"] and rows[0][1] == "87"
