"""A cluster of Apache Spark on this machine: a master and workers of one core each, until Ctrl-C.

    python scripts/spark_cluster.py --workers 2

prints the URL for --master, and the process of each worker. Needs `pip install 'segcct[spark]'`.
"""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from segcct.errors import SegcctError
from segcct.extras import import_extra
from segcct.option_types import positive_int
from segcct.spark.java_runtime import find_java

HOST = "127.0.0.1"
START_SECONDS = 60.0


@dataclass(frozen=True)
class Cluster:
    """A cluster that runs."""

    url: str
    folder: Path
    """Where the executors work."""
    master: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]]
    """Each leads the group of its executors."""


@contextmanager
def cluster(workers: int, memory: str = "1g") -> Iterator[Cluster]:
    """A master and workers that have registered with it; they end with the block.

    Args:
        workers: their number.
        memory: of each, for its executors.

    Raises `SegcctError` where one does not start.
    """
    spark_class = Path(import_extra("pyspark", "spark").__file__).parent / "bin" / "spark-class"
    started: list[subprocess.Popen[bytes]] = []
    with tempfile.TemporaryDirectory(prefix="segcct-cluster-") as folder:
        env = {**os.environ, "JAVA_HOME": str(find_java(Path(folder))), "SPARK_LOCAL_IP": HOST}
        url = f"spark://{HOST}:{_free_port()}"

        def start(name: str, role: str, *options: str) -> tuple[subprocess.Popen[bytes], Path]:
            log = Path(folder) / f"{name}.log"
            command = [spark_class, f"org.apache.spark.deploy.{role}", "--host", HOST, "--webui-port", "0", *options]
            with log.open("wb") as stream:
                started.append(subprocess.Popen(command, env=env, stdout=stream, stderr=stream, process_group=0))
            return started[-1], log

        try:
            _wait_for("I have been elected leader", *start("master", "master.Master", "--port", url.rpartition(":")[2]))
            of_each = ("--cores", "1", "--memory", memory, "--work-dir", folder, url)
            pairs = [start(f"worker{number}", "worker.Worker", *of_each) for number in range(1, workers + 1)]
            for process, log in pairs:
                _wait_for("Successfully registered with master", process, log)
            yield Cluster(url, Path(folder), started[0], [process for process, _ in pairs])
        finally:
            for process in reversed(started):
                process.terminate()
            for process in started:
                process.wait()


def _free_port() -> int:
    with socket.socket() as server:
        server.bind((HOST, 0))
        return int(server.getsockname()[1])


def _wait_for(line: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until the log has the line."""
    end = time.monotonic() + START_SECONDS
    while line not in (text := log.read_text(encoding="utf-8", errors="replace")):
        if process.poll() is not None or time.monotonic() > end:
            last = (text.strip().splitlines() or ["nothing"])[-1]
            raise SegcctError("a process of Spark does not start", found=last, expected=line)
        time.sleep(0.1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=positive_int, default=2, help="of one core each (default %(default)s)")
    parser.add_argument("--memory", default="1g", help="of each worker (default %(default)s)")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C, so that no process is left behind
    try:
        with cluster(arguments.workers, arguments.memory) as running:
            print(running.url, flush=True)
            for number, worker in enumerate(running.workers, start=1):
                print(f"worker {number}: process {worker.pid}", flush=True)
            running.master.wait()  # which goes on without a worker that has died
    except SegcctError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main())
