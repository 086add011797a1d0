"""What a run shows while it works: one line that a person reads, and the same as a mapping for engines."""

import sys
import time
from collections.abc import Mapping

EVERY_TERMINAL, EVERY_LOG = 0.5, 5.0  # seconds between updates on a terminal, and of lines elsewhere


def clock(seconds: float) -> str:
    """3725 -> 1:02:05."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def line(state: Mapping[str, object]) -> str:
    """images seen of all, speed, losses, memorized share so far, time left; what is not known yet is left out."""
    parts = [f"{state['images_seen']:>9,} of {state['images_total']:,} images"]
    if state.get("images_per_second"):
        parts.append(f"{state['images_per_second']:,.0f}/s")
    for name, label in (("train_loss", "train loss"), ("seen_loss", "seen"), ("holdout_loss", "held-out")):
        if state.get(name) is not None:
            parts.append(f"{label} {state[name]:.3f}")
    if state.get("n_generated"):
        parts.append(f"memorized {state['n_memorized']}/{state['n_generated']}")
    if state.get("seconds_left") is not None:
        parts.append(f"{clock(state['seconds_left'])} left")
    return "  ".join(parts)


class Printer:
    """Shows `line` at most every few seconds: rewritten in place on a terminal, as plain lines elsewhere."""

    def __init__(self, name: str, stream=sys.stderr) -> None:
        self.name, self.stream, self.last, self.width = name, stream, 0.0, 0
        self.terminal = stream.isatty()

    def __call__(self, state: Mapping[str, object]) -> None:
        now = time.monotonic()
        done = state["images_seen"] == state["images_total"]
        if now - self.last < (EVERY_TERMINAL if self.terminal else EVERY_LOG) and not done:
            return
        self.last, text = now, f"{self.name}  {line(state)}"
        if self.terminal:
            print(f"\r{text.ljust(self.width)}", end="\n" if done else "", file=self.stream, flush=True)
            self.width = len(text)
        else:
            print(text, file=self.stream, flush=True)
