#!/usr/bin/env python3
"""A travel agency's service in miniature: it takes bookings and cancels some, as a user would see it.

    agency.py setup           makes the two offices' old databases, and the new one, which is empty
    agency.py serve OFFICE    serves an office, until it is closed
    agency.py close           closes both offices
    agency.py proof           whether the new database has just what was acknowledged

All that it knows of the migration is the flag, and that a write may be refused in the moment of a move: see `write`.
"""

import json
import pathlib
import random
import sqlite3
import sys
import time

# What each office had before. Their stacks were made by different people.
OLD = {
    "north": {
        "tables": "CREATE TABLE bookings (id INTEGER PRIMARY KEY, guest TEXT NOT NULL, state TEXT NOT NULL, price REAL NOT NULL)",
        "book": "INSERT INTO bookings VALUES (:id, :guest, 'booked', :cents / 100.0)",
        "cancel": "UPDATE bookings SET state = 'cancelled' WHERE id = :id",
        "list": "SELECT id, guest, state FROM bookings",
    },
    "south": {
        "tables": "CREATE TABLE reservations (nr INTEGER PRIMARY KEY, name TEXT NOT NULL, gone INTEGER NOT NULL, cents INTEGER NOT NULL)",
        "book": "INSERT INTO reservations VALUES (:id, :guest, 0, :cents)",
        "cancel": "UPDATE reservations SET gone = 1 WHERE nr = :id",
        "list": "SELECT nr, name, iif(gone, 'cancelled', 'booked') FROM reservations",
    },
}

# What both have in the end.
NEW = {
    "tables": "CREATE TABLE booking (office TEXT NOT NULL, booking_id INTEGER NOT NULL, guest TEXT NOT NULL,"
    " state TEXT NOT NULL, cents INTEGER NOT NULL, PRIMARY KEY (office, booking_id))",
    "book": "INSERT INTO booking VALUES (:office, :id, :guest, 'booked', :cents)",
    "cancel": "UPDATE booking SET state = 'cancelled' WHERE office = :office AND booking_id = :id",
    "list": "SELECT booking_id, guest, state FROM booking WHERE office = :office",
}


def side():
    """The flag: 0 and 1 say the old side, 2 and 3 the new one. It is looked at before each transaction."""
    return "new" if int(open("flag").read()) >= 2 else "old"


def database(name):
    db = sqlite3.connect(f"{name}.db", timeout=5, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    return db


class Office:
    def __init__(self, name):
        self.name = name
        self.databases = {"old": database(name), "new": database("new")}
        self.queries = {"old": OLD[name], "new": NEW}
        self.again = 0

    def write(self, what, **values):
        """One transaction on the side that the flag says; refused, it is tried again as a whole, after a fresh look at the flag."""
        deadline = time.monotonic() + 10
        while True:
            where = side()
            db = self.databases[where]
            try:
                db.execute("BEGIN IMMEDIATE")
                db.execute(self.queries[where][what], {"office": self.name, **values})
                db.execute("COMMIT")
                return
            except sqlite3.Error as error:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                refused = "changeover:" in str(error) or "locked" in str(error)
                if not refused or time.monotonic() > deadline:
                    raise
                self.again += 1
                time.sleep(0.005)

    def list(self, where):
        """The office's bookings, as a side has them: number, guest and state."""
        return self.databases[where].execute(self.queries[where]["list"], {"office": self.name}).fetchall()


def setup():
    database("new").execute(NEW["tables"])
    for name, rows in (("north", 500), ("south", 300)):
        database(name).execute(OLD[name]["tables"])
        pathlib.Path("flag").write_text("0\n")
        office = Office(name)
        for number in range(1, rows + 1):
            office.write("book", id=number, guest=f"guest {number}", cents=number * 100)
        pathlib.Path(f"{name}.ledger").write_text(json.dumps({n: ["guest %d" % n, "booked"] for n in range(1, rows + 1)}))
        print(f"{name}: {rows} bookings")


def serve(name):
    """Books and cancels, and keeps in a ledger of its own what it has told its users."""
    office, ledger = Office(name), {int(n): row for n, row in json.loads(open(f"{name}.ledger").read()).items()}
    done = {"old": 0, "new": 0}
    while not pathlib.Path("closed").exists():
        number = max(ledger) + 1 if random.random() < 0.3 else random.choice(list(ledger))
        if number not in ledger:
            office.write("book", id=number, guest=f"guest {number}", cents=random.randrange(1, 50_000))
            ledger[number] = [f"guest {number}", "booked"]
        else:
            office.write("cancel", id=number)
            ledger[number][1] = "cancelled"
        done[side()] += 1
        time.sleep(0.01)
    pathlib.Path(f"{name}.ledger").write_text(json.dumps(ledger))
    pathlib.Path(f"{name}.closed").write_text(
        f"{name}: {done['old']} writes on the old side, {done['new']} on the new one; {office.again} were tried again"
    )


def close():
    """Tells the offices to close, and waits until each has written its ledger."""
    pathlib.Path("closed").touch()
    for name in OLD:
        while not (said := pathlib.Path(f"{name}.closed")).exists() or not said.read_text():
            time.sleep(0.05)
        print(said.read_text())


def proof():
    wrong = 0
    for name in OLD:
        ledger = {int(n): row for n, row in json.loads(open(f"{name}.ledger").read()).items()}
        held = {number: [guest, state] for number, guest, state in Office(name).list("new")}
        apart = [n for n in ledger.keys() | held.keys() if ledger.get(n) != held.get(n)]
        wrong += len(apart)
        print(f"{name}: {len(ledger)} bookings were acknowledged, {len(held)} are in the new database, {len(apart)} differ")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    command, *arguments = sys.argv[1:] or ["help"]
    {"setup": setup, "serve": serve, "close": close, "proof": proof}.get(command, lambda *_: print(__doc__))(*arguments)
