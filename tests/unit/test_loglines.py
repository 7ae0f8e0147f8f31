"""Lines of logs: the worker's form read back, and what other lines tell."""

from __future__ import annotations

import logging
import threading

import pytest

from comfy_aws import joblog
from comfy_aws.errors import NotFound
from comfy_aws.loglines import LineReader, LogFilter, LogLine, level_of
from comfy_aws.logs import MOST, Ring, RingTail, Tails
from comfy_aws.machinelogs import FileTail, JournalTail
from comfy_aws.worker.journal import RUNNER, Journal

JOB = "4f2e1c00-1111-2222-3333-444455556666"


def test_what_the_worker_writes_is_read_back():
    journal = Journal()
    journal.job = JOB
    try:
        raise ValueError("of two\nlines")
    except ValueError:
        record = logging.getLogger("comfy_aws.worker").makeRecord(
            "comfy_aws.worker",
            logging.ERROR,
            "f",
            1,
            "It %s.",
            ("broke",),
            __import__("sys").exc_info(),
        )
    reader = LineReader("worker")
    lines = [reader.read(1.0, line) for line in journal.format(record).splitlines()]
    assert lines[0] == LogLine(1.0, "error", JOB, "worker", "It broke.")
    assert lines[-1].text == "lines"
    assert {(line.job, line.level) for line in lines} == {(JOB, "error")}
    journal.job = ""
    record = logging.LogRecord(RUNNER, logging.INFO, "f", 1, "100%| 20/20", (), None)
    assert reader.read(2.0, journal.format(record)) == LogLine(
        2.0, "info", "", "runner", "100%| 20/20"
    )


@pytest.mark.parametrize(
    ("text", "level"),
    [("Starting server", "info"), ("WARNING: old", "warning"), ("UserWarning: x", "info"),
     ("!!! Exception during processing !!!", "error"), ("Cannot: KeyError: 'x'", "error"),
     ("terror and warnings", "info")],
)  # fmt: skip
def test_words_tell_the_level(text, level):
    assert level_of(text) == level


def test_a_designers_line_carries_the_job_that_it_was_written_for(caplog):
    log = joblog.logger("comfy_aws.some_part")

    def work() -> None:
        joblog.JOB.set(JOB)
        log.warning("The pack %s asks for %r.", "cats", 5)
        log.error("Job %s failed.", JOB)
        try:
            raise ValueError("bad")
        except ValueError:
            log.exception("It broke")

    with caplog.at_level(logging.INFO, "comfy_aws"):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        log.info("Of no job.")
    told = [record.getMessage() for record in caplog.records]
    assert told == [
        f"job={JOB} The pack cats asks for 5.",
        f"Job {JOB} failed.",
        f"job={JOB} It broke",
        "Of no job.",
    ]
    assert {record.filename for record in caplog.records} == {"test_loglines.py"}
    reader = LineReader("designer")
    assert [reader.read(1.0, text).job for text in told] == [JOB, JOB, JOB, ""]


def test_a_traceback_belongs_to_its_job():
    reader = LineReader("designer")
    texts = [f"Job {JOB} failed on this side", "Traceback (most recent call last):",
             '  File "x.py", line 1', "KeyError: 'x'", "got prompt"]  # fmt: skip
    lines = [reader.read(1.0, text) for text in texts]
    assert [line.job for line in lines] == [JOB] * 4 + [""]
    assert [line.level for line in lines] == ["error"] * 4 + ["info"]
    wanted = LogFilter(job=JOB, level="warning", text="KEY")
    assert [line.text for line in lines if wanted.matches(line)] == ["KeyError: 'x'"]


def test_newer_comfyuis_colour_their_lines_and_say_the_level():
    reader = LineReader("designer")
    lines = [
        "\x1b[32m[INFO]\x1b[0m Prompt executed, nothing failed",
        "\x1b[1m\x1b[33m[WARNING]\x1b[0m \x1b[36mold\x1b[0m",
        f"\x1b[1m\x1b[31m[ERROR]\x1b[0m Traceback (most recent call last): prompt {JOB}",
        '  File "a.py", line 1',
        "ValueError: 5",
        "[WARNING] Traceback (most recent call last):",
        "  File",
        "[DETAIL] not of it",
        "[CRITICAL] all lost",
        "[INFO]",
        "[Manager] as it was",
    ]
    read = [reader.read(1.0, line) for line in lines]
    assert [(line.level, line.text) for line in read] == [
        ("info", "Prompt executed, nothing failed"), ("warning", "old"),
        ("error", f"Traceback (most recent call last): prompt {JOB}"),
        ("error", '  File "a.py", line 1'), ("error", "ValueError: 5"),
        ("error", "Traceback (most recent call last):"), ("error", "  File"),
        ("debug", "not of it"), ("error", "all lost"), ("info", ""),
        ("info", "[Manager] as it was"),
    ]  # fmt: skip
    assert [line.job for line in read[2:8]] == [*[JOB] * 5, ""]


def test_a_ring_takes_pieces_and_progress_bars():
    ring = Ring("designer", 3)
    for text in ("one\ntw", "o\n", "\r 10%", "\r 20%", "\r100%\n", "\n", "last\r\n", "open"):
        ring.feed(1.0, text)
    lines, count = ring.since(0)
    assert [line.text for line in lines] == ["two", "100%", "last"]
    assert count == 4
    tail = RingTail(ring, LogFilter(), last=1)
    assert [line.text for line in tail.read()] == ["last"]
    assert tail.read() == []
    ring.feed(2.0, " line\n")
    assert [line.text for line in tail.read()] == ["open line"]


def test_a_page_goes_on_by_its_token():
    ring, tails = Ring("designer"), Tails()

    def begin() -> RingTail:
        return RingTail(ring, LogFilter())

    ring.feed(1.0, "one\n")
    lines, token, fresh = tails.read("unknown", begin)
    assert ([line.text for line in lines], fresh) == (["one"], True)
    ring.feed(1.0, "two\n" * (MOST + 1))
    lines, again, fresh = tails.read(token, begin)
    assert (len(lines), again, fresh) == (MOST, token, False)
    assert tails.read(token, begin)[0] == []


def test_a_file_is_followed_by_its_end(tmp_path):
    path = tmp_path / "output.log"
    with pytest.raises(NotFound, match="There is no start-up log"):
        FileTail(LogFilter(), path=path).read()
    path.write_text("one\ntwo\nthr")
    tail = FileTail(LogFilter(), path=path, last=1)
    assert [line.text for line in tail.read()] == ["two"]
    with path.open("a") as stream:
        stream.write("ee\nfour\n")
    assert [line.text for line in tail.read()] == ["three", "four"]
    path.write_text("new\n")
    assert [line.text for line in tail.read()] == ["new"]


def test_a_machine_without_the_service_says_so():
    with pytest.raises(NotFound, match="journalctl is missing"):
        JournalTail(LogFilter(), program="no-such-journalctl").read()
    with pytest.raises(NotFound, match="journal"):
        JournalTail(LogFilter(), unit="no-such-unit").read()


JOURNALCTL = """#!{python}
import json, sys
assert "--unit=comfy" in sys.argv and "--output=json" in sys.argv
entries = [
    {{"__CURSOR": f"s=1;i={{n}}", "__REALTIME_TIMESTAMP": f"{{n}}000000", "MESSAGE": text}}
    for n, text in enumerate(open({lines!r}).read().splitlines())
]
for argument in sys.argv:
    if argument.startswith("--after-cursor="):
        entries = entries[int(argument.rpartition("=")[2]) + 1:]
    elif argument.startswith("--lines=") and not argument.endswith("all"):
        entries = entries[-int(argument[8:]):]
for entry in entries:
    print(json.dumps(entry))
"""


def test_a_journal_is_followed_by_its_cursor(tmp_path):
    import sys

    lines, program = tmp_path / "lines", tmp_path / "journalctl"
    lines.write_text("one\ntwo\nthree\n")
    program.write_text(JOURNALCTL.format(python=sys.executable, lines=str(lines)))
    program.chmod(0o755)
    tail = JournalTail(LogFilter(), last=2, program=str(program))
    assert [(line.at, line.text) for line in tail.read()] == [(1.0, "two"), (2.0, "three")]
    assert tail.read() == []
    lines.write_text("one\ntwo\nthree\nfour\n")
    assert [line.text for line in tail.read()] == ["four"]
    found = JournalTail(LogFilter(text="ONE"), last=2, program=str(program)).read()
    assert [line.text for line in found] == ["one"]
