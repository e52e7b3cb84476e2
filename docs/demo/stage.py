"""Terminals that a script types into, and whose screens it records."""

import os
import pty
import re
import select
import signal
import struct
import termios
import time
from fcntl import ioctl
from typing import NamedTuple

import pyte

WAIT_SECONDS = 10
KEY_SECONDS = 0.05
# Typed text is bold and cyan, to distinguish it from output.
TYPED, PRINTED = "\x1b[1;96m", "\x1b[m"


class Missing(Exception):
    """A terminal did not show an expected line in time."""


class Frame(NamedTuple):
    """The screens from one time until the next frame. `panes` has the title and rows of each pane."""

    time: float
    caption: str
    panes: tuple
    cursor: tuple


class Recording(NamedTuple):
    """`sizes` has the numbers of columns and rows of each pane."""

    frames: list
    seconds: float
    sizes: list


class Screen(pyte.Screen):
    def select_graphic_rendition(self, *codes, **kwargs):
        # pyte does not support dim text. Show it gray.
        super().select_graphic_rendition(*(90 if code == 2 else code for code in codes), **kwargs)


class Pane:
    """A terminal with a shell."""

    def __init__(self, name, title, columns, rows, folder, environment):
        self.name, self.title = name, title
        self.screen = Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.pid, self.file = pty.fork()
        if self.pid == 0:
            # A background job may have inherited that Ctrl-C is ignored.
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            ioctl(0, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
            os.chdir(folder)
            os.execvpe("bash", ["bash", "--norc", "--noprofile"], environment)

    def text(self):
        """The text on the screen. Each run of spaces and line ends is one space."""
        return " ".join(" ".join(self.screen.display).split())

    def before_cursor(self):
        cursor = self.screen.cursor
        rows = self.screen.display[: cursor.y + 1]
        return "".join(rows)[: cursor.y * self.screen.columns + cursor.x]

    def press(self, keys):
        os.write(self.file, keys.encode())

    def read(self):
        try:
            self.stream.feed(os.read(self.file, 65536))
        except OSError:
            raise Missing(f"{self.name}: the shell exited") from None

    def draw_with(self, style):
        self.stream.feed(style.encode())

    def kill(self, number):
        """Sends a signal to the program that runs in this terminal."""
        os.killpg(os.tcgetpgrp(self.file), number)

    def close(self):
        self.kill(signal.SIGKILL)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)


class Stage:
    """All terminals, and the recording.

    The recording's clock advances only with keys and pauses. It does not depend on how long the
    programs take.
    """

    def __init__(self, folder, environment, has_pauses):
        self.folder, self.environment, self.has_pauses = folder, environment, has_pauses
        self.panes, self.frames = [], []
        self.time, self.caption, self.active = 0, "", None

    def open(self, name, title, columns, rows):
        pane = Pane(name, title, columns, rows, self.folder, self.environment)
        self.panes.append(pane)
        return pane

    def close(self):
        for pane in self.panes:
            pane.close()

    def read(self, seconds):
        """Waits for output and reads it. Returns whether there was any."""
        ready = select.select([pane.file for pane in self.panes], [], [], seconds)[0]
        for pane in self.panes:
            if pane.file in ready:
                pane.read()
        return bool(ready)

    def wait(self, pane, what, condition):
        end = time.monotonic() + WAIT_SECONDS
        while not condition():
            left = end - time.monotonic()
            if left <= 0:
                raise Missing(f"{pane.name} shows no such text after {WAIT_SECONDS} s: {what}")
            self.read(left)

    def expect(self, pane, pattern):
        """Waits until the terminal shows this regular expression."""
        self.wait(pane, pattern, lambda: re.search(pattern, pane.text()))

    def expect_prompt(self, pane):
        self.wait(pane, "a prompt", lambda: re.search(r"(^|\s)\$ $", pane.before_cursor()))

    def type(self, *lines):
        """Types lines in several terminals at the same time. Each is a pane, a text, and a regular
        expression to wait for after pressing Enter."""
        for step in range(1, max(len(text) for _, text, _ in lines) + 1):
            for pane, text, _ in lines:
                if step <= len(text):
                    self.enter(pane, text[step - 1], text[:step])
            self.pause(KEY_SECONDS)
        self.submit(lines)

    def paste(self, *lines):
        """Types lines at once."""
        for pane, text, _ in lines:
            self.enter(pane, text, text)
        self.submit(lines)

    def enter(self, pane, keys, typed):
        self.active = pane
        pane.draw_with(TYPED)
        pane.press(keys)
        self.wait(pane, f"the typed text: {typed}", lambda: pane.before_cursor().endswith(typed))
        pane.draw_with(PRINTED)

    def submit(self, lines):
        self.pause(0.4)
        for pane, _, pattern in lines:
            pane.press("\r")
            self.expect(pane, pattern)

    def pause(self, seconds):
        """Gives viewers time to read."""
        end = time.monotonic() + (seconds if self.has_pauses else 0)
        # Record the screens once there is no more output.
        for _ in range(100):
            if not self.read(0.005):
                break
        self.record()
        self.time += seconds
        while (left := end - time.monotonic()) > 0:
            self.read(left)

    def recording(self):
        sizes = [(pane.screen.columns, pane.screen.lines) for pane in self.panes]
        return Recording(self.frames, self.time, sizes)

    def record(self):
        """Adds a frame if something has changed."""
        panes = tuple((pane.title, screen_rows(pane.screen)) for pane in self.panes)
        cursor = self.active and (self.panes.index(self.active), *cursor_of(self.active.screen))
        frame = Frame(self.time, self.caption, panes, cursor)
        if not self.frames or frame[1:] != self.frames[-1][1:]:
            self.frames.append(frame)


def cursor_of(screen):
    # After a full row, the cursor is beyond the last column.
    return min(screen.cursor.x, screen.columns - 1), screen.cursor.y


def screen_rows(screen):
    """Each row as runs of text in one style: (column, text, color, is bold, is reversed)."""
    return tuple(tuple(row_runs(screen.buffer[y], screen.columns)) for y in range(screen.lines))


def row_runs(row, columns):
    runs = []
    for x in range(columns):
        cell = row[x]
        style = cell.fg, cell.bold, cell.reverse
        if not cell.data.strip():
            continue
        if runs and runs[-1][2:] == style and x - runs[-1][0] - len(runs[-1][1]) <= 1:
            start, text = runs.pop()[:2]
            runs.append((start, text.ljust(x - start) + cell.data, *style))
        else:
            runs.append((x, cell.data, *style))
    return runs
