"""PostgreSQL servers for measuring and tests: several at once, paused, killed, started again."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from bench.postgresproc import FORGETFUL, PostgresError, PostgresProcess, postgres_server
from bench.redisproc import claimed_ports


def answer(server: PostgresProcess, question: str = "SELECT 1") -> object:
    with psycopg.connect(server.url, autocommit=True) as connection:
        cursor = connection.execute(question.encode())
        return cursor.fetchone() if cursor.description else None


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def server() -> Iterator[PostgresProcess]:
    with tempfile.TemporaryDirectory() as directory, postgres_server(Path(directory), *FORGETFUL) as server:
        yield server


def test_what_was_answered_survives_being_killed(server: PostgresProcess) -> None:
    answer(server, "CREATE TABLE kept (number int)")
    with psycopg.connect(server.url) as connection:
        connection.execute("INSERT INTO kept VALUES (7)")
        connection.commit()
        pids = server.pids
        server.kill()
        assert not any(alive(pid) for pid in pids)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
    with pytest.raises(psycopg.OperationalError):
        answer(server)
    server.start()
    assert answer(server, "SELECT number FROM kept") == (7,)


def test_it_stands_still_while_paused_and_goes_on(server: PostgresProcess) -> None:
    with psycopg.connect(server.url, autocommit=True) as connection:
        server.pause()
        try:
            states = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] for pid in server.pids]
        finally:
            server.resume()
        # One of its short-lived workers may just be over.
        assert {*states} - {"Z"} == {"T"}
        assert connection.execute("SELECT 2").fetchone() == (2,)


def test_several_share_nothing_and_one_listens_on_a_port(server: PostgresProcess) -> None:
    with (
        tempfile.TemporaryDirectory() as directory,
        claimed_ports(1) as (port,),
        postgres_server(Path(directory), *FORGETFUL, port=port) as other,
    ):
        answer(other, "CREATE TABLE mine (number int)")
        assert answer(server, "SELECT count(*) FROM pg_tables WHERE tablename = 'mine'") == (0,)
        assert str(port) in other.url
        pids = other.pids
    assert not any(alive(pid) for pid in pids)


def test_a_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(PostgresError, match="nonsense"), postgres_server(tmp_path, "-c", "nonsense=1"):
        pass
