"""Signs of life: a bar whose clock goes on, and an answer to signals that a busy main thread can't handle yet."""

import hashlib
import io
import signal
import sys
import threading
import time

import pytest

from maml.runs import progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(progress, "TICK", 0.02)
    return Terminal()


def drawn(screen):
    return screen.getvalue().count("0/5")


def test_the_clock_goes_on_until_the_bar_is_closed(terminal):
    bar = progress.Bar(total=5, file=terminal, ncols=80)
    before, until = drawn(terminal), time.monotonic() + 20
    while drawn(terminal) < before + 3 and time.monotonic() < until:
        time.sleep(0.01)
    assert drawn(terminal) >= before + 3
    bar.close()
    at_the_end = terminal.getvalue()
    time.sleep(0.1)
    assert terminal.getvalue() == at_the_end


def test_in_a_file_a_bar_is_drawn_every_ten_seconds():
    log = io.StringIO()
    for _ in progress.Bar(range(1000), file=log):
        time.sleep(1e-4)
    assert len(log.getvalue().split("\r")) <= 3  # at the beginning and at the end


def test_the_first_call_is_not_part_of_the_rate(terminal):
    """It took an hour for one iteration; the other three a second each."""
    with progress.Bar(total=100, file=terminal, ncols=80) as bar:
        clock = bar._time = lambda: clock.now
        clock.now = bar.start_t + 3600
        bar.measure_from(1)
        clock.now += 3
        bar.update(3)
        assert bar.n == 4 and bar.format_dict["rate"] == pytest.approx(1.0)


def test_how_long_it_takes_is_said_once_when_it_is_known(terminal, capsys):
    with progress.Bar(total=3605, file=terminal) as bar:
        bar.measure_from(1)
        bar.say_how_long()
        bar.start_t -= 10.0
        bar.update(4)
        bar.say_how_long()
        bar.update(1)
        bar.say_how_long()
    assert capsys.readouterr().err.strip() == "about 2 h 30 min to go"


@pytest.mark.parametrize(
    "seconds, text", [(3.2, "3 s"), (119, "119 s"), (121, "2 min"), (3599, "1 h 00 min"), (6000, "1 h 40 min")]
)
def test_durations(seconds, text):
    assert progress.duration(seconds) == text


def test_an_answer_comes_before_the_handler_can_run(monkeypatch):
    """The main thread is in a function of C, as it is while XLA compiles, which no handler of Python interrupts."""
    monkeypatch.setattr(sys, "stderr", screen := io.StringIO())
    handled, answered = [], []

    def kill():
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        until = time.monotonic() + 20
        while not screen.getvalue() and time.monotonic() < until:
            time.sleep(0.001)
        answered.append(time.monotonic())

    before = signal.signal(signal.SIGINT, lambda *_: handled.append(time.monotonic()))
    killer = threading.Timer(0.1, kill)
    try:
        with progress.answering([signal.SIGINT], "stopping …"):
            killer.start()
            hashlib.pbkdf2_hmac("sha256", b"a", b"b", 1_500_000)  # about a second, all of it in C
            killer.join()
    finally:
        signal.signal(signal.SIGINT, before)
    assert screen.getvalue() == "stopping …\n" and answered[0] < handled[0]


def test_other_signals_get_no_answer(monkeypatch):
    monkeypatch.setattr(sys, "stderr", screen := io.StringIO())
    before = signal.signal(signal.SIGUSR1, lambda *_: None)
    try:
        with progress.answering([signal.SIGINT], "stopping …"):
            signal.raise_signal(signal.SIGUSR1)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert screen.getvalue() == "" and signal.set_wakeup_fd(-1) == -1
