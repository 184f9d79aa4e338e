"""A line on a terminal, once; nothing elsewhere."""

import io
import sys

from atlas.runtime.notices import Notice


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_sees_a_notice_once(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    notice = Notice("it takes long")
    notice.show()
    notice.show()
    assert sys.stderr.getvalue() == "it takes long\n"


def test_nothing_is_told_elsewhere(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    notice = Notice("it takes long")
    notice.show()
    assert sys.stderr.getvalue() == ""
    monkeypatch.setattr(sys, "stderr", None)  # as under pythonw
    Notice("it takes long").show()
