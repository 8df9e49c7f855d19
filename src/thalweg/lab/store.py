"""The store: every run of a comparison, kept in its folder as it ends, so that nothing is lost or done twice.

One SQLite file, `thalweg.sqlite`. A run is known by what it is: the hash of the task and of the rule, and
all of its trial but the reason why it was asked for. What was measured to decide how to go on is kept too,
before the first step, and read back: a comparison that was killed and resumed ends as if it had not been.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import MISSING, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from thalweg.extras import require
from thalweg.lab.events import Event, Finished, Perform, Progress
from thalweg.lab.files import made
from thalweg.lab.plan import Trial
from thalweg.lab.run import Point, Run
from thalweg.lab.summary import machine, versions

NAME = "thalweg.sqlite"
LOCK = "thalweg.lock"
FORMAT = 1  # of the tables; a file of another format is refused, not guessed at

Decided = Callable[[str, Callable[[], Any]], Any]

SCHEMA = f"""
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE decisions (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE sessions (
    number INTEGER PRIMARY KEY, begun TEXT, ended TEXT, process INTEGER, host TEXT, machine TEXT, versions TEXT
);
CREATE TABLE runs (
    key TEXT PRIMARY KEY, optimizer TEXT, phase TEXT, trial TEXT, run TEXT, session INTEGER, ended TEXT
);
CREATE TABLE points ({", ".join(["run TEXT", *(f"{field.name} REAL" for field in fields(Point))])});
CREATE INDEX points_of_runs ON points (run);
PRAGMA user_version = {FORMAT};
"""


class StoreError(ValueError):
    """A folder cannot be used; the sentence says why, and what to do."""


class Store:
    """The runs of one task, in one folder; opened by `opened`, which holds the folder for this process alone."""

    def __init__(self, folder: Path, database: sqlite3.Connection):
        self.folder = folder
        self._database = database
        self._task = self._fact("task")
        self._rules: Mapping[str, str] = json.loads(self._fact("rules") or "{}")
        self._new = self._task is None
        self._session: int | None = None
        self._committed, self._forgetting = False, False

    # ---- what is compared

    @property
    def arguments(self) -> dict[str, Any] | None:
        """The arguments of the comparison as `begin` received them, or None in a new folder."""
        found = self._fact("arguments")
        return None if found is None else json.loads(found)

    @property
    def task(self) -> str | None:
        """The hash of the task, or None in a new folder."""
        return self._task

    @property
    def mode(self) -> str:
        """Which way the task's metric is better."""
        return self._fact("mode") or "min"

    def begin(
        self, arguments: Mapping[str, Any], task: str, rules: Mapping[str, str], fresh: bool = False, mode: str = "min"
    ) -> None:
        """Say what is compared from now on. Where the store is left before `commit`, everything is as it was before.

        Args:
            arguments: all that is needed to prepare the comparison again, as JSON.
            task: its hash.
            rules: their hashes by the name of the candidate.
            fresh: forget what is there.
            mode: which way the metric is better.

        Raises:
            StoreError: the folder holds runs of another task, or of other code.
        """
        if not fresh and self._task not in (None, task):
            count = self._database.execute("SELECT count(*) FROM runs").fetchone()[0]
            raise StoreError(
                f"the task has changed since the {count} run{'s' * (count != 1)} in {str(self.folder)!r}: "
                "its code or its data; they cannot be mixed. Choose another folder, or --fresh (fresh=True) "
                "to begin anew there."
            )
        with self._database as database:  # at once: a second process is told who works here
            about = (_now(), os.getpid(), socket.gethostname(), json.dumps(machine()), json.dumps(versions()))
            columns = "begun, process, host, machine, versions"
            added = database.execute(f"INSERT INTO sessions ({columns}) VALUES (?, ?, ?, ?, ?)", about)
            self._session = added.lastrowid
        if fresh:  # from here on one transaction, which a refusal takes back
            for table in ("facts", "decisions", "runs", "points"):
                self._database.execute(f"DELETE FROM {table}")
            self._database.execute("DELETE FROM sessions WHERE number != ?", (self._session,))
        self._task, self._rules, self._forgetting = task, dict(rules), fresh
        known = {"arguments": json.dumps(arguments), "task": task, "rules": json.dumps(self._rules), "mode": mode}
        self._database.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", known.items())
        if self._new:  # there is nothing to go back to, and `resume` shall find it after a crash
            self._database.commit()

    def commit(self) -> None:
        """It is known that the comparison can be made: what was begun is kept, and states of other code go."""
        if self._committed:
            return
        self._database.commit()
        self._committed = True
        for folder in (self.folder / "states").glob("*"):
            if self._forgetting or folder != self.states:
                shutil.rmtree(folder, ignore_errors=True)
        self.states.mkdir(parents=True, exist_ok=True)

    # ---- runs

    def key(self, trial: Trial) -> str:
        """What identifies the run of a trial, whatever it was asked for."""
        rule = self._rules.get(trial.optimizer, trial.optimizer)
        about = {"task": self._task, "rule": rule, **_as_data(trial, leave=("optimizer",))}
        return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]

    def knows(self, trials: Iterable[Trial]) -> bool:
        """Whether all of these have been run."""
        one = "SELECT 1 FROM runs WHERE key = ?"
        return all(self._database.execute(one, (self.key(trial),)).fetchone() for trial in trials)

    def find(self, trials: Iterable[Trial]) -> dict[Trial, Run]:
        """The runs that are known, of these trials."""
        found = {}
        for trial in trials:
            key = self.key(trial)
            row = self._database.execute("SELECT run FROM runs WHERE key = ?", (key,)).fetchone()
            if row is not None:
                found[trial] = _run(json.loads(row[0]), self._curve(key))
        return found

    def add(self, ended: Iterable[tuple[Trial, Run]]) -> None:
        """Keep runs, all or none of them, with their curves. Runs that are known already are left as they are."""
        with self._database as database:
            for trial, run in ended:
                key = self.key(trial)
                about = (key, trial.optimizer, trial.phase, json.dumps(_as_data(trial)), json.dumps(_run_data(run)))
                added = database.execute(
                    "INSERT OR IGNORE INTO runs VALUES (?, ?, ?, ?, ?, ?, ?)", (*about, self._session, _now())
                )
                if added.rowcount:
                    places = ", ".join("?" * (1 + len(fields(Point))))
                    database.executemany(
                        f"INSERT INTO points VALUES ({places})",
                        [(key, *(getattr(point, field.name) for field in fields(Point))) for point in run.curve],
                    )

    def rows(self) -> Iterator[dict[str, Any]]:
        """Every run as a flat dictionary, in the order in which they ended, with its Run under "run"."""
        unsaid = {field.name: field.default for field in fields(Trial) if field.default is not MISSING}
        listed = "SELECT key, trial, run, phase, session, ended FROM runs ORDER BY rowid"
        for key, trial, run, phase, session, ended in self._database.execute(listed).fetchall():
            about = {"phase": phase, "session": session, "ended": ended}
            yield {"key": key, **unsaid, **json.loads(trial), **about, "run": _run(json.loads(run), self._curve(key))}

    # ---- what was decided

    def decided(self, name: str, measure: Callable[[], Any]) -> Any:
        """What was measured once under this name; measured, and kept before it is used, if it never was.

        Args:
            name: of the decision; it says all that it depends on besides task and machine.
            measure: gives something that JSON can hold; asked only if nothing is known.
        """
        found = self._database.execute("SELECT value FROM decisions WHERE name = ?", (name,)).fetchone()
        if found is None:
            value, part = json.dumps(measure()), self._database.in_transaction
            self._database.execute("INSERT INTO decisions VALUES (?, ?)", (name, value))
            if not part:
                self._database.commit()
            return json.loads(value)
        return json.loads(found[0])

    # ---- where runs are under way

    @property
    def states(self) -> Path:
        """The folder for the states of runs that will go on, from `commit` on: another one for other code."""
        about = json.dumps([self._task, sorted(self._rules.items())])
        return self.folder / "states" / hashlib.sha256(about.encode()).hexdigest()[:16]

    # ---- when and where

    def sessions(self) -> list[dict[str, Any]]:
        """Every time that a process worked here: begun, ended (None if it was killed), machine, versions."""
        columns = ("number", "begun", "ended", "process", "host", "machine", "versions")
        rows = self._database.execute(f"SELECT {', '.join(columns)} FROM sessions ORDER BY number").fetchall()
        told = [dict(zip(columns, row, strict=True)) for row in rows]
        return [{**each, **{key: json.loads(each[key]) for key in ("machine", "versions")}} for each in told]

    def earlier(self) -> tuple[datetime | None, float]:
        """When the first session began, this one if there is no other, and the seconds of all before this one."""
        begun, seconds = None, 0.0
        for session in self.sessions():
            start = datetime.fromisoformat(session["begun"])
            begun = begun or start
            if session["number"] == self._session:
                continue
            last = "SELECT max(ended) FROM runs WHERE session = ?"
            end = session["ended"] or self._database.execute(last, (session["number"],)).fetchone()[0]
            seconds += (datetime.fromisoformat(end) - start).total_seconds() if end else 0.0
        return begun, seconds

    def end(self) -> None:
        """Write down that this session has ended; one that began and committed nothing never was."""
        if self._session is not None and not self._committed:
            self._database.rollback()
            with self._database as database:
                database.execute("DELETE FROM sessions WHERE number = ?", (self._session,))
            return
        with self._database as database:
            database.execute("UPDATE sessions SET ended = ? WHERE number = ?", (_now(), self._session))

    @property
    def withdrawn(self) -> bool:
        """Whether a comparison was begun in a new folder, and nothing came of it."""
        return self._new and self._session is not None and not self._committed

    # ---- the parts

    def _fact(self, name: str) -> str | None:
        row = self._database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return None if row is None else row[0]

    def _curve(self, key: str) -> tuple[Point, ...]:
        columns = ", ".join(field.name for field in fields(Point))
        rows = self._database.execute(f"SELECT {columns} FROM points WHERE run = ? ORDER BY rowid", (key,))
        return tuple(Point(int(step), *rest) for step, *rest in rows)


@contextmanager
def opened(folder: str | Path, wait: float = 0.0) -> Iterator[Store]:
    """The store of a folder, made if there is none, for this process alone until the context is left.

    The lock dies with the process, however that ends.

    Args:
        folder: made if it is missing.
        wait: seconds to wait for another process that works there. Default 0.

    Raises:
        StoreError: another process works there; the file is of another version, or no database.
    """
    folder = Path(folder)
    filelock = require("filelock")
    with ExitStack() as left:
        try:
            left.enter_context(made(folder))
            left.enter_context(filelock.FileLock(folder / LOCK).acquire(timeout=wait))
        except filelock.Timeout:
            raise StoreError(_busy(folder)) from None
        except OSError as error:
            cannot = f"{str(folder)!r} cannot be written to: {error.strerror}; choose another folder."
            raise StoreError(cannot) from error
        with _used(folder / NAME), closing(_connected(folder / NAME)) as database:
            store = Store(folder, database)
            left.callback(lambda: store.withdrawn and _clear(folder))
            try:
                yield store
            finally:
                store.end()


def _clear(folder: Path) -> None:
    """Take away what a store makes in a folder."""
    shutil.rmtree(folder / "states", ignore_errors=True)
    for path in [*folder.glob(f"{NAME}*"), folder / LOCK]:
        path.unlink(missing_ok=True)


@contextmanager
def reading(folder: str | Path) -> Iterator[Store]:
    """The store of a folder to look at, also while another process works there.

    Raises:
        StoreError: there is none, or it is of another version.
    """
    path = Path(folder) / NAME
    if not path.is_file():
        raise StoreError(f"{str(folder)!r} holds no {NAME}; it must be the folder of a comparison (--out).")
    with _used(path), closing(_connected(path)) as database:
        yield Store(Path(folder), database)


@contextmanager
def _used(path: Path) -> Iterator[None]:
    """Say in a sentence what SQLite says of a file that is damaged, or of a disk that is full."""
    try:
        yield
    except sqlite3.OperationalError as error:
        raise StoreError(
            f"{str(path)!r} cannot be read or written: {error}; what was kept there is still there."
        ) from error
    except sqlite3.DatabaseError as error:
        raise StoreError(f"{str(path)!r} is no database that can be read: {error}.") from error


def _connected(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, timeout=60)
    try:
        database.execute("PRAGMA journal_mode = WAL")  # readers do not wait for the writer; not on every network drive
        database.execute("PRAGMA synchronous = NORMAL")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            database.executescript(f"BEGIN; {SCHEMA} COMMIT;")
        elif version != FORMAT:
            raise StoreError(f"{str(path)!r} is of format {version}, and this thalweg reads format {FORMAT}.")
    except (sqlite3.DatabaseError, StoreError):
        database.close()
        raise
    return database


def _busy(folder: Path) -> str:
    who = ""
    try:
        with reading(folder) as store:
            last = store.sessions()[-1]
            who = f" (process {last['process']} on {last['host']}, since {last['begun']})"
    except (StoreError, sqlite3.Error, IndexError):
        pass
    return f"another process works in {str(folder)!r}{who}; wait until it has ended, or choose another folder."


def remembered(perform: Perform, store: Store) -> Perform:
    """The same, with runs that are known taken from the store, and new ones kept there before anybody is told."""

    def recall(trials: Sequence[Trial], report: Progress) -> list[Run]:
        known = store.find(trials)
        for trial in trials:
            if trial in known:
                report(Finished(trial, known[trial], known=True))
        missing: dict[str, list[Trial]] = {}  # one rule under two names is run once
        for trial in trials:
            if trial not in known:
                missing.setdefault(store.key(trial), []).append(trial)

        def keep(event: Event) -> None:
            if not isinstance(event, Finished):
                report(event)
                return
            store.add([(event.trial, event.run)])
            for trial in missing[store.key(event.trial)]:
                known[trial] = event.run
                report(Finished(trial, event.run, known=trial is not event.trial))

        if missing:
            perform([same[0] for same in missing.values()], keep)
        return [known[trial] for trial in trials]

    return recall


def _as_data(trial: Trial, leave: Sequence[str] = ()) -> dict[str, Any]:
    """What a trial is, without why it was asked for and without what was left at its default."""
    return {
        field.name: value
        for field in fields(trial)
        if field.compare and field.name not in leave and (value := getattr(trial, field.name)) != field.default
    }


def _run_data(run: Run) -> dict[str, Any]:
    return {field.name: getattr(run, field.name) for field in fields(run) if field.name != "curve"}


def _run(data: Mapping[str, Any], curve: tuple[Point, ...]) -> Run:
    return Run(**{**data, "curve": curve})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
