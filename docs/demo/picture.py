"""Draws a recording as an animated SVG, and as a video.

GitHub shows an SVG without scripts and external files, so CSS animates it: each row of a terminal
is a strip of all its texts, of which one is visible at a time.
"""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from html import escape
from itertools import pairwise

CELL, ROW, FONT, BASELINE = 7.8, 16, 13, 12
MARGIN, GAP, PADDING, TITLE, CAPTION = 12, 8, 8, 25, 34

FOREGROUND = "#d1d7e0"
COLORS = {
    "black": "#6e7681", "red": "#ff7b72", "green": "#3fb950", "brown": "#d29922",
    "blue": "#6cb6ff", "magenta": "#bc8cff", "cyan": "#39c5cf", "white": FOREGROUND,
    "brightblack": "#8b949e", "brightred": "#ffa198", "brightgreen": "#56d364",
    "brightbrown": "#e3b341", "brightblue": "#79c0ff", "brightmagenta": "#d2a8ff",
    "brightcyan": "#56d4dd", "brightwhite": "#ffffff",
}
STYLE = f"""
text {{ font: {FONT}px ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  fill: {FOREGROUND} }}
.caption {{ font: 600 16px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif;
  fill: #fff }}
.title {{ fill: #9198a1; font-size: 12px }}
.bold {{ font-weight: 700 }}
""" + "".join(f".{name} {{ fill: {color} }}\n" for name, color in COLORS.items()) + """
.reversed { fill: #0d1117 }
"""

REDUCED_MOTION = """@media (prefers-reduced-motion: reduce) { g { animation: none !important } }
"""


def layout(sizes):
    """The frame of each pane: the first on top, the second at the left, the others at the right."""
    top, left, *right = sizes
    x, y = MARGIN, MARGIN + CAPTION
    yield x, y, width(left) + GAP + width(right[0]), height(top)
    y += height(top) + GAP
    yield x, y, width(left), sum(map(height, right)) + GAP * (len(right) - 1)
    x += width(left) + GAP
    for size in right:
        yield x, y, width(size), height(size)
        y += height(size) + GAP


def width(size):
    return size[0] * CELL + 2 * PADDING


def height(size):
    return TITLE + size[1] * ROW + PADDING


class Drawing:
    """An SVG of the frames: animated, or a still picture of a single frame."""

    def __init__(self, recording, frames):
        self.frames, self.seconds = frames, recording.seconds
        self.scenes = list(dict.fromkeys(frame.caption for frame in recording.frames))
        self.boxes = list(layout(recording.sizes))
        self.width = round(max(x + width for x, _, width, _ in self.boxes) + MARGIN)
        self.height = round(max(y + height for _, y, _, height in self.boxes) + MARGIN)
        # Without animation, the picture shows the fullest frame.
        self.still = max(range(len(frames)), key=lambda index: len(str(frames[index].panes)))
        self.rules = [STYLE, REDUCED_MOTION]
        self.body = []

    def svg(self):
        self.body.append(
            f'<rect width="{self.width}" height="{self.height}" rx="10" fill="#0d1117"/>'
        )
        captions = [self.caption(frame) for frame in self.frames]
        self.strip(MARGIN, 8, self.width - 2 * MARGIN, CAPTION, captions)
        for index, box in enumerate(self.boxes):
            self.pane(*box, [frame.panes[index] for frame in self.frames])
        self.cursor()
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width}" height="{self.height}" '
            f'viewBox="0 0 {self.width} {self.height}">\n<style>{"".join(self.rules)}</style>\n'
            + "\n".join(self.body) + "\n</svg>\n"
        )

    def pane(self, x, y, width, height, states):
        self.body.append(
            f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{height}" rx="6" '
            f'fill="#151b23" stroke="#3d444d"/>'
        )
        x, width = x + PADDING, width - PADDING
        titles = [f'<text class="title" y="16">{escape(title)}</text>' for title, _ in states]
        self.strip(x, y, width, TITLE, titles)
        for row in range(len(states[0][1])):
            texts = ["".join(map(draw_run, rows[row])) for _, rows in states]
            self.strip(x, y + TITLE + row * ROW, width, ROW, texts)

    def caption(self, frame):
        """The caption, and a dot for each scene."""
        x = self.width - 2 * MARGIN - 14 * len(self.scenes) + 8
        dots = "".join(
            f'<circle cx="{x + 14 * index}" cy="18" r="3.5" '
            f'fill="{"#56d4dd" if scene == frame.caption else "#3d444d"}"/>'
            for index, scene in enumerate(self.scenes)
        )
        return f'<text class="caption" y="24">{escape(frame.caption)}</text>{dots}'

    def strip(self, x, y, width, height, states):
        """Draws the state of each frame at its time."""
        offsets = {state: index * height for index, state in enumerate(dict.fromkeys(states))}
        if not any(offsets):
            return
        style = self.animate([f"translateY({-offsets[state]}px)" for state in states])
        content = "".join(
            f'<g transform="translate(0 {offset})">{state}</g>' if offset else state
            for state, offset in offsets.items() if state
        )
        self.body.append(
            f'<svg x="{x:.1f}" y="{y}" width="{width:.1f}" height="{height}">'
            f"<g{style}>{content}</g></svg>"
        )

    def cursor(self):
        places = []
        for frame in self.frames:
            pane, column, row = frame.cursor or (0, 0, 0)
            x, y = self.boxes[pane][:2]
            x += PADDING + column * CELL
            places.append(f"translate({x:.1f}px,{y + TITLE + row * ROW}px)")
        self.body.append(
            f'<g{self.animate(places)}><rect width="{CELL}" height="{ROW - 1}" '
            f'fill="{FOREGROUND}" opacity=".6"/></g>'
        )

    def animate(self, transforms):
        """Returns an attribute that gives an element the transform of each frame at its time."""
        still = f"transform:{transforms[self.still]}"
        if len(set(transforms)) == 1:
            return f' style="{still}"'
        name = f"a{len(self.rules)}"
        steps = "".join(
            f"{frame.time * 100 / self.seconds:.3f}%{{transform:{new}}}"
            for frame, (old, new) in zip(self.frames, pairwise([None] + transforms)) if old != new
        )
        self.rules.append(f"@keyframes {name}{{{steps}}}\n")
        return f' style="{still};animation:{name} {self.seconds:.1f}s step-end infinite"'


def draw_run(run):
    column, text, color, is_bold, is_reversed = run
    color = color if color in COLORS else "white"
    place = f'x="{column * CELL:.1f}"'
    width = f"{len(text) * CELL:.1f}"
    classes = [name for name, has in [("bold", is_bold), ("reversed", is_reversed)] if has]
    classes += [color] if color != "white" else []
    style = f' class="{" ".join(classes)}"' if classes else ""
    # Fonts differ in width: fit the text into its cells.
    drawn = (
        f'<text {place} y="{BASELINE}"{style} textLength="{width}" lengthAdjust="spacingAndGlyphs">'
        f"{escape(text, quote=False)}</text>"
    )
    if is_reversed:
        drawn = f'<rect {place} width="{width}" height="{ROW}" class="{color}"/>{drawn}'
    return drawn


def write_svg(recording, path):
    path.write_text(Drawing(recording, recording.frames).svg())
    print(f"{path}: {path.stat().st_size // 1024} KiB")


def write_video(recording, path):
    folder = path.with_suffix("")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)

    def write_image(number, frame):
        command = ["rsvg-convert", "--zoom", "2", "--output", folder / f"{number:04}.png"]
        svg = Drawing(recording, [frame]).svg()
        subprocess.run(command, input=svg.encode(), check=True)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(write_image, range(len(recording.frames)), recording.frames))
    times = [frame.time for frame in recording.frames] + [recording.seconds]
    entries = [
        f"file {number:04}.png\nduration {end - start:.3f}\n"
        for number, (start, end) in enumerate(pairwise(times))
    ]
    # ffmpeg ignores the duration of the last entry.
    (folder / "frames").write_text("".join(entries + entries[-1:]))
    command = ["ffmpeg", "-loglevel", "error", "-y", "-f", "concat", "-i", folder / "frames"]
    command += ["-vf", "fps=20,format=yuv420p", "-preset", "veryfast", path]
    subprocess.run(command, check=True)
    print(path)
