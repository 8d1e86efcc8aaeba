"""Texts that have come before: a million of them take no memory."""

import os

from stages.scratch import scratch_database


class Seen:
    """Knows what it was given. One thread at a time."""

    def __init__(self) -> None:
        self._texts = scratch_database()
        self._texts.execute("CREATE TABLE seen (text BLOB PRIMARY KEY, last INT) WITHOUT ROWID")

    def add(self, text: str) -> bool:
        """Take a text in, which may be a file name that is no Unicode; whether it is new."""
        insert = "INSERT OR IGNORE INTO seen VALUES (?, 1)"
        return self._texts.execute(insert, (os.fsencode(text),)).rowcount == 1

    def distinct(self, text: str) -> str:
        """The text if it is new, else `text#2`, `text#3`, ...: the first of these that is new."""
        if self.add(text):
            return text
        key = os.fsencode(text)
        (number,) = self._texts.execute("SELECT last FROM seen WHERE text = ?", (key,)).fetchone()
        while True:  # from the last number on: all lines of a manifest may name the same file
            number += 1
            if self.add(other := f"{text}#{number}"):
                self._texts.execute("UPDATE seen SET last = ? WHERE text = ?", (number, key))
                return other
