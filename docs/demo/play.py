"""The demonstration: a server, three netcats and a chat."""

import os
import re
import signal
import socket
import sys
import tempfile
from pathlib import Path

import picture
from stage import Missing, Stage

ROOT = Path(__file__).resolve().parents[2]
LOG = ["GET / 200", "GET /missing 404", "POST /login 200"]


def environment(home):
    """The environment of the shells, without the user's settings."""
    return {
        "PATH": f"{ROOT}/target/release:{os.environ['PATH']}",
        "HOME": home,
        "PS1": "$ ",
        "TERM": "xterm-256color",
        "LC_ALL": "C.UTF-8",
        "TZ": "UTC",
    }


def play(stage):
    server = stage.open("server", "server", 102, 9)
    alice = stage.open("alice", "alice · oyez chat", 42, 26)
    bob, carol, dave = (
        stage.open(name, f"{name} · netcat", 57, 7) for name in ("bob", "carol", "dave")
    )

    def expect_line(number, sender, text, netcats):
        for netcat in netcats:
            stage.expect(netcat, f"broadcast {number} {sender} {text}")
        mark = ">" if sender == "alice" else f"{sender}:"
        stage.expect(alice, rf"\d (=> )?{mark} {text}")

    for pane in stage.panes:
        stage.expect_prompt(pane)

    stage.caption = "Start the server. It needs no configuration."
    stage.pause(0.5)
    stage.type((server, "oyezd", "listening on 127.0.0.1:5050"))
    stage.pause(1)

    stage.caption = "Connect with netcat, or with the chat."
    netcat = "nc 127.0.0.1 5050"
    stage.type(*(
        (pane, netcat, f"welcome {id} ") for id, pane in enumerate([bob, carol, dave], 1)
    ))
    stage.type(*(
        (pane, f"name {pane.name}", f"ok name {pane.name}") for pane in [bob, carol, dave]
    ))
    stage.type((alice, "oyez --name alice", "4 here"))
    stage.pause(1)

    stage.caption = "Every line goes to everybody, in the same order."
    stage.type((bob, "say good morning, alice", "broadcast 1 "))
    expect_line(1, "bob", "good morning, alice", [bob, carol, dave])
    stage.pause(1.5)
    stage.type((alice, "hello bob", r"\d > hello bob"))
    expect_line(2, "alice", "hello bob", [bob, carol, dave])
    stage.pause(1.5)

    stage.caption = "A direct message goes to one client."
    stage.type((carol, "send alice lunch at one?", "ok send alice"))
    stage.expect(alice, r"\[carol\] lunch at one\?")
    stage.pause(1)
    stage.type((alice, "/send carol yes", r"\[> carol\] yes"))
    stage.expect(carol, "direct alice yes")
    stage.pause(1.5)

    stage.caption = "dave's netcat is killed, and misses two lines …"
    dave.kill(signal.SIGKILL)
    stage.expect(dave, "Killed")
    stage.expect(server, r"\(dave\) from \S+ disconnected")
    stage.pause(1.5)
    stage.type((bob, "say the door code is 4711", "broadcast 3 "))
    expect_line(3, "bob", "the door code is 4711", [bob, carol])
    stage.pause(0.8)
    stage.type((alice, "thanks", r"\d > thanks"))
    expect_line(4, "alice", "thanks", [bob, carol])
    stage.pause(1.2)

    stage.caption = "… which it receives when it returns: it resumes after line 2."
    stage.type((dave, netcat, "welcome 5 "))
    feed = re.search(r"welcome 5 (\w+) ", dave.text())[1]
    stage.pause(0.7)
    stage.type((dave, f"resume 2 {feed}", "ok resume 2"))
    expect_line(3, "bob", "the door code is 4711", [dave])
    expect_line(4, "alice", "thanks", [dave])
    stage.pause(3)

    stage.caption = "Pipe a log to everybody."
    dave.press("\x03")
    stage.expect_prompt(dave)
    dave.title = "dave · shell"
    stage.type((dave, "cat app.log | oyez broadcast -", r"broadcast - \$$"))
    for number, line in enumerate(LOG, 5):
        expect_line(number, "6", line, [bob, carol])
    stage.pause(2.5)

    # A cut: the programs end and the screens are cleared. The next pause records the result.
    for pane in [alice, server, bob, carol]:
        pane.press("\x03")
        stage.expect_prompt(pane)
    for pane in stage.panes:
        pane.press("clear\r")
        stage.wait(pane, "an empty screen", lambda: pane.text() == "$")
    for pane in [bob, carol, dave]:
        pane.title = f"{pane.name} · oyez raw"

    stage.caption = "Encrypt: pin the server's certificate by its fingerprint."
    start = "oyezd --listen-tls 127.0.0.1:5050 --tls-self-signed tls"
    stage.type((server, start, "certificate sha256:[0-9a-f]{64}"))
    stage.pause(2)
    oyez = "oyez --tls-fingerprint " + re.search("sha256:[0-9a-f]{64}", server.text())[0]
    stage.paste((alice, f"{oyez} --name alice", "connected"))
    stage.pause(1.5)
    stage.paste(*(
        (pane, f"{oyez} --name {pane.name} raw", f"ok name {pane.name}")
        for pane in [bob, carol, dave]
    ))
    stage.pause(1)
    stage.type((bob, "say nobody on the way can read this", "broadcast 1 "))
    expect_line(1, "bob", "nobody on the way can read this", [bob, carol, dave])
    stage.pause(2)

    stage.caption = "Shut down: everybody receives what is pending, and a goodbye."
    stage.type((bob, "shutdown", "goodbye shutdown"))
    for pane in [carol, dave]:
        stage.expect(pane, "goodbye shutdown")
    stage.expect(alice, "shut down")
    stage.expect(server, "shut down: 4 clients drained, 0 cut off")
    stage.pause(4)


def check_port():
    """Exits if another program has the port that oyezd listens on by default."""
    try:
        socket.create_server(("127.0.0.1", 5050)).close()
    except OSError:
        sys.exit("cannot listen on port 5050; stop the program that uses it")


def main():
    is_check = sys.argv[1:] == ["--check"]
    check_port()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "app.log").write_text("".join(f"{line}\n" for line in LOG))
        stage = Stage(folder, environment(folder), has_pauses=not is_check)
        try:
            play(stage)
        except Missing as error:
            for pane in stage.panes:
                rows = [f"-- {pane.name}"] + [row.rstrip() for row in pane.screen.display]
                print(*filter(None, rows), sep="\n", file=sys.stderr)
            sys.exit(f"missing: {error}")
        finally:
            stage.close()
    print(f"every line arrived; {stage.time:.0f} seconds, {len(stage.frames)} frames")
    if not is_check:
        picture.write_svg(stage.recording(), ROOT / "docs/demo.svg")
        picture.write_video(stage.recording(), ROOT / "target/demo/demo.mp4")


main()
