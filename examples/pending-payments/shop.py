#!/usr/bin/env python3
"""A shop's services in miniature: one sells, one takes payments, and one knows whom to remind.

    shop.py setup       makes the database, with the old table filled and the new one empty
    shop.py sell        sells, until the shop is closed: each order waits for its payment
    shop.py pay         takes payments, until the shop is closed
    shop.py remind      whose payments are pending, and which table was asked
    shop.py close       closes the shop
    shop.py proof       whether the new table has just what was sold and not paid

All that they know of the migration is the flag, and that a write may be refused in the moment of a move: see `write`.
"""

import pathlib
import random
import sqlite3
import sys
import time

TABLES = """
    PRAGMA journal_mode = WAL;
    CREATE TABLE orders (id INTEGER PRIMARY KEY AUTOINCREMENT, customer_id INTEGER NOT NULL, cents INTEGER NOT NULL);
    CREATE TABLE pending_payments (
        order_id INTEGER PRIMARY KEY AUTOINCREMENT, customer TEXT NOT NULL CHECK (customer GLOB 'C-*'), cents INTEGER NOT NULL);
"""

# The services' queries. In the old table a customer is a number, in the new one a text: C-00042.
QUERIES = {
    "orders": {
        "sell": "INSERT INTO orders (customer_id, cents) VALUES (:customer, :cents) RETURNING id",
        "open": "SELECT id FROM orders ORDER BY random() LIMIT 1",
        "pay": "DELETE FROM orders WHERE id = :order RETURNING id",
        "remind": "SELECT DISTINCT customer_id FROM orders",
    },
    "pending_payments": {
        "sell": "INSERT INTO pending_payments (customer, cents) VALUES (printf('C-%05d', :customer), :cents) RETURNING order_id",
        "open": "SELECT order_id FROM pending_payments ORDER BY random() LIMIT 1",
        "pay": "DELETE FROM pending_payments WHERE order_id = :order RETURNING order_id",
        "remind": "SELECT DISTINCT CAST(substr(customer, 3) AS INTEGER) FROM pending_payments",
    },
}


def table():
    """The flag: 0 and 1 say the old table, 2 and 3 the new one. It is looked at before each transaction."""
    return "pending_payments" if int(open("flag").read()) >= 2 else "orders"


def database():
    return sqlite3.connect("shop.db", timeout=5, isolation_level=None)


def read(db, what):
    return [row[0] for row in db.execute(QUERIES[table()][what])]


def write(db, what, **values):
    """One transaction in the table that the flag says; refused, it is tried again as a whole, after a fresh look at the flag."""
    deadline = time.monotonic() + 10
    while True:
        try:
            db.execute("BEGIN IMMEDIATE")
            rows = db.execute(QUERIES[table()][what], values).fetchall()
            db.execute("COMMIT")
            return rows[0][0] if rows else None
        except sqlite3.Error as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            refused = "changeover:" in str(error) or "locked" in str(error)
            if not refused or time.monotonic() > deadline:
                raise
            time.sleep(0.005)


def setup():
    db = database()
    db.executescript(TABLES)
    pathlib.Path("flag").write_text("0\n")
    with open("sold", "w") as ledger:
        for customer in range(1, 401):
            order = write(db, "sell", customer=customer % 50 + 1, cents=customer * 10)
            print(order, customer % 50 + 1, file=ledger)
    print("400 orders wait for their payment")


def sell():
    db = database()
    with open("sold", "a") as ledger:
        while is_open():
            customer = random.randrange(1, 60)
            order = write(db, "sell", customer=customer, cents=random.randrange(1, 9_999))
            print(order, customer, file=ledger)
    pathlib.Path("closed.sell").touch()


def pay():
    db = database()
    with open("paid", "a") as ledger:
        while is_open():
            for order in read(db, "open"):
                if write(db, "pay", order=order) is not None:
                    print(order, file=ledger)
    pathlib.Path("closed.pay").touch()


def is_open():
    time.sleep(0.01)
    return not pathlib.Path("closed").exists()


def remind():
    asked = table()
    print(f"{len(read(database(), 'remind'))} customers have payments pending, says {asked}")


def close():
    pathlib.Path("closed").touch()
    while not (pathlib.Path("closed.sell").exists() and pathlib.Path("closed.pay").exists()):
        time.sleep(0.05)


def proof():
    sold = [tuple(map(int, line.split())) for line in open("sold")]
    paid = {int(line) for line in open("paid")}
    pending = {order: customer for order, customer in sold if order not in paid}
    rows = database().execute("SELECT order_id, CAST(substr(customer, 3) AS INTEGER) FROM pending_payments")
    held = dict(rows.fetchall())
    twice = len(sold) - len({order for order, _ in sold})
    apart = sum(pending.get(order) != held.get(order) for order in pending.keys() | held.keys())
    print(f"{len(sold)} sold, {len(paid)} paid, {len(held)} in pending_payments: {apart} differ; {twice} ids were given out twice")
    sys.exit(1 if apart or twice else 0)


if __name__ == "__main__":
    commands = {"setup": setup, "sell": sell, "pay": pay, "remind": remind, "close": close, "proof": proof}
    commands.get(" ".join(sys.argv[1:]), lambda: print(__doc__))()
