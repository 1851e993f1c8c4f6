"""Gifts and red packets in a real SQL database: booked once, never changed, never lost.

What is asked of it and what it answers: `values`, with `errors`. How a red packet is divided: `split`. Which URLs name one:
`address`. These load no database's library.

`store` is the whole to those who use it, sync. `lane` is its way into trio: group commit, then publication, then the answer;
with `requests` (what waits), `keeper` (threads), `outgoing` (what is committed and not answered), `alarm` (when something is
over), `delays`. Inside the store each file has one noun:

- `tables` what is kept, `migrations` how databases of every release come to it, `database` connections, with `patience` (time
  limits) and `failures` (what errors mean), `bulk` how many rows travel in one statement;
- `transaction` what one commit does, in the order of its requests (`decisions`), upon state that is read at once and written at
  once: `rooms` (the rows that arbitrate between nodes), `journal` (entries and their events), `keys`, `people`, `boards`,
  `combos`, `packets`, `wire` (the bytes of events);
- `webhooks` the outbox of happenings, of which the product is told;
- `reading` what is read without booking, `catalogue` the gifts that can be given, `erasure` how a person is forgotten.

`audit` proves that what is kept adds up and is in the stream: `books` one consistent look at all of it, `sums`, `draws`,
`matching` (ledger against stream), `faults`; `totals` and `export` tell it.
"""
