"""Signs of life on stderr: progress bars, and an answer to Ctrl-C while a function is being compiled."""

import contextlib
import signal
import socket
import sys
import threading

import tqdm

TICK = 1.0  # seconds between two looks at the clock
IN_A_FILE = 10.0  # seconds between two lines where stderr is no terminal: a log of hours stays small
MEASURED = 5.0  # seconds after which it can be said how long the whole will take


class Bar(tqdm.tqdm):
    """A tqdm bar whose clock goes on, on a terminal, while nothing moves, as where a function is being compiled."""

    def __init__(self, *arguments, **settings):
        self._over, self._ticks, self._said = threading.Event(), None, False
        on_terminal = (settings.get("file") or sys.stderr).isatty()
        super().__init__(*arguments, mininterval=0.1 if on_terminal else IN_A_FILE, **settings)
        if on_terminal and not self.disable:
            self._ticks = threading.Thread(target=self._tick, daemon=True)
            self._ticks.start()

    def _tick(self):
        while not self._over.wait(TICK):
            with self.get_lock():
                if not self._over.is_set():
                    self.refresh(nolock=True)

    def close(self):
        with self.get_lock():  # a tick would draw it again
            self._over.set()
        super().close()

    def measure_from(self, n):
        """Stands at n, and leaves what was done so far, and its time, out of the rate: the first call compiles."""
        self.n = self.initial = self.last_print_n = n
        self.start_t = self.last_print_t = self._time()
        self.refresh()

    def say_how_long(self):
        """Writes a line, once, when it is known: 'about 1 h 40 min to go'."""
        measured = self._time() - self.start_t
        if self._said or measured < MEASURED or self.n == self.initial:
            return
        self._said = True
        left = (self.total - self.n) * measured / (self.n - self.initial)
        self.write(f"about {duration(left)} to go", file=sys.stderr)


def duration(seconds: float) -> str:
    """'90 s', '5 min', '1 h 40 min'."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min"


@contextlib.contextmanager
def answering(signals, sign):
    """Within, the first of these signals prints `sign` to stderr at once.

    Its handler runs later, once the main thread is back from what it does outside of Python, such as compiling. Signals
    that are ignored get no answer. Outside of the main thread, where no signal is handled, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reading, writing = socket.socketpair()  # for which Windows takes no pipe
    writing.setblocking(False)
    before = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    answer = threading.Thread(target=_answer, args=(reading, signals, sign), daemon=True)
    answer.start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        writing.close()  # which ends the thread
        answer.join()
        reading.close()


def _answer(reading, signals, sign):
    while number := reading.recv(1):
        if number[0] in signals:
            tqdm.tqdm.write(sign, file=sys.stderr)
            return
